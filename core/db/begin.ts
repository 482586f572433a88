/**
 * `begin` without a round trip of its own: it travels with the first statement of its transaction when that one has no parameters, which
 * is how every transaction of ours starts (`begin_tenant`). Invariant: the server sees the same statements in the same order.
 */
interface Result {
  readonly command: string;
  readonly rows: readonly unknown[];
  readonly rowCount: number | null;
}

/** What both drivers' clients have in common. Without values a text may hold several statements, and answers one result for each. */
export interface Queryable {
  query(text: string, values?: readonly unknown[]): Promise<Result | readonly Result[]>;
}

const done = (command: string): Promise<Result> => Promise.resolve({ command, rows: [], rowCount: null });

/** Changes one connection for good, right after it was made. */
export function deferBegin(client: Queryable): void {
  const query = client.query.bind(client);
  let isBegun = true;
  client.query = (text, values) => {
    if (text === "begin") {
      isBegun = false;
      return done("BEGIN");
    }
    if (isBegun) return query(text, values);
    isBegun = true;
    if (text === "commit" || text === "rollback") return done(text.toUpperCase());
    if (typeof text === "string" && (values === undefined || values.length === 0)) {
      return query(`begin; ${text}`).then((results) => (Array.isArray(results) ? results.at(-1) : results));
    }
    return query("begin").then(() => query(text, values));
  };
}

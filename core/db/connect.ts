/**
 * A connection pool behind Kysely. Two drivers pass the same contract suite: Neon's (WebSocket; production and the embedded
 * host, where a local proxy stands in for Neon's) and node-postgres (any other PostgreSQL; migrations).
 */
import { Pool as NeonPool, neonConfig } from "@neondatabase/serverless";
import { Kysely, PostgresDialect, type PostgresPool } from "kysely";
import { ConnectionLost } from "../kernel/away.ts";
import { DomainError } from "../kernel/error.ts";
import { deferBegin, type Queryable } from "./begin.ts";
import type { DB } from "./types.gen.ts";

export interface ConnectOptions {
  readonly url: string;
  readonly driver: "neon" | "pg";
  /** 1 in Lambda (one invocation at a time per environment), more in a long-running host. */
  readonly max?: number;
  /** Called when an idle connection is lost; without a listener Node ends the process. */
  readonly onConnectionLost?: (error: Error) => void;
  /** Every connection is asked, once, whether row-level security binds its user; one that it does not bind is never used. */
  readonly bound?: boolean;
}

/** `*.neon.tech` speaks Neon's WebSocket protocol; everything else is plain PostgreSQL. */
export const driverFor = (url: string): ConnectOptions["driver"] =>
  new URL(url).hostname.endsWith(".neon.tech") ? "neon" : "pg";

/** Short idle time-outs: a connection that died while Lambda froze the process must not be handed out on thaw. */
export function connect({
  url,
  driver,
  max = 1,
  onConnectionLost = () => {},
  bound = false,
}: ConnectOptions): Kysely<DB> {
  const settings = {
    connectionString: url,
    max,
    idleTimeoutMillis: 10_000,
    connectionTimeoutMillis: 8_000,
    // After the server's own limit (statement_timeout, 30 s), which says what was too slow.
    query_timeout: 35_000,
    ...(bound ? { verify: requireBound } : {}),
  };
  // When the first statement asks for it: a function at Neon never reads node-postgres.
  const open = async (): Promise<PostgresPool> => {
    const pool = driver === "neon" ? new NeonPool(settings) : new (await import("pg")).default.Pool(settings);
    pool.on("error", (error: unknown) => onConnectionLost(asError(error)));
    const take = pool.connect.bind(pool) as () => Promise<unknown>;
    pool.connect = () => withErrors(take()) as never;
    // The pool listens only while a connection is idle. One that dies between two statements of a transaction would end the
    // process; with a listener the transaction's next statement fails instead, which is how its caller learns of it.
    pool.on("connect", (client: Queryable & { on(event: "error", listener: () => void): unknown }) => {
      client.on("error", () => {});
      failWithErrors(client);
      deferBegin(client);
    });
    return pool as unknown as PostgresPool;
  };
  return new Kysely<DB>({ dialect: new PostgresDialect({ pool: open }) });
}

/** Neon's driver hands on the WebSocket's event when a connection breaks: no Error, so no stack, no `instanceof`, nothing to log. */
const asError = (failure: unknown): Error =>
  failure instanceof Error
    ? failure
    : new ConnectionLost("The connection to the database was lost.", { cause: failure });

/** Changes one connection for good: whatever its driver rejects with, callers get an Error. */
function failWithErrors(client: Queryable): void {
  const query = client.query.bind(client);
  client.query = (text, values) => withErrors(query(text, values));
}

const withErrors = <T>(work: Promise<T>): Promise<T> =>
  work.catch((failure: unknown) => {
    throw asError(failure);
  });

/** What both drivers' clients have in common. */
interface Client {
  query(text: string): Promise<{ readonly rows: readonly { readonly name: string; readonly why: string | null }[] }>;
}

/**
 * A superuser, a role with BYPASSRLS and whoever may become the tables' owner would see every tenant's rows, whatever the policies say.
 * A connection that is refused here is closed and not counted.
 */
function requireBound(client: Client, done: (error?: Error) => void): void {
  const asked = client.query(`
    select current_user as name, case when r.rolsuper then 'is a superuser' when r.rolbypassrls then 'has BYPASSRLS'
             when pg_has_role(current_user, o.oid, 'member') then 'may become the owner of the tables' end as why
    from pg_roles r left join pg_roles o on o.rolname = 'outrider_owner' where r.rolname = current_user`);
  asked.then(({ rows: [user] }) => {
    if (!user?.why) return done();
    const message = `The database user ${user.name} ${user.why}: row-level security does not bind it. Connect as outrider_app.`;
    done(new DomainError("unavailable", "database.unbound", message));
  }, done);
}

/** Writes leave at once instead of waiting a timer tick for company, which every statement of a transaction would pay. */
export function useNeonDriver(localProxy?: string): void {
  neonConfig.coalesceWrites = false;
  if (localProxy === undefined) return;
  neonConfig.wsProxy = () => localProxy;
  neonConfig.useSecureWebSocket = false;
  neonConfig.pipelineTLS = false;
  neonConfig.pipelineConnect = false;
  neonConfig.forceDisablePgSSL = true;
}

/**
 * Attacks on what keys promise: foreign keys, unique keys, `on conflict`. Invariant: the first two go past every policy, as a superuser would, so
 * that a key is judged by itself.
 */
import {
  as,
  type Cell,
  fenced,
  keyOf,
  none,
  open,
  refusalOf,
  type Scene,
  stoppedBy,
  through,
  type Visitor,
  worst,
} from "./attacks.ts";
import type { Rule, Table } from "./catalogue.ts";
import { insertion, type Party, quoted, type Row, savepoint } from "./rows.ts";

/** Past every policy: what the key itself refuses. A reference to the owner alone is what the insert attack tries. */
export async function foreignKey(scene: Scene, table: Table): Promise<Cell> {
  const { client, rows, mine, theirs } = scene;
  const cells: Cell[] = [];
  for (const { name, columns, target, targetColumns } of table.foreignKeys) {
    const referenced = theirs.rows.get(target);
    const open_ = columns.flatMap((column, i) =>
      column === table.key ? [] : [[column, referenced?.[targetColumns[i] ?? ""]] as const],
    );
    if (open_.length === 0) continue;
    const own = await rows.fresh(table, mine, table.key === "id" ? { id: `${keyOf(table, mine)}X` } : {});
    const row = { ...own, ...Object.fromEntries(open_) };
    const refusal = await savepoint(
      client,
      async () => {
        await client.query("set constraints all immediate");
        return savepoint(client, () => client.query(insertion(table, row), [JSON.stringify(row)]), true).then(
          () => undefined,
          refusalOf,
        );
      },
      false,
    );
    if (refusal?.code === "23503") cells.push(fenced("foreign key"));
    else if (
      await refusedByRight(
        scene,
        table,
        open_.map(([column]) => column),
      )
    )
      cells.push(fenced("no right to set it"));
    else
      cells.push(
        open(`${name}: ${refusal ? `${refusal.code} ${refusal.message}` : "hangs on a row of another tenant"}`),
      );
  }
  return worst(cells, none("refers to its owner only"));
}

/** The application can set none of these columns, so no request can make the reference. */
async function refusedByRight({ client }: Scene, { name }: Table, columns: readonly string[]): Promise<boolean> {
  const { rows } = await client.query<{ may: boolean }>(
    `select bool_or(has_column_privilege('outrider_app', $1::regclass, c, 'insert') or has_column_privilege('outrider_app', $1::regclass, c, 'update')) as may
     from unnest($2::text[]) c`,
    [quoted(name), columns],
  );
  return rows[0]?.may === false;
}

/** Past every policy: what another tenant has taken is free for me. */
export async function unique(scene: Scene, table: Table, deliberate: readonly string[]): Promise<Cell> {
  const cells: Cell[] = [];
  for (const index of table.uniques) {
    const cell = await takeTheSame(scene, table, index);
    if (cell.verdict === "open" && deliberate.includes(index.name))
      cells.push(none("unique in the installation on purpose"));
    else cells.push(cell);
  }
  return worst(cells, cells[0] ?? none("has no unique key"));
}

async function takeTheSame(scene: Scene, table: Table, index: Rule): Promise<Cell> {
  const { client, rows, mine, theirs } = scene;
  const isAbsent = (column: string) => index.expression?.includes(`(${column} IS NULL)`) ?? false;
  const others = index.columns.filter((column) => column !== table.key && !isAbsent(column));
  if (others.length === 0 && table.key === "id") return none("the key is the tenant itself");
  const referring = new Set(table.foreignKeys.flatMap(({ columns }) => columns));
  const free = others.filter((column) => !referring.has(column));
  // What the index refers to is each one's own; what remains is the same.
  const rowOf = async (party: Party): Promise<Row> => {
    const base = table.key === "id" ? { id: `${party.tenantId}X` } : {};
    return rows.fresh(table, party, { ...base, ...(await rows.references(table, party, others)) });
  };
  const bound = [index, ...table.checks].filter(
    ({ columns, expression }) =>
      expression !== null && (expression === index.expression || columns.some((column) => free.includes(column))),
  );
  const rule: Rule = {
    name: index.name,
    columns: free,
    expression: bound.map(({ expression }) => `(${expression})`).join(" and ") || null,
  };
  const filled = free.filter((column) => !index.expression?.includes(column));
  const taken = await rows.satisfy(table, await rowOf(theirs), rule, filled);
  if (!taken) return open(`${index.name}: no row of it could be made: the cell proves nothing`);
  const same = {
    ...(await rowOf(mine)),
    ...Object.fromEntries(free.filter((column) => column in taken).map((column) => [column, taken[column]])),
  };
  return savepoint(
    client,
    async () => {
      for (const [party, row] of [
        [theirs, taken],
        [mine, same],
      ] as const) {
        await rows.enter(party);
        const refusal = await savepoint(
          client,
          () => client.query(insertion(table, row), [JSON.stringify(row)]),
          true,
        ).then(() => undefined, refusalOf);
        if (refusal && party === theirs) return open(`${index.name}: ${refusal.message}: the cell proves nothing`);
        if (refusal) return open(`${index.name}: ${refusal.code} ${refusal.message}`);
      }
      return fenced("both may");
    },
    false,
  );
}

export async function onConflict(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  const stored = scene.theirs.rows.get(table.name) ?? {};
  const theirs = Object.fromEntries(table.columns.map(({ name }) => [name, stored[name]]));
  const [first = ""] = table.primaryKey;
  const target = table.primaryKey.map((column) => `"${column}"`).join(", ");
  if (first === "") return open("has no primary key");
  const ways = [`on conflict do nothing`, `on conflict (${target}) do update set "${first}" = excluded."${first}"`];
  const stops: string[] = [];
  for (const way of ways) {
    const result = await as(scene, visitor, insertion(table, theirs, way), [JSON.stringify(theirs)]);
    const stop = stoppedBy(result);
    if (!stop) return through(`${way} met a row of another tenant`, result);
    stops.push(result.refusal?.message.includes("row-level security") ? "policy" : stop);
  }
  return fenced([...new Set(stops)].join(", "));
}

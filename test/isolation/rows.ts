/**
 * Rows for any table, made from its catalogue entry: required columns by type, foreign keys from rows of the same tenant, checks and
 * index predicates satisfied by trying what the expressions themselves name. A table whose checks cannot be met that way fails loudly.
 *
 * Invariant: a row that is made here is one the database accepts, so an attack with it fails at the fence and not at a typing error.
 */
import { createHash } from "node:crypto";
import fc from "fast-check";
import type pg from "pg";
import type { Catalogue, Column, Rule, Table } from "./catalogue.ts";

export type Row = Readonly<Record<string, unknown>>;

/** Two strangers, and a row of each in every table that has an owner. */
export interface Party {
  readonly tenantId: string;
  readonly organizationId: string;
  readonly rows: Map<string, Row>;
}

export const quoted = (name: string) =>
  name
    .split(".")
    .map((part) => `"${part}"`)
    .join(".");
const list = (columns: readonly string[]) => columns.map((column) => `"${column}"`).join(", ");

export async function savepoint<R>(client: pg.ClientBase, work: () => Promise<R>, keep: boolean): Promise<R> {
  await client.query("savepoint isolation");
  try {
    const result = await work();
    if (!keep) await client.query("rollback to isolation");
    return result;
  } catch (error) {
    await client.query("rollback to isolation");
    throw error;
  } finally {
    await client.query("release isolation");
  }
}

/** SQL that inserts a row given as JSON in `$1`. */
export const insertion = ({ name }: Table, row: Row, tail = "") => {
  const columns = list(Object.keys(row));
  return `insert into ${quoted(name)} as t (${columns}) select ${columns} from jsonb_populate_record(null::${quoted(name)}, $1) ${tail}`;
};

/** Texts that match a regular expression of a check, where JavaScript reads it as PostgreSQL does. */
function matching(pattern: string, n: number): string[] {
  try {
    return fc.sample(fc.stringMatching(new RegExp(pattern)), { seed: n, numRuns: 3 });
  } catch {
    return [];
  }
}

const digest = (n: number) => createHash("sha256").update(String(n)).digest("hex");

/** Values worth trying for a column: what its rules name, then common shapes. `n` keeps them apart. */
function candidates(column: Column, rules: readonly Rule[], n: number): readonly unknown[] {
  const about = rules.filter((rule) => rule.columns.includes(column.name)).map((rule) => rule.expression ?? "");
  const named = about.flatMap((text) => [...text.matchAll(/'([^']*)'::text/g)].map(([, word]) => word ?? ""));
  const words = [...new Set(named)].filter((word) => /^[\w.-]+$/.test(word));
  const patterns = about.flatMap((text) =>
    [...text.matchAll(/~\*? '((?:[^']|'')*)'::text/g)].map(([, pattern]) => pattern ?? ""),
  );
  const time = new Date(Date.UTC(2026, 0, 1) + n * 60_000).toISOString();
  switch (column.type) {
    case "text":
      return [
        ...words.filter((word) => !word.endsWith("_")),
        `n${n}@isolation.example`,
        ...words
          .filter((word) => word.endsWith("_"))
          .map((prefix) => `${prefix}${digest(n).slice(0, 26).toUpperCase()}`),
        `https://isolation.example/${n}`,
        ...patterns.flatMap((pattern) => matching(pattern, n)),
      ];
    case "bytea":
      return [`\\x${digest(n)}`];
    case "boolean":
      return [false, true];
    case "integer":
    case "bigint":
    case "smallint":
    case "numeric":
    case "double precision":
      return [n, 1, 60, 0];
    case "jsonb":
      return [{}, []];
    case "text[]":
      return [[`n${n}`], []];
    case "date":
      return [new Date(n * 86_400_000).toISOString().slice(0, 10)];
    case "inet":
      return ["192.0.2.1"];
    default:
      if (column.type.startsWith("timestamp")) return [time];
      throw new Error(
        `no value is known for type ${column.type} of column ${column.name}: add one to test/isolation/rows.ts`,
      );
  }
}

const combinations = (choices: readonly (readonly unknown[])[]): unknown[][] =>
  choices.reduce<unknown[][]>((rest, values) => rest.flatMap((some) => values.map((value) => [...some, value])), [[]]);

let counter = 0;

class Taken extends Error {}

interface Attempt {
  readonly given: Row;
  readonly stored: Row;
}

export class Rows {
  readonly #client: pg.ClientBase;
  readonly #tables: ReadonlyMap<string, Table>;

  constructor(client: pg.ClientBase, catalogue: Catalogue) {
    this.#client = client;
    this.#tables = new Map(catalogue.tables.map((table) => [table.name, table]));
  }

  ownerOf(table: Table, party: Party): string | null {
    return table.owner === null ? null : table.owner === "tenant" ? party.tenantId : party.organizationId;
  }

  /** The same row with other values in some columns so that a rule holds; undefined when nothing that was tried does. */
  async satisfy(table: Table, row: Row, rule: Rule, filled: readonly string[] = []): Promise<Row | undefined> {
    const kept = new Set<string>(table.key === null ? [] : [table.key]);
    const open = table.columns.filter(({ name }) => rule.columns.includes(name) && !kept.has(name));
    const n = ++counter;
    const given = open.map((column) => {
      const tries = [
        ...(row[column.name] === undefined ? [] : [row[column.name]]),
        ...candidates(column, [...table.checks, rule], n),
      ];
      return filled.includes(column.name) || column.required ? tries : [...tries, null];
    });
    const tries = combinations(given).slice(0, 5_000);
    const rows = tries.map((values) => ({
      ...row,
      ...Object.fromEntries(open.map(({ name }, i) => [name, values[i]])),
    }));
    const there = filled.map((name) => `"${name}" is not null`);
    const { rows: found } = await this.#client.query<{ i: string }>(
      `select tried_i as i from jsonb_array_elements($1::jsonb) with ordinality tried(tried_j, tried_i),
         lateral (select (jsonb_populate_record(null::${quoted(table.name)}, tried_j)).*) r
       where ${[rule.expression ?? "true", ...there].map((one) => `(${one})`).join(" and ")} order by tried_i limit 1`,
      [JSON.stringify(rows)],
    );
    return found[0] ? rows[Number(found[0].i) - 1] : undefined;
  }

  /** A row that is not in the table yet. `base`: values that must stay. */
  async fresh(table: Table, party: Party, base: Row = {}): Promise<Row> {
    return (await this.#tried(table, party, base, false)).given;
  }

  /** A row that is in the table from now on, as the database holds it. */
  async make(table: Table, party: Party, base: Row = {}): Promise<Row> {
    return (await this.#tried(table, party, base, true)).stored;
  }

  /** Where the row that is referred to may be referred to once only, another one is made for it, which stays. */
  async #tried(table: Table, party: Party, base: Row, keep: boolean): Promise<Attempt> {
    await this.enter(party);
    const first = await savepoint(this.#client, () => this.#insert(table, party, base), keep).catch(
      (error: unknown) => {
        if (error instanceof Taken) return undefined;
        throw error;
      },
    );
    if (first) return first;
    const renewed: Record<string, unknown> = {};
    for (const { columns, target, targetColumns } of table.foreignKeys) {
      const referenced = this.#tables.get(target);
      if (!referenced || referenced.key === "id" || !this.#needed(table).includes(referenced)) continue;
      const row = await this.make(referenced, party);
      columns.forEach((name, i) => {
        renewed[name] = row[targetColumns[i] ?? ""];
      });
    }
    return savepoint(this.#client, () => this.#insert(table, party, { ...renewed, ...base }), keep);
  }

  /** A party, with its row in every table; referenced tables first. */
  async populate(party: Party): Promise<void> {
    const fill = async (table: Table, above: readonly string[]): Promise<void> => {
      if (party.rows.has(table.name) || table.owner === null || above.includes(table.name)) return;
      for (const target of this.#needed(table)) await fill(target, [...above, table.name]);
      party.rows.set(table.name, await this.make(table, party));
    };
    for (const table of this.#tables.values()) await fill(table, []);
  }

  /** Triggers write on behalf of whoever the transaction is of. */
  async enter({ tenantId, organizationId }: Party): Promise<void> {
    await this.#client.query(
      "select set_config('app.tenant_id', $1, true), set_config('app.organization_id', $2, true)",
      [tenantId, organizationId],
    );
  }

  /** New rows of the party's own for those foreign keys that these columns are part of. */
  async references(table: Table, party: Party, among: readonly string[]): Promise<Row> {
    const found: Record<string, unknown> = {};
    for (const { columns, target, targetColumns } of table.foreignKeys) {
      const referenced = this.#tables.get(target);
      if (!referenced || referenced.key === "id" || !columns.some((name) => name !== table.key && among.includes(name)))
        continue;
      const row = referenced === table ? party.rows.get(table.name) : await this.make(referenced, party);
      columns.forEach((name, i) => {
        found[name] = row?.[targetColumns[i] ?? ""];
      });
    }
    return found;
  }

  #needed(table: Table): Table[] {
    const required = new Set(table.columns.filter((column) => column.required).map(({ name }) => name));
    return table.foreignKeys
      .filter(({ columns }) => columns.some((name) => name !== table.key && required.has(name)))
      .flatMap(({ target }) => this.#tables.get(target) ?? []);
  }

  #start(table: Table, party: Party, base: Row): Row {
    const n = ++counter;
    const row: Record<string, unknown> = {};
    for (const column of table.columns) {
      if (column.required && !column.hasDefault) row[column.name] = candidates(column, table.checks, n)[0];
    }
    if (table.partitionColumn !== null) row[table.partitionColumn] = table.from ?? "1950-01-01T00:00:00Z";
    const required = new Set(table.columns.filter((column) => column.required).map(({ name }) => name));
    for (const { columns, target, targetColumns } of table.foreignKeys) {
      if (!columns.some((name) => name !== table.key && required.has(name))) continue;
      const referenced = party.rows.get(target);
      columns.forEach((name, i) => {
        row[name] = referenced?.[targetColumns[i] ?? ""];
      });
    }
    // The root rows themselves have their ids from their defaults.
    if (table.key !== null && table.key !== "id") row[table.key] = this.ownerOf(table, party);
    return { ...row, ...base };
  }

  async #insert(table: Table, party: Party, base: Row): Promise<Attempt> {
    let row = this.#start(table, party, base);
    for (let tries = 0; tries < 12; tries++) {
      const given = row;
      try {
        const { rows } = await savepoint(
          this.#client,
          () =>
            this.#client.query<{ row: Row }>(insertion(table, given, "returning to_jsonb(t) as row"), [
              JSON.stringify(given),
            ]),
          true,
        );
        return { given, stored: rows[0]?.row ?? {} };
      } catch (error) {
        const { code, constraint } = error as { readonly code?: string; readonly constraint?: string };
        const check = table.checks.find(({ name }) => name === constraint);
        const mended = code === "23514" && check ? await this.satisfy(table, row, check) : undefined;
        if (mended) row = mended;
        else if (code === "23505") row = this.#start(table, party, base);
        else
          throw new Error(`no row could be made for ${table.name}: ${String(error)} with ${JSON.stringify(row)}`, {
            cause: error,
          });
      }
    }
    throw new Taken(`no row could be made for ${table.name}: its unique keys are taken`);
  }
}

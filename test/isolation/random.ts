/**
 * Statements that nobody would write, by two tenants in turn: random tables, predicates, joins and rows, with the other's values in them.
 * Invariant: a statement is judged by the rows it returned, and each batch by a fingerprint of everything the other tenant owns.
 */
import type pg from "pg";
import { generator, type Random } from "../long/report.ts";
import { type Catalogue, readCatalogue, type Table } from "./catalogue.ts";
import { fingerprint } from "./functions.ts";
import { strangers } from "./matrix.ts";
import { insertion, type Party, quoted, type Row, Rows, savepoint } from "./rows.ts";

export interface RandomReport {
  readonly operations: number;
  /** Statements that PostgreSQL refused. */
  readonly refused: number;
  /** Statements that returned or wrote rows: without these the run would prove nothing. */
  readonly fruitful: number;
  readonly leaks: readonly string[];
}

export interface RandomOptions {
  readonly operations: number;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
}

interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

const batch = 250;
const keyOf = (table: Table, party: Party) => (table.owner === "tenant" ? party.tenantId : party.organizationId);

class Author {
  readonly #random: Random;
  readonly #tables: readonly Table[];

  constructor(random: Random, { tables }: Catalogue) {
    this.#random = random;
    this.#tables = tables.filter(({ owner }) => owner !== null);
  }

  pick<T>(from: readonly T[]): T {
    return this.#random.pick(from);
  }

  table(): Table {
    return this.pick(this.#tables);
  }

  /** A condition that often means the other's rows. `t` is the table's alias. */
  condition(table: Table, mine: Party, theirs: Party): Statement {
    const row = theirs.rows.get(table.name) ?? {};
    const known = Object.entries(row).filter(([, value]) => typeof value === "string");
    const [column, value] = known.length > 0 ? this.pick(known) : [table.key ?? "", keyOf(table, theirs)];
    const other = this.table();
    return this.pick<Statement>([
      { text: "true", values: [] },
      { text: `t."${table.key}" = $1`, values: [keyOf(table, theirs)] },
      { text: `t."${table.key}" = any ($1)`, values: [[keyOf(table, mine), keyOf(table, theirs)]] },
      { text: `t."${table.key}" <> $1`, values: [keyOf(table, mine)] },
      { text: `t."${column}"::text = $1 or t."${table.key}" is null`, values: [value] },
      { text: `t::text like '%' || $1 || '%'`, values: [keyOf(table, theirs)] },
      {
        text: `exists (select from ${quoted(other.name)} o where o."${other.key}" = $1)`,
        values: [keyOf(other, theirs)],
      },
      {
        text: `t."${table.key}" in (select o."${other.key}" from ${quoted(other.name)} o) or $1::text is null`,
        values: [null],
      },
    ]);
  }

  row(table: Table, mine: Party, theirs: Party): Row {
    const from = this.pick([mine, theirs]).rows.get(table.name) ?? {};
    const row: Row = Object.fromEntries(
      table.columns.filter(({ name }) => from[name] != null).map(({ name }) => [name, from[name]]),
    );
    const change: readonly Row[] = [
      {},
      { [table.key ?? ""]: keyOf(table, theirs) },
      { [table.key ?? ""]: keyOf(table, mine) },
      Object.fromEntries(
        table.primaryKey
          .filter((name) => name !== table.key)
          .map((name) => [name, theirs.rows.get(table.name)?.[name]]),
      ),
    ];
    return { ...row, ...this.pick(change) };
  }

  /** `k` in the result is the owner of the row. */
  statement(mine: Party, theirs: Party): Statement {
    const table = this.table();
    const name = quoted(table.name);
    const { text: where, values } = this.condition(table, mine, theirs);
    const own = table.columns.find(({ name: column }) => column !== table.key)?.name ?? table.key;
    const target = table.primaryKey.map((column) => `"${column}"`).join(", ");
    switch (this.#random.below(10)) {
      case 0:
      case 1:
        return { text: `select t."${table.key}" as k from ${name} t where ${where} limit 50`, values };
      case 2: {
        const other = this.table();
        return {
          text: `select t."${table.key}" as k, o."${other.key}" as j from ${name} t, ${quoted(other.name)} o where ${where} limit 50`,
          values,
        };
      }
      case 3:
        return {
          text: `select max(t."${table.key}") as k, min(t."${table.key}") as j from ${name} t where ${where}`,
          values,
        };
      case 4:
        return {
          text: `update ${name} t set "${own}" = t."${own}" where ${where} returning t."${table.key}" as k`,
          values,
        };
      case 5:
        return {
          text: `update ${name} t set "${table.key}" = $${values.length + 1} where ${where} returning t."${table.key}" as k`,
          values: [...values, keyOf(table, theirs)],
        };
      case 6:
        return { text: `delete from ${name} t where ${where} returning t."${table.key}" as k`, values };
      case 7: {
        const row = this.row(table, mine, theirs);
        const tail = this.pick([
          "",
          "on conflict do nothing",
          `on conflict (${target}) do update set "${own}" = excluded."${own}"`,
        ]);
        return {
          text: insertion(table, row, `${tail} returning t."${table.key}" as k`),
          values: [JSON.stringify(row)],
        };
      }
      case 8: {
        const other = this.table();
        return {
          text: `update ${name} t set "${own}" = t."${own}" from ${quoted(other.name)} o where o."${other.key}" = $1 returning t."${table.key}" as k, o."${other.key}" as j`,
          values: [keyOf(other, theirs)],
        };
      }
      default:
        return {
          text: `with x as (select * from ${name} t where ${where} for update) select x."${table.key}" as k from x limit 50`,
          values,
        };
    }
  }
}

/** The client is a superuser's, inside a transaction that the caller rolls back. */
export async function randomOperations(
  client: pg.ClientBase,
  { operations, seed, onProgress }: RandomOptions,
): Promise<RandomReport> {
  const catalogue = await readCatalogue(client);
  const rows = new Rows(client, catalogue);
  const parties = await strangers(rows, catalogue);
  const random = generator(seed);
  const author = new Author(random, catalogue);
  const leaks: string[] = [];
  let refused = 0;
  let fruitful = 0;
  for (let done = 0; done < operations; done += batch) {
    const [mine, theirs] = random.below(2) === 0 ? parties : [parties[1], parties[0]];
    const before = await fingerprint({ client }, catalogue, theirs);
    const allowed = new Set([mine.tenantId, mine.organizationId]);
    await savepoint(
      client,
      async () => {
        await rows.enter(mine);
        await client.query("set local role outrider_app");
        for (let i = 0; i < Math.min(batch, operations - done); i++) {
          const { text, values } = author.statement(mine, theirs);
          try {
            const { rows: found } = await savepoint(
              client,
              () => client.query<{ k: string | null; j?: string | null }>(text, [...values]),
              true,
            );
            if (found.length > 0) fruitful++;
            const foreign = found.find(({ k, j }) =>
              [k, j].some((key) => typeof key === "string" && !allowed.has(key)),
            );
            if (foreign)
              leaks.push(`${text} with ${JSON.stringify(values).slice(0, 200)} returned ${JSON.stringify(foreign)}`);
          } catch {
            refused++;
          }
        }
        await client.query("reset role");
      },
      // What a tenant did to its own rows stays now and then, so that later statements meet a changed world.
      random.below(4) === 0,
    );
    if ((await fingerprint({ client }, catalogue, theirs)) !== before)
      leaks.push(`the batch from operation ${done} changed rows of the other tenant`);
    onProgress?.(Math.min(done + batch, operations), operations);
  }
  return { operations, refused, fruitful, leaks };
}

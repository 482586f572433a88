/**
 * What every line of the benchmark stands on: one durable PostgreSQL of its own and, for each line anew, a migrated database for Outrider and
 * an empty one for the hand-written baselines and peers beside it on the same server.
 *
 * Invariant: a figure is only ever compared with another one of the same run. Both sides take turns, round by round, so that a noisy
 * minute falls on both; the median of the rounds is the result.
 */
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { connect } from "../core/db/connect.ts";
import { migrate } from "../core/db/migrate.ts";
import type { DB } from "../core/db/types.gen.ts";
import { startPostgres } from "../local/postgres.ts";

/** One line of output. `baseline` is the other side's value in the same unit; `ratio` is above 1 when Outrider is better. */
export interface Line {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number | null;
  readonly ratio: number | null;
}

/** One migrated database. */
export interface Product {
  /** The application's role under row-level security: what handlers get. */
  readonly db: Kysely<DB>;
  /** The superuser on the same database: to arrange and to look. */
  readonly owner: Kysely<DB>;
  /** Connection string of the application's role. */
  readonly url: string;
}

export interface Rig extends Product {
  /** `pg` on the database of the baselines. */
  readonly raw: pg.Pool;
  /** Connection string of the superuser on the database of the baselines. */
  readonly rawUrl: string;
  /** One more migrated database beside the line's own; gone when the line has ended. */
  another(): Promise<Product>;
  /** A connection of one's own. */
  superuser(database: "product" | "baseline"): Promise<pg.Client>;
  /** Smaller tables and fewer rounds: shows a wrong shape, not a figure to quote. */
  readonly quick: boolean;
  readonly rounds: number;
  note(text: string): void;
  /** Reports a figure; `better` says which way, so that a ratio above 1 is always Outrider's. */
  line(line: Omit<Line, "ratio">, better?: "higher" | "lower"): void;
}

export interface Bench {
  /** All that was reported so far. */
  readonly lines: readonly Line[];
  /** Runs one line on databases that nobody has used before. */
  run(work: (rig: Rig) => Promise<void>): Promise<void>;
  stop(): Promise<void>;
}

/** Time stands still here during a run: a Monday, eleven in New York, when nobody's quiet hours hold a message back. */
export const workingHour = new Date("2026-03-02T16:00:00Z");
/** Per side: both may keep as many commits under way. */
const connections = 16;
const template = "migrated";

export async function startBench(options: { readonly quick: boolean; readonly rounds: number }): Promise<Bench> {
  const home = mkdtempSync(path.join(os.tmpdir(), "outrider-bench-"));
  const logFile = process.env["BENCH_LOG"];
  const postgres = await startPostgres({
    dir: home,
    mode: "durable",
    ...(logFile !== undefined && { log: (line: string) => appendFileSync(logFile, `${line}\n`) }),
  });
  const admin = connect({ url: postgres.url(), driver: "pg" });
  await sql`create database ${sql.id(template)}`.execute(admin);
  await migrated(postgres.url(template));
  const lines: Line[] = [];

  async function withDatabases(work: (rig: Rig) => Promise<void>): Promise<void> {
    const closing: (() => Promise<unknown>)[] = [];
    const databases: string[] = [];
    const create = async (name: string, from: string): Promise<void> => {
      await sql`create database ${sql.id(name)} template ${sql.id(from)}`.execute(admin);
      databases.push(name);
    };
    const product = async (name: string): Promise<Product> => {
      await create(name, template);
      const url = postgres.url(name, "outrider_app");
      const db = connect({ url, driver: "pg", max: connections });
      // Without the handlers' time-outs: filling a table takes minutes.
      const pool = new pg.Pool({ connectionString: postgres.url(name), max: 4 });
      pool.on("error", () => {});
      const owner = new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
      closing.push(
        () => db.destroy(),
        () => owner.destroy(),
      );
      return { db, owner, url };
    };
    try {
      await create("baseline", "template1");
      const raw = new pg.Pool({
        connectionString: postgres.url("baseline"),
        max: connections,
        options: "-c random_page_cost=1.1",
      });
      // The server ends idle connections when it stops.
      raw.on("error", () => {});
      closing.push(() => raw.end());
      await work({
        ...options,
        ...(await product("product")),
        raw,
        rawUrl: postgres.url("baseline"),
        another: () => product(`product_${databases.length}`),
        async superuser(database) {
          const client = new pg.Client({ connectionString: postgres.url(database) });
          await client.connect();
          return client;
        },
        note: (text) => void process.stderr.write(`${text}\n`),
        line(given, better) {
          const line = lineOf(given, better);
          lines.push(line);
          process.stdout.write(`${JSON.stringify(line)}\n`);
        },
      });
    } finally {
      await Promise.allSettled(closing.map((close) => close()));
      for (const name of databases) await sql`drop database ${sql.id(name)} with (force)`.execute(admin);
      // What is left to write of a line must not fall into the next one.
      await sql`checkpoint`.execute(admin);
    }
  }

  return {
    lines,
    run: withDatabases,
    async stop() {
      await admin.destroy().catch(() => {});
      await postgres.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

async function migrated(url: string): Promise<void> {
  const owner = connect({ url, driver: "pg" });
  await migrate(owner, { folder: path.resolve(import.meta.dirname, "../migrations") });
  await sql`update deployment set environment = 'test'`.execute(owner);
  await sql`select set_app_clock(${workingHour})`.execute(owner);
  await owner.destroy();
}

function lineOf({ name, value, unit, baseline }: Omit<Line, "ratio">, better: "higher" | "lower" = "higher"): Line {
  const ratio = baseline === null ? null : better === "higher" ? value / baseline : baseline / value;
  return {
    name,
    value: rounded(value),
    unit,
    baseline: baseline && rounded(baseline),
    ratio: ratio && rounded(ratio),
  };
}

/** Four significant digits: the rest is noise. */
const rounded = (value: number): number => Number(value.toPrecision(4));

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
};

/** Runs each variant once per round, all of them in every round. @returns the median of each */
export async function interleave<K extends string>(
  rig: Rig,
  title: string,
  variants: Readonly<Record<K, () => Promise<number>>>,
  rounds = rig.rounds,
): Promise<Readonly<Record<K, number>>> {
  const values = new Map<string, number[]>();
  const entries = Object.entries<() => Promise<number>>(variants);
  for (let round = 0; round < rounds; round++) {
    // Whoever is second finds the other's garbage; taking turns at being first shares it.
    for (const [name, run] of round % 2 === 0 ? entries : entries.toReversed()) {
      values.set(name, [...(values.get(name) ?? []), await run()]);
    }
  }
  for (const [name] of entries) {
    const all = values.get(name) ?? [];
    rig.note(`  ${title} ${name}: ${median(all).toPrecision(4)}  [${all.map((one) => one.toPrecision(4)).join(" ")}]`);
  }
  return Object.fromEntries(entries.map(([name]) => [name, median(values.get(name) ?? [])])) as Record<K, number>;
}

/** How many per second `work` does; it returns how many it did. */
export async function rate(work: () => Promise<number>): Promise<number> {
  const from = performance.now();
  const done = await work();
  return done / ((performance.now() - from) / 1000);
}

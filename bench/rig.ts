/**
 * What every line of the benchmark stands on: one durable PostgreSQL of its own, a migrated database for Outrider and an empty one for
 * the hand-written baselines beside it on the same server.
 *
 * Invariant: a figure is only ever compared with another one of the same run. Both sides take turns, round by round, so that a noisy
 * minute falls on both; the median of the rounds is the result.
 */
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Kysely, sql } from "kysely";
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

export interface Rig {
  /** The application's role under row-level security: what handlers get. */
  readonly db: Kysely<DB>;
  /** The superuser on the same database: to arrange and to look. */
  readonly owner: Kysely<DB>;
  /** `pg` on the database of the baselines. */
  readonly raw: pg.Pool;
  /** Connection string of the application's role. */
  readonly url: string;
  /** A connection of one's own. */
  superuser(database: "product" | "baseline"): Promise<pg.Client>;
  /** Smaller tables and fewer rounds: shows a wrong shape, not a figure to quote. */
  readonly quick: boolean;
  readonly rounds: number;
  note(text: string): void;
  line(line: Omit<Line, "ratio">, better?: "higher" | "lower"): void;
  stop(): Promise<void>;
}

/** Time stands still here during a run: a Monday, eleven in New York, when nobody's quiet hours hold a message back. */
export const workingHour = new Date("2026-03-02T16:00:00Z");
const connections = 16;

export async function startRig(options: { readonly quick: boolean; readonly rounds: number }): Promise<Rig> {
  const home = mkdtempSync(path.join(os.tmpdir(), "outrider-bench-"));
  const logFile = process.env["BENCH_LOG"];
  const postgres = await startPostgres({
    dir: home,
    mode: "durable",
    ...(logFile !== undefined && { log: (line: string) => appendFileSync(logFile, `${line}\n`) }),
  });
  const admin = connect({ url: postgres.url(), driver: "pg" });
  await sql`create database product`.execute(admin);
  await sql`create database baseline`.execute(admin);
  await admin.destroy();
  const url = postgres.url("product", "outrider_app");
  const owner = connect({ url: postgres.url("product"), driver: "pg", max: 4 });
  await migrate(owner, { folder: path.resolve(import.meta.dirname, "../migrations") });
  await sql`update deployment set environment = 'test'`.execute(owner);
  await sql`select set_app_clock(${workingHour})`.execute(owner);
  const db = connect({ url, driver: "pg", max: connections });
  const raw = new pg.Pool({
    connectionString: postgres.url("baseline"),
    max: connections,
    options: "-c random_page_cost=1.1",
  });
  // The server ends idle connections when it stops.
  raw.on("error", () => {});
  return {
    ...options,
    db,
    owner,
    raw,
    url,
    async superuser(database) {
      const client = new pg.Client({ connectionString: postgres.url(database) });
      await client.connect();
      return client;
    },
    note: (text) => void process.stderr.write(`${text}\n`),
    line({ name, value, unit, baseline }, better = "higher") {
      const ratio = baseline === null ? null : better === "higher" ? value / baseline : baseline / value;
      const line: Line = {
        name,
        value: rounded(value),
        unit,
        baseline: baseline && rounded(baseline),
        ratio: ratio && rounded(ratio),
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    },
    async stop() {
      await Promise.allSettled([db.destroy(), owner.destroy(), raw.end()]);
      await postgres.stop();
      rmSync(home, { recursive: true, force: true });
    },
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

/**
 * `npm run isolation`: prints the matrix, a line per object and visitor, and runs 100,000 random statements of two tenants.
 * Options: --operations N, --seed N, --json. Exit code 1 when anything got through.
 */
import pg from "pg";
import { conclude, longOptions, progress } from "../long/report.ts";
import { cloneDatabase } from "../support/clone.ts";
import { startTestServer } from "../support/global-setup.ts";
import { visitors } from "./attacks.ts";
import { type Line, matrix, openings, verbs } from "./matrix.ts";
import { randomOperations } from "./random.ts";

const options = longOptions(["operations"]);
const running = await startTestServer();
const database = await cloneDatabase(running.server);
const client = new pg.Client(database.ownerUrl);
await client.connect();

async function timed<R>(work: () => Promise<R>): Promise<readonly [R, number]> {
  const started = performance.now();
  await client.query("begin");
  const result = await work();
  await client.query("rollback");
  return [result, (performance.now() - started) / 1_000];
}

const shown = { fenced: "+", open: "OPEN", none: "·" } as const;

function print(lines: readonly Line[]): void {
  const width = Math.max(...lines.map(({ object }) => object.length));
  const narrow = verbs.map((verb) => verb.length);
  const reasons = new Map<string, number>();
  for (const { name, about } of visitors) {
    console.log(`\n${name}: ${about}`);
    console.log(`${"".padEnd(width)}  ${verbs.join("  ")}`);
    for (const { object, cells } of lines.filter(({ visitor }) => visitor === name)) {
      const row = verbs.map((verb, i) => shown[cells[verb].verdict].padEnd(narrow[i] ?? 0));
      console.log(`${object.padEnd(width)}  ${row.join("  ")}`);
      for (const verb of verbs) {
        const { verdict, why } = cells[verb];
        const reason = `${shown[verdict]} ${verdict === "none" ? "" : `${verb}: `}${why}`;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
    }
  }
  console.log("\n+ fenced, by what stopped it; · does not apply, and why");
  for (const [reason, count] of [...reasons].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    console.log(`${String(count).padStart(6)}  ${reason}`);
  console.log("");
}

try {
  const drawing = progress("matrix", 100);
  let percent = 0;
  const [lines, matrixSeconds] = await timed(() =>
    matrix(client, {
      onObject: (done, total) => {
        const now = Math.floor((100 * done) / total);
        drawing.add(now - percent);
        percent = now;
      },
    }),
  );
  drawing.stop();
  if (!options.json) print(lines);
  const operations = options.count("operations", 100_000);
  const bar = progress("random statements", operations);
  let before = 0;
  const [report, randomSeconds] = await timed(() =>
    randomOperations(client, {
      operations,
      seed: options.seed,
      onProgress: (done) => {
        bar.add(done - before);
        before = done;
      },
    }),
  );
  bar.stop();
  const found = openings(lines);
  conclude(
    "isolation",
    options,
    [
      {
        name: "cells",
        count: lines.length * verbs.length,
        violations: found.length,
        seconds: matrixSeconds,
        note: `${lines.length / visitors.length} objects × ${visitors.length} visitors × ${verbs.length} kinds of statement`,
      },
      {
        name: "random statements",
        count: report.operations,
        violations: report.leaks.length,
        seconds: randomSeconds,
        note: `${report.fruitful} reached rows, ${report.refused} refused`,
      },
    ],
    [...found, ...report.leaks.slice(0, 20)],
  );
} finally {
  await client.end();
  await database.drop();
  await running.stop();
}

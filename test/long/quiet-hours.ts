/**
 * `npm run quiet-hours`: a million random (zones, states, rules, instant) and every minute around every change of every zone's clock from
 * 2024 to 2030, the engine against SQL. `-- --questions N --minutes N --seed N --json`.
 */
import type { Kysely } from "kysely";
import { prepare, serverZones } from "../core/compliance/quiet/statement.ts";
import { cloneDatabase } from "../support/clone.ts";
import { startTestServer } from "../support/global-setup.ts";
import { runPool } from "./pool.ts";
import type { Job, Result, Setup } from "./quiet-hours.worker.ts";
import { conclude, longOptions, progress } from "./report.ts";

const options = longOptions(["questions", "minutes"]);
const questions = options.count("questions", 1_000_000);
const minutes = options.count("minutes", 90);
const perJob = 10_000;

const running = await startTestServer();
try {
  const database = await cloneDatabase(running.server, { empty: true, max: 1 });
  const db = database.owner as unknown as Kysely<unknown>;
  await prepare(db);
  const zones = await serverZones(db);
  const setup: Setup = { url: database.ownerUrl, zones };
  const file = new URL("./quiet-hours.worker.ts", import.meta.url);
  const disagreements: string[] = [];
  const aside = new Map<string, number>();
  const differing: string[] = [];
  let changes = 0;

  const phase = async (name: string, jobs: readonly Job[], total: number) => {
    const started = performance.now();
    const bar = progress(name, total);
    let count = 0;
    const before = disagreements.length;
    await runPool<Job, Result>(file, setup, jobs, (result) => {
      count += result.asked;
      changes += result.transitions;
      bar.add(result.kind === "random" ? result.asked : 1);
      disagreements.push(...result.disagreements);
      for (const [zone, n] of Object.entries(result.aside)) aside.set(zone, (aside.get(zone) ?? 0) + n);
      if (result.differs)
        differing.push(
          `${result.differs.zone} (${result.differs.from.slice(0, 10)} to ${result.differs.until.slice(0, 10)})`,
        );
    });
    bar.stop();
    return { name, count, violations: disagreements.length - before, seconds: (performance.now() - started) / 1000 };
  };

  const random = await phase(
    "random questions",
    Array.from({ length: Math.ceil(questions / perJob) }, (_, n) => ({
      kind: "random" as const,
      seed: options.seed + n,
      count: Math.min(perJob, questions - n * perJob),
    })),
    questions,
  );
  const around = await phase(
    "clock changes",
    zones.map((zone) => ({ kind: "zone" as const, zone, minutes })),
    zones.length,
  );
  const set = [...aside.values()].reduce((sum, n) => sum + n, 0);
  conclude(
    "quiet-hours",
    options,
    [random, { ...around, note: `${changes.toLocaleString("en")} changes in ${zones.length} zones` }],
    [
      ...disagreements.slice(0, 20),
      `time zone data: the process has ${process.versions["tz"]}; the server reads ${differing.length} zones otherwise at times: ${differing.toSorted().join(", ") || "none"}`,
      `answers set aside because those clocks differ: ${set}${set > 0 ? ` (${[...aside].map(([zone, n]) => `${zone} ${n}`).join(", ")})` : ""}`,
    ],
  );
  await database.drop();
} finally {
  await running.stop();
}

/**
 * `npm run races -- --races 100000`: a no against a claim, over every kind of no, the claim of the engine and the smallest one that keeps
 * the promise; then the same with a claim that asks without the lock, to show that this harness can see a broken promise.
 * `-- --races N --naive N --seed N --json`
 */
import { type KindName, kinds } from "../core/suppression/races/contest.ts";
import { cloneDatabase } from "../support/clone.ts";
import { startTestServer } from "../support/global-setup.ts";
import { setClock } from "../support/tenant.ts";
import { runPool } from "./pool.ts";
import type { Job, Result, Setup } from "./races.worker.ts";
import { conclude, type Figure, longOptions, progress } from "./report.ts";

const options = longOptions(["races", "naive"]);
const races = options.count("races", 100_000);
const naive = options.count("naive", Math.max(2_000, Math.floor(races / 20)));
/** Monday, 11:00 in New York: nobody's quiet hours. */
const monday = new Date("2026-03-02T16:00:00Z");
/** Addresses of one contest, roughly. */
const perContest = 400;

const names = Object.keys(kinds) as KindName[];
const running = await startTestServer();
try {
  const database = await cloneDatabase(running.server, { max: 2, driver: "pg" });
  await setClock(database, monday);
  const setup: Setup = { server: running.server, database: new URL(database.ownerUrl).pathname.slice(1) };

  /** Contests of all kinds in turn, until they have that many races. */
  const contests = (total: number, claim: Job["claim"], from: number): Job[] => {
    const jobs: Job[] = [];
    const largest = claim === "real" ? 6 : 3;
    for (let planned = 0; planned < total; planned += perContest) {
      const kind = names[jobs.length % names.length] as KindName;
      const groups = Math.ceil(perContest / ((1 + largest) / 2));
      jobs.push({ kind, claim, groups, largestGroup: largest, lanes: 6, seed: options.seed + from + jobs.length });
    }
    return jobs;
  };

  const run = async (name: string, jobs: readonly Job[], total: number) => {
    const started = performance.now();
    const bar = progress(name, total);
    const sums = new Map<string, { races: number; claimed: number; behind: number; told: number }>();
    await runPool<Job, Result>(new URL("./races.worker.ts", import.meta.url), setup, jobs, (result) => {
      bar.add(result.races);
      const key = `${result.kind}, ${result.claim} claim`;
      const sum = sums.get(key) ?? { races: 0, claimed: 0, behind: 0, told: 0 };
      sums.set(key, {
        races: sum.races + result.races,
        claimed: sum.claimed + result.claimed,
        behind: sum.behind + result.behind,
        told: sum.told + result.told,
      });
    });
    bar.stop();
    return { sums, seconds: (performance.now() - started) / 1000 };
  };

  const half = Math.ceil(races / 2);
  const real = await run("races against the engine's claim", contests(half, "real", 0), half);
  const minimal = await run(
    "races against the smallest claim",
    contests(races - half, "minimal", 1_000_000),
    races - half,
  );
  const control = await run("races against a naive claim", contests(naive, "naive", 2_000_000), naive);

  const figures: Figure[] = [real, minimal].flatMap(({ sums, seconds }) =>
    [...sums].map(([name, sum], n) => ({
      name,
      count: sum.races,
      violations: sum.behind + sum.told,
      seconds: n === 0 ? seconds : 0,
      note: `${sum.claimed.toLocaleString("en")} claimed`,
    })),
  );
  const shown = [...control.sums].map(
    ([name, sum]) => `${name}: ${sum.behind} behind and ${sum.told} after they were told, of ${sum.races}`,
  );
  const seen = [...control.sums.values()].reduce((sum, one) => sum + one.behind + one.told, 0);
  const total = figures.reduce((sum, figure) => sum + figure.count, 0);
  const inAll = { name: "in all", count: total, violations: 0, seconds: real.seconds + minimal.seconds };
  // A control that shows nothing proves nothing.
  const blind = {
    name: "control",
    count: naive,
    violations: seen > 0 ? 0 : 1,
    seconds: control.seconds,
    note: `${seen} broken promises seen`,
  };
  conclude("races", options, [...figures, inAll, blind], shown);
  await database.drop();
} finally {
  await running.stop();
}

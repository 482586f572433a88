/**
 * `npm run hostile`: a million forged signatures, tampered links and cursors, line breaks in everything that reaches a provider, link
 * scanners, and the whole corpus of hostile payloads through every ingress. `-- --signatures N --seed N --json`
 */
import { runPool } from "../long/pool.ts";
import { conclude, type Figure, longOptions, progress } from "../long/report.ts";
import { cloneDatabase } from "../support/clone.ts";
import { startTestServer } from "../support/global-setup.ts";
import { runApi } from "./api-runs.ts";
import { runBells } from "./bell-runs.ts";
import type { Ran } from "./collector.ts";
import { runCursors, tamperCursors } from "./cursors.ts";
import { runEvents } from "./event-runs.ts";
import { runHeaders } from "./headers.ts";
import { runImports } from "./import-runs.ts";
import { hostileRig } from "./rig.ts";
import { runScanners } from "./scanners.ts";
import { bases, type Tally } from "./signatures.ts";
import type { Job } from "./signatures.worker.ts";
import { tamper } from "./tokens.ts";
import { runTracking } from "./tracking-runs.ts";
import { runWebhooks } from "./webhook-runs.ts";
import { hostileWebhooks } from "./webhooks.ts";

const options = longOptions(["signatures"]);
const wanted = options.count("signatures", 1_000_000);
const figures: Figure[] = [];
const details: string[] = [];
const since = (started: number): number => (performance.now() - started) / 1000;
const highest = (): string => `${Math.round(process.resourceUsage().maxRSS / 1024)} MB at most`;

{
  const started = performance.now();
  const each = 10_000;
  const jobs: Job[] = bases.map((_, base) => ({ base, random: 0, seed: 0 }));
  for (let n = 0; n * each < wanted; n++) jobs.push({ base: n % bases.length, random: each, seed: options.seed + n });
  const bar = progress("signatures", wanted);
  let [tried, same] = [0, 0];
  const forged: string[] = [];
  await runPool<Job, Tally>(new URL("./signatures.worker.ts", import.meta.url), null, jobs, (tally) => {
    tried += tally.tried;
    same += tally.same;
    forged.push(...tally.forged);
    bar.add(tally.tried);
  });
  bar.stop();
  details.push(...forged.slice(0, 10));
  figures.push({
    name: "forged signatures",
    count: tried,
    violations: forged.length,
    seconds: since(started),
    note: `${same} more said the same as the honest one`,
  });
}
{
  const started = performance.now();
  const { tried, accepted } = tamper(options.seed, 100_000);
  details.push(...accepted.slice(0, 10));
  figures.push({ name: "tampered links", count: tried, violations: accepted.length, seconds: since(started) });
}
{
  const started = performance.now();
  const { tried, accepted } = tamperCursors(options.seed, 100_000);
  details.push(...accepted.slice(0, 10));
  figures.push({ name: "tampered cursors", count: tried, violations: accepted.length, seconds: since(started) });
}

const running = await startTestServer();
try {
  const database = await cloneDatabase(running.server, { max: 8 });
  const rig = await hostileRig(database);
  const phase = async (
    name: string,
    total: number,
    run: (done: (count: number) => void) => Promise<readonly Ran[]>,
  ) => {
    const started = performance.now();
    const bar = progress(name, total);
    const ran = await run(bar.add);
    bar.stop();
    const seconds = since(started);
    for (const [n, { ingress, requests, findings, outcomes, slowest }] of ran.entries()) {
      figures.push({
        name: ingress,
        count: requests,
        violations: findings.length,
        seconds: n === 0 ? seconds : 0,
        note: Object.entries(outcomes)
          .map(([outcome, count]) => `${outcome} ${count}`)
          .concat(slowest === undefined ? [] : `slowest: ${slowest}`)
          .join(", "),
      });
      for (const finding of findings.slice(0, 20))
        details.push(`${finding.ingress}: ${finding.name}: ${finding.problem}`);
    }
  };
  const webhooks = hostileWebhooks();
  await phase("webhooks", webhooks.length, (done) => runWebhooks(rig, webhooks, done));
  await phase("Lambda events", 374, async (done) => [await runEvents(rig, done)]);
  await phase("queues", 484, async (done) => [await runBells(rig, done)]);
  await phase("tracking", 936, async (done) => [await runTracking(rig, done)]);
  await phase("imports", 200, async (done) => [await runImports(rig, 1, done)]);
  await phase("API", 20_000, async (done) => [await runApi(rig, 1, done)]);
  await phase("cursors", 15_000, async (done) => [await runCursors(rig, 3, done)]);
  await phase("headers", 3_500, async (done) => [await runHeaders(rig, 1, done)]);
  await phase("link scanners", 10_000, async (done) => [await runScanners(rig, 10_000, done)]);
  await database.drop();
} finally {
  await running.stop();
}
conclude("hostile", options, figures, [...details, `memory: ${highest()}`]);

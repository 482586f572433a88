/**
 * One measurement of one queue: `node bench/peer.ts <system> <measure> <postgres url> <count> <redis port>` prints `result <number>`.
 * `enqueue`: jobs per second, one at a time, 16 at once. `schedule`: jobs per second, 1,000 at a time and then processed without doing
 * anything, both together. `wake`: ms from adding a job to an idle queue until its handler starts, the median.
 */
import pg from "pg";
import { type Queue, systems } from "./peer-systems.ts";

const [system = "", measure = "", url = "", count = "1000", redisPort = "0"] = process.argv.slice(2);
const total = Number(count);
const payload = (id: number) => ({
  enrollmentId: id,
  step: 1,
  tenant: id % 100,
  to: `user${id}@example.com`,
  template: "welcome-1",
});

let made = 0;

async function enqueue(queue: Queue): Promise<number> {
  const run = async (jobs: number): Promise<number> => {
    let left = jobs;
    const from = performance.now();
    const lane = async (): Promise<void> => {
      while (left-- > 0) await queue.add(payload(made++));
    };
    await Promise.all(Array.from({ length: 16 }, lane));
    return jobs / ((performance.now() - from) / 1_000);
  };
  // Connections, statements and code are warm before anything counts.
  await run(1_000);
  return run(total);
}

async function schedule(queue: Queue): Promise<number> {
  for (let n = 0; n < 200; n++) await queue.add(payload(made++));
  const from = performance.now();
  for (let at = 0; at < total; at += 1_000) {
    await queue.addMany(Array.from({ length: 1_000 }, () => payload(made++)));
  }
  const bulkSeconds = (performance.now() - from) / 1_000;
  await queue.beforeWork?.();
  const started = performance.now();
  await queue.work(made);
  const workSeconds = ((performance.now() - started) / 1_000) * (total / made);
  return total / (bulkSeconds + workSeconds);
}

async function wake(queue: Queue): Promise<number> {
  const times: number[] = [];
  let arrived: (() => void) | undefined;
  await queue.listen(() => arrived?.());
  for (let n = 0; n < total + 20; n++) {
    const start = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const from = performance.now();
    const added = queue.addForListener(payload(made++));
    await start;
    times.push(performance.now() - from);
    await added;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const sorted = times.slice(20).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const open = systems[system];
const run = { enqueue, schedule, wake }[measure];
if (!open || !run) throw new Error(`no ${system} ${measure}`);
const admin = new pg.Client({ connectionString: url });
await admin.connect();
const queue = await open({ url, admin, redisPort: Number(redisPort) });
console.log(`result ${await run(queue)}`);
// Pools and pollers would hold the process; what they leave in the database goes with it.
process.exit(0);

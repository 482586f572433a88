/**
 * One run of the crash rig: everything in processes of its own, killed by plan and at random, and judged by what others wrote down.
 *
 * Invariants: the referee (this process), the queue and the provider's accept log survive; the workers and PostgreSQL do not. Every choice
 * is drawn from the seed; what follows from it is up to the machine.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { S3Client } from "@aws-sdk/client-s3";
import { connect } from "../../core/db/connect.ts";
import { type FaultPoint, faultPoints } from "../../core/kernel/fault.ts";
import { checkInvariants } from "../../core/operator/index.ts";
import { s3Blobs } from "../../core/providers/s3/index.ts";
import { startNeonProxy } from "../../local/neon.ts";
import { uniform } from "../../local/simulator/random.ts";
import type { Accept } from "../../local/simulator/state.ts";
import { openCountry, person } from "./audience.ts";
import { bundle } from "./bundle.ts";
import { type Evidence, judge, loadEvidence, type Verdict } from "./checks.ts";
import { diary, type FaultDatabase, linesOf, migrateKilled, openFaultDatabase } from "./database.ts";
import { type Driven, startDriving } from "./drive.ts";
import { type Figures, measure, type Spread } from "./figures.ts";
import { type GatewayLine, startGateway } from "./gateway.ts";
import type { FaultOptions } from "./options.ts";
import type { QueueAddresses, QueueOrder } from "./processes.ts";
import { settle } from "./settle.ts";
import { startFaultSimulator, unwell } from "./simulator.ts";
import { makeTenants } from "./tenants.ts";
import { startWorkers } from "./workers.ts";

export interface Progress {
  readonly seconds: number;
  readonly planned: number;
  readonly accepted: number;
  readonly waiting: number;
  readonly deaths: number;
  readonly restarts: number;
}

export interface FaultEvents {
  onStage(stage: string): void;
  onProgress(progress: Progress): void;
}

export interface FaultReport extends Figures {
  readonly ok: boolean;
  readonly options: FaultOptions;
  readonly directory: string;
  readonly seconds: number;
  readonly verdicts: readonly Verdict[];
  /** The engine's own checkers, run besides. */
  readonly invariants: readonly Verdict[];
  readonly driven: Driven;
  readonly killed: { readonly atRandom: number; readonly byPoint: number; readonly born: number };
  readonly coverage: Readonly<Record<FaultPoint, number>>;
  readonly restarts: { readonly n: number; readonly longestMs: number };
  readonly bells: { readonly lost: number; readonly doubled: number; readonly late: number };
  readonly gateway: { readonly acknowledged: number; readonly broken: number };
  /** One-minute load of the machine, at the start and at the end. */
  readonly load: readonly [number, number];
}

export interface RigOptions extends FaultOptions {
  /**
   * How long processes die. A run with a limit need not plan all messages, die at every point nor recover in time; it goes on for up to a
   * minute more until something was accepted, killed and restarted.
   */
  readonly limitMs?: number;
}

/** Everything that could be worked on within the next seconds: each part by its index, because the rig must not be what the machine is busy with. */
const dueWithin = (seconds: number): string => `
  select ((select count(*) from outbound_messages
      where status in ('queued', 'held') and status = 'queued' and run_at <= app_now() + interval '${seconds} seconds')
    + (select count(*) from outbound_messages where status = 'sending')
    + (select count(*) from scheduled_actions where status = 'pending' and run_at <= app_now() + interval '${seconds} seconds')
    + (select count(*) from webhook_deliveries where status = 'pending')
    + (select count(*) from webhook_deliveries where status = 'running'))::int as n`;
const totals = `
  select count(*)::int as planned, count(sent_at)::int as accepted,
    (count(*) filter (where status in ('queued', 'sending')))::int as waiting
  from outbound_messages`;
type Totals = Pick<Progress, "planned" | "accepted" | "waiting">;
/** Whoever asks sooner gets the last answer: the table is read as a whole. */
const totalsEveryMs = 5_000;
const tidyEveryMs = 15_000;
/** When enough is planned, processes die for so long at most: the walks' own timers would keep a run going for half an hour. */
const tailMs = 120_000;
/** A short run on a slow machine may have sent nothing yet when its time is over. */
const graceMs = 60_000;
const recoveryLimitSeconds = 60;
const stopLimitSeconds = 1;
/** Of fewer measurements the 99th percentile is the longest of them, and says nothing. */
const enoughForP99 = 100;

/** Closes in the opposite order of opening. */
class Stack {
  readonly #steps: (() => unknown)[] = [];
  add(step: () => unknown): void {
    this.#steps.unshift(step);
  }
  async unwind(): Promise<void> {
    for (const step of this.#steps.splice(0)) await Promise.resolve(step()).catch(() => {});
  }
}

interface RigQueue {
  readonly addresses: QueueAddresses;
  tell(order: QueueOrder): void;
}

async function startQueue(opened: Stack): Promise<RigQueue> {
  const child = spawn(process.execPath, [path.resolve(import.meta.dirname, "queue.ts")], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  opened.add(() => child.kill("SIGKILL"));
  return new Promise((resolve, reject) => {
    child.once("message", (message) =>
      resolve({ addresses: message as QueueAddresses, tell: (order) => child.connected && child.send(order) }),
    );
    child.once("exit", (code) => reject(new Error(`the queue ended with ${code}`)));
  });
}

export async function runFault(options: RigOptions, events: FaultEvents): Promise<FaultReport> {
  const opened = new Stack();
  const directory = mkdtempSync(path.join(os.tmpdir(), `outrider-fault-${options.seed}-`));
  // PostgreSQL does not run as root; its user must be able to pass through.
  chmodSync(directory, 0o755);
  try {
    return await run(options, events, directory, opened);
  } finally {
    await opened.unwind();
    if (!options.keep) rmSync(path.join(directory, "postgres"), { recursive: true, force: true, maxRetries: 5 });
  }
}

async function run(options: RigOptions, events: FaultEvents, directory: string, opened: Stack): Promise<FaultReport> {
  const began = Date.now();
  const load = [os.loadavg()[0] ?? 0];
  const { seed } = options;
  const file = (name: string) => path.join(directory, name);

  events.onStage(`starting in ${directory}`);
  mkdirSync(file("postgres"));
  const postgresLog = file("postgres.log");
  const database = await openFaultDatabase(file("postgres"), (line) => appendFileSync(postgresLog, `${line}\n`));
  opened.add(database.stop);
  const nthMigration = 1 + Math.floor(uniform(seed, "migration") * 10);
  await migrateKilled(database, file("faults.ndjson"), nthMigration);
  await database.query(diary);
  const queue = await startQueue(opened);
  const aws = queue.addresses;
  const simulator = await startFaultSimulator(file("simulator"));
  opened.add(simulator.stop);
  const proxy = await startNeonProxy({ port: database.port });
  opened.add(proxy.close);
  const gateway = await startGateway(file("gateway.ndjson"));
  opened.add(gateway.stop);
  const tenants = await makeTenants(database.ownerUrl, file("key"), gateway.url, simulator);
  await simulator.connect(tenants);
  await simulator.behave(unwell(seed));

  const workers = startWorkers({
    program: await bundle("worker", directory),
    count: options.workers,
    seed,
    logFile: file("workers.log"),
    task: {
      databaseUrl: database.url,
      neonProxy: proxy.address,
      aws,
      keyFile: file("key"),
      publicUrl: gateway.url,
      faultLog: file("faults.ndjson"),
    },
    onChange(origins) {
      gateway.setWorkers(origins);
      queue.tell({ kind: "workers", origins });
    },
  });
  queue.tell({ kind: "start", workers: options.workers });
  opened.add(workers.stop);

  let counted = { at: 0, totals: Promise.resolve<Totals>({ planned: 0, accepted: 0, waiting: 0 }) };
  const countAll = (): Promise<Totals> => {
    if (Date.now() - counted.at > totalsEveryMs) {
      const last = counted.totals;
      counted = {
        at: Date.now(),
        totals: database.query<Totals>(totals).then(([row]) => row ?? last),
      };
    }
    return counted.totals;
  };
  const acceptLog = path.join(file("simulator"), "accepts.ndjson");
  const { done, driven, finish } = startDriving({
    gatewayUrl: gateway.url,
    tenants,
    seed,
    messages: options.messages,
    // Six messages to a person at most; about twenty lists per tenant.
    piece: Math.min(4_000, Math.max(15, Math.ceil(options.messages / 5 / tenants.length / 20))),
    backlog: () => countDue(database, 0),
    planned: async () => (await countAll()).planned,
  });

  events.onStage("messages are sent, processes die");
  let isDying = true;
  const until = Date.now() + (options.limitMs ?? Number.POSITIVE_INFINITY);
  const every = async (ms: number, act: (n: number) => unknown) => {
    for (let n = 1; isDying; n++) {
      await sleep(ms);
      if (isDying) await act(n);
    }
  };
  const chores = [
    every(options.killEveryMs, (n) => workers.killOne(uniform(seed, "kill", n))),
    every(options.restartDbEveryMs, () => database.restart()),
    every(tidyEveryMs, () => database.tidy()),
    every(5_000, async () => {
      events.onProgress({
        seconds: Math.round((Date.now() - began) / 1000),
        ...(await countAll()),
        deaths: workers.deaths.length,
        restarts: database.restarts.length,
      });
    }),
  ];
  const driving = done.then(() => {
    const tailUntil = Math.min(until, Date.now() + tailMs);
    return untilSent(database, () => Date.now() > tailUntil);
  });
  await Promise.race([driving, sleep(Math.min(2 ** 31 - 1, until - Date.now()), undefined, { ref: false })]);
  const isEnough = () => workers.deaths.length > 0 && database.restarts.length > 0 && linesOf(acceptLog).length > 0;
  while (options.limitMs !== undefined && Date.now() < until + graceMs && !isEnough()) await sleep(250);
  finish();
  isDying = false;
  await Promise.all([done, ...chores]);

  events.onStage("nobody dies any more; time moves on");
  workers.calm();
  await simulator.behave({ ...unwell(seed), errors: {} });
  await settle({ database, simulator, onStep: (step) => events.onStage(`  ${step}`) });

  events.onStage("judging");
  const s3 = new S3Client({
    region: aws.region,
    endpoint: aws.endpoint,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
    forcePathStyle: true,
  });
  const blobs = s3Blobs({ client: s3, bucket: aws.bucket });
  const deaths = workers.deaths;
  const asked = driven();
  const country = openCountry(new Date(began));
  const evidence: Evidence = {
    accepts: linesOf<Accept>(acceptLog),
    gateway: linesOf<GatewayLine>(file("gateway.ndjson")),
    deaths,
    enrolled: asked.enrolled,
    people: new Map(
      tenants.map(({ tenantId, index }) => [
        tenantId,
        Array.from({ length: asked.people[index] ?? 0 }, (_, n) => person(country, index, n).email),
      ]),
    ),
    bodyOf: blobs.get,
    sha256: (bytes) => createHash("sha256").update(bytes).digest("hex"),
  };
  writeFileSync(file("deaths.json"), JSON.stringify(deaths));
  await loadEvidence(database.query, evidence);
  const figures = await measure(database.query);
  const verdicts = [...(await judge(database.query, evidence)), ...own(figures, options, workers, asked)];
  const owner = connect({ url: database.ownerUrl, driver: "pg" });
  const invariants = (await checkInvariants(owner)).map((one): Verdict => ({ ...one }));
  await owner.destroy();
  s3.destroy();

  const report: FaultReport = {
    ...figures,
    ok: [...verdicts, ...invariants].every(({ violations }) => violations === 0),
    options,
    directory,
    seconds: Math.round((Date.now() - began) / 1000),
    verdicts,
    invariants,
    driven: asked,
    killed: {
      atRandom: deaths.filter(({ point }) => point === null).length,
      byPoint: deaths.filter(({ point }) => point !== null).length,
      born: workers.born,
    },
    coverage: workers.coverage(),
    restarts: {
      n: database.restarts.length,
      longestMs: Math.max(0, ...database.restarts.map(({ awayMs }) => awayMs)),
    },
    bells: workers.bells(),
    gateway: { acknowledged: gateway.acknowledged, broken: gateway.broken },
    load: [load[0] ?? 0, os.loadavg()[0] ?? 0],
  };
  writeFileSync(file("report.json"), `${JSON.stringify(report, null, 2)}\n`);
  return report;
}

async function countDue(database: FaultDatabase, withinSeconds: number): Promise<number> {
  const [row] = await database.query<{ n: number }>(dueWithin(withinSeconds));
  return row?.n ?? 0;
}

/** Resolves when everything that was due has been sent, acted on and applied; what waits for its time does not count. */
async function untilSent(database: FaultDatabase, isOver: () => boolean): Promise<void> {
  for (let calm = 0; calm < 2 && !isOver(); ) {
    calm = (await countDue(database, 120)) === 0 ? calm + 1 : 0;
    await sleep(1_000);
  }
}

const verdict = (id: string, title: string, problems: readonly string[]): Verdict => ({
  id,
  title,
  violations: problems.length,
  sample: problems.slice(0, 10),
});

/** What the rig itself saw, and the figures that have a limit. */
function own(
  { recovery, stop, planned }: Figures,
  options: RigOptions,
  workers: ReturnType<typeof startWorkers>,
  asked: Driven,
): Verdict[] {
  const above = (of: Spread | undefined, limit: number) =>
    of && of.n >= enoughForP99 && (of.p99 ?? 0) > limit ? [`p99: ${of.p99} s of ${of.n}`] : [];
  const coverage = workers.coverage();
  const isWhole = options.limitMs === undefined;
  const never = isWhole ? faultPoints.filter((point) => coverage[point] === 0) : [];
  return [
    verdict(
      "planned",
      "as many messages are planned as were asked for",
      isWhole && planned < options.messages ? [`${planned}`] : [],
    ),
    verdict("refused", "nothing that was rightly asked for was refused", asked.refusals),
    verdict("crashed", "no process ended by itself", workers.crashes),
    verdict("covered", "every fault point has killed", never),
    verdict(
      "recovery",
      `rows of the dead are taken up within ${recoveryLimitSeconds} s (p99)`,
      isWhole ? above(recovery["all"], recoveryLimitSeconds) : [],
    ),
    verdict("stop", `nothing is claimed ${stopLimitSeconds} s after a STOP (p99)`, above(stop.all, stopLimitSeconds)),
  ];
}

/**
 * How each queue is set up: the settings that its documentation recommends for throughput, or that measured better here. All keep their
 * jobs in the same PostgreSQL with full durability, except BullMQ, whose Redis may lose a second.
 */
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";

export type Payload = Readonly<Record<string, unknown>>;

export interface Queue {
  add(payload: Payload): Promise<unknown>;
  addMany(payloads: readonly Payload[]): Promise<unknown>;
  /** What a live database has long had: statistics. */
  beforeWork?(): Promise<unknown>;
  /** Processes `count` jobs, doing nothing with each, and resolves when all are marked done. */
  work(count: number): Promise<void>;
  /** An idle worker that calls back when a job's handler starts. */
  listen(started: () => void): Promise<void>;
  /** Adds a job for `listen`. */
  addForListener(payload: Payload): Promise<unknown>;
}

export interface Opening {
  readonly url: string;
  readonly admin: pg.Client;
  readonly redisPort: number;
}

const connections = 16;

/** Loads a package of bench/peers. Its types are not installed with the project, so each caller names the few that it uses. */
async function peer<T>(name: string): Promise<T> {
  const from = createRequire(path.join(import.meta.dirname, "peers", "package.json"));
  return (await import(pathToFileURL(from.resolve(name)).href)) as T;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await pause(5);
}

const claimRaw = `
  with due as materialized (
    select id from jobs where status = 'pending' and run_at <= now() order by run_at, id limit $1 for update skip locked
  )
  update jobs j set status = 'claimed', attempts = attempts + 1, locked_until = now() + interval '60 seconds'
  from due where j.id = due.id returning j.id, j.tenant_id, j.kind, j.payload`;
const doneRaw = "update jobs set status = 'done' where id = any($1::bigint[])";

/** The statements somebody would write by hand: history kept, one dedupe key, claims of 500 by 4 workers. */
async function raw({ url, admin }: Opening): Promise<Queue> {
  await admin.query(`
    drop table if exists jobs;
    create table jobs (id bigint generated always as identity primary key, tenant_id int not null, kind text not null,
      dedupe_key text not null, run_at timestamptz not null default now(), status text not null default 'pending',
      attempts smallint not null default 0, locked_until timestamptz, payload jsonb not null, created_at timestamptz not null default now());
    create index on jobs (run_at, id) where status = 'pending';
    create unique index on jobs (tenant_id, dedupe_key)`);
  const pool = new pg.Pool({ connectionString: url, max: connections });
  const add = (payload: Payload) =>
    pool.query({
      name: "add",
      text: "insert into jobs (tenant_id, kind, dedupe_key, payload) values ($1, 'step', $2, $3) on conflict do nothing returning id",
      values: [payload["tenant"], `k${payload["enrollmentId"]}`, payload],
    });
  const worker = async (limit: number, client: pg.ClientBase, started?: () => void): Promise<number> => {
    const { rows } = await client.query({ name: "claim", text: claimRaw, values: [limit] });
    for (const _ of rows) started?.();
    if (rows.length > 0) await client.query({ name: "done", text: doneRaw, values: [rows.map((row) => row.id)] });
    return rows.length;
  };
  return {
    add,
    addMany: (payloads) =>
      pool.query({
        name: "add-many",
        text: "insert into jobs (tenant_id, kind, dedupe_key, payload) select t, 'step', k, p from unnest($1::int[], $2::text[], $3::jsonb[]) u(t, k, p) on conflict do nothing",
        values: [
          payloads.map((one) => one["tenant"]),
          payloads.map((one) => `k${one["enrollmentId"]}`),
          payloads.map((one) => JSON.stringify(one)),
        ],
      }),
    beforeWork: () => admin.query("analyze jobs"),
    async work() {
      const lane = async (): Promise<void> => {
        const client = await pool.connect();
        while ((await worker(500, client)) > 0);
        client.release();
      };
      await Promise.all(Array.from({ length: 4 }, lane));
    },
    async listen(started) {
      await admin.query(`
        create or replace function jobs_added() returns trigger language plpgsql as $$ begin perform pg_notify('jobs', ''); return null; end $$;
        create trigger jobs_added after insert on jobs for each statement execute function jobs_added()`);
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      let busy = Promise.resolve();
      client.on("notification", () => {
        busy = busy.then(async () => void (await worker(100, client, started)));
      });
      await client.query("listen jobs");
    },
    addForListener: add,
  };
}

interface BossJob {
  readonly data: Payload;
}
interface Boss {
  on(event: "error", listener: (error: Error) => void): void;
  start(): Promise<unknown>;
  createQueue(name: string, options: object): Promise<unknown>;
  send(name: string, data: Payload): Promise<unknown>;
  insert(name: string, jobs: readonly BossJob[]): Promise<unknown>;
  work(name: string, options: object, handler: (jobs: readonly BossJob[]) => Promise<void>): Promise<unknown>;
}

async function pgBoss({ url, admin }: Opening): Promise<Queue> {
  await admin.query("drop schema if exists pgboss cascade");
  const { PgBoss } = await peer<{ PgBoss: new (options: object) => Boss }>("pg-boss");
  const boss = new PgBoss({ connectionString: url, max: connections, useListenNotify: true });
  boss.on("error", (error) => process.stderr.write(`pg-boss: ${error.message}\n`));
  await boss.start();
  for (const name of ["work", "wake"]) await boss.createQueue(name, { notify: true });
  return {
    add: (payload) => boss.send("work", payload),
    addMany: (payloads) =>
      boss.insert(
        "work",
        payloads.map((data) => ({ data })),
      ),
    beforeWork: () => admin.query("analyze pgboss.job"),
    async work(count) {
      let done = 0;
      const options = { batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
      await boss.work("work", options, async (jobs) => {
        done += jobs.length;
      });
      await until(async () => done >= count);
      await until(async () => {
        const { rows } = await admin.query(
          "select 1 from pgboss.job where name = 'work' and state <> 'completed' limit 1",
        );
        return rows.length === 0;
      });
    },
    async listen(started) {
      await boss.work("wake", { batchSize: 100, pollingIntervalSeconds: 0.5 }, async (jobs) => {
        for (const _ of jobs) started();
      });
      await pause(1_500);
    },
    addForListener: (payload) => boss.send("wake", payload),
  };
}

interface Graphile {
  readonly Logger: new (factory: () => () => void) => unknown;
  makeWorkerUtils(options: object): Promise<{
    migrate(): Promise<void>;
    addJob(name: string, payload: Payload): Promise<unknown>;
    addJobs(jobs: readonly { identifier: string; payload: Payload }[]): Promise<unknown>;
  }>;
  run(options: object): Promise<unknown>;
}

/** With 100 jobs at once and a local queue of 2,000, which measured better than the 24 and 500 of its documentation. */
async function graphileWorker({ url, admin }: Opening): Promise<Queue> {
  await admin.query("drop schema if exists graphile_worker cascade");
  const { Logger, makeWorkerUtils, run } = await peer<Graphile>("graphile-worker");
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: connections, logger });
  await utils.migrate();
  const worker = {
    connectionString: url,
    concurrentJobs: 100,
    maxPoolSize: 101,
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger,
  };
  const add = (payload: Payload) => utils.addJob("step", payload);
  return {
    add,
    addMany: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: "step", payload }))),
    beforeWork: () => admin.query("analyze graphile_worker._private_jobs"),
    async work(count) {
      let done = 0;
      const step = async (): Promise<void> => {
        done += 1;
      };
      await run({ preset: { worker: { ...worker, localQueue: { size: 2_000 } } }, taskList: { step } });
      await until(async () => done >= count);
      await until(
        async () => (await admin.query("select 1 from graphile_worker._private_jobs limit 1")).rows.length === 0,
      );
    },
    async listen(started) {
      const step = async (): Promise<void> => started();
      await run({ preset: { worker: { ...worker, concurrentJobs: 24, maxPoolSize: 25 } }, taskList: { step } });
      await pause(500);
    },
    addForListener: add,
  };
}

interface Bull {
  readonly Queue: new (
    name: string,
    options: object,
  ) => { add(name: string, data: Payload): Promise<unknown>; addBulk(jobs: readonly object[]): Promise<unknown> };
  readonly Worker: new (
    name: string,
    handler: () => Promise<void>,
    options: object,
  ) => { on(event: "completed", listener: () => void): void; waitUntilReady(): Promise<unknown> };
}

async function bullmq({ redisPort }: Opening): Promise<Queue> {
  const { Queue, Worker } = await peer<Bull>("bullmq");
  const connection = { host: "127.0.0.1", port: redisPort };
  const name = `q${process.pid}`;
  const queue = new Queue(name, { connection, defaultJobOptions: { removeOnComplete: true } });
  const add = (data: Payload) => queue.add("step", data);
  return {
    add,
    addMany: (payloads) => queue.addBulk(payloads.map((data) => ({ name: "step", data }))),
    work: (count) =>
      new Promise((resolve) => {
        let done = 0;
        const worker = new Worker(name, async () => {}, { connection, concurrency: 100 });
        worker.on("completed", () => {
          done += 1;
          if (done >= count) resolve();
        });
      }),
    async listen(started) {
      const worker = new Worker(name, async () => started(), { connection, concurrency: 10 });
      await worker.waitUntilReady();
      await pause(200);
    },
    addForListener: add,
  };
}

export const systems: Readonly<Record<string, (opening: Opening) => Promise<Queue>>> = {
  raw,
  "pg-boss": pgBoss,
  "graphile-worker": graphileWorker,
  bullmq,
};

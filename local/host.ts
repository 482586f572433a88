/**
 * The whole system in one process: database, queues, objects, HTTP and schedules around the same handlers that are deployed.
 * The second composition root beside `functions/lib/runtime.ts`.
 *
 * Invariant: nothing here decides anything. What runs, how often and with which limits is `functions/topology.ts`; what it does
 * is `functions/`. `kill -9` at any moment loses nothing that was acknowledged.
 */
import { existsSync, mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type {
  APIGatewayProxyEventV2,
  APIGatewayProxyStructuredResultV2,
  Context as Invocation,
  SQSEvent,
} from "aws-lambda";
import { type Kysely, sql } from "kysely";
import type { DB } from "../core/db/types.gen.ts";
import { cachedKeys } from "../core/kernel/seal.ts";
import { bellKinds } from "../core/ports/queue.ts";
import { keyFile } from "../core/providers/keyfile/index.ts";
import { s3Blobs } from "../core/providers/s3/index.ts";
import { sqsQueue } from "../core/providers/sqs/index.ts";
import { createLog, type Log } from "../functions/lib/log.ts";
import { createHost, type Host, providerAdapters } from "../functions/lib/runtime.ts";
import { http, type QueueName, queues, schedules } from "../functions/topology.ts";
import { readAccess } from "./access.ts";
import { bucket, type LocalAws, region, startAws } from "./aws.ts";
import { type LocalDatabase, openDatabase } from "./database.ts";
import { frontPage } from "./front.ts";
import { gateway, type Route } from "./gateway.ts";
import { invoke, type Mapping, mapQueue } from "./lambda.ts";
import { startScheduler } from "./scheduler.ts";

export interface LocalHostOptions {
  /** Directory of everything that is kept. */
  readonly home: string;
  /** Default 0: a free port. */
  readonly port?: number;
  /** False trades survival of a power cut for speed. Default true. */
  readonly durable?: boolean;
  /** `virtual`: the clock stands still until it is set, and schedules run only when asked to. Default `real`. */
  readonly clock?: "real" | "virtual";
  /** An existing PostgreSQL instead of the embedded one. */
  readonly databaseUrl?: string | undefined;
  readonly migrationUrl?: string | undefined;
  /** The address under which links in messages are reached. Default: where this host listens. */
  readonly publicUrl?: string | undefined;
  /** Channels may name where their provider answers. Default true: the simulator does. */
  readonly allowApiBaseUrl?: boolean;
  readonly log?: Log;
  /** Directory of the handler files. Default: `functions/`. */
  readonly functions?: string;
  /** Runs before the first bell is answered and the first schedule is run: what they need must be there by then. */
  readonly prepare?: (local: LocalHost) => Promise<void>;
}

export interface LocalHost {
  /** `http://127.0.0.1:8787` */
  readonly url: string;
  readonly home: string;
  readonly host: Host;
  /** Past row-level security: to provision, to set the clock, to look. */
  readonly owner: Kysely<DB>;
  readonly databaseUrl: string;
  readonly aws: LocalAws;
  /** Runs one schedule once, to its end. Under a real clock it may coincide with a run of the scheduler. */
  run(schedule: keyof typeof schedules): Promise<void>;
  /** Resolves when no bell waits and none is being answered. Bells that failed and wait for redelivery do not count. */
  idle(): Promise<void>;
  /** Stops the clock at an instant. Only under `clock: "virtual"`. */
  setClock(at: Date): Promise<void>;
  /** Ends what runs and closes everything. May be called more than once. */
  stop(): Promise<void>;
}

/** A poller per invocation that may run at the same time; AWS's ceilings would only starve one machine's database. */
const maxPollers = 4;
/** Handlers in one process share a pool; each deployed function has one connection. */
const poolSize = 12;
const drainMs = 1_500;

type Call = (event: never, invocation: Invocation) => Promise<unknown>;

/** @returns the handler of a file under `functions/`; undefined when there is no such file */
async function load(folder: string, file: string, host: Host): Promise<Call | undefined> {
  const source = path.join(folder, `${file}.ts`);
  if (!existsSync(source)) return undefined;
  const { define } = (await import(pathToFileURL(source).href)) as { readonly define?: (host: Host) => Call };
  if (!define) throw new Error(`${source} does not export define`);
  return define(host);
}

/** Closes in the opposite order of opening, whatever fails on the way. */
class Stack {
  readonly #steps: (() => Promise<unknown>)[] = [];
  add(step: () => Promise<unknown>): void {
    this.#steps.unshift(step);
  }
  async unwind(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step().catch(() => {});
  }
}

export async function startHost(options: LocalHostOptions): Promise<LocalHost> {
  const opened = new Stack();
  try {
    return await assemble(options, opened);
  } catch (error) {
    await opened.unwind();
    throw error;
  }
}

async function assemble(options: LocalHostOptions, opened: Stack): Promise<LocalHost> {
  const { durable = true, clock = "real", port = 0 } = options;
  const home = path.resolve(options.home);
  const functions = options.functions ?? path.resolve(import.meta.dirname, "../functions");
  const log = options.log ?? createLog({ write: () => {}, now: () => new Date() });
  const onError = (error: unknown) => log.error("local.failed", { error });
  mkdirSync(home, { recursive: true });

  // The port first: whether it is free is known in a millisecond, and everything else takes longer.
  const routes: Route[] = [];
  const front = async (accept: string | undefined) => {
    const simulatorUrl = (await readAccess(home))?.simulatorUrl ?? null;
    return frontPage({ url, simulatorUrl }, accept);
  };
  const server = gateway({ routes: () => routes, onError, front });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  opened.add(async () => {
    server.close();
    server.closeAllConnections();
  });

  const { url: databaseUrl, ...database }: LocalDatabase = await openDatabase({
    home,
    durable,
    url: options.databaseUrl,
    migrationUrl: options.migrationUrl,
    max: poolSize,
  });
  opened.add(database.stop);
  const aws = await startAws(durable ? { dataDir: path.join(home, "aws") } : {});
  opened.add(aws.stop);
  const keys = await keyFile(path.join(home, "key"));

  const host = createHost({
    db: database.db,
    queue: sqsQueue({
      client: aws.sqs,
      queueUrls: Object.fromEntries(bellKinds.map((kind) => [kind, aws.queues[kind].url])),
    }),
    blobs: s3Blobs({ client: aws.s3, bucket }),
    keys: cachedKeys(keys, { now: () => new Date() }),
    ...providerAdapters,
    publicUrl: options.publicUrl ?? url,
    signingKeys: [keys.derive("links")],
    allowApiBaseUrl: options.allowApiBaseUrl ?? true,
    log,
  });

  const mappings = new Map<QueueName, Mapping>();
  const runs = new Map<string, () => Promise<void>>();
  for (const [name, spec] of Object.entries(schedules)) {
    const call = await load(functions, spec.file, host);
    if (!call) continue;
    runs.set(name, async () => void (await invoke(name, call, {}, spec.timeoutSeconds * 1_000)));
  }
  for (const [name, spec] of Object.entries(http)) {
    const call = await load(functions, spec.file, host);
    if (!call) continue;
    const target = {
      name,
      timeoutSeconds: spec.timeoutSeconds,
      call: call as (e: APIGatewayProxyEventV2, i: Invocation) => Promise<APIGatewayProxyStructuredResultV2>,
    };
    routes.push(...spec.routes.map((key) => ({ key, target })));
  }

  /** A bell that was received but not answered yet is in flight and not among those that failed. */
  const quiet = (name: QueueName, mapping: Mapping): boolean => {
    const { ready, inFlight } = aws.inspect(name);
    return mapping.busy() === 0 && ready.length === 0 && inFlight.every((id) => mapping.returned.has(id));
  };

  let stopping: Promise<void> | undefined;
  const local: LocalHost = {
    url,
    home,
    host,
    owner: database.owner,
    databaseUrl,
    aws,
    async run(schedule) {
      const run = runs.get(schedule);
      if (!run) throw new Error(`there is no handler for the schedule ${schedule}`);
      await run();
    },
    async idle() {
      // Twice: an answered bell may have rung another queue that was looked at before.
      for (let calm = 0; calm < 2; ) {
        calm = [...mappings].every(([name, mapping]) => quiet(name, mapping)) ? calm + 1 : 0;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
    async setClock(at) {
      await sql`select set_app_clock(${at})`.execute(database.owner);
    },
    stop() {
      stopping ??= opened.unwind();
      return stopping;
    },
  };
  await options.prepare?.(local);

  for (const [name, spec] of Object.entries(queues) as [QueueName, (typeof queues)[QueueName]][]) {
    const call = await load(functions, spec.file, host);
    if (!call) continue;
    mappings.set(
      name,
      mapQueue({
        name,
        sqs: aws.sqs,
        queue: aws.queues[name],
        region,
        call: call as (event: SQSEvent, invocation: Invocation) => Promise<unknown>,
        batch: spec.batch,
        windowSeconds: spec.windowSeconds,
        timeoutSeconds: spec.timeoutSeconds,
        // Under a virtual clock a run must repeat exactly: bells are answered one after the other.
        concurrency: clock === "virtual" ? 1 : Math.min(maxPollers, spec.maxConcurrency),
        onError,
      }),
    );
  }
  opened.add(() => Promise.all([...mappings.values()].map((mapping) => mapping.stop(drainMs))));

  if (clock === "real") {
    const due = Object.entries(schedules).flatMap(([name, { localSeconds }]) => {
      const run = runs.get(name);
      return run ? [{ name, everySeconds: localSeconds, run }] : [];
    });
    const scheduler = startScheduler(due, onError);
    opened.add(() => scheduler.stop(drainMs));
  }
  return local;
}

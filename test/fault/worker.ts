/**
 * One worker of the crash rig: every handler that is deployed, behind the same queues, schedules and gateway as in the local host, in a
 * process that may be killed at any moment. The rig starts it, it reads its modules, and waits as a spare until it is given its task, so that
 * a killed worker is replaced at once; it ends with the rig.
 *
 * Invariant: nothing here makes a handler's life easier than AWS would. Bells may be lost, doubled and late.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { flushCompileCache } from "node:module";
import type { AddressInfo } from "node:net";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context as Invocation } from "aws-lambda";
import { connect, useNeonDriver } from "../../core/db/connect.ts";
import { reach } from "../../core/kernel/fault.ts";
import { cachedKeys } from "../../core/kernel/seal.ts";
import { type Bell, bellKinds, type Queue } from "../../core/ports/queue.ts";
import { keyFile } from "../../core/providers/keyfile/index.ts";
import { s3Blobs } from "../../core/providers/s3/index.ts";
import { sqsQueue } from "../../core/providers/sqs/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost, type Host, providerAdapters } from "../../functions/lib/runtime.ts";
import { type FunctionSpec, http, queues, schedules } from "../../functions/topology.ts";
import { gateway, type Route } from "../../local/gateway.ts";
import { invoke } from "../../local/lambda.ts";
import { uniform } from "../../local/simulator/random.ts";
import { arm } from "./arm.ts";
import { invokePath, type WorkerMessage, type WorkerTask } from "./processes.ts";

const say = (message: WorkerMessage) => process.send?.(message);
process.on("disconnect", () => process.exit(0));

type Define = (host: Host) => unknown;
/** The path is spelled so that a bundler finds them all. */
const load = async (file: string) =>
  ((await import(`../../functions/${file}.ts`)) as { readonly define: Define }).define;
const files = [...Object.values(http), ...Object.values(queues), ...Object.values(schedules)].map(({ file }) => file);
const defined = new Map(await Promise.all([...new Set(files)].map(async (file) => [file, await load(file)] as const)));

const given = new Promise<WorkerTask>((resolve) =>
  process.once("message", (message) => resolve(message as WorkerTask)),
);
// A killed process leaves nothing behind by itself: the first one writes down what was compiled, for all that come.
flushCompileCache();
say({ kind: "spare" });
const task = await given;
const { name, aws } = task;
const { region, bucket } = aws;

const counts = { lost: 0, doubled: 0, late: 0 };
let bell = 0;

/** A queue as networks deliver it. */
function unreliable(queue: Queue): Queue {
  const { lost, doubled, late } = task.bells;
  return {
    async ring(bells) {
      const now: Bell[] = [];
      for (const one of bells) {
        bell += 1;
        const draw = uniform(task.seed, name, "bell", bell);
        if (draw < lost) counts.lost += 1;
        else if (draw < lost + doubled) {
          counts.doubled += 1;
          now.push(one, one);
        } else if (draw < lost + doubled + late) {
          counts.late += 1;
          const waitMs = 1_000 + uniform(task.seed, name, "late", bell) * 9_000;
          setTimeout(() => void queue.ring([one]).catch(() => {}), waitMs);
        } else now.push(one);
      }
      if (now.length > 0) await queue.ring(now);
    },
  };
}

async function hostOf(log: Host["log"]): Promise<Host> {
  const shared = {
    region,
    endpoint: aws.endpoint,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  };
  if (task.driver === "neon") useNeonDriver(task.neonProxy);
  const url = new URL(task.databaseUrl);
  url.searchParams.set("application_name", name);
  const keys = await keyFile(task.keyFile);
  const queue = sqsQueue({
    client: new SQSClient({ ...shared, useQueueUrlAsEndpoint: false }),
    queueUrls: Object.fromEntries(bellKinds.map((kind) => [kind, aws.queues[kind].url])),
  });
  return createHost({
    db: connect({ url: url.href, driver: task.driver, max: 8 }),
    queue: unreliable(queue),
    blobs: s3Blobs({ client: new S3Client({ ...shared, forcePathStyle: true }), bucket }),
    keys: cachedKeys(keys, { now: () => new Date() }),
    ...providerAdapters,
    publicUrl: task.publicUrl,
    signingKeys: [keys.derive("links")],
    allowApiBaseUrl: true,
    log,
  });
}

arm(name, task.faultLog, task.armed);
const log = createLog({
  write: (line) => process.stderr.write(`${line}\n`),
  level: "warn",
  metrics: false,
  now: () => new Date(),
}).with({ name });
const onError = (error: unknown) => log.error("local.failed", { error });
const host = await hostOf(log);
const calls = Object.fromEntries([...defined].map(([file, define]) => [file, define(host)]));

const routes: Route[] = Object.entries(http).flatMap(([file, spec]) => {
  type Call = (event: APIGatewayProxyEventV2, at: Invocation) => Promise<APIGatewayProxyStructuredResultV2>;
  const target = { name: file, timeoutSeconds: spec.timeoutSeconds, call: calls[spec.file] as Call };
  return spec.routes.map((key) => ({ key, target }));
});
/** One event for the function in that file, as Lambda hands it over; the death that may follow the answer is none of the caller's business. */
async function take(
  incoming: IncomingMessage,
  response: ServerResponse,
  { file, timeoutSeconds }: FunctionSpec,
): Promise<void> {
  const event: unknown = JSON.parse(Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>)).toString());
  const call = calls[file] as (event: never, at: Invocation) => Promise<unknown>;
  const answer = await invoke(file, call, event, timeoutSeconds * 1_000).then(
    (result) => ({ status: 200, body: result ?? null }),
    (error: unknown) => {
      onError(error);
      return { status: 500, body: String(error) };
    },
  );
  response.writeHead(answer.status).end(JSON.stringify(answer.body), () => {
    if (file in queues) reach("bells.deleted");
  });
}

const invokable: Readonly<Record<string, FunctionSpec>> = { ...queues, ...schedules };
const front = gateway({ routes: () => routes, onError });
const server = createServer((incoming, response) => {
  const spec = incoming.url?.startsWith(invokePath) ? invokable[incoming.url.slice(invokePath.length)] : undefined;
  if (spec === undefined) front.emit("request", incoming, response);
  else take(incoming, response, spec).catch(() => response.destroy());
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

setInterval(() => say({ kind: "bells", ...counts }), 500);
say({ kind: "up", port: (server.address() as AddressInfo).port });

/**
 * SQS and S3 of the crash rig, and what invokes functions for queues and schedules, in a process of their own: what a worker's death must not
 * take with it. In AWS, too, pollers and schedules live on when a function dies; the bells that it had come back when their time-out is over.
 */
import { SQSClient } from "@aws-sdk/client-sqs";
import { Agent, request } from "undici";
import { type QueueName, queues, schedules } from "../../functions/topology.ts";
import { bucket, region, startAws } from "../../local/aws.ts";
import { mapQueue } from "../../local/lambda.ts";
import { startScheduler } from "../../local/scheduler.ts";
import { invokePath, type QueueAddresses, type QueueOrder } from "./processes.ts";

/** Invocations of one queue's function at the same time, for each worker. */
const pollers: Readonly<Record<QueueName, number>> = { deliveries: 2, actions: 1, send: 1, imports: 1 };

const aws = await startAws();
process.on("disconnect", () => process.exit(0));
let origins: readonly string[] = [];
let turn = 0;
const agent = new Agent({ connections: 64, headersTimeout: 0, bodyTimeout: 0 });

/** So that a run of minutes sees maintenance more than once. */
const maintainSeconds = 15;

/** Invokes a queue's or a schedule's function in a living worker. @throws when it dies before it has answered */
async function call(name: string, event: unknown): Promise<unknown> {
  turn += 1;
  const origin = origins[turn % Math.max(1, origins.length)];
  if (origin === undefined) throw new Error("no worker lives");
  const answer = await request(`${origin}${invokePath}${name}`, {
    dispatcher: agent,
    method: "POST",
    body: JSON.stringify(event),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${name}: ${answer.statusCode} ${text}`);
  return JSON.parse(text);
}

/** A worker died on the way: workers' own failures are in their log. */
const ignore = () => {};

function start(workers: number): void {
  const sqs = new SQSClient({
    region,
    endpoint: aws.endpoint,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
    useQueueUrlAsEndpoint: false,
  });
  for (const [queue, spec] of Object.entries(queues) as [QueueName, (typeof queues)[QueueName]][]) {
    mapQueue({
      name: queue,
      sqs,
      queue: aws.queues[queue],
      region,
      call: (event) => call(queue, event),
      batch: spec.batch,
      windowSeconds: spec.windowSeconds,
      timeoutSeconds: spec.timeoutSeconds,
      concurrency: pollers[queue] * workers,
      onError: ignore,
    });
  }
  startScheduler(
    Object.entries(schedules)
      // The invariants are checked once, at the end.
      .filter(([name]) => name !== "doctor")
      .map(([name, spec]) => ({
        name,
        everySeconds: name === "maintain" ? maintainSeconds : spec.localSeconds,
        run: async () => void (await call(name, {})),
      })),
    ignore,
  );
}

process.on("message", (order: QueueOrder) => {
  if (order.kind === "start") start(order.workers);
  else origins = order.origins;
});
const addresses: QueueAddresses = { endpoint: aws.endpoint, region, bucket, queues: aws.queues };
process.send?.(addresses);

/**
 * SQS and S3 of the crash rig, and what feeds functions from queues, in a process of their own: what a worker's death must not take with it.
 * In AWS, too, the pollers live on when a function dies; what they had handed to it comes back when its visibility time-out is over.
 */
import { SQSClient } from "@aws-sdk/client-sqs";
import { Agent, request } from "undici";
import { type QueueName, queues } from "../../functions/topology.ts";
import { bucket, region, startAws } from "../../local/aws.ts";
import { mapQueue } from "../../local/lambda.ts";
import { invokePath, type QueueAddresses, type QueueOrder } from "./processes.ts";

/** Invocations of one queue's function at the same time, for each worker. */
const pollers: Readonly<Record<QueueName, number>> = { deliveries: 2, actions: 1, send: 2, imports: 1 };

const aws = await startAws();
process.on("disconnect", () => process.exit(0));
let origins: readonly string[] = [];
let turn = 0;
const agent = new Agent({ connections: 64, headersTimeout: 0, bodyTimeout: 0 });

/** Hands an event to a living worker. @throws when it dies before it has answered */
async function call(queue: QueueName, event: unknown): Promise<unknown> {
  turn += 1;
  const origin = origins[turn % Math.max(1, origins.length)];
  if (origin === undefined) throw new Error("no worker lives");
  const answer = await request(`${origin}${invokePath}${queue}`, {
    dispatcher: agent,
    method: "POST",
    body: JSON.stringify(event),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${queue}: ${answer.statusCode} ${text}`);
  return JSON.parse(text);
}

function startPollers(workers: number): void {
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
      // A worker that died with a bell: workers' own failures are in their log.
      onError: () => {},
    });
  }
}

process.on("message", (order: QueueOrder) => {
  if (order.kind === "poll") startPollers(order.workers);
  else origins = order.origins;
});
const addresses: QueueAddresses = { endpoint: aws.endpoint, region, bucket, queues: aws.queues };
process.send?.(addresses);

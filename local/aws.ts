/**
 * SQS and S3 on this machine: an emulator that speaks their wire protocols, so that the same clients and adapters run here as in AWS.
 * The queues and their dead letter queues come from `functions/topology.ts`.
 *
 * Invariant: with a directory, what was acknowledged survives `kill -9`; without one, everything is in memory.
 */
import { S3Client } from "@aws-sdk/client-s3";
import { CreateQueueCommand, SetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { startFauxqs } from "fauxqs";
import { type QueueName, queues, visibilitySeconds } from "../functions/topology.ts";

export const region = "eu-central-1";
export const bucket = "outrider-blobs";

export interface LocalQueue {
  readonly url: string;
  readonly arn: string;
}

export interface LocalAws {
  /** Where SQS and S3 answer. */
  readonly endpoint: string;
  readonly sqs: SQSClient;
  readonly s3: S3Client;
  readonly queues: Readonly<Record<QueueName, LocalQueue>>;
  /** Ids of messages that a consumer could receive now, and of those that one has received but not deleted. */
  inspect(queue: QueueName): { readonly ready: readonly string[]; readonly inFlight: readonly string[] };
  /** Messages that were given up after `maxReceives` deliveries. */
  deadLetters(queue: QueueName): readonly string[];
  stop(): Promise<void>;
}

export interface LocalAwsOptions {
  /** Where messages and objects are kept. Default: in memory. */
  readonly dataDir?: string;
}

const days = 86_400;

/** SDK clients for the emulator. It checks no signature, but the clients insist on credentials. */
export function clients(endpoint: string): { readonly sqs: SQSClient; readonly s3: S3Client } {
  const shared = { region, endpoint, credentials: { accessKeyId: "local", secretAccessKey: "local" } };
  return {
    // The emulator's queue URLs carry a host name that only resolves in some resolvers.
    sqs: new SQSClient({ ...shared, useQueueUrlAsEndpoint: false }),
    s3: new S3Client({ ...shared, forcePathStyle: true }),
  };
}

/** Makes the queue, or brings one kept from an earlier start to today's attributes. */
async function ensureQueue(sqs: SQSClient, name: string, attributes: Record<string, string>): Promise<LocalQueue> {
  const arn = `arn:aws:sqs:${region}:000000000000:${name}`;
  const create = (given: Record<string, string>) =>
    sqs.send(new CreateQueueCommand({ QueueName: name, Attributes: given }));
  const made = await create(attributes).catch((error: unknown) => {
    if (error instanceof Error && error.name.endsWith("QueueNameExists")) return undefined;
    throw error;
  });
  const url = (made ?? (await create({}))).QueueUrl;
  if (url === undefined) throw new Error(`the queue ${name} has no URL`);
  if (!made) await sqs.send(new SetQueueAttributesCommand({ QueueUrl: url, Attributes: attributes }));
  return { url, arn };
}

export async function startAws({ dataDir }: LocalAwsOptions = {}): Promise<LocalAws> {
  const server = await startFauxqs({
    port: 0,
    host: "127.0.0.1",
    logger: false,
    defaultRegion: region,
    ...(dataDir === undefined ? {} : { dataDir }),
  });
  const endpoint = `http://127.0.0.1:${server.port}`;
  const { sqs, s3 } = clients(endpoint);
  const made = await Promise.all(
    Object.entries(queues).map(async ([name, spec]) => {
      const dead = await ensureQueue(sqs, `${name}-dlq`, { MessageRetentionPeriod: String(14 * days) });
      const queue = await ensureQueue(sqs, name, {
        VisibilityTimeout: String(visibilitySeconds(spec)),
        MessageRetentionPeriod: String(4 * days),
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: spec.maxReceives }),
      });
      return [name, queue] as const;
    }),
  );
  server.createBucket(bucket);

  const messages = (name: string) => server.inspectQueue(name)?.messages;
  return {
    endpoint,
    sqs,
    s3,
    queues: Object.fromEntries(made) as Record<QueueName, LocalQueue>,
    inspect(queue) {
      const held = messages(queue);
      return {
        ready: held?.ready.map(({ messageId }) => messageId) ?? [],
        inFlight: held?.inflight.map(({ message }) => message.messageId) ?? [],
      };
    },
    deadLetters: (queue) => messages(`${queue}-dlq`)?.ready.map(({ messageId }) => messageId) ?? [],
    async stop() {
      sqs.destroy();
      s3.destroy();
      await server.stop();
    },
  };
}

/**
 * What AWS Lambda puts around a function: an invocation with a time limit, and the event source mapping that feeds it from a queue.
 *
 * Invariant: messages are deleted by AWS's published rules for partial batch responses and by no others, so a handler that
 * answers wrongly loses or repeats messages here exactly as it would there.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteMessageBatchCommand, type Message, ReceiveMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import type { Context as Invocation, SQSEvent, SQSRecord } from "aws-lambda";
import { reach } from "../core/kernel/fault.ts";
import type { LocalQueue } from "./aws.ts";

/** A function as Lambda sees it. */
export type LambdaFunction = (event: never, invocation: Invocation) => Promise<unknown>;

export class TimedOut extends Error {
  override readonly name = "TimedOut";
}

/** The context object of one invocation. */
export function invocation(name: string, timeoutMs: number, requestId: string = randomUUID()): Invocation {
  const until = performance.now() + timeoutMs;
  return {
    functionName: name,
    functionVersion: "$LATEST",
    invokedFunctionArn: `arn:aws:lambda:local:000000000000:function:${name}`,
    memoryLimitInMB: "1024",
    awsRequestId: requestId,
    logGroupName: `/aws/lambda/${name}`,
    logStreamName: "local",
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(until - performance.now())),
    done: () => {},
    fail: () => {},
    succeed: () => {},
  };
}

/** One invocation. @throws TimedOut when the function takes longer than it may; the function itself is not stopped. */
export async function invoke<R>(
  name: string,
  call: (event: never, invocation: Invocation) => Promise<R>,
  event: unknown,
  timeoutMs: number,
): Promise<R> {
  const limit = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: limit.signal, ref: false }).then(() => {
    throw new TimedOut(`${name}: task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`);
  });
  try {
    return await Promise.race([call(event as never, invocation(name, timeoutMs)), late]);
  } finally {
    late.catch(() => {});
    limit.abort();
  }
}

/** What Lambda takes for done after an invocation that did not throw. Null and an empty answer mean success of everything. */
export function deletable(records: readonly SQSRecord[], answer: unknown): readonly SQSRecord[] {
  if (answer === null || typeof answer !== "object" || !("batchItemFailures" in answer)) return records;
  const failures: unknown = answer.batchItemFailures;
  if (failures === null || failures === undefined) return records;
  if (!Array.isArray(failures)) return [];
  const ids = failures.map((item: unknown) =>
    item !== null && typeof item === "object" && "itemIdentifier" in item ? item.itemIdentifier : undefined,
  );
  const known = new Set<unknown>(records.map(({ messageId }) => messageId));
  // An empty, missing or unknown identifier makes the whole batch fail.
  if (ids.some((id) => !known.has(id))) return [];
  const failed = new Set<unknown>(ids);
  return records.filter(({ messageId }) => !failed.has(messageId));
}

export interface MappingOptions {
  readonly name: string;
  readonly sqs: SQSClient;
  readonly queue: LocalQueue;
  readonly region: string;
  readonly call: (event: SQSEvent, invocation: Invocation) => Promise<unknown>;
  readonly batch: number;
  readonly windowSeconds: number;
  readonly timeoutSeconds: number;
  /** Invocations at the same time. */
  readonly concurrency: number;
  readonly onError: (error: unknown) => void;
}

export interface Mapping {
  /** Batches being worked on now. */
  busy(): number;
  /** Messages that were delivered and not done: they come back when their visibility timeout is over. */
  readonly returned: ReadonlySet<string>;
  /** Takes no more messages and waits for running invocations, at most this long. */
  stop(limitMs: number): Promise<void>;
}

const record = (message: Message, queue: LocalQueue, region: string): SQSRecord => ({
  messageId: message.MessageId ?? "",
  receiptHandle: message.ReceiptHandle ?? "",
  body: message.Body ?? "",
  attributes: { ...message.Attributes } as unknown as SQSRecord["attributes"],
  messageAttributes: {},
  md5OfBody: message.MD5OfBody ?? "",
  eventSource: "aws:sqs",
  eventSourceARN: queue.arn,
  awsRegion: region,
});

/** Feeds a function from a queue until stopped. */
export function mapQueue(options: MappingOptions): Mapping {
  const { name, sqs, queue, region, call, timeoutSeconds, concurrency, onError } = options;
  const batchSize = Math.min(10, options.batch);
  const stopped = new AbortController();
  const returned = new Set<string>();
  let busy = 0;

  async function receive(waitSeconds: number, limit: number): Promise<Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl: queue.url,
      MaxNumberOfMessages: limit,
      WaitTimeSeconds: waitSeconds,
      MessageSystemAttributeNames: ["All"],
    });
    return (await sqs.send(command, { abortSignal: stopped.signal })).Messages ?? [];
  }

  /** Waits for a first message and then, with a window, for more to share its invocation. */
  async function collect(): Promise<Message[]> {
    const messages = await receive(20, batchSize);
    const until = performance.now() + options.windowSeconds * 1_000;
    while (messages.length > 0 && messages.length < batchSize && performance.now() < until) {
      const more = await receive(0, batchSize - messages.length);
      messages.push(...more);
      if (more.length === 0) await sleep(50, undefined, { signal: stopped.signal });
    }
    return messages;
  }

  async function deliver(messages: readonly Message[]): Promise<void> {
    const records = messages.map((message) => record(message, queue, region));
    let done: readonly SQSRecord[] = [];
    try {
      done = deletable(records, await invoke(name, call, { Records: records }, timeoutSeconds * 1_000));
    } catch (error) {
      onError(error);
    }
    for (const { messageId } of records) returned.add(messageId);
    for (const { messageId } of done) returned.delete(messageId);
    if (done.length === 0) return;
    const Entries = done.map(({ receiptHandle }, at) => ({ Id: String(at), ReceiptHandle: receiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queue.url, Entries })).catch(onError);
    reach("bells.deleted");
  }

  async function poll(): Promise<void> {
    while (!stopped.signal.aborted) {
      try {
        const messages = await collect();
        if (messages.length === 0) continue;
        busy += 1;
        await deliver(messages).finally(() => {
          busy -= 1;
        });
      } catch (error) {
        if (stopped.signal.aborted) return;
        onError(error);
        await sleep(1_000, undefined, { signal: stopped.signal }).catch(() => {});
      }
    }
  }

  const pollers = Array.from({ length: concurrency }, poll);
  return {
    returned,
    busy: () => busy,
    async stop(limitMs) {
      stopped.abort();
      await Promise.race([Promise.all(pollers), sleep(limitMs, undefined, { ref: false })]);
    },
  };
}

/** A host whose log is kept, and invocations whose clock the test moves. */
import type { Context as Invocation, SQSEvent } from "aws-lambda";
import type { Kysely } from "kysely";
import type { DB } from "../../../core/db/types.gen.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../../core/providers/memory/index.ts";
import { createLog } from "../../../functions/lib/log.ts";
import { createHost, type Host } from "../../../functions/lib/runtime.ts";

export type Line = Readonly<Record<string, unknown>>;

export function fakeHost(): { readonly host: Host; readonly lines: Line[] } {
  const lines: Line[] = [];
  const host = createHost({
    // None of what is tested with this host reaches for a database.
    db: undefined as unknown as Kysely<DB>,
    queue: memoryQueue(),
    blobs: memoryBlobs(),
    keys: memoryKeys(),
    senders: {},
    webhooks: {},
    publicUrl: "https://outrider.test",
    signingKeys: [new Uint8Array(32)],
    log: createLog({ write: (line) => lines.push(JSON.parse(line) as Line), now: () => new Date(0) }),
  });
  return { host, lines };
}

/** @param remainingMs asked each time the handler looks at its clock */
export const fakeInvocation = (remainingMs: () => number = () => 60_000): Invocation =>
  ({ awsRequestId: "request-1", getRemainingTimeInMillis: remainingMs }) as Invocation;

/** Bodies as records `m0`, `m1`, … Anything but a string is written as JSON. */
export const sqsEvent = (bodies: readonly unknown[]): SQSEvent => ({
  Records: bodies.map((body, n) => ({
    messageId: `m${n}`,
    receiptHandle: `r${n}`,
    body: typeof body === "string" ? body : JSON.stringify(body),
    attributes: {
      ApproximateReceiveCount: "1",
      SentTimestamp: "0",
      SenderId: "x",
      ApproximateFirstReceiveTimestamp: "0",
    },
    messageAttributes: {},
    md5OfBody: "",
    eventSource: "aws:sqs",
    eventSourceARN: "arn",
    awsRegion: "eu-central-1",
  })),
});

export const bell = (tenantId: string, ...ids: string[]) => ({ v: 1, tenantId, ids });

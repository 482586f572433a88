/**
 * Bells over SQS. Ten messages per call, at most 100 ids per message; entries that SQS refuses for a reason of its own are tried
 * again, and what is still refused then is an error, so that a ring never silently reaches only some.
 */
import { SendMessageBatchCommand, type SendMessageBatchRequestEntry, type SQSClient } from "@aws-sdk/client-sqs";
import { DomainError } from "../../kernel/error.ts";
import { type Bell, type BellKind, maxBellIds, type Queue } from "../../ports/queue.ts";

/** SQS's limit of entries per call. */
const maxEntries = 10;

/** A refused entry was throttled or hit a fault of one shard: the second try nearly always succeeds, a third is courtesy. */
const maxTries = 3;

export interface SqsOptions {
  readonly client: Pick<SQSClient, "send">;
  /** Only the queues this function may ring. */
  readonly queueUrls: Readonly<Partial<Record<BellKind, string>>>;
}

const bodies = ({ tenantId, ids }: Bell): string[] => {
  const parts = Array.from({ length: Math.max(1, Math.ceil(ids.length / maxBellIds)) }, (_, part) =>
    ids.slice(part * maxBellIds, (part + 1) * maxBellIds),
  );
  return parts.map((part) => JSON.stringify({ v: 1, tenantId, ids: part }));
};

const unavailable = (kind: BellKind, cause: unknown) =>
  new DomainError("unavailable", "queue.unavailable", `The ${kind} queue does not take messages at the moment.`, {
    cause,
  });

export function sqsQueue({ client, queueUrls }: SqsOptions): Queue {
  async function sendBatch(kind: BellKind, url: string, messages: readonly string[]): Promise<void> {
    let entries: SendMessageBatchRequestEntry[] = messages.map((body, at) => ({ Id: String(at), MessageBody: body }));
    for (let tries = 1; ; tries++) {
      const answer = await client
        .send(new SendMessageBatchCommand({ QueueUrl: url, Entries: entries }))
        .catch((cause: unknown) => {
          throw unavailable(kind, cause);
        });
      const refused = answer.Failed ?? [];
      if (refused.length === 0) return;
      const blamed = refused.find((entry) => entry.SenderFault);
      if (blamed || tries === maxTries)
        throw unavailable(kind, new Error(`${refused[0]?.Code}: ${refused[0]?.Message}`));
      const again = new Set(refused.map((entry) => entry.Id));
      entries = entries.filter((entry) => again.has(entry.Id));
    }
  }

  return {
    async ring(bells) {
      const byKind = Map.groupBy(bells, (bell) => bell.kind);
      const calls = [...byKind].flatMap(([kind, group]) => {
        const url = queueUrls[kind];
        if (url === undefined)
          throw new Error(`this function may not ring ${kind}: add it to its rings in functions/topology.ts`);
        const messages = group.flatMap(bodies);
        return Array.from({ length: Math.ceil(messages.length / maxEntries) }, (_, call) =>
          sendBatch(kind, url, messages.slice(call * maxEntries, (call + 1) * maxEntries)),
        );
      });
      await Promise.all(calls);
    },
  };
}

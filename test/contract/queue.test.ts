/** One suite, two queues: what callers of `Queue` rely on holds for the real adapter and for the one in memory. */
import { DeleteMessageCommand, ReceiveMessageCommand, type SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, describe, expect, test } from "vitest";
import type { DomainError } from "../../core/kernel/error.ts";
import type { Bell, Queue } from "../../core/ports/queue.ts";
import { memoryQueue } from "../../core/providers/memory/index.ts";
import { sqsQueue } from "../../core/providers/sqs/index.ts";
import { Envelope } from "../../functions/lib/sqs.ts";
import { startAws } from "../../local/aws.ts";

interface Harness {
  readonly queue: Queue;
  /** Takes every bell of one kind. */
  drain(kind: Bell["kind"]): Promise<Bell[]>;
}

const aws = await startAws();
afterAll(() => aws.stop());

const overSqs: Harness = {
  queue: sqsQueue({
    client: aws.sqs,
    queueUrls: {
      deliveries: aws.queues.deliveries.url,
      actions: aws.queues.actions.url,
      send: aws.queues.send.url,
    },
  }),
  async drain(kind) {
    const bells: Bell[] = [];
    for (;;) {
      const QueueUrl = aws.queues[kind].url;
      const { Messages = [] } = await aws.sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }));
      if (Messages.length === 0) return bells;
      for (const { Body = "", ReceiptHandle } of Messages) {
        const { tenantId, ids } = Envelope.parse(JSON.parse(Body));
        bells.push({ kind, tenantId, ids });
        await aws.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
      }
    }
  },
};

const memory = memoryQueue();
const inMemory: Harness = { queue: memory, drain: async (kind) => memory.drain().filter((bell) => bell.kind === kind) };

const names = (count: number) => Array.from({ length: count }, (_, n) => `omsg_${n}`);

describe.each([
  ["sqs", overSqs],
  ["memory", inMemory],
])("a queue over %s", (_name, { queue, drain }) => {
  test("a bell arrives with its tenant and ids", async () => {
    await queue.ring([{ kind: "send", tenantId: "tenant_a", ids: ["omsg_1", "omsg_2"] }]);
    expect(await drain("send")).toEqual([{ kind: "send", tenantId: "tenant_a", ids: ["omsg_1", "omsg_2"] }]);
  });

  test("a bell without ids arrives: it asks for whatever is due", async () => {
    await queue.ring([{ kind: "actions", tenantId: "tenant_a", ids: [] }]);
    expect(await drain("actions")).toEqual([{ kind: "actions", tenantId: "tenant_a", ids: [] }]);
  });

  test("a long list is split into bells of at most 100, and no id is lost or doubled", async () => {
    await queue.ring([{ kind: "send", tenantId: "tenant_a", ids: names(250) }]);
    const bells = await drain("send");
    expect(bells.map(({ ids }) => ids.length).sort()).toEqual([100, 100, 50]);
    expect(bells.flatMap(({ ids }) => ids).sort()).toEqual(names(250).sort());
  });

  test("more bells than fit one call all arrive, each with its own tenant", async () => {
    const bells = names(23).map((id, n): Bell => ({ kind: "deliveries", tenantId: `tenant_${n}`, ids: [id] }));
    await queue.ring(bells);
    expect((await drain("deliveries")).map(({ tenantId }) => tenantId).sort()).toEqual(
      bells.map(({ tenantId }) => tenantId).sort(),
    );
  });

  test("ringing nothing does nothing", async () => {
    await queue.ring([]);
    expect(await drain("send")).toEqual([]);
  });
});

describe("the SQS adapter", () => {
  /** A client that answers each call with the next of these. */
  const scripted = (answers: readonly unknown[]) => {
    const sent: string[][] = [];
    const client = {
      send: async (command: { input: { Entries: { Id: string }[] } }) => {
        sent.push(command.input.Entries.map(({ Id }) => Id));
        const answer = answers[sent.length - 1];
        if (answer instanceof Error) throw answer;
        return answer;
      },
    } as unknown as SQSClient;
    return { sent, queue: sqsQueue({ client, queueUrls: { send: "http://q" } }) };
  };
  const ids = names(300);
  const bell: Bell = { kind: "send", tenantId: "tenant_a", ids };
  const refused = (Id: string, SenderFault = false) => ({ Failed: [{ Id, SenderFault, Code: "Throttled" }] });

  test("only the refused entries of a call are sent again", async () => {
    const { sent, queue } = scripted([refused("1"), {}]);
    await queue.ring([bell]);
    expect(sent).toEqual([["0", "1", "2"], ["1"]]);
  });

  test.each([
    ["entries that stay refused", [refused("0"), refused("0"), refused("0")], 3],
    ["an entry that is our fault", [refused("0", true)], 1],
    ["a queue that cannot be reached", [new Error("ECONNREFUSED")], 1],
  ])("%s are an error that says when to try again", async (_what, answers, calls) => {
    const { sent, queue } = scripted(answers);
    await expect(queue.ring([bell])).rejects.toMatchObject({
      kind: "unavailable",
      code: "queue.unavailable",
    } satisfies Partial<DomainError>);
    expect(sent).toHaveLength(calls);
  });

  test("a queue that the function may not ring is named", async () => {
    await expect(overSqs.queue.ring([{ ...bell, kind: "imports" }])).rejects.toThrow(/may not ring imports/);
  });
});

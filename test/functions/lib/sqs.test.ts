import { describe, expect, test } from "vitest";
import { DomainError, errorKinds } from "../../../core/kernel/error.ts";
import { consumer, partialResponse } from "../../../functions/lib/sqs.ts";
import { deletable } from "../../../local/lambda.ts";
import { bell, fakeHost, fakeInvocation, sqsEvent } from "./fake.ts";

interface Call {
  readonly tenantId: string;
  readonly ids: readonly string[];
}

/** Runs a batch; `fails` says what a call throws. */
async function batch(
  bodies: readonly unknown[],
  fails: (call: Call) => Error | undefined = () => undefined,
  remainingMs?: () => number,
) {
  const { host, lines } = fakeHost();
  const calls: Call[] = [];
  const handler = consumer(host, "send", async (ctx, ids) => {
    calls.push({ tenantId: ctx.tenantId, ids });
    const error = fails({ tenantId: ctx.tenantId, ids });
    if (error) throw error;
  });
  const event = sqsEvent(bodies);
  const answer = await handler(event, fakeInvocation(remainingMs));
  const failed = answer.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
  const deleted = deletable(event.Records, answer).map(({ messageId }) => messageId);
  return { calls, failed, deleted, lines };
}

describe("bells", () => {
  test("run in the context of their own tenant, the bells of one tenant together and without duplicates", async () => {
    const { calls, failed } = await batch([bell("a", "1", "2"), bell("b", "3"), bell("a", "2", "4")]);
    expect(calls).toEqual([
      { tenantId: "a", ids: ["1", "2", "4"] },
      { tenantId: "b", ids: ["3"] },
    ]);
    expect(failed).toEqual([]);
  });

  test("without ids ask for everything due, which includes the ids of their neighbours", async () => {
    const { calls } = await batch([bell("a", "1"), bell("a")]);
    expect(calls).toEqual([{ tenantId: "a", ids: [] }]);
  });

  test("act as the system, named after the queue", async () => {
    const { host } = fakeHost();
    const seen: unknown[] = [];
    await consumer(host, "send", async ({ actor }) => seen.push(actor))(sqsEvent([bell("a", "1")]), fakeInvocation());
    expect(seen).toEqual([{ type: "system", id: "send" }]);
  });
});

describe("one failure in a batch of ten", () => {
  const ten = Array.from({ length: 10 }, (_, n) => bell(`tenant_${n}`, `omsg_${n}`));

  test("returns that one; the other nine are done", async () => {
    const { failed, deleted } = await batch(ten, ({ tenantId }) =>
      tenantId === "tenant_3" ? new Error("bug") : undefined,
    );
    expect(failed).toEqual(["m3"]);
    expect(deleted).toHaveLength(9);
  });

  test("returns that one also when all belong to one tenant", async () => {
    const same = Array.from({ length: 10 }, (_, n) => bell("a", `omsg_${n}`));
    const { failed, calls } = await batch(same, ({ ids }) => (ids.includes("omsg_3") ? new Error("bug") : undefined));
    expect(failed).toEqual(["m3"]);
    expect(calls).toHaveLength(11);
  });

  test("of one tenant's database returns them all without asking ten more times", async () => {
    const same = Array.from({ length: 10 }, (_, n) => bell("a", `omsg_${n}`));
    const { failed, calls } = await batch(same, () => new DomainError("unavailable", "database.away", "away"));
    expect(failed).toHaveLength(10);
    expect(calls).toHaveLength(1);
  });
});

describe("what becomes of a bell", () => {
  test.each(errorKinds)("that was refused as %s", async (kind) => {
    const { failed, lines } = await batch([bell("a", "1")], () => new DomainError(kind, "x.y", "refused"));
    const redelivered = kind === "unavailable" || kind === "rate_limited";
    expect(failed).toEqual(redelivered ? ["m0"] : []);
    expect(lines.some(({ event }) => event === "bell.parked")).toBe(!redelivered);
    expect(lines.some(({ BellsParked }) => BellsParked === 1)).toBe(!redelivered);
  });

  test.each([
    ["not JSON", "{"],
    ["empty", ""],
    ["not an object", "[]"],
    ["without a version", { tenantId: "a", ids: [] }],
    ["of version 0", { v: 0, tenantId: "a", ids: [] }],
    ["with a version that is no number", { v: "2", tenantId: "a", ids: [] }],
    ["without a tenant", { v: 1, ids: [] }],
    ["with ids that are no strings", { v: 1, tenantId: "a", ids: [1] }],
    ["with more ids than a bell may carry", { v: 1, tenantId: "a", ids: Array.from({ length: 101 }, String) }],
    ["with a tenant that is an object", { v: 1, tenantId: { $ne: "" }, ids: [] }],
    ["for a tenant that no database has", { v: 1, tenantId: "tenant_\0", ids: [] }],
    ["with half a character in an id", { v: 1, tenantId: "a", ids: ["\ud800"] }],
  ])("that is %s: parked, and its neighbour is done", async (_what, body) => {
    const { calls, failed, lines } = await batch([body, bell("a", "1")]);
    expect(calls).toEqual([{ tenantId: "a", ids: ["1"] }]);
    expect(failed).toEqual([]);
    expect(lines.filter(({ event }) => event === "bell.parked")).toHaveLength(1);
  });

  test("of a newer version: it waits for newer code instead of being lost", async () => {
    const { calls, failed } = await batch([{ v: 2, anything: true }, bell("a", "1")]);
    expect(failed).toEqual(["m0"]);
    expect(calls).toHaveLength(1);
  });
});

describe("the time limit", () => {
  test("what has not been started in the last 15 % is returned, not begun", async () => {
    let now = 0;
    const tenants = Array.from({ length: 12 }, (_, n) => bell(`t${n}`, `id${n}`));
    const { calls, failed } = await batch(
      tenants,
      () => {
        now += 30;
        return undefined;
      },
      () => 100 - now,
    );
    expect(calls.length + failed.length).toBe(12);
    expect(calls.length).toBeLessThanOrEqual(4);
    expect(failed).not.toContain("m0");
  });
});

describe("the answer to Lambda", () => {
  const { Records } = sqsEvent(["a", "b", "c"]);

  test("names exactly the failed records, so that Lambda deletes exactly the others", () => {
    expect(deletable(Records, partialResponse(Records.slice(1, 2))).map(({ messageId }) => messageId)).toEqual([
      "m0",
      "m2",
    ]);
    expect(deletable(Records, partialResponse([]))).toHaveLength(3);
  });

  test.each<[string, unknown, number]>([
    ["a wrong top-level key is success: messages are lost", { failures: [{ itemIdentifier: "m0" }] }, 3],
    ["null is success", null, 3],
    ["null failures are success", { batchItemFailures: null }, 3],
    ["failures that are no list fail the batch", { batchItemFailures: "m0" }, 0],
    ["an empty identifier fails the batch", { batchItemFailures: [{ itemIdentifier: "" }] }, 0],
    ["a missing identifier fails the batch", { batchItemFailures: [{ id: "m0" }] }, 0],
    ["an unknown identifier fails the batch", { batchItemFailures: [{ itemIdentifier: "m9" }] }, 0],
  ])("by AWS's rules, %s", (_what, answer, count) => {
    expect(deletable(Records, answer)).toHaveLength(count);
  });
});

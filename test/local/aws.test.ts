import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { SendMessageCommand, SetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import type { SQSEvent } from "aws-lambda";
import { afterAll, describe, expect, test, vi } from "vitest";
import { s3Blobs } from "../../core/providers/s3/index.ts";
import { queues, visibilitySeconds } from "../../functions/topology.ts";
import { bucket, type LocalAws, region, startAws } from "../../local/aws.ts";
import { invocation, invoke, type Mapping, mapQueue, TimedOut } from "../../local/lambda.ts";

const home = mkdtempSync(path.join(os.tmpdir(), "outrider-aws-"));
const aws = await startAws();
afterAll(async () => {
  await aws.stop();
  rmSync(home, { recursive: true, force: true });
});

const put = (on: LocalAws, body: string) =>
  on.sqs.send(new SendMessageCommand({ QueueUrl: on.queues.actions.url, MessageBody: body }));

function mapping(on: LocalAws, call: (event: SQSEvent) => Promise<unknown>, timeoutSeconds = 5): Mapping {
  return mapQueue({
    name: "actions",
    sqs: on.sqs,
    queue: on.queues.actions,
    region,
    call,
    batch: 10,
    windowSeconds: 0,
    timeoutSeconds,
    concurrency: 2,
    onError: () => {},
  });
}

describe("the event source mapping", () => {
  test("delivers every message, deletes what was done, and gives up a poison message after its last delivery", async () => {
    const own = await startAws();
    const { maxReceives } = queues.actions;
    await own.sqs.send(
      new SetQueueAttributesCommand({ QueueUrl: own.queues.actions.url, Attributes: { VisibilityTimeout: "0" } }),
    );
    const seen = new Map<string, number>();
    let crashed = false;
    const running = mapping(own, async ({ Records }) => {
      for (const { body } of Records) seen.set(body, (seen.get(body) ?? 0) + 1);
      if (!crashed && Records.some(({ body }) => body === "m7")) {
        crashed = true;
        throw new Error("crash");
      }
      const poison = Records.filter(({ body }) => body === "poison");
      return { batchItemFailures: poison.map(({ messageId }) => ({ itemIdentifier: messageId })) };
    });
    const bodies = [...Array.from({ length: 30 }, (_, n) => `m${n}`), "poison"];
    for (const body of bodies) await put(own, body);
    await vi.waitFor(() => expect(own.deadLetters("actions")).toHaveLength(1), 10_000);
    await vi.waitFor(() => expect(own.inspect("actions")).toEqual({ ready: [], inFlight: [] }), 10_000);
    await running.stop(1_000);
    expect([...seen.keys()].sort()).toEqual(bodies.sort());
    expect(seen.get("poison")).toBe(maxReceives);
    await own.stop();
  });

  test("passes the receive count and the source, as Lambda does", async () => {
    let event: SQSEvent | undefined;
    const running = mapping(aws, async (given) => {
      event = given;
    });
    await put(aws, "hello");
    await vi.waitFor(() => expect(event?.Records[0]?.body).toBe("hello"), 10_000);
    expect(event?.Records[0]).toMatchObject({
      eventSource: "aws:sqs",
      eventSourceARN: aws.queues.actions.arn,
      attributes: { ApproximateReceiveCount: "1" },
    });
    await running.stop(1_000);
  });

  test("stops in an instant when nothing runs", async () => {
    const running = mapping(aws, async () => {});
    const began = performance.now();
    await running.stop(5_000);
    expect(performance.now() - began).toBeLessThan(4_000);
  });
});

describe("an invocation", () => {
  test("that takes longer than it may is timed out", async () => {
    await expect(invoke("slow", () => new Promise(() => {}), {}, 20)).rejects.toBeInstanceOf(TimedOut);
  });

  test("knows how much time it has left", () => {
    const left = invocation("f", 10_000).getRemainingTimeInMillis();
    expect(left).toBeGreaterThan(9_000);
    expect(left).toBeLessThanOrEqual(10_000);
  });
});

describe("the queues and the bucket", () => {
  test("are those of the topology, with its visibility, and a dead letter queue each", async () => {
    for (const [name, spec] of Object.entries(queues)) {
      expect(aws.queues).toHaveProperty(name);
      expect(visibilitySeconds(spec)).toBeGreaterThanOrEqual(6 * spec.timeoutSeconds);
      expect(aws.deadLetters(name as keyof typeof queues)).toEqual([]);
    }
  });

  test("keep their messages and objects over a restart, and take on changed attributes", async () => {
    const dataDir = path.join(home, "kept");
    const first = await startAws({ dataDir });
    await put(first, "kept");
    await s3Blobs({ client: first.s3, bucket }).put("k", new Uint8Array([7]), "text/plain");
    await first.sqs.send(
      new SetQueueAttributesCommand({ QueueUrl: first.queues.send.url, Attributes: { VisibilityTimeout: "1" } }),
    );
    await first.stop();
    const second = await startAws({ dataDir });
    expect(second.inspect("actions").ready).toHaveLength(1);
    expect(await s3Blobs({ client: second.s3, bucket }).get("k")).toEqual(new Uint8Array([7]));
    await second.stop();
  });
});

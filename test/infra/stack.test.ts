/** The graph that `sst deploy` would make, held against the topology and the rules. */
import { beforeAll, describe, expect, test } from "vitest";
import { http, queues, schedules, visibilitySeconds } from "../../functions/topology.ts";
import type { Graph } from "../../infra/graph.ts";
import { violations } from "../../infra/rules.ts";
import { synth } from "../../infra/synth.ts";

let graph: Graph;
beforeAll(() => {
  graph = synth();
});

const of = (type: string) => graph.resources.filter((resource) => resource.type === type);
/** `arn:aws:sqs:region:account:sendQueueQueue` → `sendQueueQueue` */
const last = (arn: string) => arn.split(":").at(-1) ?? "";

test("keeps every rule", () => {
  expect(violations(graph)).toEqual([]);
});

describe("is the topology", () => {
  test("every function once, from its file", () => {
    const specs = [...Object.values(http), ...Object.values(queues), ...Object.values(schedules)];
    const files = specs.map(({ file }) => `functions/${file}.ts`);
    expect(graph.builds.map(({ file }) => file).sort()).toEqual(files.sort());
  });

  test("every route", () => {
    const routes = Object.values(http).flatMap((spec): readonly string[] => spec.routes);
    expect(
      of("aws:apigatewayv2/route:Route")
        .map(({ inputs }) => inputs["routeKey"])
        .sort(),
    ).toEqual([...routes].sort());
  });

  test("every queue, with its consumer, limits, visibility and dead letter queue", () => {
    const made = of("aws:lambda/eventSourceMapping:EventSourceMapping").map(({ inputs }) => {
      const queue = of("aws:sqs/queue:Queue").find(({ state }) => state["arn"] === inputs["eventSourceArn"]);
      const redrive = JSON.parse(queue?.inputs["redrivePolicy"] ?? "{}");
      return {
        queue: last(inputs["eventSourceArn"]).replace(/QueueQueue$/, ""),
        batch: inputs["batchSize"],
        concurrency: inputs["scalingConfig"].maximumConcurrency,
        visibility: queue?.inputs["visibilityTimeoutSeconds"],
        receives: redrive.maxReceiveCount,
        dead: last(redrive.deadLetterTargetArn).replace(/Queue$/, ""),
      };
    });
    expect(made.sort((a, b) => (a.queue < b.queue ? -1 : 1))).toEqual(
      Object.entries(queues)
        .map(([queue, spec]) => ({
          queue,
          batch: spec.batch,
          concurrency: spec.maxConcurrency,
          visibility: visibilitySeconds(spec),
          receives: spec.maxReceives,
          dead: `${queue}Dlq`,
        }))
        .sort((a, b) => (a.queue < b.queue ? -1 : 1)),
    );
  });

  test("every schedule, at its rate", () => {
    const made = of("aws:scheduler/schedule:Schedule").map(({ inputs }) => inputs["scheduleExpression"]);
    expect(made.sort()).toEqual(
      Object.values(schedules)
        .map(({ rate }) => rate)
        .sort(),
    );
  });
});

test("every role may do exactly this", () => {
  const grants = of("aws:iam/role:Role").map(({ name, inputs }) => {
    const statements = (inputs["inlinePolicies"] ?? []).flatMap(
      ({ policy }: { policy: string }) => JSON.parse(policy).Statement ?? [],
    );
    const lines = statements.map(
      ({ Action, Resource }: { Action: string | string[]; Resource: string | string[] }) =>
        `${[Action].flat().join("+")} on ${[Resource].flat().map(last).join("+")}`,
    );
    return [name, lines] as const;
  });
  // A route's role is named after a hash of its path.
  const routes = new Map<string, string>();
  for (const spec of Object.values(http)) {
    const fn = graph.builds.find(({ file }) => file === `functions/${spec.file}.ts`);
    routes.set(fn?.functionId.replace(/Handler$/, "") ?? "", spec.file);
  }
  const named = grants.map(([name, lines]) => {
    const route = [...routes].find(([id]) => name.startsWith(id));
    return [route ? `http ${route[1]}` : name.replace(/[A-Z][a-z]{5}Function/, ""), lines] as const;
  });
  expect(Object.fromEntries(named)).toMatchInlineSnapshot(`
    {
      "actionsQueueSubscriberRole": [
        "sqs:ChangeMessageVisibility+sqs:DeleteMessage+sqs:GetQueueAttributes+sqs:GetQueueUrl+sqs:ReceiveMessage on actionsQueueQueue",
        "sqs:SendMessage on actionsQueueQueue+sendQueueQueue",
      ],
      "deliveriesQueueSubscriberRole": [
        "sqs:ChangeMessageVisibility+sqs:DeleteMessage+sqs:GetQueueAttributes+sqs:GetQueueUrl+sqs:ReceiveMessage on deliveriesQueueQueue",
        "sqs:SendMessage on actionsQueueQueue+sendQueueQueue",
        "s3:GetObject on blobsbucket/*",
      ],
      "doctorScheduleHandlerRole": [],
      "doctorScheduleRole": [
        "lambda:InvokeFunction on doctorScheduleHandlerFunction",
        "sqs:SendMessage on schedulesDlqQueue",
      ],
      "drainScheduleHandlerRole": [
        "sqs:SendMessage on deliveriesQueueQueue+actionsQueueQueue+sendQueueQueue",
        "s3:GetObject+s3:PutObject+s3:AbortMultipartUpload on blobsbucket/*",
        "s3:ListBucket on blobsbucket",
        "s3:DeleteObject on blobsbucket/spill/*",
        "kms:Decrypt on key/Credentials",
      ],
      "drainScheduleRole": [
        "lambda:InvokeFunction on drainScheduleHandlerFunction",
        "sqs:SendMessage on schedulesDlqQueue",
      ],
      "http api": [
        "sqs:SendMessage on deliveriesQueueQueue+actionsQueueQueue+sendQueueQueue+importsQueueQueue",
        "s3:GetObject+s3:PutObject+s3:AbortMultipartUpload on blobsbucket/*",
        "kms:Decrypt+kms:GenerateDataKey on key/Credentials",
      ],
      "http tracking": [
        "sqs:SendMessage on actionsQueueQueue+sendQueueQueue",
      ],
      "http webhooks": [
        "sqs:SendMessage on deliveriesQueueQueue+actionsQueueQueue+sendQueueQueue",
        "s3:PutObject+s3:AbortMultipartUpload on blobsbucket/*",
        "kms:Decrypt on key/Credentials",
      ],
      "importsQueueSubscriberRole": [
        "sqs:ChangeMessageVisibility+sqs:DeleteMessage+sqs:GetQueueAttributes+sqs:GetQueueUrl+sqs:ReceiveMessage on importsQueueQueue",
        "sqs:SendMessage on importsQueueQueue+actionsQueueQueue",
        "s3:GetObject+s3:PutObject+s3:AbortMultipartUpload on blobsbucket/*",
      ],
      "maintainScheduleHandlerRole": [
        "s3:GetObject+s3:PutObject+s3:AbortMultipartUpload on blobsbucket/*",
      ],
      "maintainScheduleRole": [
        "lambda:InvokeFunction on maintainScheduleHandlerFunction",
        "sqs:SendMessage on schedulesDlqQueue",
      ],
      "reconcileScheduleHandlerRole": [
        "sqs:SendMessage on sendQueueQueue+actionsQueueQueue",
        "kms:Decrypt on key/Credentials",
      ],
      "reconcileScheduleRole": [
        "lambda:InvokeFunction on reconcileScheduleHandlerFunction",
        "sqs:SendMessage on schedulesDlqQueue",
      ],
      "sendQueueSubscriberRole": [
        "sqs:ChangeMessageVisibility+sqs:DeleteMessage+sqs:GetQueueAttributes+sqs:GetQueueUrl+sqs:ReceiveMessage on sendQueueQueue",
        "sqs:SendMessage on sendQueueQueue+actionsQueueQueue",
        "kms:Decrypt on key/Credentials",
      ],
      "sweepScheduleHandlerRole": [
        "sqs:SendMessage on deliveriesQueueQueue+actionsQueueQueue+sendQueueQueue+importsQueueQueue",
      ],
      "sweepScheduleRole": [
        "lambda:InvokeFunction on sweepScheduleHandlerFunction",
        "sqs:SendMessage on schedulesDlqQueue",
      ],
    }
  `);
});

test("only secrets are linked", () => {
  for (const { links, functionId } of graph.builds) {
    expect(links, functionId).toEqual(["DatabaseUrl", "SigningKeys"]);
  }
});

test("each function is told of the queues, the bucket and the key it may use, and of no others", () => {
  const told = Object.fromEntries(
    of("aws:lambda/function:Function").map(({ name, inputs }) => [
      name,
      Object.keys(inputs["environment"].variables).filter((key) => /^(QUEUE_|BLOBS_|KMS_|PUBLIC_)/.test(key)),
    ]),
  );
  const specs = [...Object.values(http), ...Object.values(queues), ...Object.values(schedules)];
  for (const spec of specs) {
    const id = graph.builds.find(({ file }) => file === `functions/${spec.file}.ts`)?.functionId ?? "";
    const variables = Object.entries(told).find(([name]) => name.startsWith(id))?.[1];
    expect(variables?.sort(), spec.file).toEqual(
      [
        "PUBLIC_URL",
        ...((spec.blobs as string) === "none" ? [] : ["BLOBS_BUCKET"]),
        ...((spec.keys as string) === "none" ? [] : ["KMS_KEY_ID"]),
        ...spec.rings.map((queue) => `QUEUE_${queue.toUpperCase()}_URL`),
      ].sort(),
    );
  }
});

test("is the same on every run, but for the random end of a bucket's name", () => {
  const fixed = (one: Graph) => JSON.stringify(one.resources).replace(/-[abcdefhkmnorstuvwxz]{8}(?=["./])/g, "-~");
  expect(fixed(synth())).toBe(fixed(graph));
});

test("in production keeps its data when the stack is removed", () => {
  const production = synth({ stage: "production" });
  expect(violations(production)).toEqual([]);
  const bucket = production.resources.find(({ type }) => type === "aws:s3/bucket:Bucket");
  expect(bucket?.inputs["forceDestroy"]).toBe(false);
});

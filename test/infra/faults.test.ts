/** Every rule bites: each of these mistakes, planted while the stack is compiled, is refused. The tree itself is never touched. */
import { expect, test } from "vitest";
import { startBudgetBytes, violations } from "../../infra/rules.ts";
import { synth } from "../../infra/synth.ts";

const stack = "infra/stack.ts";
const alarms = "infra/alarms.ts";
const topology = "functions/topology.ts";

test.each<[string, string, string, string, RegExp]>([
  ["no dead letter queue", stack, "dlq: { queue: dead.arn, retry: spec.maxReceives },", "", /^queue-has-dlq/],
  ["one delivery", stack, "retry: spec.maxReceives", "retry: 1", /^queue-retries/],
  [
    "a short visibility timeout",
    stack,
    "visibilityTimeout: seconds(visibilitySeconds(spec))",
    'visibilityTimeout: "30 seconds"',
    /^visibility/,
  ],
  [
    "a dead letter queue that forgets first",
    stack,
    "messageRetentionSeconds: 14 * days",
    "messageRetentionSeconds: 1 * days",
    /^dlq-keeps-longer/,
  ],
  [
    "unencrypted queues",
    stack,
    "receiveWaitTimeSeconds: 20, sqsManagedSseEnabled: true",
    "receiveWaitTimeSeconds: 20",
    /^queue-encrypted/,
  ],
  ["ignored batch failures", stack, "partialResponses: true", "partialResponses: false", /^partial-batch/],
  [
    "an unbounded consumer",
    stack,
    "{ scalingConfig: { maximumConcurrency: spec.maxConcurrency } }",
    "{}",
    /^bounded-consumer/,
  ],
  ["a linked bucket", stack, "link: secrets,", "link: [...secrets, blobs],", /^no-wildcard-action/],
  [
    "rights on every queue",
    stack,
    "spec.rings.map((name) => made[name].arn)]",
    '["*"] as never]',
    /^no-wildcard-resource/,
  ],
  ["ticks that get lost", stack, "      dlq: lostTicks.arn,\n", "", /^schedule-has-dlq/],
  ["a schedule that overlaps itself", topology, "timeoutSeconds: 50", "timeoutSeconds: 70", /^schedule-overlap/],
  ["a public bucket", stack, "enforceHttps: true,", 'enforceHttps: true, access: "public",', /^bucket-private/],
  ["plain http", stack, "enforceHttps: true", "enforceHttps: false", /^bucket-https/],
  ["no versions", stack, "versioning: true", "versioning: false", /^bucket-versioned/],
  ["uploads that stay", stack, "abortIncompleteMultipartUpload: { daysAfterInitiation: 2 },", "", /^bucket-lifecycle/],
  ["versions that stay", stack, "noncurrentVersionExpiration: { noncurrentDays: 30 },", "", /^bucket-versions/],
  [
    "objects that vanish",
    stack,
    'filter: { prefix: "" },',
    'filter: { prefix: "" }, expiration: { days: 30 },',
    /^bucket-keeps/,
  ],
  ["parts of uploads that stay", stack, "expiration: { days: 7 },", "", /^bucket-uploads/],
  [
    "a tidying rule that is off",
    stack,
    'id: "uploads",\n        status: "Enabled"',
    'id: "uploads",\n        status: "Disabled"',
    /^bucket-uploads/,
  ],
  ["a key that never rotates", stack, "enableKeyRotation: true", "enableKeyRotation: false", /^key-rotates/],
  ["an API without limits", stack, "throttlingBurstLimit: 1_000, throttlingRateLimit: 500", "", /^api-throttled/],
  ["an alarm that tells nobody", stack, "alarmActions: [alarms.arn],", "", /^alarms-tell/],
  [
    "an alarm that takes silence for peace",
    alarms,
    'silence: "breaching",\n',
    'silence: "notBreaching",\n',
    /^invariants-alarm/,
  ],
  ["no alarm for broken invariants", alarms, 'metric: "InvariantViolations"', 'metric: "Other"', /^invariants-alarm/],
  [
    "no alarm for webhooks that were set aside",
    alarms,
    'metric: "DeliveriesFailed"',
    'metric: "Other"',
    /^alarms-watch/,
  ],
  ["an old runtime", stack, 'runtime: "nodejs24.x"', 'runtime: "nodejs20.x"', /^runtime/],
  ["the wrong architecture", stack, 'architecture: "arm64"', 'architecture: "x86_64"', /^architecture/],
  ["text logs", stack, 'format: "json" as const', 'format: "text" as const', /^json-logs/],
  [
    "a secret in the environment",
    stack,
    "PUBLIC_URL: api.url,",
    "PUBLIC_URL: api.url, DB: secrets[0]!.value,",
    /^no-secret-in-environment/,
  ],
])("%s", (_what, file, from, to, rule) => {
  const found = violations(synth({ edits: [{ file, from, to }], bundle: false }));
  expect(found.length).toBeGreaterThan(0);
  expect(
    found.every((line) => rule.test(line)),
    found.join("\n"),
  ).toBe(true);
});

test.each<[string, string, string, string, RegExp]>([
  [
    "a handler file that does not exist",
    topology,
    'file: "imports"',
    'file: "import"',
    /there is no handler functions\/import\.handler/,
  ],
  ["a handler that is not exported", stack, "}.handler`", "}.handle`", /does not export handle/],
])("%s is no graph at all", (_what, file, from, to, message) => {
  expect(() => synth({ edits: [{ file, from, to }] })).toThrow(message);
});

test("a cold start over its budget", () => {
  const file = "functions/sweep.ts";
  const bytes = startBudgetBytes(file) + 1;
  const builds = [{ functionId: "f", file, links: [], bytes }];
  expect(violations({ resources: [], builds })).toEqual([`start-budget: f: ${file} reads ${bytes} bytes`]);
});

test("a cold start that reads everything at once", () => {
  const found = violations(synth({ edits: [{ file: stack, from: "splitting: true", to: "splitting: false" }] }));
  expect(found).not.toEqual([]);
  expect(
    found.every((line) => line.startsWith("start-budget")),
    found.join("\n"),
  ).toBe(true);
});

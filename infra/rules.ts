/**
 * Rules that every deployable graph keeps. Pure: graph in, violations out. Each is a way in which such systems have lost messages,
 * money or secrets; `test/infra/faults.test.ts` proves that each bites.
 */
import type { Graph, Resource } from "./graph.ts";

interface Statement {
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: { readonly Bool?: Readonly<Record<string, string>> };
}

interface LifecycleRule {
  readonly status: string;
  readonly filter?: { readonly prefix?: string };
  readonly expiration?: { readonly days?: number };
  readonly abortIncompleteMultipartUpload?: object;
  readonly noncurrentVersionExpiration?: object;
}

/** Where `core/intake` keeps the parts of uploads, and for how long they are any use. */
const uploadsPrefix = "uploads/";
const uploadsDays = 7;

const list = <T>(value: T | readonly T[] | undefined): readonly T[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value as T];

const statementsOf = (policy: string): readonly Statement[] =>
  list((JSON.parse(policy) as { readonly Statement?: Statement | Statement[] }).Statement);

/** Metrics whose rise somebody has to hear of. */
const watchedMetrics = ["WebhooksSpilled", "DeliveriesFailed", "RequestsFailed", "BellsParked", "TenantsFailed"];

/** Four days, SQS's own default. */
const defaultRetentionSeconds = 345_600;

/**
 * What a cold start may read: a fifth above what was measured (0.75 to 0.98 MB; send 1.27, imports 1.45, api 2.20). A heavy library
 * that is imported where it could wait for its first use shows here.
 */
const startBudgets: Readonly<Record<string, number>> = {
  "functions/api.ts": 2_650_000,
  "functions/imports.ts": 1_750_000,
  "functions/send.ts": 1_550_000,
};
export const startBudgetBytes = (file: string): number => startBudgets[file] ?? 1_200_000;

/** Reads the minutes of `rate(1 minute)`, `rate(1 hour)`. */
function rateSeconds(expression: string): number | undefined {
  const [, count, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  const size = unit === "day" ? 86_400 : unit === "hour" ? 3_600 : 60;
  return count === undefined ? undefined : Number(count) * size;
}

/** @returns one line per broken rule: `rule: resource: what is wrong` */
export function violations(graph: Graph): readonly string[] {
  const found: string[] = [];
  const of = (type: string) => graph.resources.filter((resource) => resource.type === type);
  const queues = of("aws:sqs/queue:Queue");
  const functions = of("aws:lambda/function:Function");
  const mappings = of("aws:lambda/eventSourceMapping:EventSourceMapping");
  const queueByArn = new Map(queues.map((queue) => [queue.state["arn"], queue]));
  const functionByArn = new Map(functions.map((fn) => [fn.state["arn"], fn]));
  const check = (kept: boolean, rule: string, { name }: { readonly name: string }, problem: string) => {
    if (!kept) found.push(`${rule}: ${name}: ${problem}`);
  };

  for (const queue of queues)
    check(queue.inputs["sqsManagedSseEnabled"] === true, "queue-encrypted", queue, "no encryption");

  for (const mapping of mappings) {
    const queue = queueByArn.get(mapping.inputs["eventSourceArn"]);
    const fn = functionByArn.get(mapping.inputs["functionName"]);
    check(
      queue !== undefined && fn !== undefined,
      "mapping-ends",
      mapping,
      "its queue or function is not in the stack",
    );
    if (!queue || !fn) continue;
    const need = 6 * fn.inputs["timeout"] + (mapping.inputs["maximumBatchingWindowInSeconds"] ?? 0);
    const visibility = queue.inputs["visibilityTimeoutSeconds"] ?? 30;
    check(visibility >= need, "visibility", queue, `${visibility} s, needs ${need} s`);
    const reports = list<string>(mapping.inputs["functionResponseTypes"]).includes("ReportBatchItemFailures");
    check(reports, "partial-batch", mapping, "failed messages would be deleted as done");
    check(
      mapping.inputs["scalingConfig"]?.maximumConcurrency >= 2,
      "bounded-consumer",
      mapping,
      "no maximumConcurrency",
    );
    checkRedrive(queue);
  }

  function checkRedrive(queue: Resource): void {
    const policy = queue.inputs["redrivePolicy"];
    check(policy !== undefined, "queue-has-dlq", queue, "a poison message would come back for days");
    if (policy === undefined) return;
    const { deadLetterTargetArn, maxReceiveCount } = JSON.parse(policy) as Record<string, unknown>;
    check(
      Number(maxReceiveCount) >= 5,
      "queue-retries",
      queue,
      `${maxReceiveCount} deliveries; throttling alone can use up 5`,
    );
    const dead = queueByArn.get(deadLetterTargetArn);
    check(dead !== undefined, "queue-has-dlq", queue, "its dead letter queue is not in the stack");
    const keeps = (one: Resource | undefined) => one?.inputs["messageRetentionSeconds"] ?? defaultRetentionSeconds;
    check(keeps(dead) > keeps(queue), "dlq-keeps-longer", queue, `${keeps(dead)} s against ${keeps(queue)} s`);
  }

  for (const fn of functions) {
    const { runtime, architectures, loggingConfig, environment } = fn.inputs;
    check(runtime === "nodejs24.x", "runtime", fn, String(runtime));
    check(list<string>(architectures).join() === "arm64", "architecture", fn, String(architectures));
    check(loggingConfig?.logFormat === "JSON", "json-logs", fn, "logs cannot be queried by field");
    for (const [name, value] of Object.entries(environment?.variables ?? {})) {
      const secret = /postgres(ql)?:\/\/|synth-password|synth-signing-key/.test(String(value));
      check(!secret, "no-secret-in-environment", fn, name);
    }
  }

  for (const schedule of of("aws:scheduler/schedule:Schedule")) {
    const { target, scheduleExpression } = schedule.inputs;
    const fn = functionByArn.get(target.arn);
    check(target.deadLetterConfig?.arn !== undefined, "schedule-has-dlq", schedule, "a lost tick would be silent");
    check(fn !== undefined, "schedule-target", schedule, "its function is not in the stack");
    const period = rateSeconds(scheduleExpression);
    check(period !== undefined, "schedule-rate", schedule, scheduleExpression);
    check(
      fn?.inputs["timeout"] < (period ?? 0),
      "schedule-overlap",
      schedule,
      `${fn?.inputs["timeout"]} s in ${period} s`,
    );
  }

  for (const bucket of of("aws:s3/bucket:Bucket")) {
    const belonging = (type: string) =>
      of(type).find(({ inputs }) => inputs["bucket"] === bucket.state["bucket"])?.inputs;
    const access = belonging("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock");
    const blocks = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"];
    check(
      blocks.every((name) => access?.[name] === true),
      "bucket-private",
      bucket,
      "objects could be made public",
    );
    const versioning = belonging("aws:s3/bucketVersioning:BucketVersioning");
    check(
      versioning?.["versioningConfiguration"]?.status === "Enabled",
      "bucket-versioned",
      bucket,
      "an overwrite loses data",
    );
    const statements = statementsOf(belonging("aws:s3/bucketPolicy:BucketPolicy")?.["policy"] ?? "{}");
    const https = statements.some((s) => s.Effect === "Deny" && s.Condition?.Bool?.["aws:SecureTransport"] === "false");
    check(https, "bucket-https", bucket, "plain http is allowed");
    const rules = belonging("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")?.["rules"];
    const enabled = list<LifecycleRule>(rules).filter(({ status }) => status === "Enabled");
    const everywhere = enabled.filter(({ filter }) => filter?.prefix === "");
    const uploads = enabled.filter(({ filter }) => filter?.prefix === uploadsPrefix);
    check(
      everywhere.some((rule) => rule.abortIncompleteMultipartUpload),
      "bucket-lifecycle",
      bucket,
      "broken uploads stay for ever",
    );
    check(
      everywhere.some((rule) => rule.noncurrentVersionExpiration),
      "bucket-versions",
      bucket,
      "old versions stay for ever",
    );
    check(
      uploads.some(({ expiration }) => expiration?.days === uploadsDays),
      "bucket-uploads",
      bucket,
      `parts under ${uploadsPrefix} do not go after ${uploadsDays} days`,
    );
    check(
      enabled.every((rule) => rule.expiration === undefined || uploads.includes(rule)),
      "bucket-keeps",
      bucket,
      "stored objects would vanish",
    );
  }

  const alarm = of("aws:cloudwatch/metricAlarm:MetricAlarm").find(
    ({ inputs }) => inputs["namespace"] === "Outrider" && inputs["metricName"] === "InvariantViolations",
  );
  const watched = graph.resources.some(({ type }) => type === "aws:scheduler/schedule:Schedule");
  if (watched) {
    const { threshold, comparisonOperator, treatMissingData } = alarm?.inputs ?? {};
    const wakes = threshold === 0 && comparisonOperator === "GreaterThanThreshold" && treatMissingData === "breaching";
    check(
      wakes,
      "invariants-alarm",
      alarm ?? { name: "InvariantViolations" },
      "a broken invariant, or nobody looking, would wake nobody",
    );
  }

  const alarms = of("aws:cloudwatch/metricAlarm:MetricAlarm");
  for (const one of alarms)
    check(list(one.inputs["alarmActions"]).length > 0, "alarms-tell", one, "it would go off unheard");
  for (const name of watched ? watchedMetrics : []) {
    const isWatched = alarms.some(({ inputs }) => inputs["metricName"] === name);
    check(isWatched, "alarms-watch", { name }, "nobody would hear of it");
  }

  for (const key of of("aws:kms/key:Key"))
    check(key.inputs["enableKeyRotation"] === true, "key-rotates", key, "no rotation");

  for (const stage of of("aws:apigatewayv2/stage:Stage")) {
    check(stage.inputs["defaultRouteSettings"]?.throttlingRateLimit > 0, "api-throttled", stage, "no limit per second");
  }

  for (const role of of("aws:iam/role:Role")) {
    const policies = list<{ readonly policy: string }>(role.inputs["inlinePolicies"]);
    for (const statement of policies.flatMap(({ policy }) => statementsOf(policy))) {
      if (statement.Effect !== "Allow") continue;
      for (const action of list(statement.Action)) check(!action.includes("*"), "no-wildcard-action", role, action);
      for (const resource of list(statement.Resource)) check(resource !== "*", "no-wildcard-resource", role, resource);
    }
  }

  for (const { functionId, file, bytes } of graph.builds) {
    check(bytes <= startBudgetBytes(file), "start-budget", { name: functionId }, `${file} reads ${bytes} bytes`);
  }
  return found;
}

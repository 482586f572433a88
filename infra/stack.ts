/// <reference path="../.sst/platform/config.d.ts" />

/**
 * `functions/topology.ts` in AWS: an HTTP API, queues with dead letter queues, schedules, one bucket, one key, secrets.
 *
 * Invariant: a function gets what its spec names and no more. Queues, bucket and key are given by environment and explicit
 * permissions, because `link` would grant `sqs:*` and `s3:*`; only secrets are linked.
 */
import {
  type FunctionSpec,
  type HttpSpec,
  http,
  type QueueName,
  type QueueSpec,
  queues,
  type ScheduleSpec,
  schedules,
  visibilitySeconds,
} from "../functions/topology.ts";
import { alarmSpecs } from "./alarms.ts";

const days = 86_400;
const seconds = (n: number) => `${n} seconds` as const;

const blobActions: Readonly<Record<FunctionSpec["blobs"], readonly string[]>> = {
  none: [],
  read: ["s3:GetObject"],
  write: ["s3:PutObject", "s3:AbortMultipartUpload"],
  readwrite: ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
  drain: ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
};

const keyActions: Readonly<Record<FunctionSpec["keys"], readonly string[]>> = {
  none: [],
  open: ["kms:Decrypt"],
  seal: ["kms:Decrypt", "kms:GenerateDataKey"],
};

/** Keeps its messages for 14 days, longer than any queue that feeds it, so that a redrive has time. */
const deadLetterQueue = (name: string) =>
  new sst.aws.Queue(name, {
    transform: { queue: { messageRetentionSeconds: 14 * days, sqsManagedSseEnabled: true } },
  });

export function stack() {
  const production = $app.stage === "production";
  // `DatabaseUrl`: the pooled connection string of `outrider_app`, which owns nothing and cannot bypass row-level security.
  // The owner's connection string is no secret of this stack, so that no function can ever be given it: the deploy pipeline keeps it and runs
  // `MIGRATION_URL=postgres://owner@… npx outrider migrate up` before `sst deploy`. It goes past the pooler (on Neon the host without
  // `-pooler`) and may become `outrider_owner`; docs/operating.md has the steps.
  const secrets = [new sst.Secret("DatabaseUrl"), new sst.Secret("SigningKeys")];

  const key = new aws.kms.Key("Credentials", {
    description: "Wraps the data keys of stored provider credentials",
    enableKeyRotation: true,
    deletionWindowInDays: 30,
  });

  const blobs = new sst.aws.Bucket("Blobs", {
    versioning: true,
    enforceHttps: true,
    cors: false,
    transform: {
      bucket: { forceDestroy: !production },
    },
  });

  new aws.s3.BucketLifecycleConfiguration("BlobsLifecycle", {
    bucket: blobs.name,
    rules: [
      {
        id: "tidy",
        status: "Enabled",
        filter: { prefix: "" },
        abortIncompleteMultipartUpload: { daysAfterInitiation: 2 },
        noncurrentVersionExpiration: { noncurrentDays: 30 },
      },
      {
        // Parts of files that came in pieces (core/intake/uploads.ts): a completed import keeps its own copy, an abandoned upload is rubbish.
        id: "uploads",
        status: "Enabled",
        filter: { prefix: "uploads/" },
        expiration: { days: 7 },
        noncurrentVersionExpiration: { noncurrentDays: 1 },
      },
    ],
  });

  const made = Object.fromEntries(
    (Object.entries(queues) as [QueueName, QueueSpec][]).map(([name, spec]) => {
      const dead = deadLetterQueue(`${name}Dlq`);
      const queue = new sst.aws.Queue(`${name}Queue`, {
        visibilityTimeout: seconds(visibilitySeconds(spec)),
        dlq: { queue: dead.arn, retry: spec.maxReceives },
        transform: {
          queue: { messageRetentionSeconds: 4 * days, receiveWaitTimeSeconds: 20, sqsManagedSseEnabled: true },
        },
      });
      return [name, queue];
    }),
  ) as Record<QueueName, sst.aws.Queue>;

  const domain = process.env["OUTRIDER_DOMAIN"];
  const api = new sst.aws.ApiGatewayV2("Api", {
    cors: false,
    accessLog: { retention: "1 month" },
    ...(domain ? { domain } : {}),
    transform: { stage: { defaultRouteSettings: { throttlingBurstLimit: 1_000, throttlingRateLimit: 500 } } },
  });

  const definition = (spec: FunctionSpec) => {
    const grants: readonly [readonly string[], readonly $util.Output<string>[]][] = [
      [spec.rings.length > 0 ? ["sqs:SendMessage"] : [], spec.rings.map((name) => made[name].arn)],
      [blobActions[spec.blobs], [$interpolate`${blobs.arn}/*`]],
      [spec.blobs === "drain" ? ["s3:ListBucket"] : [], [blobs.arn]],
      [spec.blobs === "drain" ? ["s3:DeleteObject"] : [], [$interpolate`${blobs.arn}/spill/*`]],
      [keyActions[spec.keys], [key.arn]],
    ];
    return {
      handler: `functions/${spec.file}.handler`,
      runtime: "nodejs24.x" as const,
      architecture: "arm64" as const,
      timeout: seconds(spec.timeoutSeconds),
      memory: `${spec.memoryMb} MB` as const,
      logging: { format: "json" as const, retention: production ? ("3 months" as const) : ("1 week" as const) },
      nodejs: { format: "esm" as const, minify: true, sourcemap: true, splitting: true },
      link: secrets,
      environment: {
        PUBLIC_URL: api.url,
        ...(spec.blobs === "none" ? {} : { BLOBS_BUCKET: blobs.name }),
        ...(spec.keys === "none" ? {} : { KMS_KEY_ID: key.arn }),
        ...Object.fromEntries(spec.rings.map((name) => [`QUEUE_${name.toUpperCase()}_URL`, made[name].url])),
      },
      permissions: grants
        .filter(([actions]) => actions.length > 0)
        .map(([actions, resources]) => ({ actions: [...actions], resources: [...resources] })),
    };
  };

  for (const [name, spec] of Object.entries(queues) as [QueueName, QueueSpec][]) {
    made[name].subscribe(definition(spec), {
      batch: {
        size: spec.batch,
        ...(spec.windowSeconds > 0 ? { window: seconds(spec.windowSeconds) } : {}),
        // Off by default in SST: a returned batchItemFailures would be ignored and failed messages deleted as successes.
        partialResponses: true,
      },
      transform: { eventSourceMapping: { scalingConfig: { maximumConcurrency: spec.maxConcurrency } } },
    });
  }

  const lostTicks = deadLetterQueue("schedulesDlq");
  for (const [name, spec] of Object.entries(schedules) as [string, ScheduleSpec][]) {
    new sst.aws.CronV2(`${name}Schedule`, {
      schedule: spec.rate,
      function: definition(spec),
      retries: 2,
      dlq: lostTicks.arn,
    });
  }

  // Whoever runs the installation subscribes to this topic: `aws sns subscribe`, or a chat's address.
  const alarms = new aws.sns.Topic("Alarms", { displayName: "Outrider alarms" });
  for (const { name, about, metric, dimensions, statistic, periodSeconds, periods, silence } of alarmSpecs) {
    new aws.cloudwatch.MetricAlarm(name, {
      alarmDescription: about,
      namespace: "Outrider",
      metricName: metric,
      ...(dimensions ? { dimensions: { ...dimensions } } : {}),
      statistic,
      period: periodSeconds,
      evaluationPeriods: periods,
      threshold: 0,
      comparisonOperator: "GreaterThanThreshold",
      treatMissingData: silence,
      alarmActions: [alarms.arn],
      okActions: [alarms.arn],
    });
  }

  for (const spec of Object.values<HttpSpec>(http)) {
    // The first route makes the function, the others reuse it.
    const [first, ...others] = spec.routes;
    if (first === undefined) continue;
    const route = api.route(first, definition(spec));
    for (const other of others) api.route(other, route.nodes.function.arn);
  }

  return { url: api.url, blobs: blobs.name };
}

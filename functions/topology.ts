/**
 * Every route, queue and schedule of the system, as plain data. `sst.config.ts` deploys it, `local/` runs it, `test/guard/topology`
 * checks it: a queue cannot exist in one and not in the other. Imports nothing.
 */
export interface FunctionSpec {
  /** File under `functions/`; its export `handler` is deployed, its export `define` is called by the local host. */
  readonly file: string;
  readonly timeoutSeconds: number;
  readonly memoryMb: number;
  /** Queues it may ring. */
  readonly rings: readonly QueueName[];
  /** `drain`: look for what was spilled, read and delete it, and write. */
  readonly blobs: "none" | "read" | "write" | "readwrite" | "drain";
  /** What it may do with sealed credentials: open them, or also seal new ones. */
  readonly keys: "none" | "open" | "seal";
}

export interface HttpSpec extends FunctionSpec {
  readonly routes: readonly string[];
}

export interface QueueSpec extends FunctionSpec {
  readonly batch: number;
  readonly windowSeconds: number;
  readonly maxReceives: number;
  readonly maxConcurrency: number;
}

export interface ScheduleSpec extends FunctionSpec {
  /** EventBridge Scheduler expression used in AWS. */
  readonly rate: `rate(${string})`;
  /** The local host runs it this often. */
  readonly localSeconds: number;
}

export type QueueName = "deliveries" | "actions" | "send" | "imports";

export const http = {
  webhooks: {
    file: "webhooks",
    // A text may wait 12 s for the database and its effect; Twilio waits 15.
    timeoutSeconds: 15,
    memoryMb: 512,
    // A reply stops what waits, and a person who writes START again may wake it.
    rings: ["deliveries", "actions", "send"],
    blobs: "write",
    keys: "open",
    routes: ["POST /webhooks/{provider}/{channelConfigId}"],
  },
  tracking: {
    file: "tracking",
    timeoutSeconds: 10,
    memoryMb: 512,
    // A click may end a wait whose next step sends at once.
    rings: ["actions", "send"],
    blobs: "none",
    keys: "none",
    routes: ["GET /u/{token}", "POST /u/{token}", "GET /o/{token}", "GET /c/{token}"],
  },
  api: {
    file: "api",
    timeoutSeconds: 29,
    memoryMb: 1024,
    rings: ["deliveries", "actions", "send", "imports"],
    blobs: "readwrite",
    keys: "seal",
    routes: ["GET /health", "GET /openapi.json", "ANY /v1/{proxy+}"],
  },
} as const satisfies Record<string, HttpSpec>;

export const queues = {
  deliveries: {
    file: "deliveries",
    timeoutSeconds: 60,
    memoryMb: 512,
    rings: ["actions", "send"],
    blobs: "read",
    keys: "none",
    batch: 10,
    windowSeconds: 0,
    maxReceives: 5,
    maxConcurrency: 10,
  },
  actions: {
    file: "actions",
    timeoutSeconds: 60,
    memoryMb: 512,
    rings: ["actions", "send"],
    blobs: "none",
    keys: "none",
    batch: 10,
    windowSeconds: 0,
    maxReceives: 5,
    maxConcurrency: 10,
  },
  send: {
    file: "send",
    timeoutSeconds: 120,
    memoryMb: 1024,
    rings: ["send", "actions"],
    blobs: "none",
    keys: "open",
    batch: 10,
    windowSeconds: 0,
    maxReceives: 5,
    maxConcurrency: 20,
  },
  imports: {
    file: "imports",
    timeoutSeconds: 600,
    memoryMb: 1024,
    rings: ["imports", "actions"],
    blobs: "readwrite",
    keys: "none",
    batch: 1,
    windowSeconds: 0,
    maxReceives: 5,
    maxConcurrency: 4,
  },
} as const satisfies Record<QueueName, QueueSpec>;

export const schedules = {
  sweep: {
    file: "sweep",
    timeoutSeconds: 50,
    memoryMb: 512,
    rings: ["deliveries", "actions", "send", "imports"],
    blobs: "none",
    keys: "none",
    rate: "rate(1 minute)",
    localSeconds: 1,
  },
  reconcile: {
    file: "reconcile",
    timeoutSeconds: 50,
    memoryMb: 512,
    rings: ["send", "actions"],
    blobs: "none",
    keys: "open",
    rate: "rate(1 minute)",
    localSeconds: 5,
  },
  drain: {
    file: "drain",
    timeoutSeconds: 50,
    memoryMb: 512,
    rings: ["deliveries", "actions", "send"],
    blobs: "drain",
    keys: "open",
    rate: "rate(1 minute)",
    localSeconds: 5,
  },
  maintain: {
    file: "maintain",
    timeoutSeconds: 300,
    memoryMb: 512,
    rings: [],
    blobs: "readwrite",
    keys: "none",
    rate: "rate(1 hour)",
    localSeconds: 600,
  },
  doctor: {
    file: "doctor",
    timeoutSeconds: 600,
    memoryMb: 512,
    rings: [],
    blobs: "none",
    keys: "none",
    rate: "rate(1 hour)",
    localSeconds: 300,
  },
} as const satisfies Record<string, ScheduleSpec>;

/** AWS advises a visibility timeout of at least six times the consumer's timeout. */
export const visibilitySeconds = (queue: QueueSpec): number => 6 * queue.timeoutSeconds + queue.windowSeconds;

/** What the rig tells the processes it starts. The rig and its children are made of the same checkout, so a type is contract enough. */
import type { FaultPoint } from "../../core/kernel/fault.ts";
import type { BellKind } from "../../core/ports/queue.ts";
import type { LocalQueue } from "../../local/aws.ts";

/** Environment variable that carries a child's task as JSON. */
export const taskVariable = "FAULT_TASK";

export interface ArmedPoint {
  readonly point: FaultPoint;
  readonly nth: number;
}

export interface QueueAddresses {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly queues: Readonly<Record<BellKind, LocalQueue>>;
}

/** What the rig tells the queue: to invoke functions of so many workers; which of them answer now. */
export type QueueOrder =
  | { readonly kind: "start"; readonly workers: number }
  | { readonly kind: "workers"; readonly origins: readonly string[] };

/** Where a worker takes events of the queue or schedule whose name follows. */
export const invokePath = "/invoke/";

export interface WorkerTask {
  /** `w2.17`: the 17th process in the second place. PostgreSQL knows its connections by it. */
  readonly name: string;
  readonly databaseUrl: string;
  /** Half of the workers speak Neon's protocol. */
  readonly driver: "neon" | "pg";
  readonly neonProxy: string;
  readonly aws: QueueAddresses;
  readonly keyFile: string;
  readonly publicUrl: string;
  readonly armed: readonly ArmedPoint[];
  /** Where a process that kills itself leaves its last words. */
  readonly faultLog: string;
  readonly seed: number;
  /** Shares of bells that are lost, doubled and late. */
  readonly bells: { readonly lost: number; readonly doubled: number; readonly late: number };
}

/** One line of the fault log. */
export interface FaultLine {
  readonly worker: string;
  readonly point: FaultPoint;
  readonly at: number;
}

/** What a worker says to the rig. */
export type WorkerMessage =
  | { readonly kind: "spare" }
  | { readonly kind: "up"; readonly port: number }
  | { readonly kind: "bells"; readonly lost: number; readonly doubled: number; readonly late: number };

export interface MigrateTask {
  readonly databaseUrl: string;
  readonly armed: readonly ArmedPoint[];
  readonly faultLog: string;
}

export function taskOf<T>(): T {
  return JSON.parse(process.env[taskVariable] ?? "null") as T;
}

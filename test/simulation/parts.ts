/** What a world is played with, and what comes out. Invariant: a world changes only what `restore` and `boot` bring back. */
import type { Context as LambdaContext } from "aws-lambda";
import type { Host } from "../../functions/lib/runtime.ts";
import type { Base } from "./base.ts";
import type { SimulationDatabase } from "./database.ts";
import type { Process } from "./invocation.ts";

export type HandlerName =
  | "sweep"
  | "reconcile"
  | "maintain"
  | "drain"
  | "actions"
  | "send"
  | "deliveries"
  | "imports"
  | "webhooks"
  | "tracking";
export type Handlers = Readonly<Record<HandlerName, (event: never, invocation: LambdaContext) => Promise<unknown>>>;

/** A process with what has been loaded into it. */
export interface Booted {
  readonly process: Process;
  host: Host;
  handlers: Handlers;
}

export interface WorldParts {
  readonly database: SimulationDatabase;
  readonly base: Base;
  readonly processes: readonly Booted[];
  /** Loads handlers anew: a killed process has lost its memory. */
  readonly boot: (process: Process, ring: Host["queue"]) => Pick<Booted, "host" | "handlers">;
  readonly clearBlobs: () => void;
  /** Is a webhook's body in object storage, where it waits for the database? */
  readonly spills: readonly Uint8Array[];
  /** Query of the names of tables in which a tenant ($1) sees others' rows. */
  readonly foreignRows: string;
}

export interface Outcome {
  readonly seed: string;
  readonly hash: string;
  readonly steps: number;
  readonly accepts: number;
  readonly days: number;
  readonly milliseconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly violation: { readonly checker: string; readonly detail: string } | null;
  readonly story: readonly string[];
  readonly trace?: readonly string[];
}

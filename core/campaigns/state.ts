/**
 * Where one contact stands in a plan, what can happen to it, and what the engine asks for in return. All of it is plain JSON: a state
 * read back from the database continues exactly where it was.
 */
import * as z from "zod";
import type { Channel, EnrollmentStatus } from "../kernel/index.ts";
import type { UpdateSet } from "./plan.ts";
import {
  type MessageFact,
  messageEvents,
  NodeId,
  type TransitionEvent,
  transitionEvents,
  WalkNodeId,
} from "./vocabulary.ts";

const instant = z.iso.datetime();

/** What is known of one node's message. Facts only accumulate, each with the earliest instant reported, so their order cannot matter. */
export const SendState = z.strictObject({
  /** When the provider took it; absent while it is queued, held, in flight or ambiguous. */
  sentAt: instant.optional(),
  /** `failed` stays failed: a message that was accepted and then lost reads as failed. */
  outcome: z.enum(["sent", "failed"]).optional(),
  failedAt: instant.optional(),
  failure: z.string().optional(),
  variantId: NodeId.optional(),
  events: z.partialRecord(z.enum(messageEvents), instant),
});
export type SendState = z.output<typeof SendState>;

/** An enrollment's status from the moment the engine knows it; `draft` is before that. */
export const stateStatuses = [
  "active",
  "paused",
  "completed",
  "stopped",
  "error",
] as const satisfies readonly EnrollmentStatus[];
export type StateStatus = (typeof stateStatuses)[number];

export const EnrollmentState = z.strictObject({
  /** The contact's id: with plan and node it draws A/B variants. */
  key: z.string().min(1),
  status: z.enum(stateStatuses),
  /** Where the contact is, or was when it ended; `null` before the start. */
  nodeId: NodeId.nullable(),
  enteredAt: instant.nullable(),
  sends: z.record(WalkNodeId, SendState),
  stepCount: z.int().min(0),
  /** A transition already decided that lingers for its `after`. */
  chosen: z.strictObject({ on: z.enum(transitionEvents), runAt: instant }).optional(),
  /** Why it ended, or why it is paused. */
  exitReason: z.string().optional(),
});
export type EnrollmentState = z.output<typeof EnrollmentState>;

/** A contact about to start. @param key the contact's id. */
export const initialState = (key: string): EnrollmentState => ({
  key,
  status: "active",
  nodeId: null,
  enteredAt: null,
  sends: {},
  stepCount: 0,
});

/** Nothing moves an enrollment out of these; late events still add facts. */
export const isTerminal = (status: StateStatus): boolean =>
  status === "completed" || status === "stopped" || status === "error";

/** `end`: the last moment at which a reaction could still have moved the contact on. */
export type TimeoutName = TransitionEvent | "end";

export type EngineEvent =
  | { readonly type: "start" }
  /** The scheduled `node` action of a wait ran; for an enrollment that has not started it is its start. */
  | { readonly type: "due"; readonly nodeId: string }
  | { readonly type: "timeout"; readonly nodeId: string; readonly on: TimeoutName }
  /** The provider accepted the message. `at` (ISO) when known to differ from now. */
  | { readonly type: "sent"; readonly nodeId: string; readonly at?: string }
  /** It will not arrive: refused by the gate for good (suppressed, expired, cancelled) or by the provider. Never for an ambiguous attempt. */
  | { readonly type: "send_failed"; readonly nodeId: string; readonly reason?: string; readonly at?: string }
  /** `nodeId: null` when the event is matched to the contact but to no message: it counts for the one sent last. */
  | {
      readonly type: "message";
      readonly nodeId: string | null;
      readonly event: MessageFact;
      readonly at: string;
      readonly machine?: boolean;
    }
  | { readonly type: "pause"; readonly reason?: string }
  | { readonly type: "resume" }
  | { readonly type: "stop"; readonly reason: string }
  | { readonly type: "converted" };

export type Effect =
  | { readonly type: "send"; readonly nodeId: string; readonly variantId: string | null }
  /** Unique per (enrollment, action, node, on): a repeated effect replaces the pending action. */
  | { readonly type: "schedule"; readonly action: "node"; readonly nodeId: string; readonly runAt: string }
  | {
      readonly type: "schedule";
      readonly action: "timeout";
      readonly nodeId: string;
      readonly on: TimeoutName;
      readonly runAt: string;
    }
  /** `timeouts`: the node's pending scheduled actions. `all`: every pending action and every message not yet sent. */
  | { readonly type: "cancel"; readonly what: "timeouts"; readonly nodeId: string }
  | { readonly type: "cancel"; readonly what: "all" }
  | { readonly type: "update"; readonly nodeId: string; readonly set: UpdateSet }
  | {
      readonly type: "task";
      readonly nodeId: string;
      readonly title: string;
      readonly assignee: string | null;
      readonly channel: Channel | null;
    }
  /** One row of `campaign_transitions`. */
  | {
      readonly type: "transition";
      readonly fromNodeId: string | null;
      readonly toNodeId: string | null;
      readonly fromStatus: StateStatus;
      readonly toStatus: StateStatus;
      readonly reason: string;
    };

export interface Advance {
  /** The very same object when nothing changed. */
  readonly state: EnrollmentState;
  /** In order: cancellations precede what replaces them. */
  readonly effects: readonly Effect[];
}

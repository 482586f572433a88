/**
 * The plan: a graph of nodes that one contact walks. The schema fills every default, so two plans that behave the same through
 * omission or explicit defaults are the same JSON, and a plan is identified by the hash of that JSON (`hash.ts`).
 */
import * as z from "zod";
import { channels, leadStatuses, TimeZone } from "../kernel/index.ts";
import { Condition } from "./condition.ts";
import { IsoDuration } from "./duration.ts";
import { exitEvents, isTimer, NodeId, sendChannels, timers, transitionEvents } from "./vocabulary.ts";

/** More nodes than anyone can review; also bounds the work of validating a hostile plan. */
export const maxNodes = 200;
/** Ten segments of a text message, the providers' limit. */
export const maxSmsCharacters = 1600;

const wallTime = z
  .string({ error: "expected a time such as 09:00" })
  .regex(/^([01]\d|2[0-3]):[0-5]\d$/, { error: "expected a time such as 09:00" });
const closingTime = z.union([wallTime, z.literal("24:00")], { error: "expected a time such as 17:00, at most 24:00" });
const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
const shortText = z.string().trim().min(1, { error: "expected a text that is not empty" }).max(200);
const reference = z.string().trim().min(1, { error: "expected an id that is not empty" }).max(100);

/** Members in the vocabulary's order, once each, so that the order an author happened to use does not change the hash. */
const subset = <const T extends string>(members: readonly [T, ...T[]]) =>
  z.array(z.enum(members)).transform((chosen) => members.filter((member) => chosen.includes(member)));

/** The earliest local window in which a message may leave; the gate applies it in the recipient's zone. */
export const Schedule = z.strictObject({
  days: subset(weekdays).default([...weekdays]),
  from: wallTime.default("00:00"),
  to: closingTime.default("24:00"),
});
export type Schedule = z.output<typeof Schedule>;

export const Content = z.strictObject({
  subject: z.string().trim().min(1, { error: "expected a subject that is not empty" }).max(998).optional(),
  html: z.string().min(1, { error: "expected HTML that is not empty" }).max(500_000).optional(),
  text: z.string().min(1, { error: "expected a text that is not empty" }).max(100_000).optional(),
});
export type Content = z.output<typeof Content>;

export const Variant = z.strictObject({
  id: NodeId,
  /** Share of recipients relative to the other variants' weights. */
  weight: z.int().min(0).max(10_000),
  /** Replaces the subject of the node's content or template. */
  subject: Content.shape.subject,
  content: Content.optional(),
  templateId: reference.optional(),
});
export type Variant = z.output<typeof Variant>;

export const Transition = z
  .strictObject({
    on: z.enum(transitionEvents),
    to: NodeId,
    /** Counts only when it happens this soon after the message was accepted. */
    within: IsoDuration.optional(),
    /** For `no_*`: how long to wait for it. For the others: how long to linger before moving on. */
    after: IsoDuration.optional(),
  })
  .transform((it) => (isTimer(it.on) ? { ...it, after: it.after ?? timers[it.on].after } : it));
export type Transition = z.output<typeof Transition>;

const SendNode = z.strictObject({
  id: NodeId,
  type: z.literal("send"),
  channel: z.enum(sendChannels, {
    error: `expected one of ${sendChannels.join(", ")}; use a task node for work that a person does`,
  }),
  templateId: reference.optional(),
  content: Content.optional(),
  senderId: reference.optional(),
  messageClass: z.enum(["marketing", "transactional"]).default("marketing"),
  schedule: Schedule.optional(),
  /** A message that could not leave for this long fails as expired instead of arriving stale. */
  expiresAfter: IsoDuration.default("P3D"),
  variants: z.array(Variant).min(2, { error: "expected at least two variants" }).max(10).optional(),
  transitions: z.array(Transition).max(50).default([]),
});
const WaitNode = z.strictObject({ id: NodeId, type: z.literal("wait"), duration: IsoDuration, to: NodeId });
const BranchNode = z.strictObject({
  id: NodeId,
  type: z.literal("branch"),
  /** The first case that holds decides. */
  cases: z
    .array(z.strictObject({ when: Condition, to: NodeId }))
    .min(1)
    .max(50),
  /** Without it, a contact for whom no case holds has reached the end. */
  else: NodeId.optional(),
});
const tags = z.array(z.string().trim().min(1).max(100)).max(50);
const UpdateNode = z.strictObject({
  id: NodeId,
  type: z.literal("update"),
  set: z
    .strictObject({
      status: z.enum(leadStatuses).optional(),
      campaign_status: z.enum(["initial", "retarget", "follow_up", "nurture", "ghost"]).optional(),
      tags: z.strictObject({ add: tags.optional(), remove: tags.optional() }).optional(),
    })
    .refine((set) => Object.keys(set).length > 0, { error: "expected at least one of status, campaign_status, tags" }),
  to: NodeId.optional(),
});
const TaskNode = z.strictObject({
  id: NodeId,
  type: z.literal("task"),
  title: shortText,
  assignee: reference.optional(),
  channel: z.enum(channels).optional(),
  to: NodeId.optional(),
});
const StopNode = z.strictObject({
  id: NodeId,
  type: z.literal("stop"),
  outcome: z.enum(["completed", "stopped"]).default("completed"),
  reason: shortText.optional(),
});

export const nodeTypes = ["send", "wait", "branch", "update", "task", "stop"] as const;

export const Node = z.discriminatedUnion("type", [SendNode, WaitNode, BranchNode, UpdateNode, TaskNode, StopNode], {
  error: `expected type to be one of ${nodeTypes.join(", ")}`,
});
export type Node = z.output<typeof Node>;
export type SendNode = Extract<Node, { type: "send" }>;
export type WaitNode = Extract<Node, { type: "wait" }>;
export type UpdateSet = Extract<Node, { type: "update" }>["set"];

/** What all three authoring forms may say about the whole campaign. */
export const settings = {
  name: shortText.optional(),
  /** The zone of the plan's own calendar arithmetic; windows and quiet hours are judged in the recipient's. */
  timeZone: TimeZone.default("UTC").meta({
    description: "a plan that names none gets its tenant's when it is written",
    // Clients that fill in defaults would name UTC.
    default: undefined,
  }),
  /** Hours without messages in addition to those that the law imposes; they can only tighten. */
  quietHours: z.strictObject({ start: wallTime, end: wallTime }).optional(),
  exitOn: subset(exitEvents).default([...exitEvents]),
};

/** The shape of a plan. A value that parses may still be a wrong graph: `parsePlan` in `validate.ts` is the door. */
export const Plan = z.strictObject({
  ...settings,
  start: NodeId,
  nodes: z.array(Node).min(1, { error: "expected at least one node" }),
});
export type Plan = z.output<typeof Plan>;
/** A plan as authored, defaults left out. */
export type PlanInput = z.input<typeof Plan>;

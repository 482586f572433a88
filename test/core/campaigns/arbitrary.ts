/**
 * Random plans that are valid by construction, and ways to break them. Edges between nodes only lead forward, so there are no circles;
 * every node but the first gets an edge from an earlier one, so all are reachable; a circle of waits is added on purpose now and then.
 */
import fc from "fast-check";
import { type Condition, conditionEvents } from "../../../core/campaigns/condition.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { isTimer, sendChannels, type TransitionEvent, transitionsOn } from "../../../core/campaigns/vocabulary.ts";

type NodeInput = PlanInput["nodes"][number];
/** Names of properties that every object has, to catch look-ups through the prototype. */
const ids = ["intro", "constructor", "toString", "bump", "hasOwnProperty", "n5", "n6", "n7", "n8", "n9"];
const duration = fc.constantFrom("PT1M", "PT1H", "PT24H", "PT72H", "P1D", "P3D", "P1W", "P1M");

const leafCondition: fc.Arbitrary<Condition> = fc.oneof(
  fc.record({ op: fc.constant("happened" as const), event: fc.constantFrom(...conditionEvents) }),
  fc.record({
    op: fc.constant("eq" as const),
    field: fc.constant("lead.status"),
    value: fc.constantFrom("new", "hot", null),
  }),
  fc.record({ op: fc.constant("exists" as const), field: fc.constant("contact.title") }),
  fc.record({ op: fc.constant("gt" as const), field: fc.constant("lead.lead_score"), value: fc.integer() }),
);
const condition: fc.Arbitrary<Condition> = fc.oneof(
  leafCondition,
  fc.record({
    op: fc.constantFrom("and" as const, "or" as const),
    of: fc.array(leafCondition, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ op: fc.constant("not" as const), of: leafCondition }),
);

/** A node whose targets are numbers, to be resolved once the graph is known. */
interface Draft {
  readonly kind: "send" | "wait" | "branch" | "update" | "task";
  readonly channel: (typeof sendChannels)[number];
  readonly events: readonly TransitionEvent[];
  readonly hops: readonly number[];
  readonly within: string | undefined;
  readonly after: string | undefined;
  readonly duration: string;
  readonly conditions: readonly Condition[];
  readonly hasVariants: boolean;
  readonly hasElse: boolean;
}

const draft: fc.Arbitrary<Draft> = fc.constantFrom(...sendChannels).chain((channel) =>
  fc.record({
    kind: fc.constantFrom("send", "send", "send", "wait", "branch", "update", "task"),
    channel: fc.constant(channel),
    events: fc.uniqueArray(fc.constantFrom(...transitionsOn[channel]), { minLength: 1, maxLength: 4 }),
    hops: fc.array(fc.nat({ max: 9 }), { minLength: 5, maxLength: 5 }),
    within: fc.option(duration, { nil: undefined }),
    after: fc.option(duration, { nil: undefined }),
    duration,
    conditions: fc.array(condition, { minLength: 1, maxLength: 2 }),
    hasVariants: fc.boolean(),
    hasElse: fc.boolean(),
  }),
);

function build(drafts: readonly Draft[], index: number): NodeInput {
  const it = drafts[index] as Draft;
  const id = ids[index] as string;
  const rest = drafts.length - index - 1;
  // The first target is the next node, which keeps every node reachable; the others go anywhere further on.
  const target = (n: number): string => ids[n === 0 ? index + 1 : index + 1 + ((it.hops[n] ?? 0) % rest)] as string;
  const isLast = rest === 0;
  if (it.kind === "send" || isLast) {
    return {
      id,
      type: "send",
      channel: it.channel,
      content: it.channel === "email" ? { subject: "Hello", text: "Hi" } : { text: "Hi" },
      ...(it.hasVariants
        ? {
            variants: [
              { id: "a", weight: 1 },
              { id: "b", weight: 3 },
            ],
          }
        : {}),
      transitions: isLast
        ? []
        : it.events.map((on, n) => ({
            on,
            to: target(n),
            ...(it.after === undefined ? {} : { after: it.after }),
            ...(it.within === undefined || isTimer(on) || on === "failed" ? {} : { within: it.within }),
          })),
    };
  }
  if (it.kind === "wait") return { id, type: "wait", duration: it.duration, to: target(0) };
  if (it.kind === "branch") {
    const cases = it.conditions.map((when, n) => ({ when, to: target(n) }));
    return { id, type: "branch", cases, ...(it.hasElse ? { else: target(4) } : {}) };
  }
  if (it.kind === "update")
    return { id, type: "update", set: { status: "contacted", tags: { add: ["reached"] } }, to: target(0) };
  return { id, type: "task", title: "Call back", channel: "call", to: target(0) };
}

const settings = fc.record(
  {
    timeZone: fc.constantFrom("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"),
    exitOn: fc
      .subarray(["replied", "bounced", "complained", "unsubscribed", "converted"] as const)
      .map((all) => [...all]),
    quietHours: fc.constant({ start: "20:00", end: "09:00" }),
  },
  { requiredKeys: [] },
);

/** A circle that is allowed: it waits, and sends nothing. */
const loop: NodeInput[] = [
  { id: "loop-wait", type: "wait", duration: "PT1M", to: "loop-if" },
  {
    id: "loop-if",
    type: "branch",
    cases: [{ when: { op: "eq", field: "lead.status", value: "hot" }, to: "intro" }],
    else: "loop-wait",
  },
];

export const validPlan: fc.Arbitrary<PlanInput> = fc
  .tuple(fc.array(draft, { minLength: 1, maxLength: ids.length }), settings, fc.boolean())
  .map(([drafts, more, startsInLoop]) => {
    const nodes = drafts.map((_, index) => build(drafts, index));
    return startsInLoop
      ? { ...more, start: "loop-wait", nodes: [...loop, ...nodes] }
      : { ...more, start: "intro", nodes };
  });

const breakages: Record<string, (plan: PlanInput) => unknown> = {
  no_start: (plan) => ({ ...plan, start: "nowhere" }),
  unreachable: (plan) => ({ ...plan, nodes: [...plan.nodes, { id: "island", type: "stop" }] }),
  duplicate_id: (plan) => ({ ...plan, nodes: [...plan.nodes, ...plan.nodes.slice(0, 1)] }),
  unknown_field: (plan) => ({ ...plan, color: "red" }),
  unknown_target: (plan) => ({
    ...plan,
    start: "pre",
    nodes: [{ id: "pre", type: "task", title: "x", to: "gone" }, ...plan.nodes],
  }),
  cycle_without_wait: (plan) => ({
    ...plan,
    start: "x1",
    nodes: [
      {
        id: "x1",
        type: "branch",
        cases: [{ when: { op: "exists", field: "lead.status" }, to: "x2" }],
        else: plan.start,
      },
      { id: "x2", type: "task", title: "x", to: "x1" },
      ...plan.nodes,
    ],
  }),
  send_in_cycle: (plan) => ({
    ...plan,
    start: "y1",
    nodes: [
      {
        id: "y1",
        type: "send",
        channel: "sms",
        content: { text: "x" },
        transitions: [
          { on: "no_reply", to: "y2" },
          { on: "failed", to: plan.start },
        ],
      },
      { id: "y2", type: "wait", duration: "P1D", to: "y1" },
      ...plan.nodes,
    ],
  }),
  subject_missing: (plan) => ({
    ...plan,
    start: "z1",
    nodes: [
      {
        id: "z1",
        type: "send",
        channel: "email",
        content: { text: "x" },
        transitions: [{ on: "failed", to: plan.start }],
      },
      ...plan.nodes,
    ],
  }),
};

export const brokenPlans: fc.Arbitrary<{ input: unknown; code: string }> = fc
  .tuple(validPlan, fc.constantFrom(...Object.entries(breakages)))
  .map(([plan, [code, breakIt]]) => ({ input: breakIt(plan), code }));

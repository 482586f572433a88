/** Plans and ways of walking them that several tests share. */

import type { Fields } from "../../../core/campaigns/condition.ts";
import { advance } from "../../../core/campaigns/engine.ts";
import type { Plan, PlanInput } from "../../../core/campaigns/plan.ts";
import { type Effect, type EngineEvent, type EnrollmentState, initialState } from "../../../core/campaigns/state.ts";
import { parsePlan } from "../../../core/campaigns/validate.ts";

export const t0 = new Date("2026-03-02T15:00:00.000Z");
export const hoursLater = (hours: number): Date => new Date(t0.getTime() + hours * 3_600_000);
export const iso = (hours: number): string => hoursLater(hours).toISOString();

export function planOf(input: PlanInput): Plan {
  const parsed = parsePlan(input);
  if (!parsed.ok) throw new Error(parsed.problems.map((it) => it.message).join("\n"));
  return parsed.plan;
}

type SendInput = Extract<PlanInput["nodes"][number], { type: "send" }>;
export const email = (id: string, more: Partial<SendInput> = {}): SendInput => ({
  id,
  type: "send",
  channel: "email",
  content: { subject: `About ${id}`, text: "Hello" },
  ...more,
});
export const sms = (id: string, more: Partial<SendInput> = {}): SendInput => ({
  id,
  type: "send",
  channel: "sms",
  content: { text: "Hello" },
  ...more,
});

/** E-mail with two subjects, a bump for all who did not reply, a text for those who engaged. */
export const demoGraph: PlanInput = {
  name: "Spring outreach",
  timeZone: "America/New_York",
  quietHours: { start: "20:00", end: "09:00" },
  start: "step-1",
  nodes: [
    {
      ...email("step-1", { content: { text: "Hello {{ contact.first_name }}" } }),
      variants: [
        { id: "a", weight: 50, subject: "A quick question" },
        { id: "b", weight: 50, subject: "An idea for {{ company.name }}" },
      ],
      transitions: [
        { on: "opened", to: "step-2", after: "PT24H" },
        { on: "no_open", to: "step-2" },
      ],
    },
    { ...email("step-2"), transitions: [{ on: "no_reply", to: "step-3-if", after: "PT48H" }] },
    {
      id: "step-3-if",
      type: "branch",
      cases: [
        {
          when: {
            op: "or",
            of: [
              { op: "happened", event: "opened" },
              { op: "happened", event: "clicked" },
            ],
          },
          to: "step-3",
        },
      ],
    },
    sms("step-3"),
  ],
};

export const demoSteps = {
  name: "Spring outreach",
  timeZone: "America/New_York",
  quietHours: { start: "20:00", end: "09:00" },
  steps: [
    {
      channel: "email",
      text: "Hello {{ contact.first_name }}",
      variants: [
        { id: "a", weight: 50, subject: "A quick question" },
        { id: "b", weight: 50, subject: "An idea for {{ company.name }}" },
      ],
    },
    { delayHours: 72, afterEngagementHours: 24, channel: "email", subject: "About step-2", text: "Hello" },
    { delayHours: 48, channel: "sms", onlyIf: "engaged", text: "Hello" },
  ],
};

/** Walks a plan from its start through events given as [hours since t0, event]. */
export function walk(plan: Plan, events: readonly (readonly [number, EngineEvent])[], fields: Fields = {}) {
  let state: EnrollmentState = initialState("contact_1");
  const effects: Effect[] = [];
  let last: readonly Effect[] = [];
  for (const [hours, event] of [[0, { type: "start" }] as const, ...events]) {
    const step = advance(plan, state, event, hoursLater(hours), fields);
    state = step.state;
    last = step.effects;
    effects.push(...step.effects);
  }
  return { state, effects, last, sent: effects.flatMap((it) => (it.type === "send" ? [it.nodeId] : [])) };
}

export const reaction = (
  nodeId: string | null,
  event: "delivered" | "opened" | "clicked" | "replied" | "bounced" | "complained" | "unsubscribed",
  hours: number,
  machine = false,
): EngineEvent => ({
  type: "message",
  nodeId,
  event,
  at: iso(hours),
  machine,
});

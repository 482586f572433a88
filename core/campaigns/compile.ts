/**
 * Three ways to write a campaign, one plan: the graph itself, steps in hours, nurture steps in days. Compilation is deterministic,
 * ids included (`step-1`, `step-2-wait`, `step-3-if`), so a graph written with those ids and the steps it stands for have one hash.
 *
 * How steps read: a step's delay counts from the moment the provider accepted the message before it (from the end of the previous step
 * when that one was skipped or done by a person). Everyone who has not left by an exit rule gets the next step, who answers counted from the
 * answer; a message that cannot be sent ends the walk. A step whose `onlyIf` does not hold is skipped; the walk goes on with the one after it.
 */
import * as z from "zod";
import { inputWords } from "../kernel/index.ts";
import type { Condition } from "./condition.ts";
import { fieldProblems } from "./fields.ts";
import { planHash } from "./hash.ts";
import { Content, type Plan, type PlanInput, Schedule, settings, Variant } from "./plan.ts";
import { type Problem, problem } from "./rules.ts";
import { textFindings } from "./texts.ts";
import { fromIssue, parsePlan } from "./validate.ts";
import { type SendChannel, sendChannels } from "./vocabulary.ts";

const onlyIf = ["opened", "clicked", "engaged", "not_opened", "not_clicked", "not_engaged"] as const;
type OnlyIf = (typeof onlyIf)[number];

/** 400 days, the engine's longest wait. */
const maxHours = 9600;
const reference = z.string().trim().min(1).max(100);

const HourStep = z
  .strictObject({
    /** Hours after the message before it was accepted; of the first step, after the walk began. 0 after a message means one minute. */
    delayHours: z.int().min(0).max(maxHours).default(0),
    /** When the message before it is opened (or clicked, where opens are unknown), this many hours after that instead of `delayHours`, sooner or later. */
    afterEngagementHours: z.int().min(0).max(maxHours).optional(),
    channel: z
      .enum(sendChannels, {
        error: `expected one of ${sendChannels.join(", ")}; what a person does is a step in days, or a task node of a graph`,
      })
      .default("email"),
    onlyIf: z.enum(onlyIf).optional(),
    subject: Content.shape.subject,
    html: Content.shape.html,
    text: Content.shape.text,
    templateId: reference.optional(),
    senderId: reference.optional(),
    messageClass: z.enum(["marketing", "transactional"]).optional(),
    schedule: Schedule.optional(),
    expiresAfter: z.string().optional(),
    variants: z.array(Variant).optional(),
  })
  .meta({ id: "HourStep" });

/** `phone` is the spelling of one of the sources for `call`. */
const nurtureChannels = [...sendChannels, "call", "phone", "linkedin"] as const;
const DayStep = z
  .strictObject({
    step: z.int().min(1).max(1000),
    delay_days: z.int().min(0).max(400),
    channel: z.enum(nurtureChannels),
    template_id: reference,
  })
  .meta({ id: "DayStep" });

const maxSteps = 50;
const stepList = <T extends z.ZodType>(step: T) =>
  z.array(step).min(1, { error: "expected at least one step" }).max(maxSteps);

/** Steps with delays in hours, the form of e-mail sequences. */
export const HourSteps = z.strictObject({ ...settings, steps: stepList(HourStep) });
export type HourStepsInput = z.input<typeof HourSteps>;
/** Nurture steps with delays in calendar days, any channel, in the order of `step`. */
export const DaySteps = z.strictObject({ ...settings, steps: stepList(DayStep) });
export type DayStepsInput = z.input<typeof DaySteps>;

export const authoringForms = ["graph", "hours", "days"] as const;
export type AuthoringForm = (typeof authoringForms)[number];

export type Compiled =
  | {
      readonly ok: true;
      readonly form: AuthoringForm;
      readonly plan: Plan;
      readonly hash: string;
      /** What may be a slip and does not keep the plan from being used. */
      readonly warnings: readonly Problem[];
    }
  | { readonly ok: false; readonly problems: Problem[] };

/** Which form a source is written in: `nodes` make a graph; a field that only steps in days have makes days; anything else with steps is hours. */
export function formOf(source: unknown): AuthoringForm {
  if (typeof source !== "object" || source === null || !("steps" in source)) return "graph";
  const steps = Array.isArray(source.steps) ? (source.steps as unknown[]) : [];
  const ofDays = Object.keys(DayStep.shape).filter((name) => !(name in HourStep.shape));
  const isOfDays = (step: unknown) =>
    typeof step === "object" && step !== null && ofDays.some((name) => Object.hasOwn(step, name));
  return steps.some(isOfDays) ? "days" : "hours";
}

/** What stands in for what a source leaves out. */
export interface PlanDefaults {
  /** IANA name; without it UTC. */
  readonly timeZone?: string | undefined;
}

/** Compiles any authoring form; a bare array of steps is a campaign with default settings. Total: problems are values, as in `parsePlan`. */
export function compilePlan(source: unknown, { timeZone }: PlanDefaults = {}): Compiled {
  const written: unknown = Array.isArray(source) ? { steps: source } : source;
  const isZoned = timeZone === undefined || typeof written !== "object" || written === null || "timeZone" in written;
  const whole = isZoned ? written : { ...written, timeZone };
  const form = formOf(whole);
  const graph =
    form === "graph"
      ? { ok: true as const, plan: whole, order: [] }
      : form === "hours"
        ? fromHours(whole)
        : fromDays(whole);
  if (!graph.ok) return graph;
  const asWritten = (found: readonly Problem[]) => found.map((one) => inSteps(one, graph.order));
  const parsed = parsePlan(graph.plan);
  if (!parsed.ok) return { ok: false, problems: asWritten(parsed.problems) };
  const { problems, warnings } = textFindings(parsed.plan);
  const all = asWritten([...fieldProblems(parsed.plan), ...problems]);
  if (all.length > 0) return { ok: false, problems: all };
  return { ok: true, form, plan: parsed.plan, hash: planHash(parsed.plan), warnings: asWritten(warnings) };
}

/** A problem of a node where its author wrote it. @param order where each step stands in the source; empty for a graph */
function inSteps(found: Problem, order: readonly number[]): Problem {
  const [, number] = /^step-(\d+)/.exec(found.nodeId ?? "") ?? [];
  const index = order[Number(number) - 1];
  if (index === undefined) return found;
  const { nodeId, code, message } = found;
  const own = (found.field ?? "").replace(/^content\.?/, "");
  const path = `steps[${index}]${own === "" ? "" : `.${own}`}`;
  const said = message.slice(message.indexOf(": ") + 2).replaceAll("content.", "");
  return problem({ path, nodeId, field: path, code, message: said });
}

/** One step in the terms that both step forms share. */
interface Step {
  readonly delay: string | null;
  readonly sooner: string | null;
  readonly onlyIf: OnlyIf | undefined;
  readonly build: (id: string, next: Next | null) => NodeInput;
  readonly isSend: boolean;
  readonly channel: SendChannel | null;
}
type NodeInput = PlanInput["nodes"][number];
type SendInput = Extract<NodeInput, { type: "send" }>;
type TransitionInput = NonNullable<SendInput["transitions"]>[number];

interface Next {
  /** Entered when the delay has already been waited out. */
  readonly entry: string;
  /** Entered when the delay still has to be waited for. */
  readonly delayed: string;
  readonly step: Step;
}

type Built =
  | { readonly ok: true; readonly plan: unknown; readonly order: readonly number[] }
  | { readonly ok: false; readonly problems: Problem[] };

const stepProblems = (error: z.ZodError, source: unknown): Built => ({
  ok: false,
  problems: error.issues.flatMap((issue) => fromIssue(issue, source)),
});

const hours = (count: number) => (count === 0 ? null : `PT${count}H`);
const days = (count: number) => (count === 0 ? null : `P${count}D`);

function fromHours(source: unknown): Built {
  const parsed = HourSteps.safeParse(source, { error: inputWords });
  if (!parsed.success) return stepProblems(parsed.error, source);
  const { steps, ...rest } = parsed.data;
  const list = steps.map((step): Step => {
    const { delayHours, afterEngagementHours: sooner, onlyIf, channel, subject, html, text, ...send } = step;
    const content = withoutUndefined({ subject, html, text });
    return {
      delay: hours(delayHours),
      sooner: sooner === undefined ? null : (hours(sooner) ?? shortest),
      onlyIf,
      isSend: true,
      channel,
      build: (id, next) => ({
        ...withoutUndefined(send),
        id,
        type: "send",
        channel,
        ...(Object.keys(content).length > 0 ? { content } : {}),
        transitions: next ? onward(channel, next, rest.exitOn) : [],
      }),
    };
  });
  return { ok: true, plan: { ...rest, ...chain(list) }, order: list.map((_, index) => index) };
}

function fromDays(source: unknown): Built {
  const parsed = DaySteps.safeParse(source, { error: inputWords });
  if (!parsed.success) return stepProblems(parsed.error, source);
  const { steps, ...rest } = parsed.data;
  const ordered = steps.toSorted((a, b) => a.step - b.step);
  const repeated = ordered.find((step, i) => step.step === ordered[i + 1]?.step);
  if (repeated) {
    const path = `steps[${steps.indexOf(repeated)}].step`;
    const message = `step ${repeated.step} occurs twice; number each step once`;
    return { ok: false, problems: [problem({ path, field: path, code: "duplicate_step", message })] };
  }
  const list = ordered.map((step) => dayStep(step, rest.exitOn));
  return { ok: true, plan: { ...rest, ...chain(list) }, order: ordered.map((step) => steps.indexOf(step)) };
}

function dayStep({ delay_days, channel, template_id }: z.output<typeof DayStep>, exitOn: ExitOn): Step {
  const common = { delay: days(delay_days), sooner: null, onlyIf: undefined };
  if (channel === "call" || channel === "phone" || channel === "linkedin") {
    // Nobody's machine makes calls or writes on LinkedIn here: a person does, and the sequence goes on meanwhile.
    const by = channel === "phone" ? "call" : channel;
    const build = (id: string, next: Next | null): NodeInput => ({
      id,
      type: "task",
      title: template_id,
      channel: by,
      ...(next ? { to: next.delayed } : {}),
    });
    return { ...common, isSend: false, channel: null, build };
  }
  const build = (id: string, next: Next | null): NodeInput => ({
    id,
    type: "send",
    channel,
    templateId: template_id,
    transitions: next ? onward(channel, next, exitOn) : [],
  });
  return { ...common, isSend: true, channel, build };
}

/** The engine's shortest wait stands for "at once": a step cannot leave in the instant in which the one before it was accepted. */
const shortest = "PT1M";

type ExitOn = Plan["exitOn"];

/** From a message to the next step: after the delay for everyone, or sooner for those who react. Who answers and does not leave goes on, too. */
function onward(channel: SendChannel, { entry, step }: Next, exitOn: ExitOn): TransitionInput[] {
  const delay = step.delay ?? shortest;
  if (step.sooner === null) {
    const silence: TransitionInput = { on: "no_reply", to: entry, after: delay };
    return exitOn.includes("replied") ? [silence] : [{ on: "replied", to: entry, after: delay }, silence];
  }
  const [reaction, silence] = channel === "sms" ? (["clicked", "no_click"] as const) : (["opened", "no_open"] as const);
  return [
    { on: reaction, to: entry, after: step.sooner },
    { on: silence, to: entry, after: delay },
  ];
}

/** Built from the last step to the first, because each needs to know where the next one is entered. */
function chain(steps: readonly Step[]): { start: string; nodes: NodeInput[] } {
  let next: Next | null = null;
  const nodes: NodeInput[] = [];
  for (const [index, step] of [...steps.entries()].toReversed()) {
    const id = `step-${index + 1}`;
    const entry = step.onlyIf === undefined ? id : `${id}-if`;
    const previous = steps[index - 1];
    const isWaitedFor = previous === undefined || !previous.isSend || previous.onlyIf !== undefined;
    const delayed = step.delay !== null && isWaitedFor ? `${id}-wait` : entry;
    if (delayed !== entry && step.delay !== null)
      nodes.push({ id: delayed, type: "wait", duration: step.delay, to: entry });
    if (step.onlyIf !== undefined) nodes.push(branch(entry, step.onlyIf, id, next));
    nodes.push(step.build(id, next));
    next = { entry, delayed, step };
  }
  return { start: next?.delayed ?? "step-1", nodes };
}

const branch = (id: string, condition: OnlyIf, to: string, next: Next | null): NodeInput => ({
  id,
  type: "branch",
  cases: [{ when: conditions[condition], to }],
  ...(next ? { else: next.delayed } : {}),
});

const opened: Condition = { op: "happened", event: "opened" };
const clicked: Condition = { op: "happened", event: "clicked" };
/** Opened by a human or clicked, on any message so far. */
const engaged: Condition = { op: "or", of: [opened, clicked] };
const conditions: Record<OnlyIf, Condition> = {
  opened,
  clicked,
  engaged,
  not_opened: { op: "not", of: opened },
  not_clicked: { op: "not", of: clicked },
  not_engaged: { op: "not", of: engaged },
};

/** Optional fields left out by the author must be left out of the plan too. */
const withoutUndefined = <T extends object>(fields: T) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };

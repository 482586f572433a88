/**
 * Moving one enrollment through its plan: entering nodes, arming timers, ending. The engine decides that something happened; this file
 * carries it out, each function returning the walk it was given, moved on. Invariant: a send effect is produced only on the first entry of a node, so no node is ever sent twice.
 */
import { evaluate, type Fields } from "./condition.ts";
import { addDuration } from "./duration.ts";
import { nodeOf } from "./graph.ts";
import { chooseVariant, variantKey } from "./hash.ts";
import type { Plan, SendNode, Transition, UpdateSet } from "./plan.ts";
import type { Effect, EnrollmentState, SendState, StateStatus } from "./state.ts";
import { type ExitEvent, exitEvents, implied, isTimer, type MessageFact, messageEvents, timers } from "./vocabulary.ts";

/** A plan that goes round longer than this is broken, however its conditions look (reliability F-80). */
export const maxSteps = 1000;
/** How long a reaction without `within` is still waited for when no `no_*` transition ends the wait. */
export const attentionWindow = "P30D";
/** How long after acceptance a failure is still expected: carriers and mail servers give up within three days. */
export const failureWindow = "P3D";

export interface Walk {
  readonly plan: Plan;
  readonly now: Date;
  fields: Fields;
  readonly effects: Effect[];
  state: EnrollmentState;
}

export const sendStateOf = (state: EnrollmentState, nodeId: string): SendState | undefined =>
  Object.hasOwn(state.sends, nodeId) ? state.sends[nodeId] : undefined;

export const withSend = (state: EnrollmentState, nodeId: string, send: SendState): EnrollmentState => ({
  ...state,
  sends: { ...state.sends, [nodeId]: send },
});

export const after = (walk: Walk, at: string, duration: string): Date =>
  addDuration(new Date(at), duration, walk.plan.timeZone);

const record = (walk: Walk, toNodeId: string | null, toStatus: StateStatus, reason: string) => {
  const { nodeId: fromNodeId, status: fromStatus } = walk.state;
  walk.effects.push({ type: "transition", fromNodeId, toNodeId, fromStatus, toStatus, reason });
};

const unchosen = ({ chosen: _, ...state }: EnrollmentState): EnrollmentState => state;

/** Ends the enrollment. Only a clean end knows that nothing is pending; every other one cancels all. */
export function finish(walk: Walk, status: "completed" | "stopped" | "error", reason: string): Walk {
  if (status !== "completed") walk.effects.push({ type: "cancel", what: "all" });
  record(walk, null, status, reason);
  walk.state = { ...unchosen(walk.state), status, exitReason: reason };
  return walk;
}

/** The `exitReason` of who stands on a node that the plan to move to does not have. */
export const needsMapping = "needs_mapping";

export function pause(walk: Walk, reason: string): Walk {
  if (walk.state.nodeId !== null) walk.effects.push({ type: "cancel", what: "timeouts", nodeId: walk.state.nodeId });
  record(walk, walk.state.nodeId, "paused", reason);
  walk.state = { ...walk.state, status: "paused", exitReason: reason };
  return walk;
}

/** Continues a paused enrollment: timers are armed anew from the same facts, so a pause neither shortens nor repeats a wait. */
export function resume(walk: Walk): Walk {
  record(walk, walk.state.nodeId, "active", "resumed");
  const { exitReason: _, ...state } = walk.state;
  walk.state = { ...state, status: "active" };
  return rest(walk);
}

/** Arms whatever the current node waits for; who has not begun begins. Also used after a migration. */
export function rest(walk: Walk): Walk {
  const { nodeId, enteredAt } = walk.state;
  const id = nodeId ?? walk.plan.start;
  const node = nodeOf(walk.plan, id);
  if (nodeId !== null && node?.type === "send") return settle(walk, node);
  const runAt = node?.type === "wait" && enteredAt !== null ? after(walk, enteredAt, node.duration) : walk.now;
  walk.effects.push({ type: "schedule", action: "node", nodeId: id, runAt: runAt.toISOString() });
  return walk;
}

/** Walks from the current node to `target` and on, until a node that waits, or the end. */
export function moveTo(walk: Walk, target: string | undefined, why: string): Walk {
  let next = target;
  let reason = why;
  for (;;) {
    if (next === undefined) return finish(walk, "completed", "end");
    const node = nodeOf(walk.plan, next);
    if (!node) return finish(walk, "error", "unknown_node");
    if (walk.state.stepCount >= maxSteps) return finish(walk, "error", "loop");
    record(walk, node.id, "active", reason);
    const enteredAt = walk.now.toISOString();
    walk.state = { ...unchosen(walk.state), nodeId: node.id, enteredAt, stepCount: walk.state.stepCount + 1 };
    switch (node.type) {
      case "send":
        return enterSend(walk, node);
      case "wait":
        return rest(walk);
      case "stop":
        return finish(walk, node.outcome, node.reason ?? "end");
      case "branch": {
        const { sends } = walk.state;
        const holds = node.cases.findIndex((it) =>
          evaluate(it.when, { fields: walk.fields, happened: happened(sends) }),
        );
        next = holds < 0 ? node.else : node.cases[holds]?.to;
        reason = holds < 0 ? "else" : `case ${holds + 1}`;
        break;
      }
      case "update":
        walk.effects.push({ type: "update", nodeId: node.id, set: node.set });
        walk.fields = updated(walk.fields, node.set);
        next = node.to;
        reason = "updated";
        break;
      case "task": {
        const { title, assignee = null, channel = null } = node;
        walk.effects.push({ type: "task", nodeId: node.id, title, assignee, channel });
        next = node.to;
        reason = "task";
        break;
      }
    }
  }
}

/**
 * What branches read after an `update` node, as it will be stored: a `dnc` lead stays one, tags are a set.
 * @param prefix stands before the names of the lead's columns in `record`
 */
export function updated<R extends Readonly<Record<string, unknown>>>(record: R, set: UpdateSet, prefix = "lead."): R {
  const { status, campaign_status, tags } = set;
  const known = record[`${prefix}tags`];
  const all = new Set([...(Array.isArray(known) ? (known as readonly string[]) : []), ...(tags?.add ?? [])]);
  return {
    ...record,
    ...(status !== undefined && record[`${prefix}status`] !== "dnc" && { [`${prefix}status`]: status }),
    ...(campaign_status !== undefined && { [`${prefix}campaign_status`]: campaign_status }),
    [`${prefix}tags`]: [...all.difference(new Set(tags?.remove))].toSorted(),
  };
}

const happened =
  (sends: EnrollmentState["sends"]) =>
  (event: MessageFact | "failed", node: string | undefined): boolean =>
    Object.entries(sends).some(
      ([id, send]) =>
        (node === undefined || id === node) &&
        (event === "failed" ? send.outcome === "failed" : send.events[event] !== undefined),
    );

function enterSend(walk: Walk, node: SendNode): Walk {
  if (sendStateOf(walk.state, node.id)) return settle(walk, node);
  const variant = node.variants && chooseVariant(node.variants, variantKey(walk.plan, node.id, walk.state.key));
  walk.state = withSend(walk.state, node.id, { ...(variant ? { variantId: variant.id } : {}), events: {} });
  walk.effects.push({ type: "send", nodeId: node.id, variantId: variant?.id ?? null });
  return walk;
}

const transitionOn = (node: SendNode, on: string): Transition | undefined =>
  node.transitions.find((it) => it.on === on);

/** The node's transition for an event, if it happened in time. */
export function matching(
  walk: Walk,
  node: SendNode,
  send: SendState,
  event: MessageFact,
  at: string,
): Transition | undefined {
  const transition = transitionOn(node, event);
  if (transition?.within === undefined || send.sentAt === undefined) return transition;
  return new Date(at) <= after(walk, send.sentAt, transition.within) ? transition : undefined;
}

/** Leaves a send node's timers behind. */
function disarm(walk: Walk, node: SendNode): void {
  if (sendStateOf(walk.state, node.id)?.sentAt !== undefined || walk.state.chosen) {
    walk.effects.push({ type: "cancel", what: "timeouts", nodeId: node.id });
  }
}

/** Follows a transition, at once or after its delay counted from `at`. From here on no other transition of this visit can win. */
export function take(walk: Walk, node: SendNode, transition: Transition, at: string): Walk {
  disarm(walk, node);
  const runAt = transition.after === undefined || isTimer(transition.on) ? walk.now : after(walk, at, transition.after);
  if (runAt <= walk.now) return moveTo(walk, transition.to, transition.on);
  walk.state = { ...walk.state, chosen: { on: transition.on, runAt: runAt.toISOString() } };
  return scheduleTimeout(walk, node, transition.on, runAt);
}

export function scheduleTimeout(walk: Walk, node: SendNode, on: Transition["on"] | "end", runAt: Date): Walk {
  walk.effects.push({ type: "schedule", action: "timeout", nodeId: node.id, on, runAt: runAt.toISOString() });
  return walk;
}

/** Without a `failed` transition a message that cannot be sent stops the enrollment: silence must not read as disinterest. */
export function fail(walk: Walk, node: SendNode, at: string): Walk {
  const transition = transitionOn(node, "failed");
  return transition ? take(walk, node, transition, at) : finish(walk, "stopped", "send_failed");
}

/** Decides from the facts what a send node does now: move on, wait for something, or nothing until the provider answers. */
export function settle(walk: Walk, node: SendNode): Walk {
  const send = sendStateOf(walk.state, node.id);
  if (!send) return walk;
  const { chosen } = walk.state;
  if (chosen) {
    const transition = transitionOn(node, chosen.on);
    if (transition && new Date(chosen.runAt) <= walk.now) return moveTo(walk, transition.to, chosen.on);
    if (transition) return scheduleTimeout(walk, node, chosen.on, new Date(chosen.runAt));
    walk.state = unchosen(walk.state);
  }
  if (send.outcome === "failed") return fail(walk, node, send.failedAt ?? walk.now.toISOString());
  if (send.sentAt === undefined) return walk;
  const first = factsInOrder(send).find(([event, at]) => matching(walk, node, send, event, at));
  const transition = first && transitionOn(node, first[0]);
  if (first && transition) return take(walk, node, transition, first[1]);
  const exit = exitFact(walk, send);
  if (exit) return finish(walk, "stopped", exit);
  return arm(walk, node, send);
}

/** Oldest first; of two at one instant the stronger. */
const factsInOrder = (send: SendState): [MessageFact, string][] =>
  messageEvents
    .flatMap((event): [MessageFact, string][] =>
      send.events[event] === undefined ? [] : [[event, send.events[event]]],
    )
    .toSorted(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0));

/** A reaction that was left to an explicit transition which a pause or a migration has since taken away. */
const exitFact = (walk: Walk, send: SendState): ExitEvent | undefined =>
  exitEvents.find(
    (event) => event !== "converted" && walk.plan.exitOn.includes(event) && send.events[event] !== undefined,
  );

/** Timers of a message that was sent: each `no_*` that can still come true, otherwise the moment at which nothing more can. */
function arm(walk: Walk, node: SendNode, send: SendState): Walk {
  const { sentAt } = send;
  if (sentAt === undefined) return walk;
  const open = openTimers(node, send);
  for (const { on, after: wait } of open) scheduleTimeout(walk, node, on, after(walk, sentAt, wait));
  return open.length === 0 ? armEnd(walk, node, send) : walk;
}

export const openTimers = (node: SendNode, send: SendState) =>
  node.transitions.flatMap(({ on, to, after: wait }) =>
    isTimer(on) && send.events[timers[on].fact] === undefined ? [{ on, to, after: wait ?? timers[on].after }] : [],
  );

/** Completes the enrollment when no reaction can move it any more, or schedules that moment. */
export function armEnd(walk: Walk, node: SendNode, send: SendState): Walk {
  const { sentAt } = send;
  if (sentAt === undefined) return walk;
  const windows = node.transitions
    .filter((it) => !isTimer(it.on))
    .map((it) => after(walk, sentAt, it.on === "failed" ? failureWindow : (it.within ?? attentionWindow)).getTime());
  const end = Math.max(...windows);
  if (end > walk.now.getTime()) return scheduleTimeout(walk, node, "end", new Date(end));
  if (node.transitions.length > 0) disarm(walk, node);
  return finish(walk, "completed", "end");
}

/** Records a reaction and what it proves. Returns the facts that are new or earlier than known. */
export function learn(walk: Walk, nodeId: string, event: MessageFact, at: string): MessageFact[] {
  const send = sendStateOf(walk.state, nodeId);
  const node = nodeOf(walk.plan, nodeId);
  if (!send) return [];
  const proven = [event, ...implied(event, node?.type === "send" ? node.channel : undefined)];
  const news = proven.filter((fact) => earlier(at, send.events[fact]));
  const isProofOfSending = earlier(at, send.sentAt);
  if (news.length === 0 && !isProofOfSending) return [];
  const events = { ...send.events, ...Object.fromEntries(news.map((fact) => [fact, at])) };
  const sent = isProofOfSending ? { sentAt: at, outcome: send.outcome ?? "sent" } : {};
  walk.state = withSend(walk.state, nodeId, { ...send, ...sent, events });
  return proven.filter((fact) => send.events[fact] === undefined);
}

const earlier = (at: string, known: string | undefined): boolean => known === undefined || at < known;

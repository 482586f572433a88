/**
 * The campaign engine: `advance(plan, state, event, now) → { state, effects }`, a pure and total function that drives the live run, the
 * simulation and the replay alike. Any event is legal in any state: a duplicate, late, early or foreign one changes nothing or only adds
 * a fact. Invariant: ended enrollments never move, and no node is sent twice.
 *
 * The rules, in the order in which they apply to a reaction of the recipient:
 * 1. Opens and clicks by machines do not exist.
 * 2. The fact is recorded with its earliest instant, with all it implies (a click implies an open, anything implies delivery and sending).
 * 3. A transition of the current node on exactly this event, in time, is followed: the plan's explicit word outranks its exit rules.
 * 4. Otherwise an event listed in `exitOn` that is news, about any message of the enrollment, stops it and cancels everything.
 * 5. Otherwise a transition of the current node on an implied event is followed.
 * The first transition to match wins the visit; one with `after` lingers, and then only rules 3 (for exit events) and 4 can still intervene.
 */
import type { Fields } from "./condition.ts";
import { nodeOf } from "./graph.ts";
import type { Plan, SendNode } from "./plan.ts";
import { type Advance, type EngineEvent, type EnrollmentState, isTerminal } from "./state.ts";
import { exitEvents, isTimer, type MessageFact, timers } from "./vocabulary.ts";
import {
  after,
  armEnd,
  fail,
  finish,
  learn,
  matching,
  moveTo,
  needsMapping,
  openTimers,
  pause,
  rest,
  resume,
  scheduleTimeout,
  sendStateOf,
  settle,
  take,
  type Walk,
  withSend,
} from "./walk.ts";

/**
 * What one event does to one enrollment.
 * @param plan a plan from `parsePlan`.
 * @param now the instant of processing; timers that fire before their time are scheduled again.
 * @param fields what branches read (`fieldsOf(plan)` lists them); missing ones compare false.
 */
export function advance(
  plan: Plan,
  state: EnrollmentState,
  event: EngineEvent,
  now: Date,
  fields: Fields = {},
): Advance {
  const walk = apply({ plan, now, fields, effects: [], state }, event);
  return { state: walk.state, effects: walk.effects };
}

function apply(walk: Walk, event: EngineEvent): Walk {
  const { status, nodeId } = walk.state;
  switch (event.type) {
    case "message":
      return onMessage(walk, event.nodeId, event.event, instant(event.at, walk.now), event.machine === true);
    case "sent":
      return onSent(walk, event.nodeId, instant(event.at, walk.now));
    case "send_failed":
      return onFailed(walk, event.nodeId, event.reason ?? "failed", instant(event.at, walk.now));
    case "start":
      return status === "active" && nodeId === null ? moveTo(walk, walk.plan.start, "start") : walk;
    case "due":
      return status === "active" ? onDue(walk, event.nodeId) : walk;
    case "timeout":
      return status === "active" ? onTimeout(walk, event.nodeId, event.on) : walk;
    case "pause":
      // What waits for a mapping may be paused by hand besides.
      return status === "active" || (status === "paused" && walk.state.exitReason === needsMapping)
        ? pause(walk, event.reason ?? "paused")
        : walk;
    case "resume":
      // A node that the plan no longer has needs a migration with a map first.
      return status === "paused" && (nodeId === null || nodeOf(walk.plan, nodeId)) ? resume(walk) : walk;
    case "stop":
      return isTerminal(status) ? walk : finish(walk, "stopped", event.reason);
    case "converted":
      return isTerminal(status) || !walk.plan.exitOn.includes("converted")
        ? walk
        : finish(walk, "stopped", "converted");
  }
}

/** One spelling per instant, so that texts compare by time. An unreadable one counts as now. */
function instant(at: string | undefined, now: Date): string {
  const parsed = new Date(at ?? now);
  return (Number.isNaN(parsed.getTime()) ? now : parsed).toISOString();
}

/** The send node the enrollment is at, if it is that one. */
function currentSend(walk: Walk, nodeId: string | null): SendNode | undefined {
  const node = walk.state.nodeId === nodeId ? nodeOf(walk.plan, nodeId) : undefined;
  return node?.type === "send" ? node : undefined;
}

function onDue(walk: Walk, nodeId: string): Walk {
  const { nodeId: current, enteredAt } = walk.state;
  if (current === null) return nodeId === walk.plan.start ? moveTo(walk, nodeId, "start") : walk;
  const node = current === nodeId ? nodeOf(walk.plan, nodeId) : undefined;
  if (node?.type !== "wait" || enteredAt === null) return walk;
  return walk.now < after(walk, enteredAt, node.duration) ? rest(walk) : moveTo(walk, node.to, "waited");
}

function onTimeout(walk: Walk, nodeId: string, on: string): Walk {
  const node = currentSend(walk, nodeId);
  const send = sendStateOf(walk.state, nodeId);
  if (!node || !send) return walk;
  if (walk.state.chosen) return walk.state.chosen.on === on ? settle(walk, node) : walk;
  if (send.sentAt === undefined) return walk;
  const transition = node.transitions.find((it) => it.on === on);
  const waited = transition && isTimer(transition.on) ? timers[transition.on] : undefined;
  if (transition && waited && send.events[waited.fact] === undefined) {
    const runAt = after(walk, send.sentAt, transition.after ?? waited.after);
    return walk.now >= runAt
      ? take(walk, node, transition, runAt.toISOString())
      : scheduleTimeout(walk, node, transition.on, runAt);
  }
  // The last moment, or a timer whose event did happen and moved nothing: is anything left to wait for?
  const isOver = (waited || on === "end") && openTimers(node, send).length === 0;
  return isOver ? armEnd(walk, node, send) : walk;
}

function onSent(walk: Walk, nodeId: string, at: string): Walk {
  const send = sendStateOf(walk.state, nodeId);
  if (!send || (send.sentAt !== undefined && send.sentAt <= at)) return walk;
  walk.state = withSend(walk.state, nodeId, { ...send, sentAt: at, outcome: send.outcome ?? "sent" });
  const node = currentSend(walk, nodeId);
  // A correction of an instant already known leaves the timers as they are armed; they re-check the time when they fire.
  const isNews = send.sentAt === undefined && send.outcome !== "failed";
  return node && isNews && walk.state.status === "active" ? settle(walk, node) : walk;
}

function onFailed(walk: Walk, nodeId: string, reason: string, at: string): Walk {
  const send = sendStateOf(walk.state, nodeId);
  if (!send || (send.failedAt !== undefined && send.failedAt <= at)) return walk;
  walk.state = withSend(walk.state, nodeId, { ...send, outcome: "failed", failedAt: at, failure: reason });
  const node = currentSend(walk, nodeId);
  return node && send.outcome !== "failed" && walk.state.status === "active" ? fail(walk, node, at) : walk;
}

/** The message an unmatched reaction is most likely about. */
function lastSent(state: EnrollmentState): string | null {
  const sent = Object.entries(state.sends).flatMap(([id, { sentAt }]) =>
    sentAt === undefined ? [] : [{ id, sentAt }],
  );
  return sent.toSorted((a, b) => (a.sentAt < b.sentAt ? 1 : a.sentAt > b.sentAt ? -1 : 0))[0]?.id ?? null;
}

const isExit = (plan: Plan, event: MessageFact): boolean => (plan.exitOn as readonly string[]).includes(event);

function onMessage(walk: Walk, about: string | null, event: MessageFact, at: string, machine: boolean): Walk {
  if (machine && (event === "opened" || event === "clicked")) return walk;
  const nodeId = about ?? lastSent(walk.state);
  const before = nodeId === null ? undefined : sendStateOf(walk.state, nodeId);
  const news = nodeId === null ? [] : learn(walk, nodeId, event, at);
  if (isTerminal(walk.state.status)) return walk;

  const { chosen, status } = walk.state;
  const node = currentSend(walk, nodeId);
  const send = nodeId === null ? undefined : sendStateOf(walk.state, nodeId);
  const isOpen = chosen === undefined || (exitEvents as readonly string[]).includes(event);
  const explicit = node && send && isOpen ? matching(walk, node, send, event, at) : undefined;
  // A fact known already was decided on when it was news: a duplicate must not stop what an explicit transition let go on.
  const isNews = before?.events[event] === undefined;
  if (!explicit && isNews && isExit(walk.plan, event)) return finish(walk, "stopped", event);
  if (status !== "active" || !node || !send || chosen?.on === event) return walk;
  if (explicit) return take(walk, node, explicit, at);
  if (chosen) return walk;
  const proven = news.find((fact) => fact !== event && matching(walk, node, send, fact, at));
  const transition = proven && matching(walk, node, send, proven, at);
  if (transition) return take(walk, node, transition, at);
  // The event is the first proof that the message was sent at all: what "sent" would have armed is armed now.
  return before?.sentAt === undefined && send.outcome !== "failed" ? settle(walk, node) : walk;
}

/**
 * Moving a running enrollment to another version of its plan. What was sent stays sent: facts follow the node map, and a node whose
 * message exists is never sent again under either name (reliability F-66).
 */
import type { Fields } from "./condition.ts";
import { nodeOf } from "./graph.ts";
import type { Plan } from "./plan.ts";
import { type Advance, type Effect, type EnrollmentState, isTerminal, type SendState } from "./state.ts";
import { pause, rest, type Walk } from "./walk.ts";

export interface Migration extends Advance {
  /** Why the enrollment is paused with `needs_mapping` instead of continuing; give a better map and migrate again. */
  readonly problem?: string;
}

/** Old node id → new node id; nodes that keep their id need no entry. */
export type NodeMap = Readonly<Record<string, string>>;

const mapped = (map: NodeMap, id: string): string => (Object.hasOwn(map, id) ? (map[id] ?? id) : id);

/** The earliest of everything known of two messages that the new plan sees as one. */
function merge(one: SendState, other: SendState | undefined): SendState {
  if (!other) return one;
  const first = (a: string | undefined, b: string | undefined) =>
    a !== undefined && b !== undefined ? (a < b ? a : b) : (a ?? b);
  const events = { ...one.events };
  for (const [event, at] of Object.entries(other.events) as [keyof typeof events, string][]) {
    const earliest = first(events[event], at);
    if (earliest !== undefined) events[event] = earliest;
  }
  const sentAt = first(one.sentAt, other.sentAt);
  return { ...other, ...one, ...(sentAt === undefined ? {} : { sentAt }), events };
}

/**
 * The state under `newPlan`, with timers armed anew for it. An ended enrollment only has its facts renamed. When the current node has
 * no counterpart of the same type and channel, the enrollment is paused with reason `needs_mapping` and keeps its old node.
 */
export function migrateState(
  oldPlan: Plan,
  newPlan: Plan,
  state: EnrollmentState,
  nodeMap: NodeMap,
  now: Date,
  fields: Fields = {},
): Migration {
  const sends: EnrollmentState["sends"] = {};
  for (const [id, send] of Object.entries(state.sends)) {
    const target = mapped(nodeMap, id);
    sends[target] = merge(send, Object.hasOwn(sends, target) ? sends[target] : undefined);
  }
  const { status, nodeId } = state;
  const walk: Walk = { plan: newPlan, now, fields, effects: [], state: { ...state, sends } };
  if (isTerminal(status)) return { state: walk.state, effects: [] };
  if (nodeId === null) return { state: walk.state, effects: status === "active" ? restart(oldPlan, newPlan, now) : [] };

  const target = mapped(nodeMap, nodeId);
  const problem = mismatch(oldPlan, newPlan, nodeId, target);
  if (problem !== null) {
    if (status === "active") pause(walk, "needs_mapping");
    walk.state = { ...walk.state, exitReason: "needs_mapping" };
    return { state: walk.state, effects: walk.effects, problem };
  }
  if (status === "active") walk.effects.push({ type: "cancel", what: "timeouts", nodeId });
  const { exitReason, ...kept } = walk.state;
  const reason = exitReason === "needs_mapping" ? "paused" : exitReason;
  walk.state = { ...kept, nodeId: target, ...(reason === undefined ? {} : { exitReason: reason }) };
  walk.effects.push({
    type: "transition",
    fromNodeId: nodeId,
    toNodeId: target,
    fromStatus: status,
    toStatus: status,
    reason: "migrated",
  });
  const { state: moved, effects } = status === "active" ? rest(walk) : walk;
  return { state: moved, effects };
}

/** The first action of a walk that has not begun names the old plan's start, which the new one may not know. */
const restart = ({ start: from }: Plan, { start: to }: Plan, now: Date): Effect[] =>
  from === to
    ? []
    : [
        { type: "cancel", what: "timeouts", nodeId: from },
        { type: "schedule", action: "node", nodeId: to, runAt: now.toISOString() },
      ];

function mismatch(oldPlan: Plan, newPlan: Plan, from: string, to: string): string | null {
  const before = nodeOf(oldPlan, from);
  const next = nodeOf(newPlan, to);
  if (!next)
    return `The current node "${from}" has no counterpart: the new plan has no node "${to}". Map "${from}" to one of its nodes.`;
  if (before && before.type !== next.type) {
    return `The current node "${from}" is a ${before.type} node, "${to}" a ${next.type} node. Map "${from}" to a ${before.type} node.`;
  }
  if (before?.type === "send" && next.type === "send" && before.channel !== next.channel) {
    return `The current node "${from}" sends on ${before.channel}, "${to}" on ${next.channel}. Map "${from}" to a node on ${before.channel}.`;
  }
  return null;
}

/**
 * Moving a running enrollment to another version of its plan. What was sent stays sent: facts follow the node map, and a node whose
 * message exists is never sent again under either name (reliability F-66).
 */
import type { Fields } from "./condition.ts";
import { nodeOf } from "./graph.ts";
import { planHash } from "./hash.ts";
import type { Plan } from "./plan.ts";
import { type Advance, type Effect, type EnrollmentState, isTerminal, type SendState } from "./state.ts";
import { needsMapping, pause, rest, type Walk } from "./walk.ts";

export interface Migration extends Advance {
  /** Why the enrollment is paused with `needs_mapping` instead of continuing; give a better map and migrate again. */
  readonly problem?: string;
}

/** Old node id → new node id; nodes that keep their id need no entry. */
export type NodeMap = Readonly<Record<string, string>>;

/** Node ids have no @: no plan has a node of this name, and what is remembered under it stays apart. */
const retired = (plan: Plan, id: string): string => (id.includes("@") ? id : `${id}@${planHash(plan).slice(0, 8)}`);

/** Which node of the old plan takes this name over, if it is another one's. A map may also speak of nodes of other versions. */
const heirOf = (oldPlan: Plan, nodeMap: NodeMap, id: string): string | undefined =>
  Object.entries(nodeMap).find(([from, to]) => to === id && from !== id && nodeOf(oldPlan, from))?.[0];

/**
 * By what name the new plan knows a node of the old one. A node that the map does not name keeps its id, unless another one takes it over:
 * then it has no counterpart any more, and what is known of its message stays known under a name that no plan has.
 */
function nameAfter(oldPlan: Plan, nodeMap: NodeMap, id: string): string {
  if (Object.hasOwn(nodeMap, id)) return nodeMap[id] ?? id;
  return heirOf(oldPlan, nodeMap, id) === undefined ? id : retired(oldPlan, id);
}

/** What the map makes of every name that who comes from this plan may know: those that change, and those that stay. */
export const namesAfter = (oldPlan: Plan, nodeMap: NodeMap): { readonly from: string; readonly to: string }[] =>
  [...new Set([...oldPlan.nodes.map((node) => node.id), ...Object.entries(nodeMap).flat()])].map((from) => ({
    from,
    to: nameAfter(oldPlan, nodeMap, from),
  }));

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
 * no counterpart of the same type and channel, the enrollment is paused with reason `needs_mapping` and keeps its old plan: nothing is renamed. It
 * goes on when a migration brings the name, unless somebody has paused it by hand.
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
    const target = nameAfter(oldPlan, nodeMap, id);
    sends[target] = merge(send, Object.hasOwn(sends, target) ? sends[target] : undefined);
  }
  const { status, nodeId } = state;
  const walk: Walk = { plan: newPlan, now, fields, effects: [], state: { ...state, sends } };
  if (isTerminal(status)) return { state: walk.state, effects: [] };
  if (nodeId === null) return { state: walk.state, effects: status === "active" ? restart(oldPlan, newPlan, now) : [] };

  const problem = mismatch(oldPlan, newPlan, nodeMap, nodeId);
  if (problem !== null) {
    walk.state = state;
    if (status === "active") pause(walk, needsMapping);
    return { state: walk.state, effects: walk.effects, problem };
  }
  const target = nameAfter(oldPlan, nodeMap, nodeId);
  if (status === "active") walk.effects.push({ type: "cancel", what: "timeouts", nodeId });
  const { exitReason, ...kept } = walk.state;
  // What a missing name has paused goes on with the name; what a person has paused waits for a person.
  const goesOn = status === "paused" && exitReason === needsMapping;
  const next = goesOn ? "active" : status;
  const reason = goesOn ? undefined : exitReason;
  walk.state = { ...kept, status: next, nodeId: target, ...(reason === undefined ? {} : { exitReason: reason }) };
  walk.effects.push({
    type: "transition",
    fromNodeId: nodeId,
    toNodeId: target,
    fromStatus: status,
    toStatus: next,
    reason: "migrated",
  });
  const { state: moved, effects } = next === "active" ? rest(walk) : walk;
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

function mismatch(oldPlan: Plan, newPlan: Plan, nodeMap: NodeMap, from: string): string | null {
  const heir = Object.hasOwn(nodeMap, from) ? undefined : heirOf(oldPlan, nodeMap, from);
  if (heir !== undefined)
    return `The current node "${from}" has no counterpart: "${heir}" takes its name. Map "${from}" to a node of the new plan.`;
  const to = nameAfter(oldPlan, nodeMap, from);
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

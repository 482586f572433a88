/**
 * Reading a plan as a graph: its nodes by id, its edges, what is reachable, where it goes in circles. Knows shapes, not rules.
 */
import type { Node, Plan } from "./plan.ts";

const indexes = new WeakMap<Plan, ReadonlyMap<string, Node>>();

/** The node of that id. Plans are immutable, so the index is built once per plan object. */
export function nodeOf(plan: Plan, id: string | null | undefined): Node | undefined {
  let index = indexes.get(plan);
  if (!index) {
    index = new Map(plan.nodes.toReversed().map((node) => [node.id, node]));
    indexes.set(plan, index);
  }
  return id === null || id === undefined ? undefined : index.get(id);
}

export interface Edge {
  readonly to: string;
  /** Where the target is written, relative to the node: `transitions[0].to`. */
  readonly field: string;
  /** What is drawn on the arrow. */
  readonly label: string;
}

export function edgesOf(node: Node): Edge[] {
  switch (node.type) {
    case "send":
      return node.transitions.map((it, i) => ({
        to: it.to,
        field: `transitions[${i}].to`,
        label: [it.on, it.within && `within ${it.within}`, it.after && `after ${it.after}`].filter(Boolean).join(" "),
      }));
    case "wait":
      return [{ to: node.to, field: "to", label: "" }];
    case "branch":
      return [
        ...node.cases.map((it, i) => ({ to: it.to, field: `cases[${i}].to`, label: `case ${i + 1}` })),
        ...(node.else === undefined ? [] : [{ to: node.else, field: "else", label: "else" }]),
      ];
    case "update":
    case "task":
      return node.to === undefined ? [] : [{ to: node.to, field: "to", label: "" }];
    case "stop":
      return [];
  }
}

/** Ids reachable from `start`, breadth first. */
export function reachable(plan: Plan): string[] {
  const seen = new Set<string>();
  const queue = nodeOf(plan, plan.start) ? [plan.start] : [];
  for (const id of queue) {
    const node = nodeOf(plan, id);
    if (!node || seen.has(id)) continue;
    seen.add(id);
    queue.push(...edgesOf(node).map((edge) => edge.to));
  }
  return [...seen];
}

/** One circle through `id` (its nodes in walking order), looking only at nodes that `allow` admits; `null` when there is none. */
export function cycleThrough(plan: Plan, id: string, allow: (node: Node) => boolean): string[] | null {
  const cameFrom = new Map<string, string>();
  const queue = [id];
  for (const current of queue) {
    const node = nodeOf(plan, current);
    for (const { to } of node ? edgesOf(node) : []) {
      const target = nodeOf(plan, to);
      if (!target || !allow(target)) continue;
      if (to === id) {
        const path = [current];
        for (let at = cameFrom.get(current); at !== undefined; at = cameFrom.get(at)) path.unshift(at);
        return path;
      }
      if (cameFrom.has(to)) continue;
      cameFrom.set(to, current);
      queue.push(to);
    }
  }
  return null;
}

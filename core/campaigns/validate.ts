/**
 * The door for plans: unknown JSON in, a plan that cannot misbehave or a list of problems out. Every problem names the node, the
 * field and what to change. Total: no input makes it throw, and a hostile one is refused before it costs much.
 */
import type * as z from "zod";
import { inputWords, pathOf, wordsOf } from "../kernel/index.ts";
import { reachable } from "./graph.ts";
import { maxNodes, Plan, type Transition } from "./plan.ts";
import { type Problem, planProblems, problem } from "./rules.ts";
import { transitionEvents } from "./vocabulary.ts";

export type { Problem } from "./rules.ts";

export type ParsedPlan =
  | { readonly ok: true; readonly plan: Plan }
  | { readonly ok: false; readonly problems: Problem[] };

/** Conditions nest deepest; ten levels of them fit. */
const maxDepth = 40;

/** Breadth first, so that neither a deep nor a wide input can exhaust the stack. */
function tooDeep(input: unknown): boolean {
  let level: unknown[] = [input];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) return true;
    level = level.flatMap((value) => (typeof value === "object" && value !== null ? Object.values(value) : []));
  }
  return false;
}

const at = (input: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    input,
  );

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
};

/** A schema issue in the words of the plan's author. @param input what was parsed: the value is named */
export function fromIssue(issue: z.core.$ZodIssue, input: unknown): Problem[] {
  const inNode = issue.path[0] === "nodes" && typeof issue.path[1] === "number";
  const id = inNode ? at(input, ["nodes", issue.path[1] as number, "id"]) : undefined;
  const nodeId = typeof id === "string" ? id : undefined;
  const report = (path: readonly PropertyKey[], code: string, message: string) =>
    problem({ path: pathOf(path), nodeId, field: pathOf(inNode ? path.slice(2) : path) || undefined, code, message });

  if (issue.code === "unrecognized_keys") {
    return wordsOf(issue).map(({ path, message }) => report(path, "unknown_field", message));
  }
  const value = at(input, issue.path);
  if (value === undefined && issue.path.length > 0)
    return [report(issue.path, "missing", `is missing: ${issue.message}`)];
  return [report(issue.path, "invalid", `${issue.message}, got ${shown(value)}`)];
}

/** A plan with its defaults filled in, or everything that is wrong with it. */
export function parsePlan(input: unknown): ParsedPlan {
  if (tooDeep(input)) {
    return {
      ok: false,
      problems: [
        problem({
          path: "",
          code: "too_deep",
          message: `nests deeper than ${maxDepth} levels; flatten its conditions`,
        }),
      ],
    };
  }
  const count = Array.isArray(at(input, ["nodes"])) ? (at(input, ["nodes"]) as unknown[]).length : 0;
  if (count > maxNodes) {
    const message = `${count} nodes; at most ${maxNodes} are allowed, so split the plan into several campaigns`;
    return { ok: false, problems: [problem({ path: "nodes", field: "nodes", code: "too_many_nodes", message })] };
  }
  const parsed = Plan.safeParse(input, { error: inputWords });
  if (!parsed.success) return { ok: false, problems: parsed.error.issues.flatMap((issue) => fromIssue(issue, input)) };
  const problems = planProblems(parsed.data);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, plan: normalise(parsed.data) };
}

/**
 * The order in which an author happened to list nodes and transitions means nothing, so it must not reach the hash: nodes go breadth
 * first from the start, transitions in the vocabulary's order.
 */
function normalise(plan: Plan): Plan {
  const rank = (transition: Transition) => transitionEvents.indexOf(transition.on);
  const nodes = plan.nodes.map((node) =>
    node.type === "send" ? { ...node, transitions: node.transitions.toSorted((a, b) => rank(a) - rank(b)) } : node,
  );
  const order = reachable({ ...plan, nodes });
  return { ...plan, nodes: nodes.toSorted((a, b) => order.indexOf(a.id) - order.indexOf(b.id)) };
}

/** Everything wrong with a plan; empty when it may be stored and run. */
export const validatePlan = (input: unknown): Problem[] => {
  const parsed = parsePlan(input);
  return parsed.ok ? [] : parsed.problems;
};

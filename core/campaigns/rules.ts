/**
 * The rules a well-formed plan must also keep: it starts somewhere, reaches everything, ends, says something in every message, and
 * never sends the same node twice. Each rule yields problems; none of them repairs anything.
 */

import { walkCondition } from "./condition.ts";
import { cycleThrough, edgesOf, nodeOf, reachable } from "./graph.ts";
import { resolveContent } from "./hash.ts";
import { maxSmsCharacters, type Node, type Plan, type SendNode } from "./plan.ts";
import { isTimer, transitionsOn } from "./vocabulary.ts";

/** One thing wrong with a plan. `path` leads to it in the JSON (`nodes[2].transitions[0].to`), `field` from the node. */
export interface Problem {
  readonly path: string;
  readonly nodeId?: string;
  readonly field?: string;
  readonly code: string;
  readonly message: string;
}

interface Finding {
  readonly path: string;
  readonly nodeId?: string | undefined;
  readonly field?: string | undefined;
  readonly code: string;
  readonly message: string;
}

/** Puts the node and the field in front of the message. */
export function problem({ path, nodeId, field, code, message }: Finding): Problem {
  const subject = [
    nodeId === undefined ? undefined : `Node "${nodeId}"`,
    field === undefined ? undefined : `field ${field}`,
  ]
    .filter((part) => part !== undefined)
    .join(", ");
  const text = `${subject || "The plan"}: ${message}`;
  return {
    path,
    ...(nodeId === undefined ? {} : { nodeId }),
    ...(field === undefined ? {} : { field }),
    code,
    message: text,
  };
}

export function planProblems(plan: Plan): Problem[] {
  return [...shape(plan), ...plan.nodes.flatMap((node, index) => nodeProblems(plan, node, index)), ...circles(plan)];
}

const inNode = (index: number, node: Node, field: string, code: string, message: string): Problem =>
  problem({ path: `nodes[${index}].${field}`, nodeId: node.id, field, code, message });

function shape(plan: Plan): Problem[] {
  const problems: Problem[] = [];
  if (plan.quietHours && plan.quietHours.start === plan.quietHours.end) {
    const message =
      "start and end are the same time; leave quietHours out, or give the hours in which nothing may be sent";
    problems.push(problem({ path: "quietHours", field: "quietHours", code: "quiet_hours", message }));
  }
  if (!nodeOf(plan, plan.start)) {
    const message = `there is no node "${plan.start}" to start at; name an existing node`;
    problems.push(problem({ path: "start", field: "start", code: "no_start", message }));
    return problems;
  }
  const reached = new Set(reachable(plan));
  const seen = new Set<string>();
  for (const [index, node] of plan.nodes.entries()) {
    if (seen.has(node.id))
      problems.push(inNode(index, node, "id", "duplicate_id", "another node has this id; give each node its own"));
    else if (!reached.has(node.id)) {
      const message = "no path from the start leads here; point a transition at it or remove it";
      problems.push(inNode(index, node, "id", "unreachable", message));
    }
    seen.add(node.id);
  }
  return problems;
}

function nodeProblems(plan: Plan, node: Node, index: number): Problem[] {
  const report = (field: string, code: string, message: string) => inNode(index, node, field, code, message);
  const problems: Problem[] = [];
  for (const { to, field } of edgesOf(node)) {
    if (to === node.id) problems.push(report(field, "self_target", "points at its own node; point it at another"));
    else if (!nodeOf(plan, to))
      problems.push(report(field, "unknown_target", `there is no node "${to}"; name an existing node`));
  }
  if (node.type === "send") problems.push(...sendProblems(node, report));
  if (node.type === "branch") problems.push(...branchProblems(plan, node, report));
  return problems;
}

type Report = (field: string, code: string, message: string) => Problem;

function branchProblems(plan: Plan, node: Extract<Node, { type: "branch" }>, report: Report): Problem[] {
  const problems: Problem[] = [];
  for (const [i, { when }] of node.cases.entries()) {
    for (const condition of walkCondition(when)) {
      if (condition.op !== "happened" || condition.node === undefined) continue;
      const asked = nodeOf(plan, condition.node);
      const field = `cases[${i}].when`;
      if (asked?.type !== "send") {
        const message = `asks about "${condition.node}", which is not a send node; name one, or leave node out to mean any message`;
        problems.push(report(field, "condition_unknown_node", message));
      } else if (!transitionsOn[asked.channel].includes(condition.event)) {
        const message = `asks whether "${condition.node}" was ${condition.event}, which ${asked.channel} never reports; ask about another event`;
        problems.push(report(field, "condition_not_on_channel", message));
      }
    }
  }
  return problems;
}

function sendProblems(node: SendNode, report: Report): Problem[] {
  return [
    ...transitionProblems(node, report),
    ...variantProblems(node, report),
    ...contentProblems(node, report),
    ...windowProblems(node, report),
  ];
}

function windowProblems(node: SendNode, report: Report): Problem[] {
  const { schedule } = node;
  if (!schedule) return [];
  if (schedule.days.length === 0)
    return [report("schedule.days", "schedule_window", "lists no day; name at least one or leave days out")];
  if (schedule.from < schedule.to) return [];
  return [
    report(
      "schedule",
      "schedule_window",
      `from ${schedule.from} is not before to ${schedule.to}; a window lies within one day`,
    ),
  ];
}

function transitionProblems(node: SendNode, report: Report): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  const known = transitionsOn[node.channel];
  for (const [i, { on, within }] of node.transitions.entries()) {
    const field = `transitions[${i}]`;
    if (seen.has(on))
      problems.push(report(`${field}.on`, "transition_duplicate", `"${on}" is already handled by this node; keep one`));
    seen.add(on);
    if (!known.includes(on)) {
      const message = `"${on}" never happens on ${node.channel}; use one of ${known.join(", ")}`;
      problems.push(report(`${field}.on`, "transition_not_on_channel", message));
    }
    if (within !== undefined && (isTimer(on) || on === "failed")) {
      const message = `"${on}" is not a reaction of the recipient, so it takes no within; use after`;
      problems.push(report(`${field}.within`, "within_not_allowed", message));
    }
  }
  return problems;
}

function variantProblems(node: SendNode, report: Report): Problem[] {
  const { variants } = node;
  if (!variants) return [];
  const problems: Problem[] = [];
  if (!variants.some((it) => it.weight > 0)) {
    problems.push(
      report(
        "variants",
        "variant_weights",
        "all weights are 0, so no variant can be drawn; give at least one a weight above 0",
      ),
    );
  }
  const seen = new Set<string>();
  for (const [i, { id }] of variants.entries()) {
    if (seen.has(id))
      problems.push(
        report(`variants[${i}].id`, "variant_duplicate", `another variant is called "${id}"; give each its own id`),
      );
    seen.add(id);
  }
  return problems;
}

function contentProblems(node: SendNode, report: Report): Problem[] {
  const problems: Problem[] = [];
  const holders = [
    { field: "", content: node.content, subject: undefined, templateId: node.templateId },
    ...(node.variants ?? []).map((it, i) => ({
      field: `variants[${i}].`,
      content: it.content,
      subject: it.subject,
      templateId: it.templateId,
    })),
  ];
  for (const { field, content, subject, templateId } of holders) {
    if (templateId !== undefined && (content?.html !== undefined || content?.text !== undefined)) {
      problems.push(
        report(`${field}content`, "content_ambiguous", "has a body beside a templateId; keep one of the two"),
      );
    }
    if (node.channel !== "email" && (subject !== undefined || content?.subject !== undefined)) {
      const where = subject === undefined ? `${field}content.subject` : `${field}subject`;
      problems.push(report(where, "content_not_on_channel", `${node.channel} messages have no subject; remove it`));
    }
    if (node.channel !== "email" && content?.html !== undefined) {
      problems.push(
        report(`${field}content.html`, "content_not_on_channel", `${node.channel} messages have no HTML; use text`),
      );
    }
    if (node.channel === "sms" && (content?.text?.length ?? 0) > maxSmsCharacters) {
      const message = `has ${content?.text?.length} characters; a text message holds at most ${maxSmsCharacters}`;
      problems.push(report(`${field}content.text`, "text_too_long", message));
    }
  }
  const chosen = node.variants?.map((it) => it.id) ?? [null];
  const resolved = chosen.map((id, i) => ({
    place: id === null ? "content" : `variants[${i}]`,
    ...resolveContent(node, id),
  }));
  for (const { place, templateId, subject, html, text } of resolved) {
    const empty = templateId === null && text === null && (node.channel === "email" ? html === null : true);
    const body = node.channel === "email" ? "content.html, content.text" : "content.text";
    if (empty) problems.push(report(place, "content_missing", `has nothing to send; give ${body} or a templateId`));
    if (node.channel === "email" && templateId === null && subject === null) {
      const where = place === "content" ? "content.subject" : `${place}.subject`;
      problems.push(
        report(where, "subject_missing", "an e-mail needs a subject; give one here or use a template that has one"),
      );
    }
  }
  return problems;
}

/**
 * Two rules about circles. A circle with a send node would send that node twice, which the engine refuses to do, so the plan would
 * stall there. A circle without a wait would spin.
 */
function circles(plan: Plan): Problem[] {
  const problems: Problem[] = [];
  const told = new Set<string>();
  const selfless = (node: Node) => edgesOf(node).every((edge) => edge.to !== node.id);
  for (const [index, node] of plan.nodes.entries()) {
    if (told.has(node.id) || !selfless(node) || nodeOf(plan, node.id) !== node) continue;
    const sends = node.type === "send" ? cycleThrough(plan, node.id, () => true) : null;
    const spins =
      sends || node.type === "wait"
        ? null
        : cycleThrough(plan, node.id, (it) => it.type !== "wait" && it.type !== "send");
    const path = sends ?? spins;
    if (!path) continue;
    const [field = "to"] = edgesOf(node)
      .filter((edge) => edge.to === (path[1] ?? node.id))
      .map((edge) => edge.field);
    const drawn = [...path, node.id].join(" → ");
    problems.push(
      sends
        ? inNode(
            index,
            node,
            field,
            "send_in_cycle",
            `can come back to itself (${drawn}), and no node is sent twice; end the circle or add another send node`,
          )
        : inNode(
            index,
            node,
            field,
            "cycle_without_wait",
            `goes in a circle without waiting (${drawn}); put a wait node of at least PT1M in it`,
          ),
    );
    for (const id of path) told.add(id);
  }
  return problems;
}

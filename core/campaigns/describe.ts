/**
 * A plan in words and as a picture, for documents, the API and the console. Says nothing that the plan does not.
 */
import { edgesOf } from "./graph.ts";
import type { Node, Plan } from "./plan.ts";

/** Mermaid reads quotes and angle brackets as its own; entities show them as text. */
const escaped = (text: string) => text.replace(/[&"<>#;]/g, (char) => `#${char.codePointAt(0)};`).replace(/\s+/g, " ");

function caption(node: Node): string {
  switch (node.type) {
    case "send": {
      const subjects =
        node.variants?.map((it) => it.subject ?? it.content?.subject).filter((it) => it !== undefined) ?? [];
      const subject = subjects.length > 0 ? subjects.join(" / ") : (node.content?.subject ?? node.templateId);
      return subject === undefined ? `${node.channel}: ${node.id}` : `${node.channel}: ${subject}`;
    }
    case "wait":
      return `wait ${node.duration}`;
    case "branch":
      return node.id;
    case "update":
      return `update ${Object.keys(node.set).join(", ")}`;
    case "task":
      return `task: ${node.title}`;
    case "stop":
      return node.reason === undefined ? node.outcome : `${node.outcome}: ${node.reason}`;
  }
}

const shapes: Record<Node["type"], readonly [string, string]> = {
  send: ["[", "]"],
  wait: ["([", "])"],
  branch: ["{", "}"],
  update: ["[/", "/]"],
  task: ["[[", "]]"],
  stop: ["((", "))"],
};

/** A Mermaid flowchart: one box per node, one arrow per transition, labelled with what makes it fire. The same plan draws the same text. */
export function describePlan(plan: Plan): string {
  const names = new Map(plan.nodes.map((node, index) => [node.id, `n${index + 1}`]));
  const boxes = plan.nodes.map((node) => {
    const [open, close] = shapes[node.type];
    return `  ${names.get(node.id)}${open}"${escaped(caption(node))}"${close}`;
  });
  const arrows = plan.nodes.flatMap((node) =>
    edgesOf(node).map(
      ({ to, label }) =>
        `  ${names.get(node.id)} -->${label === "" ? "" : `|"${escaped(label)}"|`} ${names.get(to) ?? "n0"}`,
    ),
  );
  return ["flowchart TD", ...boxes, ...arrows, ""].join("\n");
}

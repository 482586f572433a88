/**
 * The texts that a plan carries, read as the templates they are. Invariant: what cannot be parsed is a problem when the plan is written,
 * not the reason why every message is held; what may be a slip is a warning.
 */
import { compileTemplate, doubtOf } from "../templates/index.ts";
import type { Content, Plan, SendNode } from "./plan.ts";
import { type Problem, problem } from "./rules.ts";

export interface TextFindings {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

const parts = ["subject", "html", "text"] as const;

const partsOf = (at: string, content: Content | undefined) =>
  parts.flatMap((part) =>
    content?.[part] === undefined ? [] : [{ field: `${at}.${part}`, part, text: content[part] }],
  );

const textsOf = ({ content, variants = [] }: SendNode) => [
  ...partsOf("content", content),
  ...variants.flatMap(({ subject, content: own }, index) => [
    ...(subject === undefined
      ? []
      : [{ field: `variants[${index}].subject`, part: "subject" as const, text: subject }]),
    ...partsOf(`variants[${index}].content`, own),
  ]),
];

/** Of a plan that is valid otherwise. Stored templates were checked when they were stored. */
export function textFindings(plan: Plan): TextFindings {
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  for (const [index, node] of plan.nodes.entries()) {
    if (node.type !== "send") continue;
    for (const { field, part, text } of textsOf(node)) {
      const compiled = compileTemplate({ [part]: text });
      const say = (code: string, message: string) =>
        problem({ path: `nodes[${index}].${field}`, nodeId: node.id, field, code, message });
      for (const found of compiled.problems.filter((it) => it.part === part)) {
        if (found.severity === "warning") warnings.push(say("template_warning", found.message));
        else problems.push(say("template_unreadable", `cannot be read as a template: ${found.message}`));
      }
      for (const variable of compiled.variables) {
        const doubt = doubtOf(variable);
        if (doubt !== undefined) warnings.push(say("unknown_variable", doubt));
      }
    }
  }
  return { problems, warnings };
}

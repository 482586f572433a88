/**
 * What a plan refers to outside of itself. Invariant: a plan that is stored names only senders and templates that its tenant has; otherwise
 * every message of the node would fail when it is due.
 */
import type { TxContext } from "../kernel/index.ts";
import type { Plan } from "./plan.ts";
import { type Problem, problem } from "./rules.ts";

interface Reference {
  readonly kind: "sender" | "template";
  readonly id: string;
  readonly channel: string;
  readonly nodeId: string;
  readonly path: string;
  readonly field: string;
}

const referencesOf = ({ nodes }: Plan): Reference[] =>
  nodes.flatMap((node, index) => {
    if (node.type !== "send") return [];
    const say = (kind: Reference["kind"], field: string, id: string | undefined): Reference[] =>
      id === undefined
        ? []
        : [{ kind, id, channel: node.channel, nodeId: node.id, path: `nodes[${index}].${field}`, field }];
    return [
      ...say("sender", "senderId", node.senderId),
      ...say("template", "templateId", node.templateId),
      ...(node.variants ?? []).flatMap((variant, at) =>
        say("template", `variants[${at}].templateId`, variant.templateId),
      ),
    ];
  });

/** Of a plan that is valid otherwise. */
export async function referenceProblems(ctx: TxContext, plan: Plan): Promise<Problem[]> {
  const references = referencesOf(plan);
  if (references.length === 0) return [];
  const ids = (kind: Reference["kind"]) => ["", ...references.filter((one) => one.kind === kind).map(({ id }) => id)];
  const senders = await ctx.db
    .selectFrom("email_sender_identities")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", ids("sender"))
    .execute();
  const templates = await ctx.db
    .selectFrom("email_templates")
    .select(["id", "channel"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", ids("template"))
    .execute();
  const hasSender = new Set(senders.map(({ id }) => id));
  const channelOf = new Map(templates.map(({ id, channel }) => [id, channel]));
  return references.flatMap(({ kind, id, channel, ...at }) => {
    const found = kind === "sender" ? hasSender.has(id) : channelOf.has(id);
    if (!found) return [problem({ ...at, code: `unknown_${kind}`, message: `there is no ${kind} "${id}"` })];
    const made = channelOf.get(id);
    if (made === undefined || made === channel) return [];
    const message = `template "${id}" is for ${made}, this node sends on ${channel}`;
    return [problem({ ...at, code: "template_channel", message })];
  });
}

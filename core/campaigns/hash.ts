/**
 * Identity of a plan and everything drawn from it by lot. The hash covers the plan with its defaults filled in, as RFC 8785 canonical
 * JSON, so the order of keys never matters and the same plan has the same hash in every language.
 */
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import type { Plan, SendNode, Variant } from "./plan.ts";

/** RFC 8785 text of a plan: what is stored as `plan_json` and hashed. */
export const canonicalPlan = (plan: Plan): string => canonicalize(plan) ?? "null";

const hashes = new WeakMap<Plan, string>();

/** SHA-256 (hex) of the canonical JSON. Expects a parsed plan: defaults left out would give another hash. */
export function planHash(plan: Plan): string {
  let hash = hashes.get(plan);
  if (!hash) {
    hash = createHash("sha256").update(canonicalPlan(plan)).digest("hex");
    hashes.set(plan, hash);
  }
  return hash;
}

/** The key of one recipient's draw at one node: the same in the simulation, the live run and a replay. */
export const variantKey = (plan: Plan, nodeId: string, contactKey: string): string =>
  `${planHash(plan)}\n${nodeId}\n${contactKey}`;

/** Draws a variant by weight; the same key always draws the same. A variant of weight 0 is never drawn while another weighs more. */
export function chooseVariant(variants: readonly Variant[], key: string): Variant | null {
  const total = variants.reduce((sum, it) => sum + it.weight, 0);
  if (total <= 0) return variants[0] ?? null;
  // 48 bits: exact in a double, and fine enough that weights are met to 1 in 10^10.
  const ticket = (createHash("sha256").update(key).digest().readUIntBE(0, 6) / 2 ** 48) * total;
  let drawn = 0;
  for (const variant of variants) {
    drawn += variant.weight;
    if (ticket < drawn) return variant;
  }
  return null;
}

export interface ResolvedContent {
  readonly templateId: string | null;
  readonly subject: string | null;
  readonly html: string | null;
  readonly text: string | null;
}

/**
 * What a node sends to the holder of a variant. A variant's body (content or template) replaces the node's; its subject replaces any
 * subject. `subject: null` with a template means the template's own subject.
 */
export function resolveContent(node: SendNode, variantId: string | null): ResolvedContent {
  const variant = node.variants?.find((it) => it.id === variantId);
  const own = variant?.content?.html !== undefined || variant?.content?.text !== undefined;
  const body = own ? variant?.content : variant?.templateId === undefined ? node.content : undefined;
  const hasBody = body?.html !== undefined || body?.text !== undefined;
  return {
    templateId: hasBody ? null : (variant?.templateId ?? node.templateId ?? null),
    subject:
      variant?.subject ?? variant?.content?.subject ?? (variant?.templateId ? null : (node.content?.subject ?? null)),
    html: body?.html ?? null,
    text: body?.text ?? null,
  };
}

/**
 * Messages as the gate and the renderer see them, made of a simulation's input. Invariant: the answer to "can this text be made" is the one
 * `compose` gives; it is given once for all recipients whose values a template cannot tell apart.
 */
import { type Candidate, compose, type SendSpec, segmentsOf, variablesOf } from "../messages/index.ts";
import { type CompiledTemplate, compileTemplate } from "../templates/index.ts";
import { nodeOf } from "./graph.ts";
import { resolveContent } from "./hash.ts";
import { companyOf, routeKey, type SimulationInput, specKey, type Walking } from "./simulation-input.ts";

type Row = Readonly<Record<string, unknown>>;

export interface Draft {
  readonly candidate: Candidate;
  readonly spec: SendSpec;
}

/** Where the text of a message stands. */
export interface Content {
  /** Of those who were moved, what was queued before is still a message of their old version. */
  readonly planVersionId: string;
  readonly nodeId: string;
  readonly variantId: string | null;
}

export interface Made {
  /** Why the text cannot be made, or null. */
  readonly problem: string | null;
  /** Of a text message. */
  readonly segments: number | null;
}

/** Stands for the ids and keys of the live run: as long as a real one, and worthless. */
const messageId = `omsg_${"0".repeat(26)}`;
const signingKeys = [new Uint8Array(32)];
const publicUrl = "https://links.example";

const noContent = "the message has no content";

export class Drafts {
  readonly #input: SimulationInput;
  readonly #made = new Map<string, Made>();
  /** By content of the spec: may equal kinds of values share an answer? */
  readonly #plain = new Map<SendSpec, CompiledTemplate | null>();

  constructor(input: SimulationInput) {
    this.#input = input;
  }

  /** @returns null when the plan has no such message */
  of(
    walking: Walking,
    { planVersionId, nodeId, variantId }: Content,
    address: string,
    key: string,
    expiresAt: Date,
    now: Date,
  ): Draft | null {
    const { tenant, campaign, plans, specs, routes, contacts, leads } = this.#input;
    const plan = plans.get(planVersionId);
    const node = plan && nodeOf(plan, nodeId);
    const spec = specs.get(specKey(planVersionId, nodeId, variantId));
    if (node?.type !== "send" || !spec) return null;
    const contact = contacts.get(walking.contactId);
    const route = routes.get(routeKey(node.channel, node.senderId ?? walking.senderId));
    const candidate: Candidate = {
      id: messageId,
      generation: 0,
      attempts: 0,
      // Which steps were taken is asked when it is its turn.
      step: null,
      channel: node.channel,
      message_class: node.messageClass,
      to_address: address,
      suppression_key: key,
      node_id: nodeId,
      walk_node_id: nodeId,
      variant_id: variantId,
      plan_version_id: planVersionId,
      template_id: resolveContent(node, variantId).templateId,
      campaign_id: campaign.id,
      contact_campaign_id: walking.id,
      run_at: now,
      expires_at: expiresAt,
      decision: null,
      tenant_name: tenant.name,
      tenant_status: tenant.status,
      tenant_settings: tenant.settings,
      tenant_unread: tenant.unread,
      campaign_name: campaign.name,
      // The question is what happens once it is active.
      campaign_status: "active",
      enrollment_status: "active",
      lead: leads.get(walking.leadId) ?? null,
      contact: contact?.record ?? null,
      company: companyOf(this.#input, walking.contactId),
      address_status:
        contact?.channels.find((one) => one.channel === node.channel && one.address === address)?.status ?? null,
      sender: route?.sender ?? null,
      channel_config: route?.account ?? null,
    };
    return { candidate, spec };
  }

  /** What would come of making the text of a draft now. @param lead the lead as it is by then */
  made({ candidate, spec }: Draft, lead: Row): Made {
    if (spec.content.html === undefined && spec.content.text === undefined)
      return { problem: noContent, segments: null };
    const variables = variablesOf({ ...candidate, lead });
    // Segments depend on every letter.
    const plain = candidate.channel === "sms" ? null : this.#plainOf(spec);
    if (plain === null) return this.#make(candidate, spec, variables);
    const sign = `${plain.hash} ${candidate.channel} ${plain.variables.map((path) => kindOf(variables, path)).join(" ")}`;
    let made = this.#made.get(sign);
    if (made === undefined) {
      made = this.#make(candidate, spec, variables);
      this.#made.set(sign, made);
    }
    return made;
  }

  #plainOf(spec: SendSpec): CompiledTemplate | null {
    let plain = this.#plain.get(spec);
    if (plain === undefined) {
      plain = plainTemplate(spec);
      this.#plain.set(spec, plain);
    }
    return plain;
  }

  #make(candidate: Candidate, spec: SendSpec, variables: Row): Made {
    const { settings } = this.#input.tenant;
    const made = compose({
      source: spec.content,
      channel: candidate.channel,
      messageClass: candidate.message_class,
      tenantId: this.#input.tenant.id,
      messageId,
      variables,
      postalAddress: settings.postalAddress ?? null,
      trackOpens: settings.trackOpens ?? true,
      trackClicks: settings.trackClicks ?? true,
      publicUrl,
      signingKeys,
    });
    if (!made.ok) return { problem: made.detail, segments: null };
    return { problem: null, segments: candidate.channel === "sms" ? segmentsOf(made.text).count : null };
  }
}

/** Filters that print every harmless value and no blank one. */
const harmlessFilters = new Set(["default", "upcase", "downcase", "capitalize", "strip", "escape"]);
const harmlessLength = 60;
/** Begins with a letter or digit, so that it is not blank; nothing in it can start markup, a scheme or a header. */
const harmless = /^[\p{L}\p{N}][\p{L}\p{N} .,'&()+@_-]{0,59}$/u;

/** The template, if it only prints values and is far from every limit: then values of one kind give one answer. */
function plainTemplate({ content }: SendSpec): CompiledTemplate | null {
  const parts = [content.subject, content.html, content.text].filter((part) => part !== undefined);
  const compiled = compileTemplate(content);
  // Escaping makes at most six characters of one.
  const isBelow = (part: string | undefined, limit: number): boolean =>
    part === undefined || part.length + part.split("{{").length * harmlessLength * 6 < limit;
  const isSmall =
    (content.subject?.length ?? 0) + (content.subject?.split("{{").length ?? 0) * harmlessLength < 998 &&
    isBelow(content.html, 100_000) &&
    isBelow(content.text, content.html === undefined ? 1_600 : 100_000);
  const isPlain = parts.every(
    (part) =>
      !part.includes("{%") &&
      [...part.matchAll(/\{\{(.*?)\}\}/gs)].every(([, inside = ""]) =>
        inside
          .split("|")
          .slice(1)
          .every((filter) => harmlessFilters.has(filter.trim().split(/[\s:]/, 1)[0] ?? "")),
      ),
  );
  const isNamed = compiled.variables.every((path) => /^[\w.]+$/.test(path));
  return compiled.ok && isSmall && isPlain && isNamed ? compiled : null;
}

/** Harmless texts are one kind; every other value is a kind of its own. */
function kindOf(variables: Row, path: string): string {
  let value: unknown = variables;
  for (const name of path.split(".")) {
    value =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  }
  if (typeof value === "string" && harmless.test(value)) return "text";
  return value === undefined ? "none" : (JSON.stringify(value) ?? "none");
}

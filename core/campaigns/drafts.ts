/**
 * Messages as the gate and the renderer see them, made of a simulation's input. Invariant: the answer to "can this text be made" is the one
 * `compose` gives; it is given once for all recipients whose values a template cannot tell apart.
 */
import { type Candidate, compose, type SendSpec, segmentsOf, variablesOf } from "../messages/index.ts";
import { type CompiledTemplate, compileTemplate } from "../templates/index.ts";
import { nodeOf } from "./graph.ts";
import { resolveContent } from "./hash.ts";
import { routeKey, type SimulationInput, specKey, type Walking } from "./simulation-input.ts";

interface Draft {
  readonly candidate: Candidate;
  readonly spec: SendSpec;
}

/** Stands for the ids and keys of the live run: as long as a real one, and worthless. */
const messageId = `omsg_${"0".repeat(26)}`;
const signingKeys = [new Uint8Array(32)];
const publicUrl = "https://links.example";

const noContent = "the message has no content";

export class Drafts {
  readonly #input: SimulationInput;
  readonly #problems = new Map<string, string | null>();
  /** By content of the spec: may equal kinds of values share an answer? */
  readonly #plain = new Map<SendSpec, CompiledTemplate | null>();

  constructor(input: SimulationInput) {
    this.#input = input;
  }

  /** @returns null when the plan has no such message */
  of(
    walking: Walking,
    nodeId: string,
    variantId: string | null,
    address: string,
    key: string,
    expiresAt: Date,
    now: Date,
  ): Draft | null {
    const { tenant, campaign, plans, specs, routes, contacts, leads, companies } = this.#input;
    const plan = plans.get(walking.planVersionId);
    const node = plan && nodeOf(plan, nodeId);
    const spec = specs.get(specKey(walking.planVersionId, nodeId, variantId));
    if (node?.type !== "send" || !spec) return null;
    const contact = contacts.get(walking.contactId);
    const route = routes.get(routeKey(node.channel, node.senderId ?? walking.senderId));
    const candidate: Candidate = {
      id: messageId,
      generation: 0,
      attempts: 0,
      channel: node.channel,
      message_class: node.messageClass,
      to_address: address,
      suppression_key: key,
      node_id: nodeId,
      variant_id: variantId,
      plan_version_id: walking.planVersionId,
      template_id: resolveContent(node, variantId).templateId,
      contact_campaign_id: walking.id,
      run_at: now,
      expires_at: expiresAt,
      decision: null,
      tenant_name: tenant.name,
      tenant_status: tenant.status,
      tenant_settings: tenant.settings,
      campaign_name: campaign.name,
      // The question is what happens once it is active.
      campaign_status: "active",
      enrollment_status: "active",
      lead: leads.get(walking.leadId) ?? null,
      contact: contact?.record ?? null,
      company: (contact?.companyId && companies.get(contact.companyId)) || null,
      address_status:
        contact?.channels.find((one) => one.channel === node.channel && one.address === address)?.status ?? null,
      sender: route?.sender ?? null,
      channel_config: route?.account ?? null,
    };
    return { candidate, spec };
  }

  /** Why the text cannot be made, or null. */
  problem(
    walking: Walking,
    nodeId: string,
    variantId: string | null,
    address: string,
    lead: Readonly<Record<string, unknown>>,
  ): string | null {
    const draft = this.of(walking, nodeId, variantId, address, "", this.#input.startAt, this.#input.startAt);
    if (!draft) return noContent;
    const { spec, candidate } = draft;
    if (spec.content.html === undefined && spec.content.text === undefined) return noContent;
    const variables = variablesOf({ ...candidate, lead });
    const plain = this.#plainOf(spec);
    if (plain === null) return problemOf(this.#compose(draft, variables));
    const sign = `${plain.hash} ${candidate.channel} ${plain.variables.map((path) => kindOf(variables, path)).join(" ")}`;
    let problem = this.#problems.get(sign);
    if (problem === undefined) {
      problem = problemOf(this.#compose(draft, variables));
      this.#problems.set(sign, problem);
    }
    return problem;
  }

  /** Segments of a text message, or null when its text cannot be made. */
  segments(
    walking: Walking,
    nodeId: string,
    variantId: string | null,
    address: string,
    lead: Readonly<Record<string, unknown>>,
  ): number | null {
    const draft = this.of(walking, nodeId, variantId, address, "", this.#input.startAt, this.#input.startAt);
    const made = draft && this.#compose(draft, variablesOf({ ...draft.candidate, lead }));
    return made?.ok ? segmentsOf(made.text).count : null;
  }

  #plainOf(spec: SendSpec): CompiledTemplate | null {
    let plain = this.#plain.get(spec);
    if (plain === undefined) {
      plain = plainTemplate(spec);
      this.#plain.set(spec, plain);
    }
    return plain;
  }

  #compose({ candidate, spec }: Draft, variables: Readonly<Record<string, unknown>>) {
    const { settings } = this.#input.tenant;
    return compose({
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
  }
}

const problemOf = (made: ReturnType<typeof compose>): string | null => (made.ok ? null : made.detail);

/** Filters that print every harmless value and no blank one. */
const harmlessFilters = new Set(["default", "upcase", "downcase", "capitalize", "strip", "escape"]);
const harmlessLength = 60;
/** Begins with a letter or digit, so that it is not blank; nothing in it can start markup, a scheme or a header. */
const harmless = /^[\p{L}\p{N}][\p{L}\p{N} .,'&()+@_-]{0,59}$/u;

/** The template, if it only prints values and is far from every limit: then values of one kind give one answer. */
function plainTemplate({ content }: SendSpec): CompiledTemplate | null {
  const parts = [content.subject, content.html, content.text].filter((part) => part !== undefined);
  const compiled = compileTemplate(content);
  const growth = compiled.variables.length * 10 * harmlessLength;
  const isSmall =
    (content.subject?.length ?? 0) + growth < 998 &&
    parts.every((part) => part.length + growth < (content.html === undefined ? 1_500 : 50_000));
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
function kindOf(variables: Readonly<Record<string, unknown>>, path: string): string {
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

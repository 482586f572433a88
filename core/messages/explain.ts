/**
 * Why a message was sent, or was not, or has not been yet: what was decided with which facts, and what the same gate says now. Reads only.
 * Invariant: the answer for now comes from `decide` on facts read as a claim reads them, so it is what the next claim would do.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  type Context,
  DomainError,
  type GateReason,
  idOf,
  parseInput,
  type TxContext,
  transact,
} from "../kernel/index.ts";
import { variablesOf } from "./claim.ts";
import { compose } from "./content.ts";
import { addressFacts, type Candidate, gateFacts, readCandidates, type SendSpec } from "./facts.ts";
import { type CheckAnswer, checkAll, decide, type Verdict } from "./gate.ts";
import type { CampaignPort } from "./ports.ts";
import { remedies } from "./remedies.ts";
import { stepsFor } from "./steps.ts";

export const errors = {
  notFound: (id: string) => new DomainError("not_found", "message.not_found", `No message ${id}.`),
};

export interface MessageExplanation {
  readonly messageId: string;
  readonly status: string;
  /** Stable: `sent`, `in_flight`, `ambiguous`, `waiting`, or the gate's reason. */
  readonly code: string;
  /** Sentences for a person, the most important first. */
  readonly sentences: readonly string[];
  /** What to do about `code`; null when nothing should be done. */
  readonly remedy: string | null;
  readonly about: {
    readonly campaignId: string | null;
    readonly enrollmentId: string | null;
    readonly contactId: string | null;
    readonly nodeId: string | null;
    readonly variantId: string | null;
    readonly channel: string;
    readonly address: string;
    readonly queuedAt: Date;
    readonly nextLookAt: Date | null;
    readonly expiresAt: Date;
    readonly sentAt: Date | null;
  };
  /** The last decision as it was stored: instant, ruleset, zones, rule, slot. */
  readonly decided: { readonly reason: string | null; readonly detail: string | null; readonly facts: unknown };
  /** What the gate says now; null once the message has left or ended. */
  readonly now: {
    readonly at: Date;
    readonly verdict: Verdict["kind"];
    readonly reason: GateReason | null;
    readonly detail: string | null;
    readonly until: Date | null;
    readonly checks: readonly CheckAnswer[];
    /** Where the recipient may be, by which evidence. */
    readonly where: unknown;
  } | null;
  readonly attempts: readonly {
    readonly id: string;
    readonly generation: number;
    readonly provider: string;
    readonly outcome: string | null;
    readonly code: string | null;
    readonly reason: string | null;
    readonly startedAt: Date;
    readonly finishedAt: Date | null;
    readonly resolvedBy: string | null;
  }[];
  /** Every suppression and do-not-call entry about the address, lifted ones too. */
  readonly suppressions: readonly {
    readonly list: "suppression" | "dnc";
    readonly id: string;
    readonly reason: string | null;
    readonly source: string | null;
    readonly since: Date;
    readonly liftedAt: Date | null;
  }[];
}

export const ExplainMessage = z.object({ messageId: idOf("message") });

/** @throws DomainError `message.not_found` */
export async function explainMessage(
  ctx: Context,
  campaigns: Pick<CampaignPort, "specsOf">,
  input: z.input<typeof ExplainMessage>,
): Promise<MessageExplanation> {
  const { messageId } = parseInput(ExplainMessage, input);
  return transact(ctx, async (ctx) => {
    const [candidate] = await readCandidates(ctx, [messageId]);
    const [message] = await messageRow(ctx, messageId);
    if (!candidate || !message) throw errors.notFound(messageId);
    const attempts = await attemptsOf(ctx, messageId);
    const suppressions = await suppressionsOf(ctx, candidate);
    const isOpen = message.status === "queued" || message.status === "held";
    const now = isOpen ? await judgeNow(ctx, campaigns, candidate) : null;
    const told = { message, now, attempts, suppressions };
    const code = codeOf(told);
    return {
      messageId,
      status: message.status,
      code,
      sentences: sentencesOf(told),
      remedy: remedyOf(code, now),
      about: {
        campaignId: message.campaign_id,
        enrollmentId: message.contact_campaign_id,
        contactId: message.contact_id,
        nodeId: message.node_id,
        variantId: message.variant_id,
        channel: message.channel,
        address: message.to_address,
        queuedAt: message.created_at,
        nextLookAt: isOpen ? message.run_at : null,
        expiresAt: message.expires_at,
        sentAt: message.sent_at,
      },
      decided: { reason: message.hold_reason, detail: message.last_error, facts: message.decision },
      now,
      attempts,
      suppressions,
    };
  });
}
explainMessage.schema = ExplainMessage;

/** An end that resuming would have prevented cannot be undone by it: only what waits is advised about, and a consent that comes too late. */
const remedyOf = (code: string, now: MessageExplanation["now"]): string | null =>
  (now?.verdict === "hold" || code === "no_consent") && Object.hasOwn(remedies, code)
    ? remedies[code as GateReason]
    : null;

const messageRow = (ctx: TxContext, id: string) =>
  ctx.db
    .selectFrom("outbound_messages")
    .selectAll()
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .execute();

/** Makes the text only to see whether it can be made; these stand for the installation's own links and keys. */
const drafting = { publicUrl: "https://links.example", signingKeys: [new Uint8Array(32)] } as const;

async function judgeNow(
  ctx: TxContext,
  campaigns: Pick<CampaignPort, "specsOf">,
  candidate: Candidate,
): Promise<MessageExplanation["now"]> {
  const spec = (await campaigns.specsOf(ctx, [candidate])).get(candidate.id) ?? { content: {} };
  const known = await addressFacts(ctx, [candidate]);
  const steps = await stepsFor(ctx, [candidate]);
  const facts = gateFacts(candidate, known, steps, spec, renderProblem(ctx, candidate, spec));
  const verdict = decide(facts, ctx.now);
  return {
    at: ctx.now,
    verdict: verdict.kind,
    reason: verdict.kind === "send" ? null : verdict.reason,
    detail: verdict.kind === "send" ? null : verdict.detail,
    until: verdict.kind === "hold" ? verdict.until : null,
    checks: checkAll(facts, ctx.now),
    where: facts.where,
  };
}

function renderProblem(ctx: TxContext, row: Candidate, spec: SendSpec): string | null {
  if (spec.content.html === undefined && spec.content.text === undefined) return "the message has no content";
  const made = compose({
    ...drafting,
    source: spec.content,
    channel: row.channel,
    messageClass: row.message_class,
    tenantId: ctx.tenantId,
    messageId: row.id,
    variables: variablesOf(row),
    postalAddress: row.tenant_settings.postalAddress ?? null,
    trackOpens: row.tenant_settings.trackOpens ?? true,
    trackClicks: row.tenant_settings.trackClicks ?? true,
  });
  return made.ok ? null : made.detail;
}

const attemptsOf = (ctx: TxContext, messageId: string): Promise<MessageExplanation["attempts"][number][]> =>
  ctx.db
    .selectFrom("send_attempts")
    .select([
      "id",
      "generation",
      "provider",
      "outcome",
      "code",
      "reason",
      "started_at as startedAt",
      "finished_at as finishedAt",
      "resolved_by as resolvedBy",
    ])
    .where("tenant_id", "=", ctx.tenantId)
    .where("message_id", "=", messageId)
    .orderBy("generation")
    .execute();

async function suppressionsOf(
  ctx: TxContext,
  { channel, suppression_key, to_address }: Candidate,
): Promise<MessageExplanation["suppressions"]> {
  const { rows } = await sql<MessageExplanation["suppressions"][number]>`
    select 'suppression' as list, id, reason, source, suppressed_at as since, released_at as "liftedAt" from communication_suppressions
    where tenant_id = ${ctx.tenantId} and channel = ${channel} and address = ${suppression_key}
    union all
    select 'dnc', id, reason, source, added_at, lifted_at from dnc_list
    where organization_id = ${ctx.organizationId} and phone_number = ${to_address}
    order by since, id`.execute(ctx.db);
  return rows;
}

interface Told extends Pick<MessageExplanation, "now" | "attempts" | "suppressions"> {
  readonly message: Awaited<ReturnType<typeof messageRow>>[number];
}

const codeOf = ({ message, now }: Told): string => {
  if (message.sent_at !== null) return "sent";
  if (message.status === "sending") return "in_flight";
  if (message.status === "ambiguous" || message.status === "accepted_unknown") return "ambiguous";
  if (now) return now.reason ?? (message.hold_reason === "rate_limit" ? "rate_limit" : "waiting");
  return message.hold_reason ?? message.status;
};

function sentencesOf({ message, now, attempts, suppressions }: Told): string[] {
  const to = `the ${message.channel} to ${message.to_address}`;
  const told: string[] = [];
  const last = attempts.at(-1);
  if (message.sent_at !== null) {
    told.push(
      `${capital(to)} was accepted by ${message.provider ?? "the provider"} at ${iso(message.sent_at)}; its status is ${message.status}.`,
    );
  } else if (message.status === "sending") {
    told.push(`${capital(to)} is with ${message.provider ?? "the provider"} right now.`);
  } else if (message.status === "ambiguous" || message.status === "accepted_unknown") {
    told.push(
      `Nobody knows whether ${message.provider ?? "the provider"} accepted ${to}: ${message.last_error ?? "the call's end is unknown"}. It is not sent again.`,
    );
  } else if (now) {
    if (now.verdict === "send") {
      told.push(
        message.hold_reason === "rate_limit"
          ? `${capital(to)} waits for its place under the rate limits, at ${iso(message.run_at)}.`
          : `Every check passes; ${to} leaves when it is next looked at, at ${iso(message.run_at)}.`,
      );
    } else if (now.verdict === "hold") {
      told.push(
        `${capital(to)} is held back (${now.reason}): ${now.detail}; it is looked at again at ${iso(message.run_at)}.`,
      );
    } else told.push(`${capital(to)} will not be sent (${now.reason}): ${now.detail}.`);
    if (message.hold_reason !== null && now.reason !== message.hold_reason && message.hold_reason !== "rate_limit") {
      told.push(
        `When it was last looked at, it was held by ${message.hold_reason}: ${message.last_error ?? "no detail"}.`,
      );
    }
  } else {
    told.push(
      `${capital(to)} was not sent: its status is ${message.status}${message.hold_reason === null ? "" : ` (${message.hold_reason})`}${message.last_error === null ? "" : `, ${message.last_error}`}.`,
    );
  }
  if (last && message.sent_at === null) {
    told.push(
      `It was tried ${attempts.length === 1 ? "once" : `${attempts.length} times`}; the last call ended as ${last.outcome ?? "not yet known"}${last.reason === null ? "" : `: ${last.reason}`}.`,
    );
  }
  for (const one of suppressions) {
    const list = one.list === "dnc" ? "on the do-not-call list" : "suppressed";
    told.push(
      `The address ${one.liftedAt === null ? "is" : "was"} ${list} since ${iso(one.since)} (${one.reason ?? "no reason noted"}${one.source === null ? "" : `, by ${one.source}`})${one.liftedAt === null ? "" : ` until ${iso(one.liftedAt)}`}.`,
    );
  }
  return told;
}

const iso = (at: Date): string => at.toISOString();
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

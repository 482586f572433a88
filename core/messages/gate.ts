/**
 * The gate: may this message leave now? One pure function of the facts, used by the live send, by the simulation and by `explain`,
 * which is why the three agree.
 *
 * Invariant: every rule can only say no, in a fixed order; a message that leaves has passed all of them. An answer of no is a value
 * with the rule that said it and the facts it was based on.
 */
import {
  allowedAt,
  type Cap,
  capFor,
  channelClass,
  frequencyCap,
  type QuietFacts,
  RULESET_VERSION,
  type ZoneEvidence,
} from "../compliance/index.ts";
import {
  type Channel,
  endedByAct,
  type GateReason,
  type MessageStatus,
  type SuppressionReason,
} from "../kernel/index.ts";
import type { Restraint } from "../tenancy/index.ts";
import type { Place } from "./rate.ts";

/** How long a hold that ends by facts nobody announces waits before it is looked at again. */
export const recheckSeconds = 900;

/** An act that ends a hold wakes what it held (core/kernel/wake.ts). One that forgot to, by a defect of ours, costs so long and not the message. */
export const longestHoldSeconds = 6 * 3_600;

/** When a hold without a known end is looked at again, if nobody wakes it. What expires before is looked at then, to be ended. */
function nextLook(hold: GateReason, expiresAt: Date, now: Date): Date {
  if (!endedByAct.has(hold)) return new Date(now.getTime() + recheckSeconds * 1_000);
  return new Date(Math.min(now.getTime() + longestHoldSeconds * 1_000, expiresAt.getTime()));
}

export interface GateFacts {
  readonly channel: Channel;
  readonly messageClass: "marketing" | "transactional";
  readonly expiresAt: Date;
  readonly tenantStatus: "active" | "suspended";
  /** null: the message belongs to no campaign. */
  readonly campaignStatus: string | null;
  readonly enrollmentStatus: string | null;
  readonly lead: { readonly status: string; readonly deleted: boolean } | null;
  readonly suppression: { readonly reason: SuppressionReason; readonly since: Date } | null;
  readonly onDncList: boolean;
  /** Of the address on this channel, in force now. */
  readonly hasConsent: boolean;
  /** Cold e-mail is lawful without opt-in where the tenant operates; text messages never are. */
  readonly consentRequired: boolean;
  readonly addressStatus: "active" | "invalid" | "bounced";
  /** Another contact with this address has had this step already, whatever its node was called. Asked only where nodes were renamed. */
  readonly stepTaken: boolean;
  readonly senderVerified: boolean;
  /** null: the tenant has no account for this channel. */
  readonly channelStatus: "active" | "degraded" | "disabled" | null;
  readonly postalAddress: string | null;
  /** Why the text cannot be made, or null when it can. */
  readonly renderProblem: string | null;
  readonly where: ZoneEvidence;
  readonly hours: Pick<
    QuietFacts,
    "strictness" | "tenantQuietHours" | "planQuietHours" | "nodeWindow" | "fallbackZone"
  >;
  /** Accepted, being sent and ambiguous messages of at least the last 24 hours to this address on this channel, by any campaign. */
  readonly recentSends: readonly Date[];
  /** The tenant's own caps on this channel; the law's applies besides. */
  readonly tenantCaps: readonly Cap[];
  /** Settings of the tenant that keep messages back and that this release cannot read. */
  readonly unread: readonly Restraint[];
}

/** An end that is not a send. */
export type GateEnd = Extract<MessageStatus, "suppressed" | "cancelled" | "failed" | "expired">;

export type Verdict =
  | { readonly kind: "send"; readonly facts: DecisionFacts }
  | {
      readonly kind: "hold";
      readonly reason: GateReason;
      readonly until: Date;
      readonly detail: string;
      readonly facts: DecisionFacts;
    }
  | {
      readonly kind: "end";
      readonly status: GateEnd;
      readonly reason: GateReason;
      readonly detail: string;
      readonly facts: DecisionFacts;
    };

/** What is stored with every decision: enough to defend it later. */
export interface DecisionFacts {
  readonly at: string;
  readonly ruleset: string;
  readonly zones: readonly string[];
  readonly rule?: string;
  /** When the message's turn under the rate limits comes, or came. */
  readonly slot?: string;
  /** What is kept for it there; absent when its turn has passed. */
  readonly places?: readonly Place[];
  /** Are those places its own already, or kept for it? */
  readonly taken?: boolean;
}

type Answer =
  | { readonly end: GateEnd; readonly reason: GateReason; readonly detail: string }
  | { readonly hold: GateReason; readonly until: Date | null; readonly detail: string; readonly rule?: string }
  | null;

type Check = (facts: GateFacts, now: Date) => Answer;

const hold = (reason: GateReason, detail: string, until: Date | null = null): Answer => ({
  hold: reason,
  until,
  detail,
});
const end = (status: GateEnd, reason: GateReason, detail: string): Answer => ({ end: status, reason, detail });

const unreadable = (setting: Restraint): string =>
  `the tenant's setting ${setting} cannot be read by this release: set it again, or run the release that wrote it`;

/** In this order: what can never change comes first, so that nothing is held that is already over. */
const checks: readonly Check[] = [
  (f, now) =>
    now >= f.expiresAt ? end("expired", "expired", `was not sent before ${f.expiresAt.toISOString()}`) : null,
  (f) => {
    if (f.enrollmentStatus === null || f.enrollmentStatus === "active") return null;
    return f.enrollmentStatus === "paused"
      ? hold("enrollment_not_active", "the enrollment is paused")
      : end("cancelled", "enrollment_not_active", `the enrollment is ${f.enrollmentStatus}`);
  },
  (f) => {
    if (f.campaignStatus === null || f.campaignStatus === "active") return null;
    return f.campaignStatus === "paused" || f.campaignStatus === "draft"
      ? hold("campaign_not_active", `the campaign is ${f.campaignStatus}`)
      : end("cancelled", "campaign_not_active", `the campaign is ${f.campaignStatus}`);
  },
  (f) => {
    if (f.lead === null) return null;
    if (f.lead.deleted) return end("cancelled", "lead_unavailable", "the lead was deleted");
    return f.lead.status === "dnc" ? end("suppressed", "lead_unavailable", "the lead's status is dnc") : null;
  },
  (f) =>
    f.suppression
      ? end("suppressed", "suppressed", `${f.suppression.reason} since ${f.suppression.since.toISOString()}`)
      : null,
  (f) => (f.onDncList ? end("suppressed", "dnc", "the number is on the organization's do-not-call list") : null),
  (f) => (f.addressStatus === "active" ? null : end("failed", "address_invalid", `the address is ${f.addressStatus}`)),
  (f) =>
    f.consentRequired && !f.hasConsent
      ? end("suppressed", "no_consent", "no consent is on record for marketing on this channel")
      : null,
  (f) =>
    f.stepTaken
      ? end("cancelled", "duplicate_address", "this step went to the address already, for another contact with it")
      : null,
  (f) => (f.tenantStatus === "active" ? null : hold("tenant_suspended", "the tenant is suspended")),
  (f) => {
    if (f.channelStatus === "active") return null;
    return f.channelStatus === "degraded"
      ? hold("credentials", "the provider refuses this account; see the channel's status_reason")
      : hold("channel_unavailable", `no active account for ${f.channel}`);
  },
  (f) => (f.senderVerified ? null : hold("sender_unverified", "the sender identity is not verified")),
  (f) =>
    f.channel === "email" && f.messageClass === "marketing" && !f.postalAddress
      ? hold("postal_address_missing", "set the tenant's postalAddress; marketing e-mail must carry one")
      : null,
  (f) => (f.renderProblem === null ? null : hold("render_failed", f.renderProblem)),
  (f, now) => {
    if (f.unread.includes("quietHours")) return hold("quiet_hours", unreadable("quietHours"));
    const verdict = allowedAt(quietFacts(f), now);
    return verdict.allowed
      ? null
      : {
          hold: verdict.reason,
          until: verdict.until,
          detail: `${verdict.rule}${verdict.zone ? ` in ${verdict.zone}` : ""}`,
          rule: verdict.rule,
        };
  },
  (f, now) => {
    if (f.unread.includes("frequencyCaps")) return hold("frequency_cap", unreadable("frequencyCaps"));
    const law =
      f.messageClass === "marketing"
        ? capFor(f.where, channelClass(f.channel), f.hours.strictness ?? "strict", now.getTime())
        : null;
    for (const cap of [law, ...f.tenantCaps]) {
      if (!cap) continue;
      const verdict = frequencyCap(f.recentSends, cap.count, cap.windowSeconds, now);
      if (!verdict.allowed) {
        return hold("frequency_cap", `${cap.count} per ${cap.windowSeconds / 3600} h to one address`, verdict.until);
      }
    }
    return null;
  },
];

export const quietFacts = (facts: GateFacts): QuietFacts => ({
  channel: facts.channel,
  purpose: facts.messageClass,
  where: facts.where,
  ...facts.hours,
});

/** Rate limits are not among the facts: what passes here is then given a slot (`rate.ts`), in the order of `run_at`. */
export function decide(facts: GateFacts, now: Date): Verdict {
  const seen: DecisionFacts = { at: now.toISOString(), ruleset: RULESET_VERSION, zones: facts.where.zones };
  for (const check of checks) {
    const answer = check(facts, now);
    if (answer === null) continue;
    if ("end" in answer) {
      return { kind: "end", status: answer.end, reason: answer.reason, detail: answer.detail, facts: seen };
    }
    const unknown = nextLook(answer.hold, facts.expiresAt, now);
    const until = answer.until ?? unknown;
    return {
      kind: "hold",
      reason: answer.hold,
      until: until < facts.expiresAt ? until : facts.expiresAt,
      detail: answer.detail,
      facts: answer.rule === undefined ? seen : { ...seen, rule: answer.rule },
    };
  }
  return { kind: "send", facts: seen };
}

/** What each check asks, in the order of `checks`. */
const asked: readonly (readonly GateReason[])[] = [
  ["expired"],
  ["enrollment_not_active"],
  ["campaign_not_active"],
  ["lead_unavailable"],
  ["suppressed"],
  ["dnc"],
  ["address_invalid"],
  ["no_consent"],
  ["duplicate_address"],
  ["tenant_suspended"],
  ["channel_unavailable", "credentials"],
  ["sender_unverified"],
  ["postal_address_missing"],
  ["render_failed"],
  ["quiet_hours", "tz_unknown"],
  ["frequency_cap"],
];

export interface CheckAnswer {
  /** The reasons this check can give. */
  readonly asks: readonly GateReason[];
  readonly passed: boolean;
  readonly reason?: GateReason;
  readonly detail?: string;
}

/** Every check with its own answer, also after one has said no: `decide` gives the first of these. */
export const checkAll = (facts: GateFacts, now: Date): CheckAnswer[] =>
  checks.map((check, index) => {
    const answer = check(facts, now);
    const asks = asked[index] ?? [];
    if (answer === null) return { asks, passed: true };
    return { asks, passed: false, reason: "end" in answer ? answer.reason : answer.hold, detail: answer.detail };
  });

/** Routes of "no": suppressions and do-not-call. Invariant: whatever is added here has stopped what was queued before the answer is sent. */
import * as campaigns from "@outrider/core/campaigns";
import { channels } from "@outrider/core/kernel";
import * as suppression from "@outrider/core/suppression";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";

const Suppression = z
  .object({
    id,
    channel: text,
    address: text.describe("canonical"),
    reason: text,
    source: text,
    evidence: z.unknown(),
    seq: text.describe("order in which suppressions and claims took effect"),
    suppressedAt: time,
    createdBy: maybeText,
    releasedAt: maybeTime,
    releasedBy: maybeText,
    releaseNote: maybeText,
  })
  .meta({ id: "Suppression" });

const Stopped = z
  .object({ messageId: id, contactCampaignId: id.nullable(), channel: text, address: text })
  .meta({ id: "StoppedMessage" });

const Added = z
  .object({
    added: z.array(z.object({ id, channel: text, address: text, seq: text })).describe("what did not exist before"),
    existing: z.int(),
    invalid: z
      .array(z.object({ index: z.int(), address: text }))
      .describe("entries whose address is none of its channel"),
    stopped: z.array(Stopped).describe("messages that will never be sent"),
    inFlight: z.array(Stopped).describe("messages that a provider may already have"),
  })
  .meta({ id: "SuppressionsAdded" });

const Hit = z
  .object({
    channel: z.enum(channels),
    address: text,
    list: z.enum(["suppression", "dnc"]),
    id,
    reason: maybeText,
    since: time,
    seq: text,
  })
  .meta({ id: "SuppressionHit" });

const Check = z
  .discriminatedUnion("allowed", [
    z.object({ allowed: z.literal(true) }),
    z.object({ allowed: z.literal(false), hit: Hit.nullable().describe("null: not an address of that channel") }),
  ])
  .meta({ id: "SuppressionCheck" });

const DncEntry = z
  .object({
    id,
    phoneNumber: text,
    reason: maybeText,
    source: maybeText,
    addedAt: time,
    addedBy: maybeText,
    liftedAt: maybeTime,
    liftedBy: maybeText,
  })
  .meta({ id: "DncEntry" });

const Consent = z
  .object({
    id,
    contactId: id.nullable(),
    channel: text,
    address: text,
    basis: text,
    text: maybeText,
    source: text,
    ip: maybeText,
    formVersion: maybeText,
    grantedAt: time,
    revokedAt: maybeTime,
    createdBy: maybeText,
    createdAt: time,
  })
  .meta({ id: "Consent" });

export const suppressionEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/suppressions",
    tag: "Suppressions",
    summary: "Who must not be contacted, newest first",
    scope: "suppressions:read",
    input: suppression.list.schema,
    answer: page(Suppression),
    run: ({ ctx, input }) => suppression.list(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/suppressions",
    tag: "Suppressions",
    summary: "Add up to 1,000 suppressions",
    description: "Ends everything queued for the addresses. Repeating it changes nothing.",
    scope: "suppressions:write",
    status: 201,
    input: campaigns.suppress.schema,
    answer: Added,
    example: { entries: [{ channel: "email", address: "kim@example.com", reason: "manual", source: "api" }] },
    run: ({ ctx, input }) => campaigns.suppress(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/suppressions/check",
    tag: "Suppressions",
    summary: "May this address be contacted on this channel?",
    scope: "suppressions:read",
    input: suppression.check.schema,
    answer: Check,
    example: { channel: "email", address: "kim@example.com" },
    run: ({ ctx, input }) => suppression.check(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/suppressions/check",
    tag: "Suppressions",
    summary: "The same question about up to 10,000 addresses",
    scope: "suppressions:read",
    maxKeys: 30_000,
    input: suppression.checkMany.schema,
    answer: z.object({ checks: z.array(Check).describe("in the order of the question") }),
    example: { targets: [{ channel: "sms", address: "+12025550123" }] },
    run: async ({ ctx, input }) => ({ checks: await suppression.checkMany(ctx, input) }),
  }),
  endpoint({
    method: "get",
    path: "/v1/suppressions/as-of",
    tag: "Suppressions",
    summary: "The suppression that was in force for an address at an instant",
    scope: "suppressions:read",
    input: suppression.asOf.schema,
    answer: z.object({ suppression: Suppression.nullable() }),
    example: { channel: "email", address: "kim@example.com", at: "2026-11-01T12:00:00Z" },
    run: async ({ ctx, input }) => ({ suppression: await suppression.asOf(ctx, input) }),
  }),
  endpoint({
    method: "post",
    path: "/v1/suppressions/{id}/lift",
    tag: "Suppressions",
    summary: "Take back what was concluded or entered by us",
    description: "A person's own no (unsubscribed, stop, complaint) and an erasure cannot be lifted: 409.",
    scope: "suppressions:write",
    input: suppression.lift.schema,
    answer: z.object({ id, channel: text, address: text }),
    example: { note: "mailbox exists again, confirmed by phone" },
    run: ({ ctx, input }) => suppression.lift(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/dnc",
    tag: "Do-not-call",
    summary: "The organization's do-not-call list",
    scope: "suppressions:read",
    input: suppression.listDnc.schema,
    answer: page(DncEntry),
    run: ({ ctx, input }) => suppression.listDnc(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/dnc",
    tag: "Do-not-call",
    summary: "Add up to 1,000 numbers for every tenant of the organization",
    scope: "suppressions:write",
    status: 201,
    input: campaigns.addToDnc.schema,
    answer: z.object({ added: z.array(text), stopped: z.array(Stopped), inFlight: z.array(Stopped) }),
    example: { phones: ["+12025550123"], source: "api", reason: "asked on the phone" },
    run: ({ ctx, input }) => campaigns.addToDnc(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/dnc/check",
    tag: "Do-not-call",
    summary: "Which of up to 10,000 numbers are on the list",
    scope: "suppressions:read",
    input: suppression.checkDnc.schema,
    answer: z.object({
      numbers: z.array(z.object({ phone: text, phoneNumber: maybeText, listed: z.boolean() })),
    }),
    example: { phones: ["+12025550123"] },
    run: async ({ ctx, input }) => ({ numbers: await suppression.checkDnc(ctx, input) }),
  }),
  endpoint({
    method: "post",
    path: "/v1/dnc/remove",
    tag: "Do-not-call",
    summary: "Take a number off the list",
    description: "A suppression of the number, if there is one, stays.",
    scope: "suppressions:write",
    input: suppression.removeDnc.schema,
    answer: DncEntry,
    example: { phone: "+12025550123" },
    run: ({ ctx, input }) => suppression.removeDnc(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/consents",
    tag: "Consents",
    summary: "Recorded consents, newest first",
    scope: "suppressions:read",
    input: suppression.listConsents.schema,
    answer: page(Consent),
    run: ({ ctx, input }) => suppression.listConsents(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/consents",
    tag: "Consents",
    summary: "Record a consent with its evidence",
    scope: "suppressions:write",
    status: 201,
    input: suppression.grantConsent.schema,
    answer: Consent,
    example: {
      channel: "sms",
      address: "+12025550123",
      basis: "express_written",
      source: "web form",
      text: "I agree to receive texts from Acme.",
      formVersion: "2026-09",
    },
    run: ({ ctx, input }) => suppression.grantConsent(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/consents/{id}",
    tag: "Consents",
    summary: "One consent",
    scope: "suppressions:read",
    input: suppression.getConsent.schema,
    answer: Consent,
    run: ({ ctx, input }) => suppression.getConsent(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/consents/{id}/revoke",
    tag: "Consents",
    summary: "Revoke a consent; revoking again changes nothing",
    scope: "suppressions:write",
    input: suppression.revokeConsent.schema,
    answer: Consent,
    run: ({ ctx, input }) => suppression.revokeConsent(ctx, input),
  }),
];

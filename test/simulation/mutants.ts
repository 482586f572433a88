// biome-ignore-all lint/suspicious/noTemplateCurlyInString: anchors are pieces of source
/**
 * Defects made on purpose. Each is a small change of the source or of the database that a reviewer could miss; a checker that does not see
 * it proves nothing about the rest.
 *
 * Invariant: an anchor occurs exactly once in its file, or the mutant is refused: a mutant that changes nothing must not count.
 */
export interface Edit {
  readonly file: string;
  readonly anchor: string;
  readonly instead: string;
}

export type Mutant = {
  readonly name: string;
  /** The defect in a few words. */
  readonly defect: string;
} & (
  | Edit
  /** Where one change alone is caught by a second fence of the engine itself. */
  | { readonly edits: readonly Edit[] }
  /** Run as an administrator before the first world. */
  | { readonly sql: string }
);

export const editsOf = (mutant: Mutant): readonly Edit[] =>
  "edits" in mutant ? mutant.edits : "file" in mutant ? [mutant] : [];

export const mutants: readonly Mutant[] = [
  {
    name: "no-suppression-check",
    defect: "the claim does not ask whether the address is suppressed",
    file: "core/messages/facts.ts",
    anchor: "suppression: known.suppressions.get(key) ?? null,",
    instead: "suppression: null,",
  },
  {
    name: "pause-ignored",
    defect: "the sender does not look at the campaign's status",
    file: "core/messages/facts.ts",
    anchor: "campaignStatus: candidate.campaign_status,",
    instead: 'campaignStatus: "active",',
  },
  {
    name: "suspension-ignored",
    defect: "the sender does not look at the tenant's status",
    file: "core/messages/facts.ts",
    anchor: "tenantStatus: candidate.tenant_status,",
    instead: 'tenantStatus: "active",',
  },
  {
    name: "no-tenant-gate",
    defect: "a suspension does not wait for claims that have seen the tenant active",
    file: "core/tenancy/tenants.ts",
    anchor: "  await closeTenantGate(ctx);\n",
    instead: "",
  },
  {
    name: "expired-sent",
    defect: "a message leaves after its time",
    file: "core/messages/gate.ts",
    anchor:
      'now >= f.expiresAt ? end("expired", "expired", `was not sent before ${f.expiresAt.toISOString()}`) : null,',
    instead: "now >= f.expiresAt ? null : null,",
  },
  {
    name: "cap-not-counted",
    defect: "earlier messages do not count towards the frequency cap",
    file: "core/messages/facts.ts",
    anchor: "recentSends: known.recentSends.get(key) ?? [],",
    instead: "recentSends: [],",
  },
  {
    name: "one-time-zone",
    defect: "the phone number says nothing about where its owner is",
    file: "core/messages/facts.ts",
    anchor: 'phone: channel === "email" ? text(contact?.["primary_phone"]) : address,',
    instead: "phone: undefined,",
  },
  {
    name: "tenant-quiet-hours-ignored",
    defect: "the tenant's quiet hours are not handed to the policy",
    file: "core/messages/facts.ts",
    anchor: "tenantQuietHours: settings.quietHours as QuietHours | undefined,",
    instead: "tenantQuietHours: undefined,",
  },
  {
    name: "no-consent",
    defect: "marketing texts without consent",
    file: "core/messages/facts.ts",
    anchor: 'consentRequired: marketing && channel !== "email" && settings.requireSmsConsent !== false,',
    instead: "consentRequired: false,",
  },
  {
    name: "no-address-lock",
    defect: "the claim does not lock the addresses it asks about",
    file: "core/messages/facts.ts",
    anchor: "select pg_advisory_xact_lock(k.key) from (",
    instead: "select 1 from (",
  },
  {
    name: "resend-on-timeout",
    defect: "a call without an answer is tried again",
    file: "core/messages/results.ts",
    anchor: 'return { status: "ambiguous", holdReason: null',
    instead: 'return { status: "queued", holdReason: null',
  },
  {
    name: "no-generation-guard",
    defect: "the result of a worker whose message was taken over is written all the same",
    file: "core/messages/results.ts",
    anchor: "and m.id = r.id and m.generation = r.generation\n",
    instead: "and m.id = r.id\n",
  },
  {
    name: "attempt-after-call",
    defect: "the attempt row is written with the result, after the call",
    edits: [
      {
        file: "core/messages/claim.ts",
        anchor: "as a(id, attempt_id) on a.id = c.id`.execute(",
        instead: "as a(id, attempt_id) on a.id = c.id where false`.execute(",
      },
      {
        file: "core/messages/results.ts",
        anchor:
          "update send_attempts a\n      set outcome = r.outcome, provider_message_id = coalesce(a.provider_message_id, r.provider_message_id), code = r.code, reason = r.reason,\n          finished_at = ${ctx.now}\n      from r where a.tenant_id = ${ctx.tenantId} and a.id = r.attempt_id\n        and (a.resolved_by is null or r.outcome = 'accepted' and a.resolved_by <> 'webhook')",
        instead:
          "insert into send_attempts (tenant_id, id, message_id, generation, claim_seq, provider, started_at, deadline_at, outcome, provider_message_id, code, reason, finished_at)\n      select m.tenant_id, r.attempt_id, m.id, m.generation, m.claim_seq, m.provider, ${ctx.now}, ${ctx.now}, r.outcome, r.provider_message_id, r.code, r.reason, ${ctx.now}\n      from r join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.id = r.id",
      },
    ],
  },
  {
    name: "ambiguous-is-failed",
    defect: "a call without an answer counts as failed",
    file: "core/messages/results.ts",
    anchor: 'return { status: "ambiguous", holdReason: null',
    instead: 'return { status: "failed", holdReason: null',
  },
  {
    name: "retry-500",
    defect: "a 500 of the provider is taken for a refusal and tried again",
    file: "core/providers/sendgrid/send.ts",
    anchor:
      'if (status < 400 || status === 408 || status >= 500) return { kind: "ambiguous", reason: `HTTP ${status}` };',
    instead:
      'if (status >= 500) return { kind: "deferred", code, reason: "server", retryAfterSeconds: null }; if (status < 400 || status === 408) return { kind: "ambiguous", reason: `HTTP ${status}` };',
  },
  {
    name: "expired-lease-queued",
    defect: "a message whose worker died is sent again",
    file: "core/messages/reconcile.ts",
    anchor: "set status = 'ambiguous', lease_until = null, last_error = 'the worker did not come back',",
    instead: "set status = 'queued', lease_until = null, last_error = 'the worker did not come back',",
  },
  {
    name: "lattice-swapped",
    defect: "delivered outranks bounced",
    file: "core/deliveries/rollup.ts",
    anchor: "when coalesce(m.bounced_at, r.bounced_at) is not null then 'bounced'",
    instead:
      "when coalesce(m.delivered_at, r.delivered_at) is not null then 'delivered' when coalesce(m.bounced_at, r.bounced_at) is not null then 'bounced'",
  },
  {
    name: "machine-counts",
    defect: "an open by a machine counts as an open",
    file: "core/deliveries/rollup.ts",
    anchor: 'const counts = !machine || (type !== "opened" && type !== "clicked");',
    instead: "const counts = machine || !machine;",
  },
  {
    name: "queued-survives-no",
    defect: "a no stops later messages and leaves the queued ones",
    file: "core/suppression/add.ts",
    anchor: "and m.status in ('queued', 'held')\n    returning",
    instead: "and m.status in ('queued', 'held') and false\n    returning",
  },
  {
    name: "hard-bounce-not-suppressed",
    defect: "a mailbox that does not exist is written to again",
    file: "core/deliveries/consequences.ts",
    anchor: 'return bounce === "hard" ? "hard_bounce" : null;',
    instead: 'return bounce === "hard" ? null : null;',
  },
  {
    name: "complaint-not-suppressed",
    defect: "who reports spam is written to again",
    file: "core/deliveries/consequences.ts",
    anchor: 'return "complaint";',
    instead: "return null;",
  },
  {
    name: "reply-does-not-stop",
    defect: "enrollments do not hear of answers",
    file: "core/deliveries/consequences.ts",
    anchor: '  replied: "replied",\n',
    instead: "",
  },
  {
    name: "facts-not-deduplicated",
    defect: "a fact that comes again takes effect again",
    file: "core/deliveries/facts.ts",
    anchor: "return (key) => fresh.has(text(key));",
    instead: "return (key) => fresh.has(text(key)) || key.eventId !== '';",
  },
  {
    name: "deliveries-not-deduplicated",
    defect: "the same request again is a delivery of its own",
    file: "core/deliveries/intake.ts",
    anchor: "bodySha256: sha256Of(target, body),",
    instead: "bodySha256: sha256Of(id, body),",
  },
  {
    name: "taken-before-verified",
    defect: "a webhook is archived whatever its signature",
    file: "core/deliveries/intake.ts",
    anchor: "if (endpoint && verdict.valid) return endpoint;",
    instead: "if (endpoint) return endpoint;",
  },
  {
    name: "parsed-before-verified",
    defect: "the signature is checked over the body as it was read and written again, not over its bytes",
    file: "core/providers/sendgrid/verify.ts",
    anchor: 'const signed = Buffer.concat([Buffer.from(timestamp, "latin1"), request.body]);',
    instead:
      'const read = isMultipart(request.headers) ? request.body : Buffer.from(JSON.stringify(JSON.parse(Buffer.from(request.body).toString()))); const signed = Buffer.concat([Buffer.from(timestamp, "latin1"), read]);',
  },
  {
    name: "acknowledged-before-archived",
    defect: "a webhook is answered while it is still being stored",
    file: "core/deliveries/intake.ts",
    anchor:
      "const kept = await this.#archive.add(row).catch((cause: unknown) => {\n      throw errors.unavailable(cause);\n    });",
    instead: "void this.#archive.add(row).catch(() => {}); const kept = { id: row.id, fresh: true };",
  },
  {
    name: "unsubscribe-on-get",
    defect: "a link scanner unsubscribes the recipient",
    file: "functions/tracking.ts",
    anchor: '.get("/u/:token", (c) => c.html(unsubscribePage, 200, pageHeaders))',
    instead:
      '.get("/u/:token", async (c) => { const link = linkOf(c, "unsubscribe"); if (link) await record(link.tenantId, { type: "unsubscribed", messageId: link.messageId, machine: false, userAgent: undefined }); return c.html(unsubscribePage, 200, pageHeaders); })',
  },
  {
    name: "blank-variable",
    defect: "a missing name is rendered as nothing: neither reading nor printing it fails",
    edits: [
      { file: "core/templates/liquid.ts", anchor: "strictVariables: true,", instead: "strictVariables: false," },
      {
        file: "core/templates/liquid.ts",
        anchor: 'if (value === null || value === undefined) throw new BlankValue("a variable is empty");',
        instead: 'if (value === null || value === undefined) return "";',
      },
    ],
  },
  {
    name: "rate-not-shared",
    defect: "a claim forgets the places it has given away",
    file: "core/messages/limits.ts",
    anchor: "  await storeUsage(ctx, usage);\n",
    instead: "",
  },
  {
    name: "late-call",
    defect: "a worker that was frozen after its claim calls all the same",
    file: "core/messages/deliver.ts",
    anchor: '> startWithinMs) return { kind: "abandoned" };',
    instead: '< 0) return { kind: "abandoned" };',
  },
  {
    name: "claim-without-guard",
    defect: "the claim does not look again at what it has locked",
    file: "core/messages/facts.ts",
    anchor: "        and m.status in ('queued', 'held') and m.run_at <= ${ctx.now}\n      for update skip locked",
    instead: "      for update",
  },
  {
    name: "sweep-forgets-actions",
    defect: "a lost bell of an action is never rung again",
    file: "functions/sweep.ts",
    anchor: "for (const kind of bellKinds) {",
    instead: 'for (const kind of bellKinds.filter((one) => one !== "actions")) {',
  },
  {
    name: "no-row-level-security",
    defect: "row-level security of the outbox is off",
    sql: "alter table outbound_messages disable row level security",
  },
  {
    name: "security-not-forced",
    defect: "row-level security of leads does not bind their owner",
    sql: "alter table leads no force row level security",
  },
  {
    name: "wrong-tenant",
    defect: "every webhook is the first tenant's",
    sql: "create or replace function endpoint_tenant(p_provider text, p_id text) returns text language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$ select min(c.tenant_id) from channel_configs c $$",
  },
  {
    name: "global-unique-key",
    defect: "an address can be suppressed by one tenant only",
    sql: "create unique index on communication_suppressions (channel, address) where released_at is null",
  },
];

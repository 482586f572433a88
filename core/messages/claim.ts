/**
 * The first transaction of a send: address locks → gate → attempt row → commit. What leaves it as `sending` has an attempt row that was
 * written before any byte could reach a provider; what does not has its reason stored.
 *
 * Invariant: `claim_seq` is drawn while the address is locked, so no claim can have a higher one than a suppression that covers it.
 */
import { sql } from "kysely";
import { type Channel, newId, reach, type TxContext } from "../kernel/index.ts";
import { type Composed, compose, names } from "./content.ts";
import {
  addressFacts,
  addressKey,
  type Candidate,
  type ChannelRow,
  gateFacts,
  lockDue,
  push,
  type SenderRow,
  type SendSpec,
  withRecords,
} from "./facts.ts";
import { decide, type Verdict } from "./gate.ts";
import { allocate } from "./limits.ts";
import { trackedLinkId } from "./links.ts";
import type { EnrollmentNews } from "./ports.ts";
import { onePerStep, stepsFor } from "./steps.ts";

/** How long a provider call may take, and how long after the commit it must begin at the latest. */
export const callTimeoutMs = 10_000;
export const startWithinMs = 5_000;
const leaseSeconds = 30;

export interface ClaimOptions {
  readonly publicUrl: string;
  readonly signingKeys: readonly Uint8Array[];
  readonly limit: number;
  /** The plan's word on each message, by message id; missing for messages without a plan. */
  readonly specsOf: (ctx: TxContext, candidates: readonly Candidate[]) => Promise<ReadonlyMap<string, SendSpec>>;
}

/** A message with an attempt row, ready to be handed to its provider. */
export interface ClaimedMessage {
  readonly id: string;
  readonly attemptId: string;
  readonly generation: number;
  readonly attempts: number;
  readonly enrollmentId: string | null;
  readonly channel: Channel;
  readonly to: string;
  readonly suppressionKey: string;
  readonly expiresAt: Date;
  readonly sender: SenderRow | null;
  readonly account: ChannelRow;
  readonly content: Extract<Composed, { ok: true }>;
}

export interface ClaimResult {
  readonly claimed: readonly ClaimedMessage[];
  readonly held: number;
  /** Messages that came to an end without being sent; the enrollments must hear of it in this transaction. */
  readonly ended: readonly EnrollmentNews[];
}

interface Judged {
  readonly row: Candidate;
  readonly content: Composed;
  readonly verdict: Verdict;
}

const noContent: Composed = { ok: false, detail: "the message has no content" };

/** @param ids the messages a bell named; undefined: whatever is due, oldest first. */
export async function claimDue(
  ctx: TxContext,
  ids: readonly string[] | undefined,
  options: ClaimOptions,
): Promise<ClaimResult> {
  const due = onePerStep(await lockDue(ctx, ids, options.limit), (row) => row.step);
  if (due.length === 0) return { claimed: [], held: 0, ended: [] };
  reach("send.locked");
  const known = await addressFacts(ctx, due);
  const steps = await stepsFor(ctx, due);
  const specs = await options.specsOf(ctx, due);
  const naming = due.filter((row) => names(specs.get(row.id)?.content ?? {}, ["lead", "company", "company_name"]));
  const candidates = await withRecords(
    ctx,
    due,
    naming.map((row) => row.id),
  );

  const judged: Judged[] = candidates.map((row) => {
    const spec = specs.get(row.id) ?? { content: {} };
    const content = composeFor(ctx, row, spec, options);
    const verdict = decide(gateFacts(row, known, steps, spec, content.ok ? null : content.detail), ctx.now);
    // Counts at once, so that the next message of this batch to the same address is capped by it.
    if (verdict.kind === "send") push(known.recentSends, addressKey(row.channel, row.suppression_key), ctx.now);
    return { row, content, verdict };
  });
  const final = await allocate(ctx, judged);
  reach("send.allowed");
  const claimed = final.flatMap((one) => (one.verdict.kind === "send" ? toClaim(ctx, one) : []));
  await storeVerdicts(
    ctx,
    final.filter((one) => one.verdict.kind !== "send"),
  );
  await storeClaims(ctx, final, claimed);
  await storeLinks(ctx, claimed);
  reach("send.claiming");
  return {
    claimed,
    held: final.filter((one) => one.verdict.kind === "hold").length,
    ended: final.flatMap(({ row, verdict }) =>
      verdict.kind === "end" && row.contact_campaign_id !== null && row.walk_node_id !== null
        ? [
            {
              enrollmentId: row.contact_campaign_id,
              nodeId: row.walk_node_id,
              kind: "failed" as const,
              reason: verdict.reason,
              at: ctx.now,
            },
          ]
        : [],
    ),
  };
}

function composeFor(ctx: TxContext, row: Candidate, spec: SendSpec, options: ClaimOptions): Composed {
  if (spec.content.html === undefined && spec.content.text === undefined) return noContent;
  return compose({
    source: spec.content,
    channel: row.channel,
    messageClass: row.message_class,
    tenantId: ctx.tenantId,
    messageId: row.id,
    variables: variablesOf(row),
    postalAddress: row.tenant_settings.postalAddress ?? null,
    trackOpens: row.tenant_settings.trackOpens ?? true,
    trackClicks: row.tenant_settings.trackClicks ?? true,
    publicUrl: options.publicUrl,
    signingKeys: options.signingKeys,
  });
}

const withoutNulls = (record: Readonly<Record<string, unknown>> | null): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record ?? {}).filter(([, value]) => value !== null && value !== ""));

/** What a template may name. Fields of the contact stand at the top as well: `{{ first_name }}` and `{{ contact.first_name }}` are the same. */
export function variablesOf(
  row: Pick<Candidate, "contact" | "lead" | "company" | "sender" | "tenant_name" | "campaign_name" | "to_address">,
): Record<string, unknown> {
  const contact = withoutNulls(row.contact);
  const custom = contact["custom_fields"];
  const company = withoutNulls(row.company);
  const lead = withoutNulls(row.lead);
  return {
    ...(typeof custom === "object" ? custom : {}),
    ...contact,
    company: { ...company, name: company["name"] ?? lead["company_name"] },
    company_name: company["name"] ?? lead["company_name"],
    contact,
    lead,
    address: row.to_address,
    sender: row.sender ? { name: row.sender.from_name, email: row.sender.from_email } : {},
    tenant: { name: row.tenant_name },
    campaign: { name: row.campaign_name },
  };
}

function toClaim(ctx: TxContext, { row, content }: Judged): ClaimedMessage[] {
  if (!content.ok || row.channel_config === null) return [];
  return [
    {
      id: row.id,
      attemptId: newId("attempt", ctx.now),
      generation: row.generation + 1,
      attempts: row.attempts + 1,
      enrollmentId: row.contact_campaign_id,
      channel: row.channel,
      to: row.to_address,
      suppressionKey: row.suppression_key,
      expiresAt: row.expires_at,
      sender: row.sender,
      account: row.channel_config,
      content,
    },
  ];
}

async function storeVerdicts(ctx: TxContext, judged: readonly Judged[]): Promise<void> {
  if (judged.length === 0) return;
  const rows = judged.flatMap(({ row, verdict }) =>
    verdict.kind === "send"
      ? []
      : [
          {
            id: row.id,
            status: verdict.kind === "hold" ? "held" : verdict.status,
            reason: verdict.reason,
            detail: verdict.detail,
            decision: JSON.stringify(verdict.facts),
            runAt: verdict.kind === "hold" ? verdict.until : ctx.now,
          },
        ],
  );
  await sql`
    update outbound_messages m
    set status = r.status, hold_reason = r.reason, last_error = r.detail, decision = r.decision::jsonb, run_at = r.run_at, updated_at = ${ctx.now},
        failed_at = case when r.status = 'failed' then ${ctx.now}::timestamptz else m.failed_at end
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.status)}::text[], ${rows.map((r) => r.reason)}::text[],
      ${rows.map((r) => r.detail)}::text[], ${rows.map((r) => r.decision)}::text[], ${rows.map((r) => r.runAt)}::timestamptz[])
      as r(id, status, reason, detail, decision, run_at)
    where m.tenant_id = ${ctx.tenantId} and m.id = r.id`.execute(ctx.db);
}

/** Message and attempt in one statement: neither exists without the other. */
async function storeClaims(
  ctx: TxContext,
  judged: readonly Judged[],
  claimed: readonly ClaimedMessage[],
): Promise<void> {
  if (claimed.length === 0) return;
  const decisions = new Map(judged.map(({ row, verdict }) => [row.id, JSON.stringify(verdict.facts)]));
  await sql`
    with claims as (
      update outbound_messages m
      set status = 'sending', hold_reason = null, last_error = null, generation = r.generation, attempts = r.attempts,
          lease_until = ${ctx.now}::timestamptz + make_interval(secs => ${leaseSeconds}), claim_seq = nextval('compliance_seq'),
          provider = r.provider, channel_config_id = r.account_id, sender_identity_id = r.sender_id, subject = r.subject,
          variables = r.variables::jsonb, content_sha256 = r.sha256, decision = r.decision::jsonb, updated_at = ${ctx.now}
      from unnest(
        ${claimed.map((c) => c.id)}::text[], ${claimed.map((c) => c.generation)}::int[], ${claimed.map((c) => c.attempts)}::int[],
        ${claimed.map((c) => c.account.provider)}::text[], ${claimed.map((c) => c.account.id)}::text[],
        ${claimed.map((c) => c.sender?.id ?? null)}::text[], ${claimed.map((c) => c.content.subject ?? null)}::text[],
        ${claimed.map((c) => JSON.stringify(c.content.variables))}::text[], ${claimed.map((c) => c.content.sha256)}::bytea[],
        ${claimed.map((c) => decisions.get(c.id) ?? null)}::text[]
      ) as r(id, generation, attempts, provider, account_id, sender_id, subject, variables, sha256, decision)
      where m.tenant_id = ${ctx.tenantId} and m.id = r.id
      returning m.id, m.generation, m.claim_seq, m.provider
    )
    insert into send_attempts (tenant_id, id, message_id, generation, claim_seq, provider, started_at, deadline_at)
    select ${ctx.tenantId}, a.attempt_id, c.id, c.generation, c.claim_seq, c.provider, ${ctx.now},
           ${ctx.now}::timestamptz + make_interval(secs => ${(startWithinMs + callTimeoutMs) / 1000})
    from claims c join unnest(${claimed.map((c) => c.id)}::text[], ${claimed.map((c) => c.attemptId)}::text[]) as a(id, attempt_id) on a.id = c.id`.execute(
    ctx.db,
  );
}

async function storeLinks(ctx: TxContext, claimed: readonly ClaimedMessage[]): Promise<void> {
  const urls = [...new Set(claimed.flatMap((one) => one.content.links))];
  if (urls.length === 0) return;
  const links = urls.map((url) => ({ url, ...trackedLinkId(url) }));
  await sql`
    insert into tracked_links (tenant_id, id, url, url_sha256, created_at)
    select ${ctx.tenantId}, r.id, r.url, r.sha256, ${ctx.now}
    from unnest(${links.map((l) => l.id)}::text[], ${links.map((l) => l.url)}::text[], ${links.map((l) => l.sha256)}::bytea[]) as r(id, url, sha256)
    order by r.id
    on conflict do nothing`.execute(ctx.db);
}

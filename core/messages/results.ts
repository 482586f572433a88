/**
 * The second transaction of a send: the results of a whole batch in one statement, guarded by generation.
 *
 * Invariant: a result is written only under the generation it was claimed with; a worker that comes back from the dead changes its own
 * attempt row and nothing else. A webhook that was faster than the call's answer is never moved back.
 */
import { sql } from "kysely";
import { backoffSeconds, type Context, DomainError, reach, type TxContext, transact } from "../kernel/index.ts";
import type { SendOutcome } from "../ports/index.ts";
import * as suppression from "../suppression/index.ts";
import type { ClaimedMessage } from "./claim.ts";
import { recheckSeconds } from "./gate.ts";
import type { CampaignPort, EnrollmentNews } from "./ports.ts";
import { walkNode } from "./rename.ts";

/** `abandoned`: the call did not begin, because it would have begun late. */
export type CallOutcome = SendOutcome | { readonly kind: "abandoned" };

export interface CallResult {
  readonly message: ClaimedMessage;
  readonly outcome: CallOutcome;
}

/** When an ambiguous message is looked at first: webhooks with its id arrive within minutes. */
export const ambiguousFirstLookSeconds = 600;
const deferredBackoff = { baseSeconds: 30, factor: 2, maxSeconds: 3600 };

/** What a result makes of the message. */
interface Written {
  readonly status: "sent" | "failed" | "suppressed" | "queued" | "held" | "ambiguous";
  readonly holdReason: string | null;
  readonly error: string | null;
  readonly waitSeconds: number;
}

function written(message: ClaimedMessage, outcome: CallOutcome): Written {
  switch (outcome.kind) {
    case "accepted":
      return { status: "sent", holdReason: null, error: null, waitSeconds: 0 };
    case "rejected": {
      const error = `${outcome.code}: ${outcome.reason}`;
      if (outcome.failure === "account") return { status: "held", holdReason: "credentials", error, waitSeconds: 900 };
      if (outcome.failure === "suppress")
        return { status: "suppressed", holdReason: "suppressed", error, waitSeconds: 0 };
      return { status: "failed", holdReason: null, error, waitSeconds: 0 };
    }
    case "deferred":
      return {
        status: "queued",
        holdReason: null,
        error: `${outcome.code}: ${outcome.reason}`,
        // Without randomness: rate limits and the provider's own word do the spreading. Claims are counted, because a call that was deferred
        // costs no attempt.
        waitSeconds: outcome.retryAfterSeconds ?? backoffSeconds(message.generation, 1, deferredBackoff),
      };
    case "ambiguous":
      return { status: "ambiguous", holdReason: null, error: outcome.reason, waitSeconds: ambiguousFirstLookSeconds };
    case "abandoned":
      return { status: "queued", holdReason: null, error: "the call did not begin in time", waitSeconds: 0 };
  }
}

/** Stores the outcomes `[batch]` of one claim and tells the enrollments, in one transaction. */
export async function storeResults(
  ctx: Context,
  campaigns: CampaignPort,
  results: readonly CallResult[],
): Promise<void> {
  await transact(ctx, async (ctx) => {
    const stopped = await suppressRefused(ctx, results);
    const held = await writeResults(ctx, results);
    reach("send.storing");
    await degradeAccounts(ctx, results);
    await markAddresses(ctx, results);
    await campaigns.tell(
      ctx,
      results.flatMap((result) => news(ctx, result, held)),
    );
    await campaigns.tellStopped(ctx, stopped);
  });
}

/** A message that could not even be looked at: held with the reason, looked at again like any other hold, expired in the end. */
export async function postpone(ctx: TxContext, messageId: string, error: unknown): Promise<void> {
  const reason =
    error instanceof DomainError ? error.message : "the message cannot be prepared for a reason inside the system";
  await sql`
    update outbound_messages set status = 'held', hold_reason = 'render_failed', last_error = ${reason},
      run_at = ${ctx.now}::timestamptz + make_interval(secs => ${recheckSeconds})
    where tenant_id = ${ctx.tenantId} and id = ${messageId} and status in ('queued', 'held') and run_at <= ${ctx.now}`.execute(
    ctx.db,
  );
}

/** The provider knows an opt-out that we do not: address locks come first, as everywhere. */
async function suppressRefused(
  ctx: TxContext,
  results: readonly CallResult[],
): Promise<readonly suppression.Stopped[]> {
  const refused = results.flatMap(({ message, outcome }) =>
    outcome.kind === "rejected" && outcome.failure === "suppress"
      ? [
          {
            channel: message.channel,
            address: message.to,
            reason: "provider" as const,
            source: message.account.provider,
            evidence: { code: outcome.code, message_id: message.id },
          },
        ]
      : [],
  );
  return refused.length === 0 ? [] : (await suppression.addMany(ctx, { entries: refused })).stopped;
}

/**
 * One statement: the enrollments are locked first, as everywhere, then attempts and messages are written. A row that somebody else changed
 * while we waited is looked at again as it is now.
 * @returns whose generation still held, with the nodes their enrollments know them by: one may have been moved during the call
 */
async function writeResults(
  ctx: TxContext,
  results: readonly CallResult[],
): Promise<ReadonlyMap<string, string | null>> {
  const rows = results.map(({ message, outcome }) => ({
    ...written(message, outcome),
    id: message.id,
    attemptId: message.attemptId,
    generation: message.generation,
    outcome: outcome.kind,
    providerMessageId: outcome.kind === "accepted" ? outcome.providerMessageId : null,
    code: outcome.kind === "rejected" || outcome.kind === "deferred" ? outcome.code : null,
    reason: "reason" in outcome ? outcome.reason : null,
  }));
  const walking = [...new Set(results.flatMap(({ message }) => message.enrollmentId ?? []))];
  const { rows: held } = await sql<{ id: string; nodeId: string | null }>`
    with walkers as materialized (
      select id from contact_campaigns where tenant_id = ${ctx.tenantId} and id = any(${walking}) order by id for update
    ), r as materialized (
      select * from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.attemptId)}::text[], ${rows.map((r) => r.generation)}::int[],
        ${rows.map((r) => r.status)}::text[], ${rows.map((r) => r.holdReason)}::text[], ${rows.map((r) => r.error)}::text[],
        ${rows.map((r) => r.waitSeconds)}::float8[], ${rows.map((r) => r.providerMessageId)}::text[], ${rows.map((r) => r.outcome)}::text[],
        ${rows.map((r) => r.code)}::text[], ${rows.map((r) => r.reason)}::text[])
        as u(id, attempt_id, generation, status, hold_reason, error, wait, provider_message_id, outcome, code, reason)
      where (select count(*) from walkers) >= 0
    ), attempts as (
      update send_attempts a
      set outcome = r.outcome, provider_message_id = coalesce(a.provider_message_id, r.provider_message_id), code = r.code, reason = r.reason,
          finished_at = ${ctx.now}
      from r where a.tenant_id = ${ctx.tenantId} and a.id = r.attempt_id
        and (a.resolved_by is null or r.outcome = 'accepted' and a.resolved_by <> 'webhook')
    )
    update outbound_messages m
    set status = case
          when m.status in ('sending', 'ambiguous') then r.status
          -- Given up on meanwhile (taken for absent, cancelled, aged), and the provider has it after all: it must never leave again.
          when r.status = 'sent' and m.status in ('queued', 'held', 'cancelled', 'suppressed', 'expired', 'accepted_unknown') then 'sent'
          else m.status end,
        hold_reason = r.hold_reason, last_error = r.error, lease_until = null, updated_at = ${ctx.now},
        run_at = ${ctx.now}::timestamptz + make_interval(secs => r.wait),
        -- A call that was deferred or never begun costs no attempt.
        attempts = case when r.outcome in ('deferred', 'abandoned') then m.attempts - 1 else m.attempts end,
        provider_message_id = coalesce(m.provider_message_id, r.provider_message_id),
        sent_at = case when r.status = 'sent' then coalesce(m.sent_at, ${ctx.now}) else m.sent_at end,
        failed_at = case when r.status = 'failed' then ${ctx.now} else m.failed_at end
    from r where m.tenant_id = ${ctx.tenantId} and m.id = r.id and m.generation = r.generation
      -- Ambiguous under the same generation is the same call: its own answer, late, is the best evidence there is.
      and (m.status in ('sending', 'ambiguous') or r.status = 'sent')
    returning m.id, ${walkNode} as "nodeId"`.execute(ctx.db);
  return new Map(held.map((row) => [row.id, row.nodeId]));
}

/**
 * Credentials that a provider refuses stop the account, not only the message: everything on it is held until somebody looks. A refusal
 * of those that have been replaced since the call began says nothing about today's.
 */
async function degradeAccounts(ctx: TxContext, results: readonly CallResult[]): Promise<void> {
  const refused = new Map(
    results.flatMap(({ message: { account }, outcome }) =>
      outcome.kind === "rejected" && outcome.failure === "account"
        ? [[account.id, { sealed: account.api_credentials, reason: `${outcome.code}: ${outcome.reason}` }] as const]
        : [],
    ),
  );
  if (refused.size === 0) return;
  const of = [...refused.values()];
  await sql`
    update channel_configs c set status = 'degraded', status_reason = r.reason
    from unnest(${[...refused.keys()]}::text[], ${of.map((one) => one.sealed)}::text[], ${of.map((one) => one.reason)}::text[]) as r(id, sealed, reason)
    where c.tenant_id = ${ctx.tenantId} and c.id = r.id and c.status = 'active' and c.api_credentials = r.sealed`.execute(
    ctx.db,
  );
}

async function markAddresses(ctx: TxContext, results: readonly CallResult[]): Promise<void> {
  const bad = results.filter(({ outcome }) => outcome.kind === "rejected" && outcome.failure === "recipient");
  if (bad.length === 0) return;
  await sql`
    update contact_channels c set status = 'invalid'
    from unnest(${bad.map(({ message }) => message.channel)}::text[], ${bad.map(({ message }) => message.to)}::text[]) as r(channel, address)
    where c.tenant_id = ${ctx.tenantId} and c.channel = r.channel and c.address = r.address and c.status = 'active'`.execute(
    ctx.db,
  );
}

function news(
  ctx: TxContext,
  { message, outcome }: CallResult,
  held: ReadonlyMap<string, string | null>,
): EnrollmentNews[] {
  const nodeId = held.get(message.id) ?? null;
  if (message.enrollmentId === null || nodeId === null) return [];
  const about = { enrollmentId: message.enrollmentId, nodeId, at: ctx.now };
  if (outcome.kind === "accepted") return [{ ...about, kind: "sent" }];
  if (outcome.kind === "rejected" && outcome.failure !== "account")
    return [{ ...about, kind: "failed", reason: outcome.code }];
  return [];
}

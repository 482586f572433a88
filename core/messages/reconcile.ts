/**
 * What becomes of calls whose end is unknown. Invariant: nothing is resent here. A message is resolved by evidence (a webhook that carries
 * its id, handled where webhooks are applied), by a look-up where the provider can be asked, or by age: after a day it counts as sent.
 */
import { sql } from "kysely";
import {
  type Context,
  isAway,
  isCollision,
  isLockTimeout,
  isRefused,
  limitLockWaits,
  lockEnrollments,
  reach,
  type TxContext,
  transact,
} from "../kernel/index.ts";
import type { KeyService, Sender } from "../ports/index.ts";
import { type OpenAccount, openAccounts } from "./account.ts";
import type { ChannelRow } from "./facts.ts";
import type { CampaignPort } from "./ports.ts";
import { walkNode } from "./rename.ts";
import { ambiguousFirstLookSeconds } from "./results.ts";

/** Evidence that has not come after this long will not come: providers retry webhooks for a day. */
export const ambiguousMaxSeconds = 86_400;
const lookAgainSeconds = 3_600;
const lookupTimeoutMs = 10_000;
/** Messages that are looked at together, their providers being asked at the same time. */
const batchSize = 100;
/** Whoever has a walk or a campaign for longer than this is waited for by the next run: a batch has a hundred walks in hand meanwhile. */
const lockTimeoutMs = 5_000;
/** Below this an invocation does not begin another batch: a look-up may take its whole time-out, and its result must be stored. */
export const minimumRemainingMs = lookupTimeoutMs + lockTimeoutMs;

export interface ReconcileDeps {
  readonly senders: Readonly<Record<string, Sender>>;
  readonly keys: KeyService;
  readonly campaigns: CampaignPort;
}

export interface ReconcileReport {
  readonly found: number;
  /** The provider says it never got it: queued again under the same dedupe key. */
  readonly absent: number;
  readonly aged: number;
  readonly waiting: number;
  /** Came to an end that could not be stored: the message says why, and is looked at again in an hour. */
  readonly postponed: number;
}

interface Open {
  readonly id: string;
  readonly generation: number;
  readonly to_address: string;
  readonly contact_campaign_id: string | null;
  readonly provider_message_id: string | null;
  readonly started_at: Date;
  readonly attempt_id: string;
  readonly from: string;
  readonly account: ChannelRow;
}

type Answer = { readonly kind: "found"; readonly providerMessageId: string } | { readonly kind: "absent" } | null;

/** What an open call has come to. */
interface Ending extends Open {
  readonly end: keyof ReconcileReport;
  /** When a message that stays open is looked at again. */
  readonly nextLook: Date;
  readonly error: string | null;
}

/**
 * The workers of these sends died between claim and result. Their attempt rows exist, so bytes may have left: ambiguous, never queued. One
 * that somebody has locked is being settled and let alone.
 * @param ids messages of which some may be in a lease that has run out
 * @returns how many were
 */
export async function expireLeases(ctx: Context, ids: readonly string[]): Promise<number> {
  const expired = await transact(ctx, async (ctx) => {
    const { rows } = await sql<{ n: number }>`
      with dead as materialized (
        select id from outbound_messages
        where tenant_id = ${ctx.tenantId} and id = any(${ids as string[]}) and status = 'sending' and lease_until <= ${ctx.now}
        order by id for no key update skip locked
      ), expired as (
        update outbound_messages m
        set status = 'ambiguous', lease_until = null, last_error = 'the worker did not come back',
            run_at = ${ctx.now}::timestamptz + make_interval(secs => ${ambiguousFirstLookSeconds})
        from dead where m.tenant_id = ${ctx.tenantId} and m.id = dead.id
        returning m.id, m.generation
      ), attempts as (
        update send_attempts a set outcome = 'ambiguous', reason = 'the worker did not come back', finished_at = ${ctx.now}
        from expired e where a.tenant_id = ${ctx.tenantId} and a.message_id = e.id and a.generation = e.generation and a.outcome is null
      )
      select count(*)::int as n from expired`.execute(ctx.db);
    return rows[0]?.n ?? 0;
  });
  if (expired > 0) reach("reconcile.expired");
  return expired;
}

/**
 * Looks at ambiguous sends and stores what they have come to, batch after batch while time remains, in a fixed number of statements each.
 * @param ids those that are not due for a look are let alone
 * @param remainingMs how long the invocation may still run
 * @throws when somebody else is in the way, or the database is away: what was not stored is still due
 */
export async function reconcile(
  ctx: Context,
  deps: ReconcileDeps,
  ids: readonly string[],
  remainingMs: () => number,
): Promise<ReconcileReport> {
  const counts = { found: 0, absent: 0, aged: 0, waiting: 0, postponed: 0 };
  for (let from = 0; from < ids.length && remainingMs() >= minimumRemainingMs; from += batchSize) {
    const { open, now } = await transact(ctx, async (ctx) => ({
      open: await openAttempts(ctx, ids.slice(from, from + batchSize)),
      now: ctx.now,
    }));
    if (open.length === 0) continue;
    const accounts = openAccounts(ctx, deps.keys, () => null);
    const endings = await Promise.all(
      open.map(async (one) => {
        const sender = deps.senders[one.account.provider];
        return endingOf(one, await ask(accounts, sender, one), sender?.lookup !== undefined, now);
      }),
    );
    await storeAll(ctx, deps.campaigns, endings, counts);
  }
  return counts;
}

async function openAttempts(ctx: TxContext, ids: readonly string[]): Promise<Open[]> {
  const { rows } = await sql<Open>`
    select m.id, m.generation, m.to_address, m.contact_campaign_id, m.provider_message_id, a.started_at, a.id as attempt_id,
           coalesce(s.from_email, cc.settings ->> 'from', '') as "from", to_jsonb(cc) as account
    from outbound_messages m
    join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation
    join channel_configs cc on cc.tenant_id = m.tenant_id and cc.id = m.channel_config_id
    left join email_sender_identities s on s.tenant_id = m.tenant_id and s.id = m.sender_identity_id
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]}) and m.status = 'ambiguous' and m.run_at <= ${ctx.now}
    order by m.id`.execute(ctx.db);
  return rows;
}

/** What the provider says of a message. One that was found before is not asked about again: an index that has forgotten it proves nothing. */
async function ask(accounts: OpenAccount<null>, sender: Sender | undefined, one: Open): Promise<Answer> {
  if (one.provider_message_id !== null) return { kind: "found", providerMessageId: one.provider_message_id };
  const account = sender?.lookup && (await accounts(one.account));
  if (!account || !sender?.lookup) return null;
  const answer = await sender
    .lookup(
      account.credentials,
      { messageId: one.id, to: one.to_address, from: one.from, attemptedAt: one.started_at },
      lookupTimeoutMs,
    )
    // An adapter does not throw; if it does, nothing is known, and the others of the batch are asked about all the same.
    .catch(() => ({ kind: "unknown" as const }));
  return answer.kind === "unknown" ? null : answer.kind === "found" ? answer : { kind: "absent" };
}

/** Who can be asked is asked every hour; else only evidence can come. If none does, the day ends it. */
function endingOf(one: Open, answer: Answer, canAsk: boolean, now: Date): Ending {
  const deadline = one.started_at.getTime() + ambiguousMaxSeconds * 1_000;
  const again = now.getTime() + lookAgainSeconds * 1_000;
  const isOver = deadline <= now.getTime();
  return {
    ...one,
    end: answer?.kind ?? (isOver ? "aged" : "waiting"),
    provider_message_id: answer?.kind === "found" ? answer.providerMessageId : null,
    nextLook: new Date(isOver ? again : canAsk ? Math.min(again, deadline) : deadline),
    error: null,
  };
}

type Counts = { -readonly [K in keyof ReconcileReport]: ReconcileReport[K] };

/**
 * Together; if one of them cannot be stored, in halves until it is found, and that one is postponed. What was found stays known: an hour
 * later the provider may have forgotten it.
 */
async function storeAll(
  ctx: Context,
  campaigns: CampaignPort,
  endings: readonly Ending[],
  counts: Counts,
): Promise<void> {
  try {
    const ends = await transact(ctx, async (ctx) => {
      await limitLockWaits(ctx.db, lockTimeoutMs);
      return store(ctx, campaigns, endings);
    });
    for (const end of ends) counts[end]++;
  } catch (error) {
    const [only, ...more] = endings;
    // Nobody among them is at fault.
    if (isAway(error) || isCollision(error) || isLockTimeout(error) || only === undefined) throw error;
    if (more.length > 0) {
      const half = Math.ceil(endings.length / 2);
      try {
        await storeAll(ctx, campaigns, endings.slice(0, half), counts);
      } finally {
        await storeAll(ctx, campaigns, endings.slice(half), counts);
      }
    } else if (only.end === "postponed") throw error;
    else await storeAll(ctx, campaigns, [postponed(only, error)], counts);
  }
}

const postponed = (one: Ending, error: unknown): Ending => ({
  ...one,
  end: "postponed",
  provider_message_id: isRefused(error) ? null : one.provider_message_id,
  error: `its end could not be stored: ${error instanceof Error ? error.message : String(error)}`,
});

/** One that somebody has locked is being settled and let alone. @returns the ends of the others, as far as they were still open */
async function store(ctx: TxContext, campaigns: CampaignPort, endings: readonly Ending[]): Promise<Ending["end"][]> {
  const moving = endings.filter(({ end }) => end !== "waiting" && end !== "postponed");
  await lockEnrollments(ctx, sql`= any(${moving.flatMap((one) => one.contact_campaign_id ?? [])})`);
  const { rows } = await sql<{ id: string; end: Ending["end"]; nodeId: string | null }>`
    with r as materialized (
      select u.* from unnest(${endings.map((one) => one.id)}::text[], ${endings.map((one) => one.generation)}::int[],
        ${endings.map((one) => one.attempt_id)}::text[], ${endings.map((one) => one.started_at)}::timestamptz[],
        ${endings.map((one) => one.end)}::text[], ${endings.map((one) => one.provider_message_id)}::text[],
        ${endings.map((one) => one.nextLook)}::timestamptz[], ${endings.map((one) => one.error)}::text[])
        as u(id, generation, attempt_id, started_at, ending, provider_message_id, next_look, error)
      join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.id = u.id and m.generation = u.generation and m.status = 'ambiguous'
      order by u.id for no key update of m skip locked
    ), attempts as (
      update send_attempts a
      set resolved_by = case r.ending when 'aged' then 'deadline' else 'lookup' end, resolved_at = ${ctx.now},
          outcome = case r.ending when 'found' then 'accepted' when 'absent' then 'abandoned' else a.outcome end
      from r where a.tenant_id = ${ctx.tenantId} and a.id = r.attempt_id and r.ending in ('found', 'absent', 'aged')
    )
    update outbound_messages m
    set status = case r.ending when 'found' then 'sent' when 'absent' then 'queued' when 'aged' then 'accepted_unknown' else 'ambiguous' end,
        run_at = case when r.ending in ('waiting', 'postponed') then r.next_look else ${ctx.now} end,
        last_error = coalesce(r.error, m.last_error),
        provider_message_id = coalesce(m.provider_message_id, r.provider_message_id),
        sent_at = case when r.ending in ('found', 'aged') then r.started_at else m.sent_at end
    from r where m.tenant_id = ${ctx.tenantId} and m.id = r.id
    returning m.id, r.ending as end, ${walkNode} as "nodeId"`.execute(ctx.db);
  if (rows.length > 0) reach("reconcile.settling");
  const opened = new Map(endings.map((one) => [one.id, one]));
  await campaigns.tell(
    ctx,
    rows.flatMap(({ id, end, nodeId }) => {
      const one = opened.get(id);
      if (!one?.contact_campaign_id || nodeId === null || (end !== "found" && end !== "aged")) return [];
      return [{ enrollmentId: one.contact_campaign_id, nodeId, kind: "sent", at: one.started_at }];
    }),
  );
  const absent = rows.filter(({ end }) => end === "absent").map(({ id }) => id);
  if (absent.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: absent });
  return rows.map(({ end }) => end);
}

/**
 * What becomes of calls whose end is unknown. Invariant: nothing is resent here. A message is resolved by evidence (a webhook that carries
 * its id, handled where webhooks are applied), by a look-up where the provider can be asked, or by age: after a day it counts as sent.
 */
import { sql } from "kysely";
import { type Context, isAway, lockEnrollments, reach, type TxContext, transact } from "../kernel/index.ts";
import type { Credentials, KeyService, Sender } from "../ports/index.ts";
import { openCredentials } from "../tenancy/index.ts";
import type { ChannelRow } from "./facts.ts";
import type { CampaignPort } from "./ports.ts";
import { walkNode } from "./rename.ts";
import { ambiguousFirstLookSeconds } from "./results.ts";

/** Evidence that has not come after this long will not come: providers retry webhooks for a day. */
export const ambiguousMaxSeconds = 86_400;
const lookAgainSeconds = 3_600;
const lookupTimeoutMs = 10_000;

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
}

interface Open {
  readonly id: string;
  readonly generation: number;
  readonly to_address: string;
  readonly contact_campaign_id: string | null;
  readonly started_at: Date;
  readonly attempt_id: string;
  readonly from: string;
  readonly account: ChannelRow;
}

type Answer = { readonly kind: "found"; readonly providerMessageId: string } | { readonly kind: "absent" } | null;

/** What an open call has come to. */
interface Ending {
  readonly one: Open;
  readonly end: keyof ReconcileReport;
  readonly providerMessageId: string | null;
  /** When a message that stays open is looked at again. */
  readonly nextLook: Date;
}

/**
 * The workers of these sends died between claim and result. Their attempt rows exist, so bytes may have left: ambiguous, never queued.
 * @param ids messages of which some may be in a lease that has run out
 * @returns how many were
 */
export async function expireLeases(ctx: Context, ids: readonly string[]): Promise<number> {
  const expired = await transact(ctx, async (ctx) => {
    const { rows } = await sql`
      with expired as (
        update outbound_messages m
        set status = 'ambiguous', lease_until = null, last_error = 'the worker did not come back',
            run_at = ${ctx.now}::timestamptz + make_interval(secs => ${ambiguousFirstLookSeconds})
        where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]}) and m.status = 'sending' and m.lease_until <= ${ctx.now}
        returning m.id, m.generation
      )
      update send_attempts a set outcome = 'ambiguous', reason = 'the worker did not come back', finished_at = ${ctx.now}
      from expired e where a.tenant_id = ${ctx.tenantId} and a.message_id = e.id and a.generation = e.generation and a.outcome is null
      returning a.message_id`.execute(ctx.db);
    return rows.length;
  });
  if (expired > 0) reach("reconcile.expired");
  return expired;
}

/**
 * Looks at ambiguous sends and stores what they have come to, in a fixed number of statements.
 * @param ids `[batch]`; those that are not due for a look are let alone, the providers of the others are asked at the same time
 */
export async function reconcile(ctx: Context, deps: ReconcileDeps, ids: readonly string[]): Promise<ReconcileReport> {
  const { open, now } = await transact(ctx, async (ctx) => ({ open: await openAttempts(ctx, ids), now: ctx.now }));
  const endings = await Promise.all(open.map(async (one) => endingOf(deps, one, await ask(ctx, deps, one), now)));
  const counts = { found: 0, absent: 0, aged: 0, waiting: 0 };
  if (open.length > 0) for (const end of await storeEach(ctx, deps.campaigns, endings)) counts[end]++;
  return counts;
}

async function openAttempts(ctx: TxContext, ids: readonly string[]): Promise<Open[]> {
  const { rows } = await sql<Open>`
    select m.id, m.generation, m.to_address, m.contact_campaign_id, a.started_at, a.id as attempt_id,
           coalesce(s.from_email, cc.settings ->> 'from', '') as "from", to_jsonb(cc) as account
    from outbound_messages m
    join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation
    join channel_configs cc on cc.tenant_id = m.tenant_id and cc.id = m.channel_config_id
    left join email_sender_identities s on s.tenant_id = m.tenant_id and s.id = m.sender_identity_id
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]}) and m.status = 'ambiguous' and m.run_at <= ${ctx.now}
    order by m.id`.execute(ctx.db);
  return rows;
}

async function ask(ctx: Context, deps: ReconcileDeps, one: Open): Promise<Answer> {
  const sender = deps.senders[one.account.provider];
  if (!sender?.lookup) return null;
  const credentials: Credentials | null = await openCredentials(ctx, deps.keys, {
    id: one.account.id,
    sealedCredentials: one.account.api_credentials,
  }).catch(() => null);
  if (credentials === null) return null;
  const answer = await sender
    .lookup(
      credentials,
      { messageId: one.id, to: one.to_address, from: one.from, attemptedAt: one.started_at },
      lookupTimeoutMs,
    )
    // An adapter does not throw; if it does, nothing is known, and the next message is asked about all the same.
    .catch(() => ({ kind: "unknown" as const }));
  return answer.kind === "unknown" ? null : answer.kind === "found" ? answer : { kind: "absent" };
}

/** Whoever can be asked is asked every hour; else only evidence can come, and if none does, the end of the day. */
function endingOf({ senders }: ReconcileDeps, one: Open, answer: Answer, now: Date): Ending {
  const deadline = one.started_at.getTime() + ambiguousMaxSeconds * 1_000;
  const again = now.getTime() + lookAgainSeconds * 1_000;
  const isOver = deadline <= now.getTime();
  const canAsk = senders[one.account.provider]?.lookup !== undefined;
  return {
    one,
    end: answer?.kind ?? (isOver ? "aged" : "waiting"),
    providerMessageId: answer?.kind === "found" ? answer.providerMessageId : null,
    nextLook: new Date(isOver || canAsk ? again : deadline),
  };
}

/** Together; or, if one of them cannot be stored, each by itself, and that one is looked at again. */
async function storeEach(ctx: Context, campaigns: CampaignPort, endings: readonly Ending[]): Promise<Ending["end"][]> {
  try {
    return await transact(ctx, (ctx) => store(ctx, campaigns, endings));
  } catch (error) {
    const [only] = endings;
    if (isAway(error) || (endings.length === 1 && only?.end === "waiting")) throw error;
    const apart = endings.length > 1 ? endings : endings.map((ending) => ({ ...ending, end: "waiting" as const }));
    const stored: Ending["end"][] = [];
    for (const ending of apart) stored.push(...(await storeEach(ctx, campaigns, [ending])));
    return stored;
  }
}

/** @returns the ends of those that were still open */
async function store(ctx: TxContext, campaigns: CampaignPort, endings: readonly Ending[]): Promise<Ending["end"][]> {
  const statuses = { found: "sent", absent: "queued", aged: "accepted_unknown", waiting: "ambiguous" } as const;
  const moving = endings.filter(({ end }) => end !== "waiting").flatMap(({ one }) => one.contact_campaign_id ?? []);
  await lockEnrollments(ctx, sql`= any(${moving})`);
  const { rows } = await sql<{ id: string; end: Ending["end"]; nodeId: string | null }>`
    with r as materialized (
      select u.* from unnest(${endings.map(({ one }) => one.id)}::text[], ${endings.map(({ one }) => one.generation)}::int[],
        ${endings.map(({ one }) => one.attempt_id)}::text[], ${endings.map(({ one }) => one.started_at)}::timestamptz[],
        ${endings.map(({ end }) => end)}::text[], ${endings.map(({ end }) => statuses[end])}::text[],
        ${endings.map((ending) => ending.providerMessageId)}::text[], ${endings.map(({ nextLook }) => nextLook)}::timestamptz[])
        as u(id, generation, attempt_id, started_at, ending, status, provider_message_id, next_look)
      join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.id = u.id and m.generation = u.generation and m.status = 'ambiguous'
      order by u.id for no key update of m
    ), attempts as (
      update send_attempts a
      set resolved_by = case r.ending when 'aged' then 'deadline' else 'lookup' end, resolved_at = ${ctx.now},
          outcome = case r.ending when 'found' then 'accepted' when 'absent' then 'abandoned' else a.outcome end
      from r where a.tenant_id = ${ctx.tenantId} and a.id = r.attempt_id and r.ending <> 'waiting'
    )
    update outbound_messages m
    set status = r.status, run_at = case r.ending when 'waiting' then r.next_look else ${ctx.now} end,
        provider_message_id = coalesce(m.provider_message_id, r.provider_message_id),
        sent_at = case when r.ending in ('found', 'aged') then r.started_at else m.sent_at end
    from r where m.tenant_id = ${ctx.tenantId} and m.id = r.id
    returning m.id, r.ending as end, ${walkNode} as "nodeId"`.execute(ctx.db);
  if (rows.length > 0) reach("reconcile.settling");
  const opened = new Map(endings.map(({ one }) => [one.id, one]));
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

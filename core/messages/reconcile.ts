/**
 * What becomes of calls whose end is unknown. Invariant: nothing is resent here. A message is resolved by evidence (a webhook that carries
 * its id, handled where webhooks are applied), by a look-up where the provider can be asked, or by age: after a day it counts as sent.
 */
import { sql } from "kysely";
import { type Context, reach, type TxContext, transact } from "../kernel/index.ts";
import type { Credentials, KeyService, Sender } from "../ports/index.ts";
import { openCredentials } from "../tenancy/index.ts";
import type { ChannelRow } from "./facts.ts";
import type { CampaignPort, EnrollmentNews } from "./ports.ts";
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
  /** Leases that ran out while a call was under way. */
  readonly expiredLeases: number;
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

/** @param ids messages whose lease has run out or whose ambiguous state is due for a look */
export async function reconcile(ctx: Context, deps: ReconcileDeps, ids: readonly string[]): Promise<ReconcileReport> {
  const { expiredLeases, open, now } = await transact(ctx, async (ctx) => {
    const expired = await expireLeases(ctx, ids);
    return { expiredLeases: expired, open: await openAttempts(ctx, ids), now: ctx.now };
  });
  if (expiredLeases > 0) reach("reconcile.expired");
  const counts = { found: 0, absent: 0, aged: 0, waiting: 0 };
  for (const one of open) {
    const age = (now.getTime() - one.started_at.getTime()) / 1000;
    const answer = await ask(ctx, deps, one);
    const end = answer === null && age >= ambiguousMaxSeconds ? "aged" : (answer?.kind ?? "waiting");
    const store = (as: keyof typeof counts) =>
      transact(ctx, (ctx) =>
        resolve(ctx, deps.campaigns, one, as, answer?.kind === "found" ? answer.providerMessageId : null),
      );
    // An end whose consequences cannot be stored is looked at again later, and does not keep those after it waiting.
    const as = await store(end).then(
      (done) => done && end,
      async () => (await store("waiting")) && ("waiting" as const),
    );
    if (as) counts[as]++;
  }
  return { expiredLeases, ...counts };
}

/** A worker died between claim and result. Its attempt row exists, so bytes may have left: ambiguous, never queued. */
async function expireLeases(ctx: TxContext, ids: readonly string[]): Promise<number> {
  const { rows } = await sql<{ id: string }>`
    with expired as (
      update outbound_messages m
      set status = 'ambiguous', lease_until = null, last_error = 'the worker did not come back',
          run_at = ${ctx.now}::timestamptz + make_interval(secs => ${ambiguousFirstLookSeconds})
      where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]}) and m.status = 'sending' and m.lease_until <= ${ctx.now}
      returning m.id, m.generation
    )
    update send_attempts a set outcome = 'ambiguous', reason = 'the worker did not come back', finished_at = ${ctx.now}
    from expired e where a.tenant_id = ${ctx.tenantId} and a.message_id = e.id and a.generation = e.generation and a.outcome is null
    returning a.message_id as id`.execute(ctx.db);
  return rows.length;
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

type Answer = { readonly kind: "found"; readonly providerMessageId: string } | { readonly kind: "absent" } | null;

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

async function resolve(
  ctx: TxContext,
  campaigns: CampaignPort,
  one: Open,
  end: "found" | "absent" | "aged" | "waiting",
  providerMessageId: string | null,
): Promise<boolean> {
  if (one.contact_campaign_id !== null) {
    await sql`select id from contact_campaigns where tenant_id = ${ctx.tenantId} and id = ${one.contact_campaign_id} for update`.execute(
      ctx.db,
    );
  }
  const status = { found: "sent", absent: "queued", aged: "accepted_unknown", waiting: "ambiguous" }[end];
  const wait = end === "waiting" ? lookAgainSeconds : 0;
  const sent = end === "found" || end === "aged";
  const { rows } = await sql<{ nodeId: string | null }>`
    update outbound_messages m
    set status = ${status}, run_at = ${ctx.now}::timestamptz + make_interval(secs => ${wait}),
        provider_message_id = coalesce(m.provider_message_id, ${providerMessageId}),
        sent_at = case when ${sent} then ${one.started_at}::timestamptz else m.sent_at end
    where m.tenant_id = ${ctx.tenantId} and m.id = ${one.id} and m.generation = ${one.generation} and m.status = 'ambiguous'
    returning ${walkNode} as "nodeId"`.execute(ctx.db);
  const [written] = rows;
  if (!written) return false;
  reach("reconcile.settling");
  if (end === "waiting") return true;
  await sql`
    update send_attempts set resolved_by = ${end === "aged" ? "deadline" : "lookup"}, resolved_at = ${ctx.now},
      outcome = case when ${end} = 'found' then 'accepted' when ${end} = 'absent' then 'abandoned' else outcome end
    where tenant_id = ${ctx.tenantId} and id = ${one.attempt_id}`.execute(ctx.db);
  if (sent && one.contact_campaign_id !== null && written.nodeId !== null) {
    const told: EnrollmentNews = {
      enrollmentId: one.contact_campaign_id,
      nodeId: written.nodeId,
      kind: "sent",
      at: one.started_at,
    };
    await campaigns.tell(ctx, [told]);
  }
  if (end === "absent") ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: [one.id] });
  return true;
}

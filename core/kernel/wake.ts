/**
 * Waking what waits for a fault to be mended. A message that somebody's act lets go is held until that act or until it expires, so the
 * act has to wake it; else it is looked at every few hours only (`longestHoldSeconds` of the gate).
 *
 * Invariant: what was decided before the mending and waits for it is woken, however many there are and whoever dies: the first ones in the
 * transaction that mends, the others by sweeps, which find the note that it left.
 */
import { sql } from "kysely";
import type { TxContext } from "./context.ts";
import { closeTenantGate } from "./tenant-gate.ts";
import type { GateReason } from "./vocabulary.ts";

/**
 * Holds that an act ends, which wakes what it lets go: `resumeTenant`, the commands of accounts and senders, `updateTenantSettings`,
 * `activate` and `resume` of a campaign, `resume` of an enrollment. Any other hold ends by time, or by facts that nobody announces.
 */
export const endedByAct: ReadonlySet<GateReason> = new Set([
  "tenant_suspended",
  "campaign_not_active",
  "enrollment_not_active",
  "channel_unavailable",
  "credentials",
  "sender_unverified",
  "postal_address_missing",
]);

/** Woken and rung for at once. */
const maxWoken = 10_000;
/** Woken for one tenant by one sweep: what the workers can do until the next. */
const maxWokenBySweep = 20_000;
/** Nobody whose tenant has much to wake may keep a sweep from the others: a statement of it, or its wait for a lock, takes so long at most. */
const statementMs = 15_000;
/** What `wakeNoted` takes at most: its wait for the tenant's row, and its look at what is held. */
export const wakingMs = 2 * statementMs;
/** So long a note is kept at least: who had locked a message at the mending has ended by then. */
const settledAfter = sql`interval '1 minute'`;

/**
 * For whoever is about to mend what holds a tenant's messages, before any other lock: waits for those who are deciding on what was, and
 * keeps the next ones waiting until it is mended. None of them can then hold a message, unseen, for what is over.
 */
export const beforeMending = closeTenantGate;

/**
 * Makes held messages due that were held for what was mended, and leaves a note for those beyond the first and those that somebody has
 * locked: it waits for nobody. Called after `beforeMending`, and before leads are locked, as messages come first.
 */
export async function wakeHeld(ctx: TxContext, reasons: readonly GateReason[]): Promise<void> {
  const noted = reasons.filter((reason) => endedByAct.has(reason));
  if (noted.length > 0) {
    await sql`
      update tenants set waking = waking || (select jsonb_object_agg(reason, app_now()) from unnest(${noted}::text[]) reason)
      where id = ${ctx.tenantId}`.execute(ctx.db);
  }
  await wake(ctx, sql`hold_reason = any(${reasons as GateReason[]})`);
}

/** The same for one lead, whose fields a template may have waited for. Without a note: such holds are looked at again by themselves. */
export const wakeLead = (ctx: TxContext, leadId: string): Promise<void> =>
  wake(ctx, sql`hold_reason = 'render_failed' and lead_id = ${leadId}`);

/** Through an array of ids: a planner that expects few of them would compare each with every message. */
async function wake(ctx: TxContext, which: ReturnType<typeof sql>): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    with woken as materialized (
      select id from outbound_messages
      where tenant_id = ${ctx.tenantId} and status = 'held' and run_at > ${ctx.now} and ${which}
      limit ${maxWoken} for update skip locked
    )
    update outbound_messages m set run_at = ${ctx.now} where m.tenant_id = ${ctx.tenantId} and m.id = any(array(select id from woken))
    returning m.id`.execute(ctx.db);
  if (rows.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: rows.map((row) => row.id) });
}

/**
 * Goes on where the acts that mended something stopped, for one tenant, and rings for what it wakes. What was decided since the mending
 * knows of it and is let alone. @returns how many it woke, `limit` at most
 */
export async function wakeNoted(ctx: TxContext, limit = maxWokenBySweep): Promise<number> {
  await sql`select set_config('statement_timeout', ${String(statementMs)}, true)`.execute(ctx.db);
  await sql`select from tenants where id = ${ctx.tenantId} for no key update`.execute(ctx.db);
  const { rows } = await sql<{ id: string }>`
    with noted as materialized (
      select w.key as reason, w.value::timestamptz as at from tenants t, jsonb_each_text(t.waking) w where t.id = ${ctx.tenantId}
    ), woken as materialized (
      select m.id from outbound_messages m
      where m.tenant_id = ${ctx.tenantId} and m.status = 'held' and m.run_at > ${ctx.now}
        and exists (select from noted n where n.reason = m.hold_reason and ((m.decision ->> 'at')::timestamptz < n.at) is not false)
      limit ${limit} for update skip locked
    )
    update outbound_messages m set run_at = ${ctx.now} where m.tenant_id = ${ctx.tenantId} and m.id = any(array(select id from woken))
    returning m.id`.execute(ctx.db);
  if (rows.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: rows.map((row) => row.id) });
  if (rows.length < limit) {
    await sql`
      update tenants t set waking = t.waking - array(
        select w.key from jsonb_each_text(t.waking) w where w.value::timestamptz <= ${ctx.now}::timestamptz - ${settledAfter})
      where t.id = ${ctx.tenantId}`.execute(ctx.db);
  }
  return rows.length;
}

/**
 * draft → active → paused ⇄ active → completed or stopped. Whoever moves enrollments holds the campaign's lock shared; these commands take
 * it alone, so that nothing starts after a pause has committed.
 */
import { sql } from "kysely";
import * as z from "zod";
import { type CampaignStatus, command, giveBackPlaces, idOf, reach, type TxContext } from "../kernel/index.ts";
import { actionKey } from "./fold.ts";
import { type Campaign, campaignOf, errors, lock, logCampaign } from "./manage.ts";
import { planVersions } from "./versions.ts";

const ById = z.object({ id: idOf("campaign"), reason: z.string().max(500).optional() });

/** From which states each is reached. */
const legal: Readonly<Record<Exclude<CampaignStatus, "draft">, readonly CampaignStatus[]>> = {
  active: ["draft", "paused"],
  paused: ["active"],
  completed: ["active", "paused"],
  stopped: ["draft", "active", "paused"],
};

async function move(
  ctx: TxContext,
  id: string,
  to: Exclude<CampaignStatus, "draft">,
  reason: string,
): Promise<CampaignStatus> {
  const { status: from } = await lock(ctx, id);
  if (!legal[to].includes(from)) throw errors.illegal(from, to);
  const moved = await ctx.db
    .updateTable("marketing.campaigns")
    .set({
      status: to,
      ...(to === "active" && from === "draft" && { started_at: ctx.now }),
      ...((to === "stopped" || to === "completed") && { ended_at: ctx.now }),
    })
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", id)
    .where("status", "=", from)
    .returning("campaign_id")
    .executeTakeFirst();
  // Maintenance completes a campaign without its lock.
  if (!moved) throw errors.illegal((await campaignOf(ctx, id)).status, to);
  await logCampaign(ctx, id, from, to, reason);
  reach("campaign.moving");
  return from;
}

/** Starts everybody who is enrolled; who enrolls later starts at once. */
export const activate = command(
  ById,
  (ctx, { id, reason }): Promise<Campaign> => setOut(ctx, id, reason ?? "activated"),
);

/**
 * Nothing of this campaign starts after this has committed; what a provider already has is on its way. Its messages wait for `resume`, or
 * until they expire.
 */
export const pause = command(ById, async (ctx, { id, reason }): Promise<Campaign> => {
  await move(ctx, id, "paused", reason ?? "paused");
  await sql`
    update scheduled_actions set paused_run_at = run_at, run_at = 'infinity'
    where tenant_id = ${ctx.tenantId} and campaign_id = ${id} and status = 'pending' and paused_run_at is null`.execute(
    ctx.db,
  );
  await sql`
    update outbound_messages set status = 'held', hold_reason = 'campaign_not_active', last_error = 'the campaign is paused', run_at = expires_at
    where tenant_id = ${ctx.tenantId} and campaign_id = ${id} and status in ('queued', 'held')`.execute(ctx.db);
  return campaignOf(ctx, id);
});

/** Goes on where it was: overdue actions and messages are due now, and pass every check again. Places under rate limits are kept. */
export const resume = command(ById, (ctx, { id, reason }): Promise<Campaign> => setOut(ctx, id, reason ?? "resumed"));

async function setOut(ctx: TxContext, id: string, reason: string): Promise<Campaign> {
  const { planVersionId } = await campaignOf(ctx, id);
  if (planVersionId === null) throw errors.noPlan(id);
  const from = await move(ctx, id, "active", reason);
  await releaseActions(ctx, id);
  await startDrafts(ctx, id);
  if (from === "paused") await releaseMessages(ctx, id);
  return campaignOf(ctx, id);
}

async function releaseMessages(ctx: TxContext, campaignId: string): Promise<void> {
  const { rows } = await sql<{ id: string; due: boolean }>`
    update outbound_messages set status = 'queued', hold_reason = null, run_at = greatest(${ctx.now}::timestamptz, (decision ->> 'slot')::timestamptz)
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and status = 'held' and hold_reason = 'campaign_not_active'
    returning id, run_at <= ${ctx.now} as due`.execute(ctx.db);
  const due = rows.filter((row) => row.due);
  if (due.length > 0)
    ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: due.slice(0, maxRung).map((row) => row.id) });
}

/** For good. Everybody on the way is stopped, everything unsent is cancelled. */
export const stop = command(ById, async (ctx, { id, reason }): Promise<Campaign> => {
  // Enrollments before their campaign, as everybody who moves one locks them.
  await sql`
    select from contact_campaigns where tenant_id = ${ctx.tenantId} and campaign_id = ${id} and status in ('draft', 'active', 'paused')
    order by id for update`.execute(ctx.db);
  await move(ctx, id, "stopped", reason ?? "stopped");
  await sql`
    update scheduled_actions set status = 'cancelled', completed_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and campaign_id = ${id} and status = 'pending'`.execute(ctx.db);
  const { rows } = await sql<{ decision: unknown }>`
    update outbound_messages set status = 'cancelled', hold_reason = 'campaign_not_active', last_error = 'the campaign was stopped'
    where tenant_id = ${ctx.tenantId} and campaign_id = ${id} and status in ('queued', 'held')
    returning case when decision ? 'places' then decision end as decision`.execute(ctx.db);
  await giveBackPlaces(
    ctx,
    rows.map((row) => row.decision),
  );
  await sql`
    with stopped as (
      update contact_campaigns e
      set status = 'stopped', exit_reason = 'campaign_stopped', completed_at = ${ctx.now},
          state = case when e.state ? 'key' then e.state || '{"status": "stopped", "exitReason": "campaign_stopped"}' else e.state end
      from (select x.tenant_id, x.id, x.status from contact_campaigns x
            where x.tenant_id = ${ctx.tenantId} and x.campaign_id = ${id} and x.status in ('draft', 'active', 'paused') order by x.id for update) o
      where e.tenant_id = o.tenant_id and e.id = o.id
      returning e.id, o.status as from_status, e.current_node_id, e.correlation_id
    )
    insert into campaign_transitions (tenant_id, id, campaign_id, contact_campaign_id, from_status, to_status, from_node_id, to_node_id, reason,
      triggered_by, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, make_id('ctr', ulid_time(${ctx.now}), row_number() over (order by s.id)), ${id}, s.id, s.from_status, 'stopped',
      s.current_node_id, s.current_node_id, 'campaign_stopped', ${`${ctx.actor.type}:${ctx.actor.id}`}, s.correlation_id, ${ctx.now}, ${ctx.now}
    from stopped s`.execute(ctx.db);
  return campaignOf(ctx, id);
});

async function releaseActions(ctx: TxContext, campaignId: string): Promise<void> {
  const { rows } = await sql<{ id: string; due: boolean }>`
    update scheduled_actions set run_at = paused_run_at, paused_run_at = null, attempts = 0, lease_until = null
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and status = 'pending' and paused_run_at is not null
    returning id, run_at <= ${ctx.now} as due`.execute(ctx.db);
  ringDue(
    ctx,
    rows.filter((row) => row.due).map((row) => row.id),
  );
}

export const firstActionKey = (enrollmentId: string, start: string): string =>
  actionKey(enrollmentId, { action: "node", nodeId: start, watch: null });

/** Gives every enrollment that has not begun its first action. */
export async function startDrafts(ctx: TxContext, campaignId: string): Promise<void> {
  const { rows: drafts } = await sql<{ id: string; plan_version_id: string }>`
    update contact_campaigns set status = 'active', started_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and status = 'draft'
    returning id, plan_version_id`.execute(ctx.db);
  if (drafts.length === 0) return;
  const plans = await planVersions(
    ctx,
    drafts.map((row) => row.plan_version_id),
  );
  const rows = drafts
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
    .flatMap(({ id, plan_version_id }) => {
      const start = plans.get(plan_version_id)?.plan.start;
      return start === undefined ? [] : [{ id, start, key: firstActionKey(id, start) }];
    });
  const { rows: scheduled } = await sql<{ id: string }>`
    insert into scheduled_actions (tenant_id, id, campaign_id, contact_campaign_id, action_type, node_id, run_at, idempotency_key, correlation_id,
      created_at, updated_at)
    select ${ctx.tenantId}, make_id('sact', ulid_time(${ctx.now}), r.n), ${campaignId}, r.id, 'node', r.start, ${ctx.now}, r.key, ${ctx.correlationId},
      ${ctx.now}, ${ctx.now}
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.start)}::text[], ${rows.map((r) => r.key)}::text[])
      with ordinality as r(id, start, key, n)
    on conflict (tenant_id, idempotency_key) do nothing
    returning id`.execute(ctx.db);
  reach("campaign.starting");
  ringDue(
    ctx,
    scheduled.map((row) => row.id),
  );
}

/** The first of many are rung for at once; the sweep rings for the rest as fast as they can be worked on. */
const maxRung = 10_000;

export function ringDue(ctx: TxContext, ids: readonly string[]): void {
  if (ids.length > 0) ctx.bells.push({ kind: "actions", tenantId: ctx.tenantId, ids: ids.slice(0, maxRung) });
}

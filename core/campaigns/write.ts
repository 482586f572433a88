/**
 * Net effects to rows, set-wise: the number of statements does not depend on the number of enrollments. Cancellations are written before
 * what replaces them.
 */
import { sql } from "kysely";
import { newId, type TxContext } from "../kernel/index.ts";
import { cancelUnsent } from "../messages/index.ts";
import type { Walker } from "./apply.ts";
import { actionKey, type Net } from "./fold.ts";
import type { UpdateSet } from "./plan.ts";
import { isTerminal } from "./state.ts";
import { taskKey } from "./tasks.ts";

interface Changed {
  readonly walker: Walker;
  readonly net: Net;
}

export async function writeNets(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  if (changed.length === 0) return;
  await writeStates(ctx, changed);
  await writeTransitions(ctx, changed);
  await cancelActions(ctx, changed);
  for (const [reason, group] of Map.groupBy(
    changed.filter(({ net }) => net.cancelAll),
    ({ net }) => net.state.exitReason ?? "stopped",
  )) {
    await cancelUnsent(
      ctx,
      group.map(({ net }) => net.enrollmentId),
      reason,
    );
  }
  await wakeResumed(ctx, changed);
  await schedule(ctx, changed);
  await updateLeads(ctx, changed);
  await createTasks(ctx, changed);
  await completeCampaigns(ctx, changed);
}

async function writeStates(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const rows = changed.map(({ net }) => ({
    id: net.enrollmentId,
    status: net.state.status,
    node: net.state.nodeId,
    state: JSON.stringify(net.state),
    reason: net.state.exitReason ?? null,
    ended: isTerminal(net.state.status),
  }));
  await sql`
    update contact_campaigns e
    set status = r.status, current_node_id = r.node, state = r.state::jsonb, exit_reason = r.reason, updated_at = ${ctx.now},
        started_at = coalesce(e.started_at, ${ctx.now}),
        completed_at = case when r.ended then coalesce(e.completed_at, ${ctx.now}) end
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.status)}::text[], ${rows.map((r) => r.node)}::text[],
      ${rows.map((r) => r.state)}::text[], ${rows.map((r) => r.reason)}::text[], ${rows.map((r) => r.ended)}::bool[])
      as r(id, status, node, state, reason, ended)
    where e.tenant_id = ${ctx.tenantId} and e.id = r.id`.execute(ctx.db);
}

async function writeTransitions(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const rows = changed.flatMap(({ walker, net }) =>
    net.transitions.map((it) => ({ ...it, id: newId("transition", ctx.now), walker })),
  );
  if (rows.length === 0) return;
  await sql`
    insert into campaign_transitions (tenant_id, id, campaign_id, contact_campaign_id, from_status, to_status, from_node_id, to_node_id, reason,
      triggered_by, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, r.id, r.campaign, r.enrollment, r.from_status, r.to_status, r.from_node, r.to_node, r.reason,
      ${`${ctx.actor.type}:${ctx.actor.id}`}, r.correlation, ${ctx.now}, ${ctx.now}
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.walker.campaign_id)}::text[], ${rows.map((r) => r.walker.id)}::text[],
      ${rows.map((r) => r.fromStatus)}::text[], ${rows.map((r) => r.toStatus)}::text[], ${rows.map((r) => r.fromNodeId)}::text[],
      ${rows.map((r) => r.toNodeId)}::text[], ${rows.map((r) => r.reason)}::text[], ${rows.map((r) => r.walker.correlation_id)}::text[])
      as r(id, campaign, enrollment, from_status, to_status, from_node, to_node, reason, correlation)`.execute(ctx.db);
}

async function cancelActions(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const pairs = changed.flatMap(({ net }): { id: string; node: string | null }[] =>
    net.cancelAll
      ? [{ id: net.enrollmentId, node: null }]
      : [...net.cancelTimeoutsOf].map((node) => ({ id: net.enrollmentId, node })),
  );
  if (pairs.length === 0) return;
  await sql`
    update scheduled_actions a set status = 'cancelled', completed_at = ${ctx.now}, generation = a.generation + 1
    from unnest(${pairs.map((p) => p.id)}::text[], ${pairs.map((p) => p.node)}::text[]) as r(enrollment, node)
    where a.tenant_id = ${ctx.tenantId} and a.contact_campaign_id = r.enrollment and a.status = 'pending'
      and (r.node is null or a.node_id = r.node)`.execute(ctx.db);
}

/** What was held because its enrollment was paused is looked at now. Whoever decides on it has the enrollment locked: none is missed. */
async function wakeResumed(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const resumed = changed.filter(({ walker, net }) => walker.status === "paused" && net.state.status === "active");
  if (resumed.length === 0) return;
  const { rows } = await sql<{ id: string }>`
    update outbound_messages set run_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and contact_campaign_id = any(${resumed.map(({ net }) => net.enrollmentId)}) and status = 'held'
      and hold_reason = 'enrollment_not_active'
    returning id`.execute(ctx.db);
  if (rows.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: rows.map((row) => row.id) });
}

/** While its campaign is paused, an action waits at infinity and remembers when it was due. */
export async function schedule(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const rows = changed.flatMap(({ walker, net }) =>
    [...net.schedules.values()].map((it) => ({
      ...it,
      id: newId("action", ctx.now),
      key: actionKey(net.enrollmentId, it),
      walker,
      paused: walker.campaign_status !== "active",
    })),
  );
  if (rows.length === 0) return;
  const { rows: scheduled } = await sql<{ id: string; due: boolean }>`
    insert into scheduled_actions as a (tenant_id, id, campaign_id, contact_campaign_id, action_type, node_id, watch, run_at, paused_run_at,
      idempotency_key, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, r.id, r.campaign, r.enrollment, r.action, r.node, r.watch,
      case when r.paused then 'infinity'::timestamptz else r.run_at end, case when r.paused then r.run_at end, r.key, r.correlation, ${ctx.now}, ${ctx.now}
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.walker.campaign_id)}::text[], ${rows.map((r) => r.walker.id)}::text[],
      ${rows.map((r) => r.action)}::text[], ${rows.map((r) => r.nodeId)}::text[], ${rows.map((r) => r.watch)}::text[],
      ${rows.map((r) => r.runAt)}::timestamptz[], ${rows.map((r) => r.paused)}::bool[], ${rows.map((r) => r.key)}::text[],
      ${rows.map((r) => r.walker.correlation_id)}::text[])
      as r(id, campaign, enrollment, action, node, watch, run_at, paused, key, correlation)
    on conflict (tenant_id, idempotency_key) do update
      set status = 'pending', run_at = excluded.run_at, paused_run_at = excluded.paused_run_at, attempts = 0, lease_until = null,
          generation = a.generation + 1, last_error = null, completed_at = null
    returning a.id, a.run_at <= ${ctx.now} as due`.execute(ctx.db);
  const due = scheduled.filter((row) => row.due).map((row) => row.id);
  if (due.length > 0) ctx.bells.push({ kind: "actions", tenantId: ctx.tenantId, ids: due });
}

/** Leads that get the same change are changed together. */
async function updateLeads(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const wanted = changed.flatMap(({ walker, net }) => net.updates.map((set) => ({ leadId: walker.lead_id, set })));
  if (wanted.length === 0) return;
  await sql`select set_config('app.trigger', 'automation', true)`.execute(ctx.db);
  for (const group of Map.groupBy(wanted, ({ set }) => JSON.stringify(set)).values()) {
    const [first] = group;
    if (!first) continue;
    await updateLeadsAlike(
      ctx,
      group.map(({ leadId }) => leadId),
      first.set,
    );
  }
}

async function updateLeadsAlike(ctx: TxContext, leadIds: readonly string[], set: UpdateSet): Promise<void> {
  const add = set.tags?.add ?? [];
  const remove = set.tags?.remove ?? [];
  await sql`
    update leads l
    set status = case when l.status = 'dnc' then l.status else coalesce(${set.status ?? null}, l.status) end,
        campaign_status = coalesce(${set.campaign_status ?? null}, l.campaign_status),
        tags = array(select distinct t from unnest(l.tags || ${add}::text[]) t where t <> all (${remove}::text[]) order by t)
    where l.tenant_id = ${ctx.tenantId} and l.id = any(${leadIds as string[]}) and l.deleted_at is null`.execute(
    ctx.db,
  );
}

async function createTasks(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const rows = changed.flatMap(({ walker, net }) =>
    net.tasks.map((task) => ({
      tenant_id: ctx.tenantId,
      id: newId("task", ctx.now),
      contact_campaign_id: walker.id,
      lead_id: walker.lead_id,
      contact_id: walker.contact_id,
      node_id: task.nodeId,
      kind: task.channel === "call" || task.channel === "linkedin" ? task.channel : "other",
      title: task.title,
      assignee_id: task.assignee,
      due_at: ctx.now,
      idempotency_key: taskKey(walker.id, task.nodeId),
    })),
  );
  if (rows.length === 0) return;
  await ctx.db
    .insertInto("tasks")
    .values(rows)
    .onConflict((conflict) => conflict.columns(["tenant_id", "idempotency_key"]).doNothing())
    .execute();
}

/** A campaign whose last contact has arrived is complete, unless it was made to go on taking in new ones. */
async function completeCampaigns(ctx: TxContext, changed: readonly Changed[]): Promise<void> {
  const ids = new Set(
    changed.filter(({ net }) => isTerminal(net.state.status)).map(({ walker }) => walker.campaign_id),
  );
  if (ids.size > 0) await completeFinished(ctx, [...ids]);
}

/** @returns the campaigns that are complete now. Also run on a schedule: two last contacts may arrive in two transactions at once. */
export async function completeFinished(ctx: TxContext, campaignIds: readonly string[] | undefined): Promise<string[]> {
  const named = campaignIds ? sql`and c.campaign_id = any(${campaignIds as string[]})` : sql``;
  const finished = sql`c.tenant_id = ${ctx.tenantId} and c.status = 'active' ${named} and not coalesce((c.settings ->> 'evergreen')::bool, false)
    and exists (select from contact_campaigns e where e.tenant_id = c.tenant_id and e.campaign_id = c.campaign_id)
    and not exists (select from contact_campaigns e where e.tenant_id = c.tenant_id and e.campaign_id = c.campaign_id
                    and e.status in ('draft', 'active', 'paused'))`;
  // Asked twice: `enroll` holds the row while it takes people in, and only a statement that begins under the lock sees them.
  const { rows: candidates } = await sql`
    select c.campaign_id from marketing.campaigns c where ${finished} order by c.campaign_id for no key update`.execute(
    ctx.db,
  );
  if (candidates.length === 0) return [];
  const { rows } = await sql<{ campaign_id: string }>`
    with finished as (
      update marketing.campaigns c set status = 'completed', ended_at = ${ctx.now} where ${finished}
      returning c.campaign_id
    )
    insert into campaign_transitions (tenant_id, id, campaign_id, from_status, to_status, reason, triggered_by, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, new_id('ctr'), f.campaign_id, 'active', 'completed', 'everyone_arrived', ${`${ctx.actor.type}:${ctx.actor.id}`},
      ${ctx.correlationId}, ${ctx.now}, ${ctx.now}
    from finished f returning campaign_id`.execute(ctx.db);
  return rows.map((row) => row.campaign_id);
}

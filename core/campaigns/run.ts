/**
 * Due scheduled actions: each is one event for its enrollment. Taken, applied and completed in one transaction, so that an action that ran
 * has moved its enrollment and one that did not is still due.
 */
import { sql } from "kysely";
import { backoffSeconds, type Context, newId, reach, type TxContext, transact, work } from "../kernel/index.ts";
import { campaignGates, cancelUnsent } from "../messages/index.ts";
import { applyEvents, type EnrollmentEvent } from "./apply.ts";
import type { TimeoutName } from "./state.ts";

/** Actions taken in one transaction. */
export const actionBatch = 500;
/** An action that fails this often is a defect in its data; its enrollment ends in `error` and its neighbours go on. */
const maxAttempts = 5;

interface Due {
  readonly id: string;
  readonly contact_campaign_id: string;
  readonly action_type: "node" | "timeout";
  readonly node_id: string;
  readonly watch: string | null;
  readonly attempts: number;
}

/** Runs what is due among `ids` (empty: whatever is due for the tenant). @returns how many ran */
export async function runActions(ctx: Context, ids: readonly string[]): Promise<number> {
  try {
    return await transact(ctx, (ctx) => runBatch(ctx, ids, actionBatch));
  } catch (error) {
    if (ids.length <= 1) {
      if (ids.length === 1) await transact(ctx, (ctx) => recordFailure(ctx, ids, error));
      else throw error;
      return 0;
    }
    // One of them does not work: alone it shows which, and the others get done.
    let done = 0;
    for (const id of ids) done += await runActions(ctx, [id]);
    return done;
  }
}

async function runBatch(ctx: TxContext, ids: readonly string[], limit: number): Promise<number> {
  const due = await takeDue(ctx, ids, limit);
  const events: EnrollmentEvent[] = due.map((action) => ({
    enrollmentId: action.contact_campaign_id,
    event:
      action.action_type === "node"
        ? { type: "due", nodeId: action.node_id }
        : { type: "timeout", nodeId: action.node_id, on: (action.watch ?? "end") as TimeoutName },
  }));
  if (events.length > 0) reach("action.taking");
  await applyEvents(ctx, events);
  if (events.length > 0) reach("action.applying");
  if (due.length === limit) ctx.bells.push({ kind: "actions", tenantId: ctx.tenantId, ids: [] });
  return due.length;
}

/**
 * Locks the enrollments and their campaigns first, as everybody does, then completes their due actions; what another worker holds is left
 * to it. A pause waits for the campaign before it touches actions, so an action must not be held by somebody who still has to.
 */
async function takeDue(ctx: TxContext, ids: readonly string[], limit: number): Promise<Due[]> {
  const named = ids.length > 0 ? sql`and a.id = any(${ids as string[]})` : sql``;
  const { rows } = await sql<Due>`
    with wanted as materialized (
      select a.id, a.contact_campaign_id from scheduled_actions a
      where a.tenant_id = ${ctx.tenantId} and a.status = 'pending' and a.run_at <= ${ctx.now} ${named}
      order by a.run_at, a.id limit ${limit}
    ), walkers as materialized (
      select e.id, e.campaign_id from contact_campaigns e
      where e.tenant_id = ${ctx.tenantId} and e.id in (select contact_campaign_id from wanted) and e.status <> 'draft'
      order by e.id for update
    ), ${campaignGates(ctx, "walkers")}
    select w.id from wanted w join walkers k on k.id = w.contact_campaign_id, (select count(*) from gates) g`.execute(
    ctx.db,
  );
  if (rows.length === 0) return [];
  const { rows: taken } = await sql<Due>`
    with due as materialized (
      select a.id, a.run_at from scheduled_actions a
      where a.tenant_id = ${ctx.tenantId} and a.id = any(${rows.map((row) => row.id)}) and a.status = 'pending' and a.run_at <= ${ctx.now}
      order by a.run_at, a.id for update skip locked
    ), done as (
      update scheduled_actions a set status = 'completed', completed_at = ${ctx.now}, generation = a.generation + 1, attempts = a.attempts + 1
      from due where a.tenant_id = ${ctx.tenantId} and a.id = due.id
      returning a.id, a.contact_campaign_id, a.action_type, a.node_id, a.watch, a.attempts, a.run_at
    )
    select * from done order by run_at, id`.execute(ctx.db);
  return taken;
}

async function recordFailure(ctx: TxContext, ids: readonly string[], error: unknown): Promise<void> {
  const reason = error instanceof Error ? error.message : String(error);
  const [action] = await ctx.db
    .selectFrom(work.actions.table)
    .select(["id", "attempts", "contact_campaign_id"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", ids)
    .where("status", "=", "pending")
    .execute();
  if (!action) return;
  const attempts = action.attempts + 1;
  const over = attempts >= maxAttempts;
  // The enrollment before its actions and messages, as everywhere.
  if (over) await endInError(ctx, action.contact_campaign_id, reason);
  await sql`
    update scheduled_actions set status = ${over ? "failed" : "pending"}, attempts = ${attempts}, last_error = ${reason},
      run_at = ${ctx.now}::timestamptz + make_interval(secs => ${backoffSeconds(attempts, 1)}), completed_at = ${over ? ctx.now : null}
    where tenant_id = ${ctx.tenantId} and id = ${action.id}`.execute(ctx.db);
}

/** Without the engine, which may be what fails: its memory is told too, or the next event would bring the enrollment back. */
async function endInError(ctx: TxContext, enrollmentId: string, reason: string): Promise<void> {
  const { rows } = await sql`
    with ended as (
      update contact_campaigns e
      set status = 'error', exit_reason = ${reason}, completed_at = ${ctx.now},
          state = e.state || jsonb_build_object('status', 'error', 'exitReason', ${reason}::text)
      from (select x.tenant_id, x.id, x.status from contact_campaigns x
            where x.tenant_id = ${ctx.tenantId} and x.id = ${enrollmentId} and x.status in ('active', 'paused') for update) o
      where e.tenant_id = o.tenant_id and e.id = o.id
      returning e.id, e.campaign_id, o.status as from_status, e.current_node_id, e.correlation_id
    )
    insert into campaign_transitions (tenant_id, id, campaign_id, contact_campaign_id, from_status, to_status, from_node_id, to_node_id, reason,
      triggered_by, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, ${newId("transition", ctx.now)}, s.campaign_id, s.id, s.from_status, 'error', s.current_node_id, s.current_node_id,
      ${reason}, ${`${ctx.actor.type}:${ctx.actor.id}`}, s.correlation_id, ${ctx.now}, ${ctx.now}
    from ended s returning id`.execute(ctx.db);
  if (rows.length === 0) return;
  await sql`
    update scheduled_actions set status = 'cancelled', completed_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and contact_campaign_id = ${enrollmentId} and status = 'pending'`.execute(ctx.db);
  await cancelUnsent(ctx, [enrollmentId], reason);
}

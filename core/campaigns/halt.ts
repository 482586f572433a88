/**
 * A walk that cannot be moved. For a reason that stays it ends in `error`, and nothing of it is left to be done or sent. Where this release
 * cannot read its plan, which another can, it is paused: `resume` goes on from the facts that it knows.
 */
import { sql } from "kysely";
import { DomainError, newId, type TxContext } from "../kernel/index.ts";
import { cancelUnsent } from "../messages/index.ts";

/** Without the engine, which may be what fails: its memory is told too, or the next event would bring the enrollment back. */
export async function halt(ctx: TxContext, enrollmentId: string, cause: unknown): Promise<void> {
  const to = cause instanceof DomainError && cause.kind === "unavailable" ? "paused" : "error";
  const reason = (cause instanceof Error ? cause.message : String(cause)).slice(0, 500);
  const { rows } = await sql`
    with halted as (
      update contact_campaigns e
      set status = ${to}, exit_reason = ${reason}, completed_at = case when ${to === "error"}::bool then ${ctx.now}::timestamptz end,
          state = e.state || jsonb_build_object('status', ${to}::text, 'exitReason', ${reason}::text)
      from (select x.tenant_id, x.id, x.status from contact_campaigns x
            where x.tenant_id = ${ctx.tenantId} and x.id = ${enrollmentId} and x.status = any(${to === "paused" ? ["active"] : ["active", "paused"]}::text[]) for update) o
      where e.tenant_id = o.tenant_id and e.id = o.id
      returning e.id, e.campaign_id, o.status as from_status, e.current_node_id, e.correlation_id
    )
    insert into campaign_transitions (tenant_id, id, campaign_id, contact_campaign_id, from_status, to_status, from_node_id, to_node_id, reason,
      triggered_by, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, ${newId("transition", ctx.now)}, s.campaign_id, s.id, s.from_status, ${to}, s.current_node_id, s.current_node_id,
      ${reason}, ${`${ctx.actor.type}:${ctx.actor.id}`}, s.correlation_id, ${ctx.now}, ${ctx.now}
    from halted s returning id`.execute(ctx.db);
  if (rows.length === 0) return;
  await sql`
    update scheduled_actions set status = 'cancelled', completed_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and contact_campaign_id = ${enrollmentId} and status = 'pending'`.execute(ctx.db);
  if (to === "error") await cancelUnsent(ctx, [enrollmentId], reason);
}

/**
 * A lead that has become a customer: whoever walks a plan in its name is told in the transaction that says so. What a plan itself says of
 * its lead (an `update` node) is no news to anybody: it decides what comes after.
 */
import { sql } from "kysely";
import { command, type TxContext } from "../kernel/index.ts";
import * as leads from "../leads/index.ts";
import { applyEvents } from "./apply.ts";

const converted = "converted";

/** Tells everybody who walks in the name of these leads. Whoever was told before, or has ended, is not moved. */
async function tell(ctx: TxContext, leadIds: readonly string[]): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select e.id from contacts k
    join contact_campaigns e on e.tenant_id = k.tenant_id and e.contact_id = k.id and e.superseded_by is null
    where k.tenant_id = ${ctx.tenantId} and k.lead_id = any(${leadIds as string[]})
      and e.status in ('draft', 'active', 'paused')`.execute(ctx.db);
  await applyEvents(
    ctx,
    rows.map(({ id }) => ({ enrollmentId: id, event: { type: converted } })),
  );
}

/**
 * Tells the walks of those leads that are made customers. Before it happens, because walks are locked before messages and messages before
 * leads; and once more afterwards, for who has begun to walk since, or whose lead had been a customer until then.
 * @param changedBy which leads the change has made customers; its second argument are those who were none when it began
 */
async function converting<R>(
  ctx: TxContext,
  leadIds: readonly string[],
  change: () => Promise<R>,
  changedBy: (result: R, others: readonly string[]) => readonly string[],
): Promise<R> {
  const rows = await ctx.db
    .selectFrom("leads")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", leadIds)
    .where("deleted_at", "is", null)
    .where("status", "<>", converted)
    .execute();
  const others = rows.map(({ id }) => id);
  await tell(ctx, others);
  const result = await change();
  await tell(ctx, changedBy(result, others));
  return result;
}

/** `leads.setLeadStatus` with its consequences: `converted` ends the walks whose plans name it in `exitOn`. */
export const setLeadStatus = command(leads.setLeadStatus.schema, async (ctx, input): Promise<string[]> => {
  const change = () => leads.setLeadStatus(ctx, input);
  return input.status === converted ? converting(ctx, input.ids, change, (changed) => changed) : change();
});

/** `leads.updateLead` with its consequences, as `setLeadStatus`. */
export const updateLead = command(leads.updateLead.schema, async (ctx, input): Promise<leads.Lead> => {
  const change = () => leads.updateLead(ctx, input);
  return input.status === converted ? converting(ctx, [input.id], change, (_lead, others) => others) : change();
});

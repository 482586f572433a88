/**
 * The lock between whoever acts for a campaign and whoever pauses or stops it. Invariant: acting holds it shared until the commit, pausing
 * alone; so nothing that a campaign leads to is decided on a status that has changed since. It comes after enrollments and before messages:
 * who has touched a message and then asked for it would end a pause that is just reaching that message.
 */
import { type RawBuilder, sql } from "kysely";
import type { TxContext } from "./context.ts";

/**
 * A CTE `gates` that locks the campaigns of enrollments shared: nobody pauses or stops them until this transaction ends. Their status is
 * read by a later statement, which sees a pause that committed while this one waited.
 * @param locked the CTE they come from; it has a `campaign_id`
 */
export const campaignGates = (ctx: TxContext, locked: string) => sql`gates as materialized (
      select pg_advisory_xact_lock_shared(k.key)
      from (select distinct hashtextextended(${`campaign:${ctx.tenantId}:`} || campaign_id, 0) as key from ${sql.table(locked)} order by key) k
    )`;

/**
 * Locks enrollments in id order, then their campaigns shared: before any message of theirs, the order of everybody who needs both.
 * @param ids what `id` is compared with, e.g. `= any(array)` or `in (select …)`
 */
export async function lockEnrollments(ctx: TxContext, ids: RawBuilder<unknown>): Promise<void> {
  await sql`
    with walkers as materialized (
      select campaign_id from contact_campaigns where tenant_id = ${ctx.tenantId} and id ${ids} order by id for update
    ), ${campaignGates(ctx, "walkers")}
    select count(*) from gates`.execute(ctx.db);
}

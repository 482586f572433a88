/**
 * The lock between whoever acts for a campaign and whoever pauses or stops it. Invariant: acting holds it shared until the commit, pausing
 * alone; so nothing that a campaign leads to is decided on a status that has changed since.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";

/**
 * A CTE `gates` that locks the campaigns of enrollments shared: nobody pauses or stops them until this transaction ends. Their status is
 * read by a later statement, which sees a pause that committed while this one waited.
 * @param locked the CTE they come from; it has a `campaign_id`
 */
export const campaignGates = (ctx: TxContext, locked: string) => sql`gates as materialized (
      select pg_advisory_xact_lock_shared(k.key)
      from (select distinct hashtextextended(${`campaign:${ctx.tenantId}:`} || campaign_id, 0) as key from ${sql.table(locked)} order by key) k
    )`;

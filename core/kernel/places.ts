/**
 * Places under rate limits that were kept for messages which will never come for them. Whoever ends a message that waits gives back what
 * its decision says is kept for it, so that the next one in line may have it.
 */
import { sql } from "kysely";
import type { TxContext } from "./context.ts";

/** In one statement, or none when nothing was kept. @param decisions `outbound_messages.decision` of messages that have ended */
export async function giveBackPlaces(ctx: TxContext, decisions: readonly unknown[]): Promise<void> {
  const kept = decisions.filter(
    (decision) => typeof decision === "object" && decision !== null && "places" in decision,
  );
  if (kept.length === 0) return;
  // In the order in which everybody locks windows.
  await sql`
    with places as materialized (
      select p ->> 'limit' as limit_id, p ->> 'key' as key, to_timestamp((p ->> 'from')::float8 / 1000) as window_start,
        count(*) filter (where d ->> 'taken' = 'true') as taken, count(*) filter (where d ->> 'taken' = 'false') as kept
      from jsonb_array_elements(${JSON.stringify(kept)}::jsonb) d, jsonb_array_elements(d -> 'places') p
      where to_timestamp((p ->> 'until')::float8 / 1000) > ${ctx.now}::timestamptz
      group by 1, 2, 3
    ), locked as materialized (
      select w.limit_id from send_rate_windows w join places p using (limit_id, key, window_start)
      where w.tenant_id = ${ctx.tenantId} order by w.limit_id, w.key, w.window_start for update of w
    )
    update send_rate_windows w set used = greatest(0, w.used - p.taken), reserved = greatest(0, w.reserved - p.kept)
    from places p, (select count(*) from locked) l
    where w.tenant_id = ${ctx.tenantId} and w.limit_id = p.limit_id and w.key = p.key and w.window_start = p.window_start`.execute(
    ctx.db,
  );
}

/** What keeps the message tables small and ready. */
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";
import type { TxContext } from "../kernel/index.ts";

/** Makes the partitions of `message_events` for this month and the next three. Runs without a tenant. @returns how many are there */
export async function makePartitions(db: Kysely<DB>): Promise<number> {
  const { rows } = await sql`
    select ensure_event_partition(app_now() + make_interval(months => m)) from generate_series(0, 3) m`.execute(db);
  return rows.length;
}

/** Windows that have passed limit nothing any more. @returns how many were removed */
export async function expireWindows(ctx: TxContext): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from send_rate_windows w using send_rate_limits l
    where w.tenant_id = ${ctx.tenantId} and l.tenant_id = w.tenant_id and l.id = w.limit_id
      and w.window_start < ${ctx.now}::timestamptz - make_interval(secs => 2 * l.window_seconds)`.execute(ctx.db);
  return Number(numAffectedRows ?? 0);
}

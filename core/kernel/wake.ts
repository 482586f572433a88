/**
 * Waking what waits for a fault to be mended. A message is held without a known end when its account, its sender or its tenant cannot
 * send; whoever mends that says so here, and the message is looked at now instead of at the next look.
 */
import { sql } from "kysely";
import type { TxContext } from "./context.ts";
import type { GateReason } from "./vocabulary.ts";

/** Messages rung for at once; the sweep rings for the rest. */
const maxRung = 10_000;

/** Makes held messages due, in one statement. @param leadId only those to this lead */
export async function wakeHeld(
  ctx: TxContext,
  reasons: readonly GateReason[],
  { leadId }: { readonly leadId?: string } = {},
): Promise<void> {
  const toLead = leadId === undefined ? sql`` : sql`and lead_id = ${leadId}`;
  const { rows } = await sql<{ id: string }>`
    update outbound_messages set run_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and status = 'held' and run_at > ${ctx.now} and hold_reason = any(${reasons as GateReason[]}) ${toLead}
    returning id`.execute(ctx.db);
  if (rows.length > 0)
    ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: rows.slice(0, maxRung).map((row) => row.id) });
}

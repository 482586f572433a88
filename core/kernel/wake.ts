/**
 * Waking what waits for a fault to be mended. A message is held without a known end when its account, its sender or its tenant cannot
 * send; whoever mends that says so here, and the message is looked at now instead of at the next look.
 */
import { sql } from "kysely";
import type { TxContext } from "./context.ts";
import type { GateReason } from "./vocabulary.ts";

/** Woken and rung for at once; whatever else is held for it is looked at when its own time comes. */
const maxWoken = 10_000;

/**
 * Makes held messages due, in one statement that waits for nobody: one that is being looked at now is left to whoever does that. Called
 * before leads are locked, as messages come first. @param leadId only those to this lead
 */
export async function wakeHeld(
  ctx: TxContext,
  reasons: readonly GateReason[],
  { leadId }: { readonly leadId?: string } = {},
): Promise<void> {
  const toLead = leadId === undefined ? sql`` : sql`and lead_id = ${leadId}`;
  const { rows } = await sql<{ id: string }>`
    with woken as materialized (
      select id from outbound_messages
      where tenant_id = ${ctx.tenantId} and status = 'held' and run_at > ${ctx.now} and hold_reason = any(${reasons as GateReason[]}) ${toLead}
      limit ${maxWoken} for update skip locked
    )
    update outbound_messages m set run_at = ${ctx.now}
    from woken where m.tenant_id = ${ctx.tenantId} and m.id = woken.id
    returning m.id`.execute(ctx.db);
  if (rows.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: rows.map((row) => row.id) });
}

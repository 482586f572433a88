/**
 * A no that somebody enters by hand, with its consequences for the plans: a message that was stopped counts as failed for its enrollment,
 * in the same transaction, so that nobody is left waiting for something that will not be sent.
 */
import { sql } from "kysely";
import type * as z from "zod";
import { type Context, type TxContext, transact } from "../kernel/index.ts";
import { walkNode } from "../messages/index.ts";
import * as suppression from "../suppression/index.ts";
import { applyEvents } from "./apply.ts";

/** Tells the enrollments of messages that a suppression has ended. */
export async function tellStopped(ctx: TxContext, stopped: readonly suppression.Stopped[]): Promise<void> {
  if (stopped.length === 0) return;
  const { rows } = await sql<{ enrollmentId: string; nodeId: string; reason: string | null }>`
    select m.contact_campaign_id as "enrollmentId", ${walkNode} as "nodeId", m.hold_reason as reason from outbound_messages m
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${stopped.map((one) => one.messageId)})
      and m.contact_campaign_id is not null and ${walkNode} is not null
    order by m.id`.execute(ctx.db);
  await applyEvents(
    ctx,
    rows.map(({ enrollmentId, nodeId, reason }) => ({
      enrollmentId,
      event: { type: "send_failed", nodeId, reason: reason ?? "suppressed" },
    })),
  );
}

/** `suppression.addMany` with its consequences. Idempotent. */
export const suppress = Object.assign(
  (ctx: Context, input: z.input<typeof suppression.addMany.schema>): Promise<suppression.Added> =>
    transact(ctx, async (ctx) => {
      const added = await suppression.addMany(ctx, input);
      await tellStopped(ctx, added.stopped);
      return added;
    }),
  { schema: suppression.addMany.schema },
);

/** `suppression.addDnc` with its consequences in this tenant. */
export const addToDnc = Object.assign(
  (ctx: Context, input: z.input<typeof suppression.addDnc.schema>): Promise<suppression.DncAdded> =>
    transact(ctx, async (ctx) => {
      const added = await suppression.addDnc(ctx, input);
      await tellStopped(ctx, added.stopped);
      return added;
    }),
  { schema: suppression.addDnc.schema },
);

/**
 * A no that somebody enters by hand, with its consequences for the plans: a message that was stopped counts as failed for its enrollment,
 * in the same transaction, so that nobody is left waiting for something that will not be sent.
 */
import type * as z from "zod";
import { type Context, type TxContext, transact } from "../kernel/index.ts";
import * as suppression from "../suppression/index.ts";
import { applyEvents } from "./apply.ts";

/** Tells the enrollments of messages that a suppression has ended. */
export async function tellStopped(ctx: TxContext, stopped: readonly suppression.Stopped[]): Promise<void> {
  if (stopped.length === 0) return;
  const rows = await ctx.db
    .selectFrom("outbound_messages")
    .select(["contact_campaign_id", "node_id", "hold_reason"])
    .where("tenant_id", "=", ctx.tenantId)
    .where(
      "id",
      "in",
      stopped.map((one) => one.messageId),
    )
    .orderBy("id")
    .execute();
  await applyEvents(
    ctx,
    rows.flatMap((row) =>
      row.contact_campaign_id === null || row.node_id === null
        ? []
        : [
            {
              enrollmentId: row.contact_campaign_id,
              event: { type: "send_failed" as const, nodeId: row.node_id, reason: row.hold_reason ?? "suppressed" },
            },
          ],
    ),
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

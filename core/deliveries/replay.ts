/**
 * Deliveries once more through today's code. Invariant: what was applied before is not applied again (`event_keys`), so replaying everything
 * there is changes only what today's code reads better.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  attempt,
  type Context,
  decodeCursor,
  encodeCursor,
  Instant,
  idOf,
  isCollision,
  PartFailed,
  parseInput,
  type TxContext,
  transact,
} from "../kernel/index.ts";
import { batchOf, type DeliveryDeps, load, note, type Read, readOne } from "./apply.ts";
import { takeEffect } from "./effects.ts";

/** `nextCursor` of the call before, with everything else as it was. */
const cursor = z.string().max(500).optional();

export const Replay = z.union([
  z.object({ ids: z.array(idOf("delivery")).min(1).max(1_000), cursor }),
  z
    .object({
      /** Received at or after. */
      from: Instant,
      /** Received before. */
      to: Instant,
      /** Only those of one endpoint. */
      channelConfigId: idOf("channelConfig").optional(),
      cursor,
    })
    .refine(({ from, to }) => from < to, { error: "expected from before to", path: ["from"] }),
]);

export interface ReplayReport {
  readonly deliveries: number;
  /** Facts and answers that had never been applied. */
  readonly newEvents: number;
  readonly newInbound: number;
  /** Facts that today's code reads better than what was stored. */
  readonly corrected: number;
  readonly failed: readonly { readonly id: string; readonly error: string }[];
  /** More are left: call again with it. null: that was all. */
  readonly nextCursor: string | null;
}

/** Bodies in memory at a time. */
const pageSize = 20;
/** One call ends after so many deliveries, or the one that makes it so many facts: it may be a single transaction, within the time of a request. */
const maxDeliveries = 100;
const maxFacts = 5_000;

/** Those not being worked on at this moment, in the order in which they came. @param after the last one of the page before */
async function page(ctx: Context, selection: z.output<typeof Replay>, after: string | undefined) {
  return transact(ctx, async (ctx) => {
    let rows = ctx.db
      .selectFrom("webhook_deliveries")
      .select(["id"])
      .where("tenant_id", "=", ctx.tenantId)
      .where("status", "<>", "running");
    rows =
      "ids" in selection
        ? rows.where("id", "in", selection.ids)
        : rows.where("received_at", ">=", selection.from).where("received_at", "<", selection.to);
    if ("from" in selection && selection.channelConfigId !== undefined) {
      rows = rows.where("channel_config_id", "=", selection.channelConfigId);
    }
    if (after !== undefined) {
      rows = rows.where(
        sql<boolean>`(received_at, id) > (select d.received_at, d.id from webhook_deliveries d where d.tenant_id = ${ctx.tenantId} and d.id = ${after})`,
      );
    }
    const found = await rows.orderBy("received_at").orderBy("id").limit(pageSize).execute();
    return load(
      ctx,
      found.map((row) => row.id),
    );
  });
}

/**
 * Replays by id or by when they were received, up to 100 a call. A delivery that fails is reported, keeps its state, and does not stop the
 * rest.
 */
export const replayDeliveries = Object.assign(
  async (ctx: Context, deps: DeliveryDeps, input: z.input<typeof Replay>): Promise<ReplayReport> => {
    const selection = parseInput(Replay, input);
    const failed: { id: string; error: string }[] = [];
    const counts = { deliveries: 0, newEvents: 0, newInbound: 0, corrected: 0 };
    let after = decodeCursor(selection.cursor);
    for (let facts = 0; ; ) {
      const rows = await page(ctx, selection, after);
      for (const row of rows) {
        if (counts.deliveries >= maxDeliveries || facts >= maxFacts) {
          return { ...counts, failed, nextCursor: encodeCursor(after ?? "") };
        }
        after = row.id;
        counts.deliveries++;
        const read = await readOne(deps, row);
        if ("error" in read) {
          failed.push({ id: row.id, error: read.error });
          continue;
        }
        facts += read.parsed.events.length + read.parsed.inbound.length;
        try {
          const effects = await replayOne(ctx, read);
          counts.newEvents += effects.newEvents;
          counts.newInbound += effects.newInbound;
          counts.corrected += effects.corrected;
        } catch (error) {
          // Within a request's transaction there is no other way to do it again than as a whole.
          if (ctx.db.isTransaction && (error instanceof PartFailed || isCollision(error))) throw error;
          failed.push({ id: row.id, error: error instanceof Error ? error.message : String(error) });
        }
      }
      if (rows.length < pageSize) return { ...counts, failed, nextCursor: null };
    }
  },
  { schema: Replay },
);

const replayOne = (ctx: Context, read: Read) => {
  const isJoined = ctx.db.isTransaction;
  return transact(ctx, (ctx) => (isJoined ? attempt(ctx, (ctx) => replayWithin(ctx, read)) : replayWithin(ctx, read)));
};

async function replayWithin(ctx: TxContext, read: Read) {
  const effects = await takeEffect(ctx, { ...batchOf([read]), correct: true });
  await note(ctx, [read], effects);
  await ctx.db
    .updateTable("webhook_deliveries")
    .set((eb) => ({ status: "completed", completed_at: ctx.now, replays: eb("replays", "+", 1) }))
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", read.row.id)
    .where("status", "<>", "running")
    .execute();
  return effects;
}

/**
 * Taking a "no" back. Invariant: a row is released, never deleted; the recipient's own no is released only by the same address, and
 * what other reasons remain goes on in a new row.
 */
import * as z from "zod";
import {
  channels,
  command,
  DomainError,
  idOf,
  newId,
  type SuppressionReason,
  suppressionReasons,
  type TxContext,
} from "../kernel/index.ts";
import { reasonsOf } from "./add.ts";
import { lockAddresses } from "./locks.ts";
import { isRecipientsOwn, operatorMayLift, suppressionKey } from "./policy.ts";

const errors = {
  notFound: (id: string) => new DomainError("not_found", "suppression.not_found", `No active suppression ${id}.`),
  notLiftable: (reason: SuppressionReason) =>
    new DomainError(
      "conflict",
      "suppression.not_liftable",
      isRecipientsOwn(reason)
        ? `The recipient said no themselves (${reason}); only they can take that back, from the same address.`
        : `A suppression for ${reason} cannot be lifted.`,
    ),
};

/** An operator lifts what was concluded or entered by us: hard_bounce, provider, manual. `note` says why, for the audit. */
export const lift = command(
  z.object({ id: idOf("suppression"), note: z.string().trim().min(1).max(1_000) }),
  async (ctx, { id, note }): Promise<{ readonly id: string; readonly channel: string; readonly address: string }> => {
    const found = await active(ctx, id);
    // The address is known only now; under its lock the row is read again, since a STOP may have come in between.
    await lockAddresses(ctx, [{ channel: z.enum(channels).parse(found.channel), address: found.address }]);
    const row = await active(ctx, id);
    const refused = reasonsOf(row).find((reason) => !operatorMayLift(reason));
    if (refused) throw errors.notLiftable(refused);
    await release(ctx, id, `${ctx.actor.type}:${ctx.actor.id}`, note);
    return { id, channel: row.channel, address: row.address };
  },
);

async function active(ctx: TxContext, id: string) {
  const row = await ctx.db
    .selectFrom("communication_suppressions")
    .select(["channel", "address", "reason", "evidence"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("released_at", "is", null)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
}

async function release(ctx: TxContext, id: string, by: string, note: string): Promise<void> {
  await ctx.db
    .updateTable("communication_suppressions")
    .set({ released_at: ctx.now, released_by: by, release_note: note })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .execute();
}

export type RecipientLift =
  | { readonly lifted: true; readonly remaining: SuppressionReason | null }
  /** Nothing was suppressed, or only for reasons that are not the recipient's to lift. */
  | { readonly lifted: false; readonly remaining: SuppressionReason | null };

/**
 * START from the address itself takes back the recipient's own no (unsubscribed, stop, complaint) and nothing else: a dead mailbox or an
 * operator's decision stays in force, in a row of its own.
 * @param input.source what brought the message; `evidence` the message itself
 */
export const liftByRecipient = command(
  z.object({
    channel: z.enum(channels),
    address: z.string().min(1).max(320),
    source: z.string().trim().min(1).max(100),
    evidence: z.record(z.string(), z.json()).default({}),
  }),
  async (ctx, { channel, address, source, evidence }): Promise<RecipientLift> => {
    const key = suppressionKey(channel, address);
    if (key === null) return { lifted: false, remaining: null };
    await lockAddresses(ctx, [{ channel, address: key }]);
    const row = await ctx.db
      .selectFrom("communication_suppressions")
      .select(["id", "reason", "source", "evidence"])
      .where("tenant_id", "=", ctx.tenantId)
      .where("channel", "=", channel)
      .where("address", "=", key)
      .where("released_at", "is", null)
      .executeTakeFirst();
    if (!row) return { lifted: false, remaining: null };
    const rest = reasonsOf(row).filter((reason) => !isRecipientsOwn(reason));
    const [remaining] = rest;
    if (rest.length === reasonsOf(row).length) return { lifted: false, remaining: remaining ?? null };
    await release(ctx, row.id, `recipient:${channel}`, JSON.stringify({ source, evidence }).slice(0, 2_000));
    if (remaining) await carryOn(ctx, { channel, key, row, rest: [remaining, ...rest.slice(1)] });
    return { lifted: true, remaining: remaining ?? null };
  },
);

interface Remainder {
  readonly channel: string;
  readonly key: string;
  readonly row: { readonly id: string; readonly source: string };
  readonly rest: readonly [SuppressionReason, ...SuppressionReason[]];
}

async function carryOn(ctx: TxContext, { channel, key, row, rest }: Remainder): Promise<void> {
  const [reason, ...also] = rest;
  const at = ctx.now.toISOString();
  await ctx.db
    .insertInto("communication_suppressions")
    .values({
      tenant_id: ctx.tenantId,
      id: newId("suppression", ctx.now),
      channel,
      address: key,
      reason: z.enum(suppressionReasons).parse(reason),
      source: row.source,
      evidence: JSON.stringify({
        continues: row.id,
        ...(also.length > 0 ? { also: also.map((further) => ({ reason: further, source: row.source, at })) } : {}),
      }),
      suppressed_at: ctx.now,
      created_by: `${ctx.actor.type}:${ctx.actor.id}`,
      created_at: ctx.now,
    })
    .execute();
}

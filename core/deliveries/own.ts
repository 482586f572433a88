/**
 * Facts that happen here: opens, clicks and unsubscribes through links we made. Invariant: they go the way of every other fact, at once, and
 * an unsubscribe is committed before it is answered.
 */
import { type Context, type TxContext, transact } from "../kernel/index.ts";
import type { ProviderEvent } from "../ports/index.ts";
import { takeEffect } from "./effects.ts";

export interface OwnEvent {
  readonly type: "opened" | "clicked" | "unsubscribed";
  readonly messageId: string;
  readonly machine: boolean;
  /** Clicks: what was clicked. */
  readonly linkId?: string | undefined;
  readonly url?: string | undefined;
  readonly userAgent?: string | undefined;
}

export interface OwnReport {
  readonly recorded: number;
  /** Events about messages that this tenant does not have (any more). */
  readonly unknown: number;
}

/**
 * Records events of one tenant. The same event again within a minute is the same fact: a mail program that loads a pixel ten times has
 * opened a message once, and a flood of requests cannot fill a table.
 */
export const recordOwnEvents = (ctx: Context, events: readonly OwnEvent[]): Promise<OwnReport> =>
  transact(ctx, async (ctx) => {
    const messages = await messagesOf(ctx, events);
    const facts = events.flatMap((event) => {
      const message = messages.get(event.messageId);
      if (!message) return [];
      return [
        {
          channelConfigId: message.channel_config_id ?? "own",
          provider: "outrider",
          deliveryId: null,
          event: asEvent(ctx, event, message),
        },
      ];
    });
    const { newEvents } = await takeEffect(ctx, { facts, inbound: [] });
    return { recorded: newEvents, unknown: events.length - facts.length };
  });

async function messagesOf(ctx: TxContext, events: readonly OwnEvent[]) {
  const ids = [...new Set(events.map((event) => event.messageId))];
  if (ids.length === 0) return new Map();
  const rows = await ctx.db
    .selectFrom("outbound_messages")
    .select(["id", "channel", "to_address", "channel_config_id", "suppression_key", "unsubscribed_at"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", ids)
    .execute();
  return new Map(rows.map((row) => [row.id, row]));
}

type Message = { readonly channel: string; readonly to_address: string };

function asEvent(ctx: TxContext, event: OwnEvent, message: Message): ProviderEvent {
  const { type, messageId, machine, linkId, url, userAgent } = event;
  // A second for an unsubscribe: whoever came back and leaves again must be heard.
  const period = ctx.now.toISOString().slice(0, type === "unsubscribed" ? 19 : 16);
  return {
    providerEventId: [type, messageId, linkId ?? "", machine ? "machine" : "", period].join(":"),
    type,
    at: ctx.now,
    messageId,
    providerMessageId: null,
    channel: message.channel as ProviderEvent["channel"],
    address: message.to_address,
    machine,
    ...(url === undefined ? {} : { url }),
    metadata: {
      ...(linkId !== undefined && { linkId }),
      ...(userAgent !== undefined && { userAgent: userAgent.slice(0, 300) }),
    },
  };
}

/** Where a tracked link leads; null when this tenant has none of that id. */
export const linkTarget = (ctx: Context, linkId: string): Promise<string | null> =>
  transact(ctx, async (ctx) => {
    const row = await ctx.db
      .selectFrom("tracked_links")
      .select("url")
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", linkId)
      .executeTakeFirst();
    return row?.url ?? null;
  });

/** The outbox and its events as people read them. Invariant: pages are bound to one tenant, newest first, one index range scan each. */
import { sql } from "kysely";
import * as z from "zod";
import {
  channels,
  cursorInvalid,
  DomainError,
  decodeCursor,
  encodeCursor,
  eventTypes,
  gateReasons,
  Instant,
  idOf,
  messageStatuses,
  Page,
  paged,
  query,
} from "../kernel/index.ts";
import { suppressionKey } from "../suppression/index.ts";

const notFound = (id: string) => new DomainError("not_found", "message.not_found", `No message ${id}.`);

const columns = [
  "id",
  "campaign_id as campaignId",
  "contact_campaign_id as enrollmentId",
  "contact_id as contactId",
  "lead_id as leadId",
  "node_id as nodeId",
  "variant_id as variantId",
  "channel",
  "message_class as messageClass",
  "channel_config_id as channelConfigId",
  "sender_identity_id as senderId",
  "to_address as address",
  "template_id as templateId",
  "subject",
  "status",
  "hold_reason as reason",
  "last_error as detail",
  "attempts",
  "provider",
  "provider_message_id as providerMessageId",
  "run_at as dueAt",
  "expires_at as expiresAt",
  "sent_at as sentAt",
  "delivered_at as deliveredAt",
  "opened_at as openedAt",
  "clicked_at as clickedAt",
  "replied_at as repliedAt",
  "bounced_at as bouncedAt",
  "complained_at as complainedAt",
  "unsubscribed_at as unsubscribedAt",
  "failed_at as failedAt",
  "correlation_id as correlationId",
  "created_at as createdAt",
] as const;

/** @throws DomainError `message.not_found` */
export const getMessage = query(z.object({ id: idOf("message") }), async (ctx, { id }) => {
  const row = await ctx.db
    .selectFrom("outbound_messages")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw notFound(id);
  return row;
});

/** Newest first. `address` is looked for in the form of any channel. */
export const listMessages = query(
  Page.extend({
    campaignId: idOf("campaign").optional(),
    enrollmentId: idOf("enrollment").optional(),
    contactId: idOf("contact").optional(),
    channel: z.enum(channels).optional(),
    status: z.enum(messageStatuses).optional(),
    reason: z.enum(gateReasons).optional(),
    address: z.string().min(1).max(320).optional(),
  }),
  async (ctx, { limit, cursor, address, ...filter }) => {
    const before = decodeCursor(cursor);
    let rows = ctx.db.selectFrom("outbound_messages").select(columns).where("tenant_id", "=", ctx.tenantId);
    if (before !== undefined) rows = rows.where("id", "<", before);
    if (filter.campaignId) rows = rows.where("campaign_id", "=", filter.campaignId);
    if (filter.enrollmentId) rows = rows.where("contact_campaign_id", "=", filter.enrollmentId);
    if (filter.contactId) rows = rows.where("contact_id", "=", filter.contactId);
    if (filter.channel) rows = rows.where("channel", "=", filter.channel);
    if (filter.status) rows = rows.where("status", "=", filter.status);
    if (filter.reason) rows = rows.where("hold_reason", "=", filter.reason);
    if (address !== undefined) {
      const keys = channels.map((channel) => suppressionKey(channel, address) ?? address);
      rows = rows.where("suppression_key", "in", [...new Set(keys)]);
    }
    const found = await rows
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(found, limit);
  },
);

/** Facts about messages, latest first by when they happened; of one message when `messageId` is given. */
export const listEvents = query(
  Page.extend({
    messageId: idOf("message").optional(),
    type: z.enum(eventTypes).optional(),
    machine: z.boolean().optional().describe("false: without opens and clicks that machines made"),
    after: Instant.optional().describe("happened at or after this instant"),
  }),
  async (ctx, { limit, cursor, messageId, type, machine, after }) => {
    const before = eventCursor(cursor);
    let rows = ctx.db
      .selectFrom("message_events")
      .select([
        "id",
        "event_at as at",
        "event_type as type",
        "message_id as messageId",
        "contact_campaign_id as enrollmentId",
        "delivery_id as deliveryId",
        "provider",
        "channel",
        "address",
        "machine",
        "code",
        "reason",
        "url",
      ])
      .where("tenant_id", "=", ctx.tenantId);
    if (messageId) rows = rows.where("message_id", "=", messageId);
    if (type) rows = rows.where("event_type", "=", type);
    if (machine !== undefined) rows = rows.where("machine", "=", machine);
    if (after) rows = rows.where("event_at", ">=", after);
    if (before) rows = rows.where(sql<boolean>`(event_at, id) < (${before.at}::timestamptz, ${before.id})`);
    const found = await rows
      .orderBy("event_at", "desc")
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    const data = found.slice(0, limit);
    const last = data.at(-1);
    const next = last && found.length > limit ? encodeCursor(`${last.at.toISOString()} ${last.id}`) : null;
    return { data, nextCursor: next };
  },
);

/** Events are paged by their time, which is what their partitions are made by. */
function eventCursor(cursor: string | undefined): { readonly at: string; readonly id: string } | undefined {
  if (cursor === undefined) return undefined;
  const found = Buffer.from(cursor, "base64url")
    .toString("utf8")
    .match(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (mev_[0-9A-Z]{26})$/);
  if (found) return { at: found[1] ?? "", id: found[2] ?? "" };
  throw cursorInvalid(cursor);
}

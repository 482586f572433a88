/** Conversations and inbound messages as people read them. Invariant: pages are ordered by id, newest first, and bound to one tenant. */
import * as z from "zod";
import { DomainError, decodeCursor, idOf, Page, paged, query } from "../kernel/index.ts";
import { sendChannels } from "../tenancy/index.ts";

const errors = {
  notFound: (id: string) => new DomainError("not_found", "conversation.not_found", `No conversation ${id}.`),
};

const conversationColumns = [
  "id",
  "channel",
  "address",
  "lead_id as leadId",
  "contact_id as contactId",
  "status",
  "last_message_at as lastMessageAt",
  "created_at as createdAt",
] as const;

export const listConversations = query(
  Page.extend({
    channel: z.enum(sendChannels).optional(),
    leadId: idOf("lead").optional(),
    status: z.enum(["open", "closed"]).optional(),
  }),
  async (ctx, { limit, cursor, channel, leadId, status }) => {
    const before = decodeCursor(cursor);
    const rows = await ctx.db
      .selectFrom("conversations")
      .select(conversationColumns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(channel !== undefined, (qb) => qb.where("channel", "=", channel ?? ""))
      .$if(leadId !== undefined, (qb) => qb.where("lead_id", "=", leadId ?? ""))
      .$if(status !== undefined, (qb) => qb.where("status", "=", status ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** A thread is shown whole up to this many messages, the newest ones. */
const maxThread = 500;

/** A conversation with its thread, oldest first. @throws DomainError `conversation.not_found` */
export const getConversation = query(z.object({ id: idOf("conversation") }), async (ctx, { id }) => {
  const conversation = await ctx.db
    .selectFrom("conversations")
    .select(conversationColumns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!conversation) throw errors.notFound(id);
  const messages = await ctx.db
    .selectFrom("messages")
    .select(["id", "direction", "channel", "subject", "body", "address", "status", "sent_at as sentAt"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("conversation_id", "=", id)
    .orderBy("sent_at", "desc")
    .orderBy("id", "desc")
    .limit(maxThread)
    .execute();
  return { ...conversation, messages: messages.toReversed() };
});

export const listInbound = query(
  Page.extend({ channel: z.enum(sendChannels).optional(), classification: z.string().max(40).optional() }),
  async (ctx, { limit, cursor, channel, classification }) => {
    const before = decodeCursor(cursor);
    const rows = await ctx.db
      .selectFrom("inbound_messages")
      .select([
        "id",
        "channel",
        "provider",
        "channel_config_id as channelConfigId",
        "from_address as from",
        "to_address as to",
        "subject",
        "body_text as text",
        "new_text as newText",
        "classification",
        "response_type as responseType",
        "matched_by as matchedBy",
        "message_id as messageId",
        "contact_campaign_id as enrollmentId",
        "lead_id as leadId",
        "conversation_id as conversationId",
        "delivery_id as deliveryId",
        "received_at as receivedAt",
      ])
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(channel !== undefined, (qb) => qb.where("channel", "=", channel ?? ""))
      .$if(classification !== undefined, (qb) => qb.where("classification", "=", classification ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** Routes of what comes back: conversations, inbound messages, and the deliveries they arrived in. Invariant: bodies of deliveries stay in the archive. */
import * as conversations from "@outrider/core/conversations";
import * as deliveries from "@outrider/core/deliveries";
import { idOf } from "@outrider/core/kernel";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";

const conversation = {
  id,
  channel: text,
  address: text,
  leadId: id.nullable(),
  contactId: id.nullable(),
  status: text,
  lastMessageAt: time,
  createdAt: time,
};
const Conversation = z.object(conversation).meta({ id: "Conversation" });

const Thread = z
  .object({
    ...conversation,
    messages: z
      .array(
        z.object({
          id: maybeText,
          direction: maybeText,
          channel: maybeText,
          subject: maybeText,
          body: maybeText,
          address: maybeText,
          status: maybeText,
          sentAt: maybeTime,
        }),
      )
      .describe("oldest first; the newest 500"),
  })
  .meta({ id: "Thread" });

const Inbound = z
  .object({
    id,
    channel: text,
    provider: text,
    channelConfigId: id,
    from: text,
    to: text,
    subject: maybeText,
    text,
    newText: text.describe("without quotes and signature: what was classified"),
    classification: text,
    responseType: maybeText,
    matchedBy: maybeText,
    messageId: id.nullable(),
    enrollmentId: id.nullable(),
    leadId: id.nullable(),
    conversationId: id.nullable(),
    deliveryId: id.nullable(),
    receivedAt: time,
  })
  .meta({ id: "InboundMessage" });

const delivery = {
  id,
  channelConfigId: id,
  provider: text,
  bodyBytes: z.int(),
  duplicates: z.int(),
  receivedAt: time,
  status: text.describe("failed: quarantined; it waits for a replay"),
  attempts: z.int(),
  lastError: maybeText,
  completedAt: maybeTime,
  eventCount: z.int().nullable(),
  inboundCount: z.int().nullable(),
  problems: z.unknown(),
  replays: z.int(),
  correlationId: text,
};
const Delivery = z.object(delivery).meta({ id: "Delivery" });
const DeliveryDetail = z
  .object({ ...delivery, target: text, headers: z.unknown(), signature: maybeText })
  .meta({ id: "DeliveryDetail" });

const ReplayReport = z
  .object({
    deliveries: z.int(),
    newEvents: z.int().describe("facts that had never been applied"),
    newInbound: z.int(),
    corrected: z.int().describe("facts that today's code reads better than what was stored"),
    failed: z.array(z.object({ id, error: text })),
    nextCursor: z.string().nullable().describe("more are left: call again with it as `cursor`; null: that was all"),
  })
  .meta({ id: "ReplayReport" });

export const conversationEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/conversations",
    tag: "Conversations",
    summary: "Conversations, newest first",
    scope: "messages:read",
    input: conversations.listConversations.schema,
    answer: page(Conversation),
    run: ({ ctx, input }) => conversations.listConversations(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/conversations/{id}",
    tag: "Conversations",
    summary: "One conversation with its messages",
    scope: "messages:read",
    input: conversations.getConversation.schema,
    answer: Thread,
    run: ({ ctx, input }) => conversations.getConversation(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/inbound",
    tag: "Conversations",
    summary: "What people wrote, newest first",
    scope: "messages:read",
    input: conversations.listInbound.schema,
    answer: page(Inbound),
    run: ({ ctx, input }) => conversations.listInbound(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/deliveries",
    tag: "Deliveries",
    summary: "Requests received from providers, newest first",
    scope: "deliveries:read",
    input: deliveries.listDeliveries.schema,
    answer: page(Delivery),
    run: ({ ctx, input }) => deliveries.listDeliveries(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/deliveries/{id}",
    tag: "Deliveries",
    summary: "One delivery",
    scope: "deliveries:read",
    input: deliveries.getDelivery.schema,
    answer: DeliveryDetail,
    run: ({ ctx, input }) => deliveries.getDelivery(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/deliveries/{id}/replay",
    tag: "Deliveries",
    summary: "Read a delivery once more with today's code",
    description: "What was applied before is not applied again.",
    scope: "deliveries:replay",
    input: z.object({ id: idOf("delivery") }),
    answer: ReplayReport,
    run: async ({ ctx, host, input }) => {
      const { id } = await deliveries.getDelivery(ctx, input);
      return deliveries.replayDeliveries(ctx, host, { ids: [id] });
    },
  }),
  endpoint({
    method: "post",
    path: "/v1/deliveries/replay",
    tag: "Deliveries",
    summary: "Replay by ids, or by when they were received",
    description:
      "Up to 100 a call, in the order in which they came; while there is a `nextCursor`, call again with it as `cursor`.",
    scope: "deliveries:replay",
    input: deliveries.replayDeliveries.schema,
    answer: ReplayReport,
    example: { from: "2026-11-01T00:00:00Z", to: "2026-11-02T00:00:00Z" },
    run: ({ ctx, host, input }) => deliveries.replayDeliveries(ctx, host, input),
  }),
];

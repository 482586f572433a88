/** Archived deliveries as an operator sees them: what came, what was made of it, what could not be read. Bodies stay in the archive. */
import * as z from "zod";
import { DomainError, decodeCursor, idOf, Page, paged, providers, query, workStatuses } from "../kernel/index.ts";

const errors = {
  notFound: (id: string) => new DomainError("not_found", "delivery.not_found", `No delivery ${id}.`),
};

const columns = [
  "id",
  "channel_config_id as channelConfigId",
  "provider",
  "body_bytes as bodyBytes",
  "duplicates",
  "received_at as receivedAt",
  "status",
  "attempts",
  "last_error as lastError",
  "completed_at as completedAt",
  "event_count as eventCount",
  "inbound_count as inboundCount",
  "problems",
  "replays",
  "correlation_id as correlationId",
] as const;

/** Newest first. `status: "failed"` lists what is quarantined. */
export const listDeliveries = query(
  Page.extend({
    provider: z.enum(providers).optional(),
    channelConfigId: idOf("channelConfig").optional(),
    status: z.enum(workStatuses).optional(),
  }),
  async (ctx, { limit, cursor, provider, channelConfigId, status }) => {
    const before = decodeCursor(cursor);
    const rows = await ctx.db
      .selectFrom("webhook_deliveries")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(provider !== undefined, (qb) => qb.where("provider", "=", provider ?? ""))
      .$if(channelConfigId !== undefined, (qb) => qb.where("channel_config_id", "=", channelConfigId ?? ""))
      .$if(status !== undefined, (qb) => qb.where("status", "=", status ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** @throws DomainError `delivery.not_found` */
export const getDelivery = query(z.object({ id: idOf("delivery") }), async (ctx, { id }) => {
  const row = await ctx.db
    .selectFrom("webhook_deliveries")
    .select([...columns, "target", "headers", "signature"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/**
 * Facts that are known already, read again by today's code. Invariant: a stored fact changes only where today's reading knows more: it now
 * has a message, or a name in place of `unknown`.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import { type Fact, type Matched, match } from "./facts.ts";

/** Updates the stored facts that can be improved. @returns them, to be applied like new ones */
export async function correctable(ctx: TxContext, facts: readonly Fact[]): Promise<Matched[]> {
  if (facts.length === 0) return [];
  const times = facts.map(({ event }) => event.at.getTime());
  const matched = (await match(ctx, facts)).filter(
    ({ event, messageId }) => messageId !== null || event.type !== "unknown",
  );
  const { rows } = await sql<{ n: number }>`
    update message_events e
    set message_id = coalesce(e.message_id, r.message_id), event_type = r.event_type,
        contact_campaign_id = coalesce(e.contact_campaign_id, m.contact_campaign_id)
    from unnest(
      ${matched.map((f) => f.channelConfigId)}::text[], ${matched.map((f) => f.event.providerEventId)}::text[],
      ${matched.map((f) => f.messageId)}::text[], ${matched.map((f) => f.event.type)}::text[]
    ) with ordinality as r(channel_config_id, event_id, message_id, event_type, n)
    left join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.id = r.message_id
    where e.tenant_id = ${ctx.tenantId}
      and e.event_at between ${new Date(Math.min(...times))} and ${new Date(Math.max(...times))}
      and e.channel_config_id = r.channel_config_id and e.provider_event_id = r.event_id
      and (e.message_id is null and r.message_id is not null or e.event_type = 'unknown' and r.event_type <> 'unknown')
    returning r.n::int as n`.execute(ctx.db);
  return rows.flatMap(({ n }) => matched[n - 1] ?? []);
}

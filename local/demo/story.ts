/** One message of the demo from the imported row to its reply, and why it was sent: chosen so that there is something to tell. */
import { sql } from "kysely";
import { type Trace, trace } from "../../core/analytics/index.ts";
import { campaignPort } from "../../core/campaigns/index.ts";
import type { Context } from "../../core/kernel/context.ts";
import { explainMessage, type MessageExplanation } from "../../core/messages/index.ts";
import type { System } from "../system.ts";

export interface Story {
  readonly trace: Trace;
  readonly explanation: MessageExplanation;
}

/** A message that was replied to; the latest in the plan, because it has the longest life behind it. */
export async function tellStory(system: System, ctx: Context, campaignId: string): Promise<Story | null> {
  const { rows } = await sql<{ id: string }>`
    select m.id from outbound_messages m
    join inbound_messages i on i.tenant_id = m.tenant_id and i.message_id = m.id and i.classification = 'reply'
    where m.campaign_id = ${campaignId} order by m.channel = 'sms' desc, m.clicked_at is not null desc, m.id desc limit 1`.execute(
    system.local.owner,
  );
  const [row] = rows;
  if (!row) return null;
  return {
    trace: await trace(ctx, { messageId: row.id }),
    explanation: await explainMessage(ctx, campaignPort, { messageId: row.id }),
  };
}

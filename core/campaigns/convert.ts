/**
 * A lead that has become a customer: whoever walks a plan in its name is told in the transaction that says so. What a plan itself says of
 * its lead (an `update` node) is no news to anybody: it decides what comes after.
 */
import { sql } from "kysely";
import type * as z from "zod";
import { type Context, type TxContext, transact } from "../kernel/index.ts";
import * as leads from "../leads/index.ts";
import { applyEvents } from "./apply.ts";

const converted = "converted";

/** Before the leads are changed: walks are locked before messages, messages before leads. */
async function tellConverted(ctx: TxContext, leadIds: readonly string[]): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select e.id from leads l
    join contacts k on k.tenant_id = l.tenant_id and k.lead_id = l.id
    join contact_campaigns e on e.tenant_id = k.tenant_id and e.contact_id = k.id and e.superseded_by is null
    where l.tenant_id = ${ctx.tenantId} and l.id = any(${leadIds as string[]}) and l.deleted_at is null and l.status <> ${converted}
      and e.status in ('draft', 'active', 'paused')`.execute(ctx.db);
  await applyEvents(
    ctx,
    rows.map(({ id }) => ({ enrollmentId: id, event: { type: converted } })),
  );
}

/** `leads.setLeadStatus` with its consequences: `converted` ends the walks whose plans name it in `exitOn`. */
export const setLeadStatus = Object.assign(
  (ctx: Context, input: z.input<typeof leads.setLeadStatus.schema>): Promise<string[]> =>
    transact(ctx, async (ctx) => {
      if (input.status === converted) await tellConverted(ctx, input.ids);
      return leads.setLeadStatus(ctx, input);
    }),
  { schema: leads.setLeadStatus.schema },
);

/** `leads.updateLead` with its consequences, as `setLeadStatus`. */
export const updateLead = Object.assign(
  (ctx: Context, input: z.input<typeof leads.updateLead.schema>): Promise<leads.Lead> =>
    transact(ctx, async (ctx) => {
      if (input.status === converted) await tellConverted(ctx, [input.id]);
      return leads.updateLead(ctx, input);
    }),
  { schema: leads.updateLead.schema },
);

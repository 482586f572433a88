/** Whoever mends what held messages back lets them go at once, not at the next look a quarter of an hour later. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import { updateLead } from "../../../core/leads/index.ts";
import {
  degradeChannel,
  markSenderFailed,
  markSenderVerified,
  resumeTenant,
  suspendTenant,
  updateChannel,
  updateTenantSettings,
} from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const rehost = ({ deps }: ReadyTenant) => ({ keys: deps.keys, publicUrl: deps.publicUrl });
const leadOf = async (tenant: ReadyTenant): Promise<string> => {
  const { rows } = await sql<{ id: string }>`select id from leads where tenant_id = ${tenant.tenantId}`.execute(
    database.owner,
  );
  return rows[0]?.id ?? "";
};

it.each([
  ["a tenant that resumes", "tenant_suspended", (t) => suspendTenant(t, {}), (t) => resumeTenant(t, {})],
  [
    "an account that gets new credentials",
    "credentials",
    (t) => degradeChannel(t, { id: t.emailAccount, reason: "401" }),
    (t) => updateChannel(t, rehost(t), { id: t.emailAccount, credentials: { apiKey: "new" } }),
  ],
  [
    "an account that is enabled",
    "channel_unavailable",
    (t) => updateChannel(t, rehost(t), { id: t.emailAccount, status: "disabled" }),
    (t) => updateChannel(t, rehost(t), { id: t.emailAccount, status: "active" }),
  ],
  [
    "a sender that is verified",
    "sender_unverified",
    (t) => markSenderFailed(t, { id: t.senderId }),
    (t) => markSenderVerified(t, { id: t.senderId }),
  ],
  [
    "a postal address that is set",
    "postal_address_missing",
    (t) => updateTenantSettings(t, { postalAddress: null }),
    (t) => updateTenantSettings(t, { postalAddress: "1 Main Street, Springfield, IL 62701" }),
  ],
  [
    "a variable that arrives",
    "render_failed",
    async () => {},
    async (t) => updateLead(t, { id: await leadOf(t), companyName: "Analytical Engines" }),
  ],
] satisfies [string, string, (t: ReadyTenant) => Promise<unknown>, (t: ReadyTenant) => Promise<unknown>][])(
  "%s lets go what was held for it",
  async (_, reason, fault, mend) => {
    await setClock(database, new Date("2026-03-02T16:00:00Z"));
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { email: "ada@example.com" });
    const text = reason === "render_failed" ? "Dear {{ lead.company_name }}" : "Hello";
    const plan = { start: "a", nodes: [{ id: "a", type: "send", channel: "email", content: { subject: "Hi", text } }] };
    const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
    await enroll(tenant, { campaignId: id, audience: { contactIds: [contact] } });
    await activate(tenant, { id });
    await fault(tenant);
    expect(await pump(tenant)).toMatchObject({ accepted: 0, held: 1 });
    const { rows } = await sql`select hold_reason from outbound_messages where tenant_id = ${tenant.tenantId}`.execute(
      database.owner,
    );
    expect(rows).toEqual([{ hold_reason: reason }]);
    await advance(database, 1);
    expect(await pump(tenant)).toMatchObject({ accepted: 0, held: 0 });
    const rung: string[] = [];
    await mend({ ...tenant, ring: async (bells) => void rung.push(...bells.map((bell) => bell.kind)) });
    expect(rung).toContain("send");
    expect(await pump(tenant)).toMatchObject({ accepted: 1 });
  },
);

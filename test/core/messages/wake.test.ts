/** Whoever mends what held messages back lets them go at once, not at the next look a quarter of an hour later. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { Bell } from "../../../core/kernel/index.ts";
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
import { person, pump, type ReadyTenant, readyTenant, rehost } from "../../support/outreach.ts";
import { hold } from "../../support/race.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
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

it("whoever mends something waits for nobody who looks at a held message, and lets the others go", async () => {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds = [
    await person(database, tenant, { email: "ada@example.com" }),
    await person(database, tenant, { email: "bob@example.com" }),
  ];
  const plan = [{ subject: "Hi", text: "Dear {{ lead.company_name }}" }];
  const { id } = await createCampaign(tenant, { name: "Spring", plan });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await suspendTenant(tenant, {});
  expect(await pump(tenant)).toMatchObject({ held: 2 });
  const messages = await database.owner
    .selectFrom("outbound_messages")
    .select(["id", "lead_id"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();
  const [first, second] = messages;
  const looking = hold(tenant, (ctx) =>
    sql`select from outbound_messages where tenant_id = ${ctx.tenantId} and id = ${first?.id ?? ""} for update`.execute(
      ctx.db,
    ),
  );
  await looking.reached;
  await advance(database, 1);
  const rung: string[] = [];
  const mending = {
    ...tenant,
    ring: async (bells: readonly Bell[]) => void rung.push(...bells.flatMap((bell) => bell.ids)),
  };
  await resumeTenant(mending, {});
  expect(rung).toEqual([second?.id]);
  // Messages come before leads: who holds one may go on to its lead.
  await updateLead(tenant, { id: first?.lead_id ?? "", companyName: "Analytical Engines" });
  looking.release();
  await looking.done;
});

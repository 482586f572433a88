/** Every checker is silent on what the system itself has written, and bites when its rule is broken by hand. */
import { type RawBuilder, sql } from "kysely";
import { describe, expect, it } from "vitest";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { checkers, checkInvariants, checkTenantInvariants } from "../../../core/operator/invariants.ts";
import { updateTenantSettings } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York. */
const monday = new Date("2026-03-02T16:00:00Z");

const plan: PlanInput = {
  start: "intro",
  quietHours: { start: "22:00", end: "07:00" },
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      content: { subject: "Hi", text: "Hello {{ first_name }}" },
      transitions: [{ on: "no_open", to: "text", after: "PT24H" }],
    },
    { id: "text", type: "send", channel: "sms", content: { text: "Hello" } },
  ],
};

async function lived(): Promise<ReadyTenant> {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await updateTenantSettings(tenant, { frequencyCaps: [{ channel: "email", count: 1, windowSeconds: 3600 }] });
  const contacts = [
    await person(database, tenant, { email: "ada@example.com", phone: "+12125550101", smsConsent: true }),
    await person(database, tenant, { email: "bob@example.com", phone: "+12125550102" }),
    await person(database, tenant, { email: "eve@example.com", firstName: null }),
  ];
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  await activate(tenant, { id });
  await pump(tenant);
  await advance(database, 86_400);
  await pump(tenant);
  return tenant;
}

const violated = async (tenant: ReadyTenant): Promise<string[]> =>
  (await checkTenantInvariants(tenant)).filter((one) => one.violations > 0).map((one) => one.id);

/** One broken rule each. */
const planted: Readonly<Record<string, (tenant: ReadyTenant) => RawBuilder<unknown>>> = {
  "I-01": ({ tenantId }) => sql`
    insert into send_attempts (tenant_id, message_id, generation, claim_seq, provider, outcome, deadline_at, started_at)
    select tenant_id, message_id, 0, 0, provider, outcome, deadline_at, started_at from send_attempts where tenant_id = ${tenantId} limit 1`,
  "I-02": ({ tenantId }) => sql`
    insert into communication_suppressions (tenant_id, channel, address, reason, source, seq)
    values (${tenantId}, 'email', 'ada@example.com', 'manual', 'test', 0)`,
  "I-03": ({ tenantId }) => sql`
    update contact_campaigns set state = jsonb_set(state, '{sends,ghost}', '{"events": {}}') where tenant_id = ${tenantId}`,
  "I-04": ({ tenantId }) => sql`
    update outbound_messages set run_at = app_now() - interval '16 minutes' where tenant_id = ${tenantId} and status = 'held'`,
  "I-06": ({ tenantId, emailAccount }) => sql`
    insert into message_events (tenant_id, event_at, channel_config_id, provider, provider_event_id, event_type, channel)
    select ${tenantId}, app_now() + make_interval(secs => n), ${emailAccount}, 'sendgrid', 'same', 'unknown', 'email' from generate_series(1, 2) n`,
  "I-07": ({ tenantId }) => sql`
    update outbound_messages set status = 'sent', delivered_at = app_now() where tenant_id = ${tenantId} and to_address = 'ada@example.com'`,
  "I-09": ({ tenantId }) => sql`
    update outbound_messages set lead_id = 'lead_of_another' where tenant_id = ${tenantId} and to_address = 'ada@example.com'`,
  "I-10": ({ tenantId }) => sql`
    update send_attempts set started_at = '2026-03-02T03:30:00Z' where tenant_id = ${tenantId}
    and message_id in (select id from outbound_messages where tenant_id = ${tenantId} and channel = 'email')`,
  "I-11": ({ tenantId }) => sql`
    update outbound_messages set suppression_key = 'same@example.com', sent_at = app_now()
    where tenant_id = ${tenantId} and channel = 'email' and sent_at is not null`,
  "I-12": ({ tenantId }) => sql`update consents set revoked_at = granted_at where tenant_id = ${tenantId}`,
  "I-17": ({ tenantId }) => sql`update send_attempts set generation = 9 where tenant_id = ${tenantId}`,
  "I-18": ({ tenantId }) => sql`delete from send_attempts where tenant_id = ${tenantId}`,
  "I-19": ({ tenantId }) => sql`
    update tenants set status = 'suspended', suspended_at = '2026-03-01T00:00:00Z' where id = ${tenantId}`,
  "I-20": ({ tenantId }) => sql`update contact_campaigns set plan_hash = repeat('0', 64) where tenant_id = ${tenantId}`,
  "I-21": ({ tenantId }) => sql`
    with old as (update send_attempts set started_at = app_now() - interval '26 hours' where tenant_id = ${tenantId})
    update outbound_messages set status = 'ambiguous', run_at = 'infinity' where tenant_id = ${tenantId} and to_address = 'ada@example.com'`,
  "I-23": ({ tenantId }) => sql`
    update channel_configs set api_credentials = '{"apiKey": "SG.readable"}' where tenant_id = ${tenantId}`,
  "I-24": ({ tenantId }) => sql`
    insert into communication_suppressions (tenant_id, channel, address, reason, source, released_at)
    values (${tenantId}, 'email', 'x@example.com', 'stop', 'test', app_now())`,
};

describe("the checkers", () => {
  it("find nothing in what the system has written, for one tenant and across all", async () => {
    const tenant = await lived();
    expect(tenant.email.accepted.length + tenant.sms.accepted.length).toBe(3);
    expect(await violated(tenant)).toEqual([]);
    const results = await checkInvariants(database.owner);
    expect(results.filter((one) => one.violations > 0)).toEqual([]);
    expect(results.map((one) => one.id)).toEqual(expect.arrayContaining(["I-01", "I-22", "I-28"]));
  });

  it("are all planted but the one that row-level security makes impossible to plant", () => {
    expect(Object.keys(planted)).toEqual(checkers.map((one) => one.id).filter((id) => id !== "I-08"));
  });

  it.each(Object.keys(planted))("%s bites", async (id) => {
    const tenant = await lived();
    await arrange(database, tenant.tenantId, async (tx) => {
      // Past triggers and foreign keys: what they refuse is what is planted.
      await sql`set local session_replication_role = replica`.execute(tx);
      await planted[id]?.(tenant).execute(tx);
    });
    expect(await violated(tenant)).toContain(id);
  });

  it("I-08 bites when rows are seen past row-level security", async () => {
    const [a, b] = [await lived(), await lived()];
    const seen = (await checkTenantInvariants({ ...a, db: database.owner })).find((one) => one.id === "I-08");
    expect(seen?.violations).toBeGreaterThan(0);
    expect(seen?.sample.every((line) => !line.startsWith(a.tenantId))).toBe(true);
    expect(b.tenantId).not.toBe(a.tenantId);
  });
});

/** Every checker is silent on what the system itself has written, and bites when its rule is broken by hand. */
import { type RawBuilder, sql } from "kysely";
import { describe, expect, it } from "vitest";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { transact } from "../../../core/kernel/index.ts";
import { expireRuns, lastRun, recordRun } from "../../../core/operator/index.ts";
import {
  checkers,
  checkInstallation,
  checkInvariants,
  checkSeclusion,
  checkTenantInvariants,
  examineTenant,
} from "../../../core/operator/invariants.ts";
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
  "I-05": ({ tenantId, emailAccount }) => sql`
    insert into webhook_deliveries (tenant_id, channel_config_id, provider, target, body, body_bytes, body_sha256, correlation_id)
    values (${tenantId}, ${emailAccount}, 'sendgrid', '/webhooks', '[]', 2, sha256('/webhooks\\000[1]'::bytea), 'corr_1')`,
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
  "I-13": ({ tenantId }) => sql`
    insert into communication_suppressions (tenant_id, channel, address, reason, source, suppressed_at)
    select tenant_id, 'email', 'ada@example.com', 'stop', 'test', sent_at - interval '1 minute' from outbound_messages
    where tenant_id = ${tenantId} and to_address = 'ada@example.com' and sent_at is not null limit 1`,
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

/** The campaign's status changed so many seconds before (or after) each of its messages was claimed. */
const turned = ({ tenantId }: ReadyTenant, status: string, seconds: number) => sql`
  insert into campaign_transitions (tenant_id, campaign_id, from_status, to_status, reason, triggered_by, created_at)
  select distinct m.tenant_id, m.campaign_id, 'active', ${status}::text, 'test', 'user:actor_1', a.started_at + make_interval(secs => ${seconds})
  from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id where a.tenant_id = ${tenantId}`;

/** A message that was claimed, once more for another contact. */
const twin = ({ tenantId }: ReadyTenant, changed: object) => sql`
  insert into outbound_messages
  select (jsonb_populate_record(m, ${JSON.stringify({ id: "omsg_twin", contact_campaign_id: "enr_twin", ...changed })}::jsonb
                                   || jsonb_build_object('dedupe_key', m.dedupe_key || ':twin'))).*
  from outbound_messages m where m.tenant_id = ${tenantId} and m.generation > 0 order by m.id limit 1`;

/** Other ways to break the rules that watch more than one thing. */
const further: readonly [id: string, what: string, plant: (tenant: ReadyTenant) => RawBuilder<unknown>][] = [
  ["I-01", "a step sent to one address for two contacts", (tenant) => twin(tenant, {})],
  [
    "I-01",
    "a step sent to one address under two names after a migration has said that they are one",
    (tenant) => sql`
      with other as (${twin(tenant, { plan_version_id: "cpv_other", node_id: "other" })} returning *)
      insert into node_renames (tenant_id, campaign_id, from_version_id, from_node, to_version_id, to_node, created_at)
      select m.tenant_id, m.campaign_id, m.plan_version_id, m.node_id, 'cpv_other', 'other', m.created_at - interval '1 hour'
      from other join outbound_messages m on m.tenant_id = other.tenant_id and starts_with(other.dedupe_key, m.dedupe_key)`,
  ],
  ["I-19", "a message claimed while its campaign is paused", (tenant) => turned(tenant, "paused", -60)],
  [
    "I-19",
    "a message claimed while its campaign is paused, which was stopped right after",
    (tenant) => sql`with paused as (${turned(tenant, "paused", -60)} returning id) ${turned(tenant, "stopped", 4)}`,
  ],
  [
    "I-21",
    "a message that is due and does not leave",
    ({ tenantId }) => sql`
      update outbound_messages set status = 'queued', run_at = app_now() - interval '2 hours', created_at = app_now() - interval '2 hours'
      where tenant_id = ${tenantId} and status = 'held'`,
  ],
  [
    "I-23",
    "an API key in the answer kept for a repeated request",
    ({ tenantId }) => sql`
      insert into idempotency_keys (tenant_id, key, request_hash, response_body, expires_at)
      values (${tenantId}, 'k', '\\x00', to_jsonb('{"apiKey":"or_live_0123456789abcdefghijklmnop"}'::text), app_now() + interval '1 day')`,
  ],
  [
    "I-23",
    "a password in an archived header",
    ({ tenantId, emailAccount }) => sql`
      insert into webhook_deliveries (tenant_id, channel_config_id, provider, target, headers, body, body_bytes, body_sha256, correlation_id)
      values (${tenantId}, ${emailAccount}, 'sendgrid', '/w', '{"authorization": "Basic x"}', '[]', 2, sha256('/w\\000[]'::bytea), 'corr_1')`,
  ],
  [
    "I-24",
    "a STOP that left no suppression",
    ({ tenantId, smsAccount }) => sql`
      insert into inbound_messages (tenant_id, channel, provider, channel_config_id, provider_message_id, from_address, to_address, body_text,
        new_text, classification)
      values (${tenantId}, 'sms', 'twilio', ${smsAccount}, 'SM1', '+12125550199', '+12025550100', 'STOP', 'STOP', 'opt_out')`,
  ],
  [
    "I-24",
    "the recipient's own no, taken back by somebody else",
    ({ tenantId }) => sql`
      insert into communication_suppressions (tenant_id, channel, address, reason, source, suppressed_at, released_at, released_by)
      values (${tenantId}, 'email', 'y@example.com', 'stop', 'test', app_now(), app_now(), 'user:actor_1')`,
  ],
];

describe("the checkers", () => {
  it("find nothing in what the system has written, for one tenant and across all", async () => {
    const tenant = await lived();
    expect(tenant.email.accepted.length + tenant.sms.accepted.length).toBe(3);
    expect(await violated(tenant)).toEqual([]);
    const results = await checkInvariants(database.owner);
    expect(results.filter((one) => one.violations > 0)).toEqual([]);
    expect(results.map((one) => one.id)).toEqual(expect.arrayContaining(["I-01", "I-22", "I-28"]));
  });

  it("are all planted", () => {
    expect(Object.keys(planted)).toEqual(checkers.map((one) => one.id));
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

  it.each(further)("%s bites on %s", async (id, _what, plant) => {
    const tenant = await lived();
    await arrange(database, tenant.tenantId, async (tx) => {
      await sql`set local session_replication_role = replica`.execute(tx);
      await plant(tenant).execute(tx);
    });
    expect(await violated(tenant)).toContain(id);
  });

  it("do not blame a claim that waited for whoever was just pausing or resuming its campaign", async () => {
    const tenant = await lived();
    await arrange(database, tenant.tenantId, async (tx) => {
      await turned(tenant, "paused", -60).execute(tx);
      await turned(tenant, "active", 1).execute(tx);
      await turned(tenant, "paused", 4).execute(tx);
    });
    expect(await violated(tenant)).not.toContain("I-19");
  });

  it("look back seven days on a schedule, and at all that is due however old it is", async () => {
    const tenant = await lived();
    const plant = (id: string) =>
      arrange(database, tenant.tenantId, async (tx) => {
        await sql`set local session_replication_role = replica`.execute(tx);
        await planted[id]?.(tenant).execute(tx);
      });
    const broken = async () =>
      (await examineTenant(tenant)).results.filter(({ violations }) => violations > 0).map(({ id }) => id);
    await plant("I-17");
    expect(await broken()).toEqual(["I-17"]);
    // Ids of one process never go back in time, so what counts as old is measured from the time on the wall.
    await setClock(database, new Date(Date.now() + 8 * 86_400_000));
    expect(await broken()).toEqual(["I-04"]);
    expect(await violated(tenant)).toContain("I-17");
  });

  it("that take too long are skipped and named, and the others go on", async () => {
    const tenant = await lived();
    const holder = await database.owner.startTransaction().execute();
    await sql`lock table communication_suppressions in access exclusive mode`.execute(holder);
    const { results, skipped } = await examineTenant(tenant, 1_000);
    await holder.rollback().execute();
    expect(skipped).toEqual(["I-02", "I-13", "I-24"]);
    expect(results.map(({ id }) => id)).toEqual(checkers.map(({ id }) => id).filter((id) => !skipped.includes(id)));
  });

  it("leave a record of each run, which is kept for thirty days", async () => {
    const tenant = await lived();
    expect(await lastRun(tenant)).toBeNull();
    const { results } = await examineTenant(tenant);
    const found = results.map((one) => (one.id === "I-17" ? { ...one, violations: 2, sample: ["x"] } : one));
    const run = await recordRun(tenant, { results: found, skipped: ["I-10"] });
    expect(await lastRun(tenant)).toEqual(run);
    expect(run).toMatchObject({
      violations: 2,
      skipped: ["I-10"],
      broken: [{ id: "I-17", violations: 2, sample: ["x"] }],
    });
    await advance(database, 29 * 86_400);
    expect(await transact(tenant, expireRuns)).toBe(0);
    await advance(database, 2 * 86_400);
    expect(await transact(tenant, expireRuns)).toBe(1);
    expect(await lastRun(tenant)).toBeNull();
  });

  it("I-28 bites when this process and PostgreSQL disagree about the time", async () => {
    const clocks = async (wall: Date) => (await checkInstallation(database.db, wall)).find(({ id }) => id === "I-28");
    expect(await clocks(new Date())).toMatchObject({ violations: 0 });
    expect(await clocks(new Date(Date.now() - 60_000))).toMatchObject({ violations: 1 });
    expect(await clocks(new Date(Date.now() + 60_000))).toMatchObject({ violations: 1 });
  });

  it("I-08 bites when rows are seen past row-level security", async () => {
    await lived();
    expect(await checkSeclusion(database.db)).toMatchObject({ id: "I-08", violations: 0 });
    const seen = await checkSeclusion(database.owner);
    expect(seen.violations).toBeGreaterThan(0);
    expect(seen.sample.every((line) => /^tenant_\w+: \w+ \w+$/.test(line))).toBe(true);
  });
});

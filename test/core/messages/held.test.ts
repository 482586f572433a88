/** A hold that somebody's act ends costs next to nothing until then: the act lets it go, and it expires when its time comes. */
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import {
  activate,
  createCampaign,
  enroll,
  pause,
  pauseEnrollment,
  resume,
  resumeEnrollment,
} from "../../../core/campaigns/index.ts";
import { allTenants, dueWork, transact, wakeNoted } from "../../../core/kernel/index.ts";
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
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const hour = 3600;

interface Held {
  readonly tenant: ReadyTenant;
  readonly campaignId: string;
}
type Act = (held: Held) => Promise<unknown>;

async function queued(count: number): Promise<Held> {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds = [];
  for (let n = 0; n < count; n++) contactIds.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const plan = [{ subject: "Hi", text: "Hello" }];
  const { id } = await createCampaign(tenant, { name: "Spring", plan });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  return { tenant, campaignId: id };
}

const eachEnrollment = async ({ tenant }: Held, act: (enrollment: { readonly id: string }) => Promise<unknown>) => {
  const rows = await database.owner
    .selectFrom("contact_campaigns")
    .select("id")
    .where("tenant_id", "=", tenant.tenantId)
    .execute();
  for (const row of rows) await act(row);
};

const dueFor = async ({ tenant }: Held): Promise<number> =>
  (await dueWork(database.db, "send", 20_000)).get(tenant.tenantId)?.length ?? 0;

const statuses = async ({ tenant }: Held) => {
  const { rows } = await sql<{ status: string; reason: string | null; count: number }>`
    select status, hold_reason as reason, count(*)::int as count from outbound_messages
    where tenant_id = ${tenant.tenantId} group by 1, 2 order by 1, 2`.execute(database.owner);
  return rows;
};

const holds: readonly [what: string, reason: string, hold: Act, mend: Act][] = [
  [
    "a campaign that is paused",
    "campaign_not_active",
    ({ tenant, campaignId }) => pause(tenant, { id: campaignId }),
    ({ tenant, campaignId }) => resume(tenant, { id: campaignId }),
  ],
  [
    "a campaign that is paused and activated again",
    "campaign_not_active",
    ({ tenant, campaignId }) => pause(tenant, { id: campaignId }),
    ({ tenant, campaignId }) => activate(tenant, { id: campaignId }),
  ],
  [
    "enrollments that are paused",
    "enrollment_not_active",
    (held) => eachEnrollment(held, (one) => pauseEnrollment(held.tenant, one)),
    (held) => eachEnrollment(held, (one) => resumeEnrollment(held.tenant, one)),
  ],
  [
    "a tenant that is suspended",
    "tenant_suspended",
    ({ tenant }) => suspendTenant(tenant, {}),
    ({ tenant }) => resumeTenant(tenant, {}),
  ],
  [
    "an account that is disabled",
    "channel_unavailable",
    ({ tenant }) => updateChannel(tenant, rehost(tenant), { id: tenant.emailAccount, status: "disabled" }),
    ({ tenant }) => updateChannel(tenant, rehost(tenant), { id: tenant.emailAccount, status: "active" }),
  ],
  [
    "credentials that are refused",
    "credentials",
    ({ tenant }) => degradeChannel(tenant, { id: tenant.emailAccount, reason: "401" }),
    ({ tenant }) => updateChannel(tenant, rehost(tenant), { id: tenant.emailAccount, credentials: { apiKey: "new" } }),
  ],
  [
    "a sender that is not verified",
    "sender_unverified",
    ({ tenant }) => markSenderFailed(tenant, { id: tenant.senderId }),
    ({ tenant }) => markSenderVerified(tenant, { id: tenant.senderId }),
  ],
  [
    "a postal address that is missing",
    "postal_address_missing",
    ({ tenant }) => updateTenantSettings(tenant, { postalAddress: null }),
    ({ tenant }) => updateTenantSettings(tenant, { postalAddress: "1 Main Street, Springfield, IL 62701" }),
  ],
];

describe.each(holds)("messages held for %s", (_, reason, hold, mend) => {
  const held = async (): Promise<Held> => {
    const one = await queued(3);
    // Planned before the fault, so that there is something to hold.
    const { email } = one.tenant;
    email.answer = () => ({ kind: "deferred", code: "429", reason: "later", retryAfterSeconds: 60 });
    await pump(one.tenant);
    email.answer = () => ({ kind: "accepted", providerMessageId: "m" });
    await hold(one);
    await advance(database, 60);
    await pump(one.tenant);
    expect(await statuses(one)).toEqual([{ status: "held", reason, count: 3 }]);
    return one;
  };

  it("are not due an hour later, and all leave when it is mended", async () => {
    const one = await held();
    await advance(database, hour);
    expect(await dueFor(one)).toBe(0);
    await mend(one);
    await advance(database, 11);
    expect(await dueFor(one)).toBe(3);
    expect(await pump(one.tenant)).toMatchObject({ accepted: 3 });
  });

  it("expire when their time comes", async () => {
    const one = await held();
    await advance(database, 4 * 24 * hour);
    expect(await dueFor(one)).toBe(3);
    await pump(one.tenant);
    expect(await statuses(one)).toEqual([{ status: "expired", reason: "expired", count: 3 }]);
  });
});

it("what no act has woken is looked at every six hours: a defect of ours delays a message and does not lose it", async () => {
  const one = await queued(1);
  await suspendTenant(one.tenant, {});
  await pump(one.tenant);
  expect(await statuses(one)).toMatchObject([{ status: "held", reason: "tenant_suspended" }]);
  await sql`update tenants set status = 'active', suspended_at = null where id = ${one.tenant.tenantId}`.execute(
    database.owner,
  );
  await advance(database, 5 * hour);
  expect(await pump(one.tenant)).toMatchObject({ accepted: 0 });
  await advance(database, hour);
  expect(await pump(one.tenant)).toMatchObject({ accepted: 1 });
});

describe("a mending", { timeout: 120_000 }, () => {
  /** Held for a sender, in numbers that no mending wakes at once. */
  const crowd = async (count: number): Promise<Held> => {
    await setClock(database, new Date("2026-03-02T16:00:00Z"));
    const one = { tenant: await readyTenant(database), campaignId: "" };
    await sql`
      insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, status, hold_reason, decision, run_at, expires_at)
      select ${one.tenant.tenantId}, 'omsg_' || n, 'email', 'a@example.com', 'a@example.com', n::text, 'held', 'sender_unverified',
        jsonb_build_object('at', app_now() - interval '1 hour'), app_now() + interval '3 days', app_now() + interval '3 days'
      from generate_series(1, ${count}::int) n`.execute(database.owner);
    return one;
  };
  const awake = async ({ tenant }: Held): Promise<number> => {
    const { rows } = await sql<{ n: number }>`
      select count(*)::int as n from outbound_messages where tenant_id = ${tenant.tenantId} and run_at <= app_now()`.execute(
      database.owner,
    );
    return rows[0]?.n ?? 0;
  };
  const noted = async ({ tenant }: Held): Promise<boolean> =>
    (await dueWork(database.db, "wake", 100)).has(tenant.tenantId);

  it("of more than it wakes at once leaves the rest to the sweeps, none is forgotten", async () => {
    const one = await crowd(10_005);
    await markSenderVerified(one.tenant, { id: one.tenant.senderId });
    expect(await awake(one)).toBe(10_000);
    expect(await noted(one)).toBe(true);
    const sweep = () => transact(one.tenant, (ctx) => wakeNoted(ctx, 3));
    expect([await sweep(), await awake(one)]).toEqual([3, 10_003]);
    expect([await sweep(), await awake(one)]).toEqual([2, 10_005]);
  });

  it("also wakes what somebody had locked meanwhile, and then is forgotten", async () => {
    const one = await crowd(2);
    await database.owner.transaction().execute(async (tx) => {
      await sql`select from outbound_messages where tenant_id = ${one.tenant.tenantId} and id = 'omsg_1' for update`.execute(
        tx,
      );
      await markSenderVerified(one.tenant, { id: one.tenant.senderId });
    });
    expect(await awake(one)).toBe(1);
    await transact(one.tenant, wakeNoted);
    expect(await awake(one)).toBe(2);
    expect(await noted(one)).toBe(true);
    await advance(database, 60);
    await transact(one.tenant, wakeNoted);
    expect(await noted(one)).toBe(false);
  });

  it("lets alone what was decided since, and what is held for something else", async () => {
    const one = await crowd(2);
    await markSenderVerified(one.tenant, { id: one.tenant.senderId });
    await sql`
      update outbound_messages set run_at = expires_at,
        decision = case when id = 'omsg_1' then jsonb_build_object('at', app_now()) else decision end,
        hold_reason = case when id = 'omsg_2' then 'tenant_suspended' else hold_reason end
      where tenant_id = ${one.tenant.tenantId}`.execute(database.owner);
    await transact(one.tenant, wakeNoted);
    expect(await awake(one)).toBe(0);
  });

  it("is noted for its own tenant only", async () => {
    const one = await crowd(1);
    const other = await crowd(1);
    await markSenderVerified(one.tenant, { id: one.tenant.senderId });
    expect(await allTenants(database.db)).toContain(other.tenant.tenantId);
    expect([await awake(one), await awake(other)]).toEqual([1, 0]);
  });
});

/** Simulated, then activated: under the same engagement script the live run sends exactly what was foretold, to the second. */
import { sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import {
  activate,
  compareWithLive,
  createCampaign,
  enroll,
  type SimulationRun,
  simulate,
} from "../../core/campaigns/index.ts";
import { checkInvariants } from "../../core/operator/index.ts";
import { putRateLimit, updateTenantSettings } from "../../core/tenancy/index.ts";
import { reactionsOf, type Script } from "../../local/demo/engagement.ts";
import { graph } from "../../local/demo/plan.ts";
import { defaultRates } from "../../local/simulator/script.ts";
import { days, look, people, type SystemTenant, testSystem } from "../support/system.ts";

const system = await testSystem();

/** Enough of everything in a small crowd. */
const rates = {
  ...defaultRates,
  deliver: 0.8,
  hardBounce: 0.06,
  blocked: 0.06,
  asyncBounce: 0.04,
  dropped: 0.04,
  undelivered: 0.15,
  deferred: 0.1,
  open: 0.7,
  click: 0.3,
  reply: 0.12,
  complaint: 0.05,
  unsubscribe: 0.06,
  stop: 0.06,
  autoreply: 0.1,
};
const script: Script = { seed: "foretold", rates, gridSeconds: 1800 };

const places = [
  { state: "NY", timeZone: "America/New_York", code: "212" },
  { state: "CA", timeZone: "America/Los_Angeles", code: "213" },
  { state: "TX", timeZone: "America/Chicago", code: "214" },
  { state: "CO", timeZone: "America/Denver", code: "303" },
  { state: "HI", timeZone: "Pacific/Honolulu", code: "808" },
] as const;
const crowd = 40;

describe("a campaign with quiet hours, limits, caps and two subjects", () => {
  let tenant: SystemTenant;
  let campaignId: string;
  let foretold: SimulationRun;

  beforeAll(async () => {
    tenant = await system.tenant();
    system.behave({ seed: script.seed, rates, gridSeconds: script.gridSeconds });
    await updateTenantSettings(tenant, { frequencyCaps: [{ channel: "email", count: 1, windowSeconds: 26 * 3600 }] });
    await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 8, windowSeconds: 60 });
    await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 30, windowSeconds: 3600 });
    await putRateLimit(tenant, { scope: "tenant", channel: "sms", maxCount: 3, windowSeconds: 60 });
    await people(
      system,
      tenant,
      Array.from({ length: crowd }, (_, n) => {
        const { state, timeZone, code } = places[n % places.length] ?? places[0];
        return {
          email: `p${n}@company${n % 9}.example`,
          phone: `+1${code}55501${String(n).padStart(2, "0")}`,
          firstName: `Person ${n}`,
          state,
          timeZone,
          smsConsent: n % 5 !== 4,
        };
      }),
    );
    // The demo's plan speaks of companies, which these people are without.
    const plan = JSON.parse(JSON.stringify(graph).replaceAll("{{ company.name }}", "your company"));
    campaignId = (await createCampaign(tenant, { name: "Foretold", plan })).id;
    await enroll(tenant, { campaignId, audience: { all: true } });
    foretold = await simulate(tenant, { campaignId }, { reactions: (key) => reactionsOf(script, key) });
    await activate(tenant, { id: campaignId });
    await system.advance(45 * days);
  }, 120_000);

  test("is sent as it was simulated: 0 differences", async () => {
    const comparison = await compareWithLive(tenant, { simulationId: foretold.id ?? "" });
    expect(comparison.differences).toEqual([]);
    expect(comparison).toMatchObject({ different: 0, simulated: foretold.summary.sent, live: foretold.summary.sent });
    expect(system.simulator.accepted()).toHaveLength(foretold.summary.sent);
  });

  test("touched what makes the two hard to keep alike", async () => {
    const held = new Set(foretold.sends.flatMap((send) => send.held.map(({ reason }) => String(reason))));
    expect([...held]).toEqual(expect.arrayContaining(["quiet_hours", "rate_limit"]));
    expect(new Set(foretold.sends.map(({ variantId }) => variantId))).toEqual(new Set(["question", "guide", null]));
    expect(new Set(foretold.sends.filter(({ verdict }) => verdict === "sent").map(({ nodeId }) => nodeId)).size).toBe(
      3,
    );
    const exits = await look<{ exit_reason: string }>(
      system,
      sql`select distinct exit_reason from contact_campaigns where tenant_id = ${tenant.tenantId} order by 1`,
    );
    expect(exits.map(({ exit_reason }) => exit_reason)).toEqual(
      expect.arrayContaining(["bounced", "end", "replied", "unsubscribed"]),
    );
  });

  test("keeps its limits: no minute and no hour holds more than it may", async () => {
    const full = (seconds: number, channel: string) =>
      look<{ n: number }>(
        system,
        sql`select max(n)::int as n from (
              select count(*) as n from outbound_messages
              where tenant_id = ${tenant.tenantId} and channel = ${channel} and sent_at is not null
              group by floor(extract(epoch from sent_at) / ${seconds}::int)) w`,
      );
    expect((await full(60, "email"))[0]?.n).toBe(8);
    expect((await full(3600, "email"))[0]?.n).toBeLessThanOrEqual(30);
    expect((await full(60, "sms"))[0]?.n).toBeLessThanOrEqual(3);
  });

  test("ends with counts that add up and every invariant held", async () => {
    const counts = await look<{ status: string; n: number }>(
      system,
      sql`select status, count(*)::int as n from contact_campaigns where tenant_id = ${tenant.tenantId} group by status`,
    );
    expect(counts.reduce((sum, { n }) => sum + n, 0)).toBe(crowd);
    expect(counts.filter(({ status }) => status === "active" || status === "error")).toEqual([]);
    const broken = (await checkInvariants(system.owner)).filter(({ violations }) => violations > 0);
    expect(broken).toEqual([]);
  });
});

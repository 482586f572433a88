/** What comes late: an answer after everybody had given up on it, a place in a window after a pause. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { campaignPort, pause, resume } from "../../../core/campaigns/index.ts";
import { deliver, expireLeases, reconcile } from "../../../core/messages/index.ts";
import { putRateLimit } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { pump, type ReadyTenant, readyTenant, underway } from "../../support/outreach.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York. */
const monday = new Date("2026-03-02T16:00:00Z");

const messages = (tenant: ReadyTenant) =>
  database.owner
    .selectFrom("outbound_messages")
    .selectAll()
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("run_at")
    .execute();

it("an accept that comes after the look-up said absent is believed: the message is not sent again", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await underway(database, tenant, 1);
  const asking = {
    ...tenant.deps,
    senders: { sendgrid: { ...tenant.email, lookup: async () => ({ kind: "absent" as const }) } },
    campaigns: campaignPort,
  };
  let reports: unknown[] = [];
  tenant.email.answer = async ({ messageId }) => {
    // The worker is frozen with the request under way: its lease runs out, and the provider is asked too early.
    await advance(database, 31);
    const expired = await expireLeases(tenant, [messageId]);
    await advance(database, 600);
    reports = [expired, await reconcile(tenant, asking, [messageId], () => 60_000)];
    return { kind: "accepted", providerMessageId: "late" };
  };
  await pump(tenant);
  expect(reports).toMatchObject([1, { absent: 1 }]);
  await advance(database, 60);
  await deliver(tenant, tenant.deps, [], () => 60_000);
  expect(tenant.email.accepted).toHaveLength(1);
  expect(await messages(tenant)).toMatchObject([{ status: "sent", provider_message_id: "late" }]);
  const { rows } = await sql`
    select outcome, provider_message_id from send_attempts where tenant_id = ${tenant.tenantId}`.execute(
    database.owner,
  );
  expect(rows).toEqual([{ outcome: "accepted", provider_message_id: "late" }]);
});

it("places reserved under a rate limit outlive a pause: nobody is sent to the end of the queue", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 1, windowSeconds: 3_600 });
  const id = await underway(database, tenant, 4);
  await pump(tenant);
  const places = async () =>
    (await messages(tenant)).filter((one) => one.status === "held").map((one) => one.run_at.toISOString());
  const before = await places();
  expect(before).toEqual(["2026-03-02T17:00:00.000Z", "2026-03-02T18:00:00.000Z", "2026-03-02T19:00:00.000Z"]);
  await pause(tenant, { id });
  await advance(database, 60);
  await resume(tenant, { id });
  await pump(tenant);
  for (const at of before) {
    await setClock(database, new Date(at));
    await pump(tenant);
  }
  expect(tenant.email.accepted).toHaveLength(4);
});

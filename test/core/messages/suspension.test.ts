/** A suspension and a claim that meet: whichever comes first is over before the other one decides. */
import { expect, it } from "vitest";
import { activate, createCampaign, enroll, runActions } from "../../../core/campaigns/index.ts";
import { lockDue } from "../../../core/messages/facts.ts";
import { suspendTenant } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { setClock } from "../../support/tenant.ts";

const database = await testDatabase();

/** A mail to Ada that is due. */
async function due(): Promise<ReadyTenant> {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds = [await person(database, tenant, { email: "ada@example.com" })];
  const { id } = await createCampaign(tenant, { name: "Spring", plan: [{ subject: "Hi", text: "Hello" }] });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await runActions(tenant, []);
  return tenant;
}

const statusOf = async ({ tenantId }: ReadyTenant): Promise<string> =>
  (await database.owner.selectFrom("tenants").select("status").where("id", "=", tenantId).executeTakeFirstOrThrow())
    .status;

it("a suspension is not committed while a claim that has seen the tenant active is", async () => {
  const tenant = await due();
  const claiming = hold(tenant, (ctx) => lockDue(ctx, undefined, 10));
  await claiming.reached;
  const suspending = suspendTenant(tenant, {});
  await waits(database, suspending);
  expect(await statusOf(tenant)).toBe("active");
  claiming.release();
  await Promise.all([claiming.done, suspending]);
  expect(await statusOf(tenant)).toBe("suspended");
});

it("a claim that a suspension keeps waiting finds the tenant suspended", async () => {
  const tenant = await due();
  const suspending = hold(tenant, (ctx) => suspendTenant(ctx, {}));
  await suspending.reached;
  const sending = pump(tenant);
  await waits(database, sending);
  suspending.release();
  expect(await sending).toMatchObject({ accepted: 0, held: 1 });
  expect(tenant.email.accepted).toEqual([]);
  await suspending.done;
});

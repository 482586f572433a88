/** In whose zone a plan's calendar goes on: its own, else the one its tenant had when it was written. */
import { expect, it } from "vitest";
import { addPlanVersion, createCampaign, listPlanVersions } from "../../../core/campaigns/index.ts";
import { simulate } from "../../../core/campaigns/simulate.ts";
import { updateTenantSettings } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();
const steps = [{ subject: "Hi", text: "Hello" }];

it("a plan that names no zone gets its tenant's and keeps it, in each of its forms and when it is only tried", async () => {
  const tenant = await newTenant(database);
  const { id, planHash } = await createCampaign(tenant, { name: "Spring", plan: steps });
  const zones = async () =>
    (await listPlanVersions(tenant, { id })).map(({ plan }) => (plan as { timeZone: string }).timeZone);
  expect(await zones()).toEqual(["UTC"]);

  await updateTenantSettings(tenant, { timeZone: "America/New_York" });
  const moved = await addPlanVersion(tenant, { id, plan: steps });
  expect(moved.planHash).not.toBe(planHash);
  expect(await zones()).toEqual(["America/New_York", "UTC"]);
  const again = await addPlanVersion(tenant, { id, plan: { steps } });
  expect(again.planVersionId).toBe(moved.planVersionId);
  const tried = await simulate(tenant, { campaignId: id, plan: { steps }, audience: { all: true } });
  expect(tried.planHash).toBe(moved.planHash);

  await addPlanVersion(tenant, { id, plan: { timeZone: "Europe/Berlin", steps } });
  await updateTenantSettings(tenant, { timeZone: "Asia/Tokyo" });
  expect(await zones()).toEqual(["Europe/Berlin", "America/New_York", "UTC"]);
});

it("a zone that is none is refused and not replaced", async () => {
  const tenant = await newTenant(database);
  await updateTenantSettings(tenant, { timeZone: "America/New_York" });
  await expect(
    createCampaign(tenant, { name: "Spring", plan: { timeZone: "Mars/Olympus", steps } }),
  ).rejects.toMatchObject({ code: "plan.invalid", fields: [{ path: "plan.timeZone" }] });
});

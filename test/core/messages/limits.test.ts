/** Every scope of a limit binds the messages it names, and no others. */
import { expect, it } from "vitest";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import { putRateLimit } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { setClock } from "../../support/tenant.ts";

const database = await testDatabase();

const plan = {
  start: "intro",
  nodes: [{ id: "intro", type: "send", channel: "email", content: { subject: "Hi", text: "Hello" } }],
};
const limit = { channel: "email", maxCount: 2, windowSeconds: 3_600 } as const;

it.each([
  ["a sender", (tenant: ReadyTenant) => ({ scope: "sender", scopeId: tenant.senderId }) as const],
  ["an account", (tenant: ReadyTenant) => ({ scope: "channel", scopeId: tenant.emailAccount }) as const],
  ["a recipient domain", () => ({ scope: "domain", scopeId: "Example.COM" }) as const],
  ["each recipient domain", () => ({ scope: "domain", scopeId: "*" }) as const],
  ["the tenant", () => ({ scope: "tenant" }) as const],
])("a limit of %s is kept", async (_, scopeOf) => {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  await putRateLimit(tenant, { ...limit, ...scopeOf(tenant) });
  const contactIds: string[] = [];
  for (let n = 0; n < 3; n++) contactIds.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  expect(await pump(tenant)).toMatchObject({ accepted: 2, held: 1 });
});

it("a limit shorter than the time between two sweeps is refused: most of its windows would pass unused", async () => {
  const tenant = await readyTenant(database);
  await expect(
    putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 1, windowSeconds: 59 }),
  ).rejects.toMatchObject({ code: "input.invalid" });
});

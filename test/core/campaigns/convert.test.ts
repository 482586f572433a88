/** Who has become a customer hears nothing more of the campaigns that wanted one. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll, setLeadStatus, updateLead } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const monday = new Date("2026-03-02T16:00:00Z");

const plan: PlanInput = {
  start: "one",
  nodes: [
    {
      id: "one",
      type: "send",
      channel: "email",
      content: { subject: "One", text: "One" },
      transitions: [{ on: "no_reply", to: "two", after: "P1D" }],
    },
    { id: "two", type: "send", channel: "email", content: { subject: "Two", text: "Two" } },
  ],
};

async function walking(tenant: ReadyTenant, emails: readonly string[], exitOn?: PlanInput["exitOn"]): Promise<void> {
  const contactIds: string[] = [];
  for (const email of emails) contactIds.push(await person(database, tenant, { email }));
  const { id } = await createCampaign(tenant, {
    name: emails.join(),
    plan: { ...plan, ...(exitOn && { exitOn }) } as never,
  });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
}

const leadOf = async (tenant: ReadyTenant, email: string): Promise<string> => {
  const lead = database.owner.selectFrom("leads").select("id").where("tenant_id", "=", tenant.tenantId);
  return (await lead.where("email", "=", email).executeTakeFirstOrThrow()).id;
};

const walks = async (tenant: ReadyTenant) =>
  Object.fromEntries(
    (
      await database.owner
        .selectFrom("contact_campaigns as e")
        .innerJoin("contacts as k", (join) =>
          join.onRef("k.tenant_id", "=", "e.tenant_id").onRef("k.id", "=", "e.contact_id"),
        )
        .select(["k.primary_email as email", "e.status", "e.exit_reason as reason"])
        .where("e.tenant_id", "=", tenant.tenantId)
        .execute()
    ).map(({ email, status, reason }) => [email, reason === null ? status : `${status}: ${reason}`]),
  );

it("a lead that becomes converted ends its walks, with what they still had to send; everybody else goes on", async () => {
  await setClock(database, monday);
  const [tenant, stranger] = [await readyTenant(database), await readyTenant(database)];
  await walking(tenant, ["a@example.com", "b@example.com", "c@example.com"]);
  await walking(tenant, ["onboarding@example.com"], ["replied"]);
  await walking(stranger, ["a@example.com"]);
  await pump(tenant);
  await pump(stranger);
  const ids = await Promise.all(["a@example.com", "onboarding@example.com"].map((one) => leadOf(tenant, one)));

  const before = await walks(tenant);
  expect(Object.values(before)).toEqual(["active", "active", "active", "active"]);
  expect(await setLeadStatus(stranger, { ids, status: "converted" })).toEqual([]);
  await expect(updateLead(stranger, { id: ids[0] ?? "", status: "converted" })).rejects.toMatchObject({
    code: "lead.not_found",
  });
  expect(await walks(tenant)).toEqual(before);
  expect(await setLeadStatus(tenant, { ids, status: "converted" })).toEqual(expect.arrayContaining(ids));
  await updateLead(tenant, { id: await leadOf(tenant, "b@example.com"), status: "converted" });
  await updateLead(tenant, { id: await leadOf(tenant, "c@example.com"), status: "hot", city: "Ulm" });
  expect(await walks(tenant)).toEqual({
    "a@example.com": "stopped: converted",
    "b@example.com": "stopped: converted",
    "c@example.com": "active",
    "onboarding@example.com": "active",
  });
  expect(await walks(stranger)).toEqual({ "a@example.com": "active" });

  await advance(database, 2 * 86_400);
  await pump(tenant);
  const second = tenant.email.accepted.filter(({ subject }) => subject === "Two").map(({ to }) => to);
  expect(second.toSorted()).toEqual(["c@example.com", "onboarding@example.com"]);
});

it("a message that waits in the outbox does not leave any more", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  tenant.email.answer = () => ({ kind: "deferred", code: "429", reason: "slow down", retryAfterSeconds: 600 });
  await walking(tenant, ["a@example.com"]);
  await pump(tenant);
  tenant.email.answer = () => ({ kind: "accepted", providerMessageId: "p" });
  await setLeadStatus(tenant, { ids: [await leadOf(tenant, "a@example.com")], status: "converted" });
  await advance(database, 86_400);
  await pump(tenant);
  expect(tenant.email.accepted).toEqual([]);
  expect(await walks(tenant)).toEqual({ "a@example.com": "stopped: converted" });
});

it("a customer can be enrolled again, and saying once more that it is one changes nothing", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const contactId = await person(database, tenant, { email: "a@example.com" });
  const leadId = await leadOf(tenant, "a@example.com");
  expect(await setLeadStatus(tenant, { ids: [leadId], status: "converted" })).toEqual([leadId]);
  const { id } = await createCampaign(tenant, { name: "Customers", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds: [contactId] } });
  await activate(tenant, { id });
  await pump(tenant);
  expect(await setLeadStatus(tenant, { ids: [leadId], status: "converted" })).toEqual([]);
  await updateLead(tenant, { id: leadId, status: "converted" });
  expect(await walks(tenant)).toEqual({ "a@example.com": "active" });
});

it("who enrolls while their lead is being converted hears it, too", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const contactId = await person(database, tenant, { email: "a@example.com" });
  const leadId = await leadOf(tenant, "a@example.com");
  const { id } = await createCampaign(tenant, { name: "Late", plan: plan as never });
  await activate(tenant, { id });
  const holding = hold(tenant, (ctx) =>
    sql`select from leads where tenant_id = ${tenant.tenantId} and id = ${leadId} for no key update`.execute(ctx.db),
  );
  await holding.reached;
  const converting = setLeadStatus(tenant, { ids: [leadId], status: "converted" });
  await waits(database, converting);
  await enroll(tenant, { campaignId: id, audience: { contactIds: [contactId] } });
  expect(await walks(tenant)).toEqual({ "a@example.com": "active" });
  holding.release();
  await holding.done;
  expect(await converting).toEqual([leadId]);
  expect(await walks(tenant)).toEqual({ "a@example.com": "stopped: converted" });
});

it("what is no list of leads is refused before anything is read", async () => {
  const tenant = await readyTenant(database);
  await expect(setLeadStatus(tenant, { ids: "x" as never, status: "converted" })).rejects.toMatchObject({
    kind: "invalid",
  });
  await expect(updateLead(tenant, { id: 7 as never, status: "converted" })).rejects.toMatchObject({ kind: "invalid" });
});

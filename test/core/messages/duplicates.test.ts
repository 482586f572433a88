/** Two contacts with one address: it is written to once, by whichever of them may still be sent. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll, runActions, stopEnrollment } from "../../../core/campaigns/index.ts";
import { simulate } from "../../../core/campaigns/simulate.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();

async function world() {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contacts = [
    await person(database, tenant, { email: "same@gmail.com" }),
    await person(database, tenant, { email: "s.ame+x@gmail.com" }),
  ];
  const content = { subject: "Hi", text: "Hello" };
  const plan = { start: "intro", nodes: [{ id: "intro", type: "send", channel: "email", content }] };
  const { id } = await createCampaign(tenant, {
    name: "Spring",
    plan: plan as never,
    settings: { evergreen: true },
  } as never);
  await activate(tenant, { id });
  const enter = (n: number) => enroll(tenant, { campaignId: id, audience: { contactIds: contacts.slice(n, n + 1) } });
  return { tenant, id, enter };
}

const ends = async (tenant: ReadyTenant) => {
  const { rows } = await sql<{ status: string; hold_reason: string | null }>`
    select status, hold_reason from outbound_messages where tenant_id = ${tenant.tenantId} order by created_at, id`.execute(
    database.owner,
  );
  return rows.map((row) => `${row.status} ${row.hold_reason ?? ""}`.trim());
};

const stopFirst = async (tenant: ReadyTenant) => {
  const { rows } = await sql<{ id: string }>`
    select id from contact_campaigns where tenant_id = ${tenant.tenantId} order by id limit 1`.execute(database.owner);
  await stopEnrollment(tenant, { id: rows[0]?.id ?? "" });
};

it("a contact inherits the address from one who was stopped before anything was sent", async () => {
  const { tenant, id, enter } = await world();
  await enter(0);
  await runActions(tenant, []);
  await stopFirst(tenant);
  await advance(database, 60);
  await enter(1);
  const simulated = await simulate(tenant, { campaignId: id });
  expect(simulated.sends.map((one) => one.verdict)).toEqual(["sent"]);
  await pump(tenant);
  expect(await ends(tenant)).toEqual(["cancelled enrollment_not_active", "sent"]);
  expect(tenant.email.accepted.map((one) => one.to)).toEqual(["s.ame+x@gmail.com"]);
});

it("a contact does not inherit the address from one who was sent something and then stopped", async () => {
  const { tenant, enter } = await world();
  await enter(0);
  await pump(tenant);
  await stopFirst(tenant);
  await advance(database, 60);
  await enter(1);
  await pump(tenant);
  expect(await ends(tenant)).toEqual(["sent", "cancelled duplicate_address"]);
  expect(tenant.email.accepted).toHaveLength(1);
});

it("of two contacts who could inherit at the same moment one does", async () => {
  const { tenant, id } = await world();
  const third = await person(database, tenant, { email: "sa.me@gmail.com" });
  const { rows } = await sql<{ id: string }>`
    select id from contacts where tenant_id = ${tenant.tenantId} order by id`.execute(database.owner);
  const [first, second] = rows.map((row) => row.id);
  await enroll(tenant, { campaignId: id, audience: { contactIds: [first ?? ""] } });
  await runActions(tenant, []);
  await stopFirst(tenant);
  await enroll(tenant, { campaignId: id, audience: { contactIds: [second ?? "", third] } });
  await Promise.all([pump(tenant), pump(tenant), pump(tenant)]);
  expect((await ends(tenant)).toSorted()).toEqual([
    "cancelled duplicate_address",
    "cancelled enrollment_not_active",
    "sent",
  ]);
  expect(tenant.email.accepted).toHaveLength(1);
});

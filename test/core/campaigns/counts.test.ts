/** What a campaign has sent is counted when it is asked for, so that no worker queues for the campaign's row. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll, getCampaign, listCampaigns } from "../../../core/campaigns/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, readyTenant } from "../../support/outreach.ts";
import { arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();

it("a campaign's count is of the messages that were accepted, in the list, alone and in the seed's view", async () => {
  // Monday, 11:00 in New York.
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  tenant.email.answer = ({ to }) =>
    to === "refused@example.com"
      ? { kind: "rejected", failure: "content", code: "550", reason: "no" }
      : { kind: "accepted", providerMessageId: `p-${to}` };
  const contactIds: string[] = [];
  for (const name of ["ada", "bob", "refused"]) {
    contactIds.push(await person(database, tenant, { email: `${name}@example.com` }));
  }
  const { id } = await createCampaign(tenant, { name: "Spring", plan: [{ subject: "Hi", text: "Hello" }] });
  const other = await createCampaign(tenant, { name: "Idle", plan: [{ subject: "Hi", text: "Hello" }] });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await pump(tenant);

  expect(tenant.email.accepted).toHaveLength(2);
  expect((await getCampaign(tenant, { id })).sentCount).toBe(2);
  const { data } = await listCampaigns(tenant, {});
  expect(data.map((row) => [row.id, row.sentCount])).toEqual([
    [id, 2],
    [other.id, 0],
  ]);
  const { rows } = await arrange(database, tenant.tenantId, (tx) =>
    sql`select id, emails_sent from email_campaigns order by id`.execute(tx),
  );
  expect(rows).toEqual([
    { id, emails_sent: 2 },
    { id: other.id, emails_sent: 0 },
  ]);
});

it("nobody who acts on a campaign waits for its messages to be counted", async () => {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds = [await person(database, tenant, { email: "ada@example.com" })];
  await database.owner.transaction().execute(async (tx) => {
    await sql`lock table outbound_messages in access exclusive mode`.execute(tx);
    const { id } = await createCampaign(tenant, { name: "Spring", plan: [{ subject: "Hi", text: "Hello" }] });
    await enroll(tenant, { campaignId: id, audience: { contactIds } });
    expect(await activate(tenant, { id })).toMatchObject({ status: "active" });
  });
});

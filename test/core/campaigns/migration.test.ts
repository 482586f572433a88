/** Moving those on their way to another version of their plan: whoever could not go at first may go with a better map, and nobody is left behind. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, addPlanVersion, createCampaign, enroll, migrateEnrollments } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { setClock } from "../../support/tenant.ts";

const database = await testDatabase();

const plan = (first: string, last: string): PlanInput => ({
  start: first,
  nodes: [
    {
      id: first,
      type: "send",
      channel: "email",
      content: { subject: "Hi", text: "Hello" },
      transitions: [{ on: "no_reply", to: last, after: "P2D" }],
    },
    { id: last, type: "stop", outcome: "completed" },
  ],
});

async function walking(started: boolean) {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds = [
    await person(database, tenant, { email: "ada@example.com" }),
    await person(database, tenant, { email: "eve@example.com" }),
  ];
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan("intro", "end") as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  if (started) await pump(tenant);
  await addPlanVersion(tenant, { id, plan: plan("hello", "over") as never });
  return { tenant, id };
}

it("an enrollment that needed a mapping moves when a call brings one", async () => {
  const { tenant, id } = await walking(true);
  const first = await migrateEnrollments(tenant, { campaignId: id });
  expect(first).toMatchObject({ migrated: 0, needMapping: [{}, {}], more: false });
  const second = await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } });
  expect(second).toEqual({ migrated: 2, needMapping: [], nextCursor: null, more: false });
  expect(await migrateEnrollments(tenant, { campaignId: id })).toMatchObject({ migrated: 0, needMapping: [] });
});

it.each([
  [{ intro: "nonesuch" }, "nodeMap.intro", 'The current plan has no node "nonesuch".'],
  [{ intor: "hello" }, "nodeMap.intor", 'No version of this campaign\'s plan has a node "intor".'],
])("a map with a slip in it (%j) is refused, and pauses nobody", async (nodeMap, path, message) => {
  const { tenant, id } = await walking(true);
  const refused = expect(migrateEnrollments(tenant, { campaignId: id, nodeMap: nodeMap as never })).rejects;
  await refused.toMatchObject({ code: "plan.unknown_nodes", fields: [{ path, message }] });
  const { rows } = await sql`select distinct status from contact_campaigns where campaign_id = ${id}`.execute(
    database.owner,
  );
  expect(rows).toEqual([{ status: "active" }]);
});

it("a walk that was about to begin begins at the start of the new plan", async () => {
  const { tenant, id } = await walking(false);
  expect(await migrateEnrollments(tenant, { campaignId: id })).toMatchObject({ migrated: 2, needMapping: [] });
  expect(await pump(tenant)).toMatchObject({ accepted: 2 });
});

it("an enrollment that ends while the migration waits for it keeps its plan", async () => {
  const { tenant, id } = await walking(true);
  const open = hold(tenant, (ctx) =>
    sql`update contact_campaigns set status = 'stopped', state = state || '{"status": "stopped"}'
      where tenant_id = ${ctx.tenantId} and campaign_id = ${id}`.execute(ctx.db),
  );
  await open.reached;
  const migrating = migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } });
  await waits(database, migrating);
  open.release();
  await open.done;
  expect(await migrating).toMatchObject({ migrated: 0, needMapping: [] });
  const { rows } = await sql<{ version: number }>`
    select distinct v.version_number::int as version from contact_campaigns e join campaign_plan_versions v on v.id = e.plan_version_id
    where e.campaign_id = ${id}`.execute(database.owner);
  expect(rows).toEqual([{ version: 1 }]);
});

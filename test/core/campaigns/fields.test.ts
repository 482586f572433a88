/** Branches read the lead, the contact and the company that the message would be written for; a field that none of them has is refused. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { compilePlan } from "../../../core/campaigns/compile.ts";
import { explain } from "../../../core/campaigns/explain.ts";
import { fieldsIn } from "../../../core/campaigns/fields.ts";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { listSimulatedSends, simulate } from "../../../core/campaigns/simulate.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, readyTenant } from "../../support/outreach.ts";
import { arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();

const mail = (id: string) => ({ id, type: "send", channel: "email", content: { subject: id, text: id } }) as const;
const branching = (field: string): PlanInput => ({
  start: "which",
  nodes: [{ id: "which", type: "branch", cases: [{ when: { op: "exists", field }, to: "mail" }] }, mail("mail")],
});

const plan: PlanInput = {
  start: "which",
  nodes: [
    {
      id: "which",
      type: "branch",
      cases: [
        { when: { op: "eq", field: "contact.custom_fields.Plan tier", value: "gold" }, to: "gold" },
        { when: { op: "gt", field: "company.employee_count", value: 100 }, to: "large" },
        { when: { op: "eq", field: "company.name", value: "Only A Name" }, to: "named" },
        { when: { op: "contains", field: "lead.tags", value: "Warm" }, to: "warm" },
      ],
      else: "rest",
    },
    ...["gold", "large", "named", "warm", "rest"].map(mail),
  ],
};

test("live run, simulation and explain read the same fields of lead, contact and company", async () => {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const people: Record<string, string> = {};
  for (const name of ["gold", "large", "named", "warm", "rest"])
    people[name] = await person(database, tenant, { email: `${name}@example.com` });
  await arrange(database, tenant.tenantId, async (tx) => {
    const of = (name: string) => sql`tenant_id = ${tenant.tenantId} and email = ${`${name}@example.com`}`;
    await sql`insert into company.master (tenant_id, id, domain, name, employee_count)
              values (${tenant.tenantId}, 'com_1', 'large.example', 'Large', 101)`.execute(tx);
    await sql`update leads set company_id = 'com_1' where ${of("large")}`.execute(tx);
    await sql`update leads set company_name = 'Only A Name' where ${of("named")}`.execute(tx);
    await sql`update leads set tags = '{warm}' where ${of("warm")}`.execute(tx);
    await sql`update contacts set custom_fields = '{"Plan tier": "gold"}'
              where tenant_id = ${tenant.tenantId} and primary_email = 'gold@example.com'`.execute(tx);
  });
  const { id } = await createCampaign(tenant, { name: "Branches", plan: plan as never });
  const audience = { contactIds: Object.values(people) };
  const run = await simulate(tenant, { campaignId: id, audience });
  const { data } = await listSimulatedSends(tenant, { id: run.id ?? "", limit: 50 });
  await enroll(tenant, { campaignId: id, audience });
  await activate(tenant, { id });
  await pump(tenant);

  const expected = Object.entries(people).toSorted();
  const byNode = (sends: readonly { nodeId: string | null; contactId: string | null }[]) =>
    sends.map(({ nodeId, contactId }) => [nodeId, contactId]).toSorted();
  const live = await database.owner
    .selectFrom("outbound_messages")
    .select(["node_id as nodeId", "contact_id as contactId"])
    .where("tenant_id", "=", tenant.tenantId)
    .execute();
  expect(byNode(live)).toEqual(expected);
  expect(byNode(data)).toEqual(expected);
  const why = await explain(tenant, { campaignId: id, contactId: people["large"] ?? "", nodeId: "gold" });
  expect(why).toMatchObject({
    code: "path_not_taken",
    facts: { fieldsNow: { "company.employee_count": 101, "contact.custom_fields.Plan tier": null } },
  });
});

test.each([
  ["lead.stauts", "there is no field lead.stauts; did you mean lead.status?"],
  ["company.employees_count", "did you mean company.employee_count?"],
  ["contact.favourite", "there is no field contact.favourite; known here: id, tenant_id"],
  ["contact.custom_fields", "name one of them: contact.custom_fields.<name>"],
  ["company.employeeCount", "did you mean company.employee_count?"],
  ["lead.lead_score_factors", "there is no field lead.lead_score_factors"],
])("a condition on %s is refused, because it could never hold", (field, message) => {
  expect(compilePlan(branching(field))).toMatchObject({
    ok: false,
    problems: [
      {
        code: "condition_unknown_field",
        nodeId: "which",
        path: "nodes[0].cases[0].when",
        message: expect.stringContaining(message),
      },
    ],
  });
});

test.each(["leads.status", "lead", "company.", "contact.custom_fields.", "lead.a.b"])(
  "%s is no name of a field",
  (field) => {
    expect(compilePlan(branching(field))).toMatchObject({ ok: false, problems: [{ code: "invalid" }] });
  },
);

test("a tenant's own fields are named as the tenant calls them", () => {
  const compiled = compilePlan(branching("contact.custom_fields.Größe (cm)"));
  expect(compiled.ok).toBe(true);
  const records = { lead: null, contact: { custom_fields: { "Größe (cm)": 180, nested: { a: 1 } } }, company: null };
  expect(fieldsIn(records)).toEqual({ "contact.custom_fields.Größe (cm)": 180, "company.name": null });
});

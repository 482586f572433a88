/** Leads and contacts on real PostgreSQL. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import * as leads from "../../../core/leads/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();
const ada = {
  firstName: "Ada",
  lastName: "Lovelace",
  companyName: "Engines",
  email: "ADA@Engines.example",
  phone: "(202) 555-0123",
};
const create = async (tenant: TestTenant, input: Parameters<typeof leads.createLead>[1]) =>
  (await leads.createLead(tenant, input)).lead;

test("a created lead has normalised addresses and one contact that can be reached", async () => {
  const a = await newTenant(database);
  const { lead, contact } = await leads.createLead(a, { ...ada, timeZone: "Europe/London", tags: ["vip", "vip"] });
  expect(lead).toMatchObject({
    name: "Ada Lovelace",
    email: "ada@engines.example",
    phone: "+12025550123",
    status: "new",
    tags: ["vip"],
  });
  expect(contact).toMatchObject({
    leadId: lead.id,
    fullName: "Ada Lovelace",
    timeZone: "Europe/London",
    channels: [
      { channel: "email", address: "ada@engines.example", status: "active" },
      { channel: "sms", address: "+12025550123", status: "active" },
    ],
  });
  expect(await leads.getLead(a, { id: lead.id })).toEqual(lead);
});

test("a lead of nothing, a wrong address and a taken phone number are refused by field", async () => {
  const a = await newTenant(database);
  await expect(create(a, {})).rejects.toMatchObject({ code: "input.invalid" });
  await expect(create(a, { email: "nobody", phone: "12" })).rejects.toMatchObject({
    fields: [{ path: "email" }, { path: "phone" }],
  });
  const first = await create(a, ada);
  await expect(create(a, ada)).rejects.toMatchObject({ code: "lead.phone_taken", fields: [{ path: "phone" }] });
  const second = await create(a, { firstName: "Bob" });
  await expect(leads.updateLead(a, { id: second.id, phone: ada.phone })).rejects.toMatchObject({
    code: "lead.phone_taken",
  });
  await leads.deleteLead(a, { id: first.id });
  expect(await leads.updateLead(a, { id: second.id, phone: ada.phone })).toMatchObject({ phone: "+12025550123" });
});

test("of twenty who want one phone number at once, one gets it and the others hear why not", async () => {
  const a = await newTenant(database);
  const others = await Promise.all(Array.from({ length: 10 }, (_, n) => create(a, { firstName: `n${n}` })));
  const results = await Promise.allSettled([
    ...others.map(({ id }) => leads.updateLead(a, { id, phone: ada.phone })),
    ...others.map(() => create(a, { firstName: "x", phone: ada.phone })),
  ]);
  const refusals = results.flatMap((result) =>
    result.status === "rejected" ? [(result.reason as { code: string }).code] : [],
  );
  expect(refusals).toEqual(Array.from({ length: 19 }, () => "lead.phone_taken"));
});

test("a change of status is in the history with what made it, and every changed field in the audit log", async () => {
  const a = await newTenant(database);
  const { id } = await create(a, ada);
  await leads.updateLead(a, { id, status: "qualified", city: "London", state: null });
  await leads.setLeadStatus(a, { ids: [id], status: "hot", trigger: "scoring" });
  expect(await leads.setLeadStatus(a, { ids: [id], status: "hot", trigger: "reply" })).toEqual([]);
  expect((await leads.statusHistory(a, { id })).data).toMatchObject([
    { from: null, to: "new", trigger: "system" },
    { from: "new", to: "qualified", trigger: "manual" },
    { from: "qualified", to: "hot", trigger: "scoring" },
  ]);
  const { rows } =
    await sql`select field_name, old_value, new_value from lead_audit_log where lead_id = ${id} and field_name = 'city'`.execute(
      database.owner,
    );
  expect(rows).toEqual([{ field_name: "city", old_value: null, new_value: "London" }]);
});

test("the audit log knows every column of a lead but those that are counted or computed", async () => {
  const { rows } = await sql<{ name: string }>`
    select a.attname as name from pg_attribute a
    where a.attrelid = 'leads'::regclass and a.attnum > 0 and not a.attisdropped
      and not exists (select from pg_proc p where p.proname = 'record_lead_update'
        and p.prosrc ~ format('case when o.%I is distinct from n.%I then to_jsonb\\(n', a.attname, a.attname))
    order by 1`.execute(database.owner);
  expect(rows.map(({ name }) => name)).toEqual(
    "attempt_count last_attempt_at last_contact_date last_response_at name score updated_at".split(" "),
  );
});

test("a value that comes, changes and goes is in the audit log as text, a list and a document as JSON", async () => {
  const a = await newTenant(database);
  const { id } = await create(a, { firstName: "Ada", city: "London" });
  await leads.tagLeads(a, { ids: [id], add: ["vip"] });
  await leads.updateLead(a, { id, city: null, phone: "+12025550177" });
  const { rows } = await sql`
    select field_name, old_value, new_value from lead_audit_log where tenant_id = ${a.tenantId} order by field_name, id`.execute(
    database.owner,
  );
  expect(rows).toEqual([
    { field_name: "city", old_value: "London", new_value: null },
    { field_name: "phone_number", old_value: null, new_value: "+12025550177" },
    { field_name: "tags", old_value: "[]", new_value: '["vip"]' },
  ]);
});

test("tags are added and taken away in one go; only what changed is named", async () => {
  const a = await newTenant(database);
  const one = await create(a, { firstName: "One", tags: ["x"] });
  const two = await create(a, { firstName: "Two", tags: ["x", "y"] });
  expect(await leads.tagLeads(a, { ids: [one.id, two.id], add: ["y"], remove: ["z"] })).toEqual([one.id]);
  expect(await leads.tagLeads(a, { ids: [one.id, two.id], remove: ["x"] })).toHaveLength(2);
  expect((await leads.getLead(a, { id: two.id })).tags).toEqual(["y"]);
});

describe("listing", () => {
  test("filters combine", async () => {
    const a = await newTenant(database);
    const hot = await create(a, { ...ada, status: "hot", tags: ["a", "b"], source: "fair" });
    const bob = await create(a, { firstName: "Bob", lastName: "100% Real_Name", status: "new", tags: ["b"] });
    const ids = async (filter: Parameters<typeof leads.listLeads>[1]) =>
      (await leads.listLeads(a, filter)).data.map(({ id }) => id);
    expect(await ids({})).toEqual([bob.id, hot.id]);
    expect(await ids({ status: ["hot", "cold"] })).toEqual([hot.id]);
    expect(await ids({ status: "hot,cold", tagsAll: "a,b" })).toEqual([hot.id]);
    await expect(ids({ status: "hot,nonsense" })).rejects.toMatchObject({
      fields: [{ path: expect.stringContaining("status") }],
    });
    expect(await ids({ tagsAny: ["a", "c"] })).toEqual([hot.id]);
    expect(await ids({ tagsAll: ["a", "b"] })).toEqual([hot.id]);
    expect(await ids({ tagsAll: ["a", "c"] })).toEqual([]);
    expect(await ids({ q: "lovel" })).toEqual([hot.id]);
    expect(await ids({ q: "Ada@engines.example" })).toEqual([hot.id]);
    expect(await ids({ q: "202 555 0123" })).toEqual([hot.id]);
    expect(await ids({ q: "0% r" })).toEqual([bob.id]);
    expect(await ids({ q: "l_n" })).toEqual([bob.id]);
    expect(await ids({ q: "%%" })).toEqual([]);
    expect(await ids({ source: "fair", status: ["new"] })).toEqual([]);
  });

  test("pages list every lead once, also while new ones come in", async () => {
    const a = await newTenant(database);
    const made: string[] = [];
    for (let n = 0; n < 7; n++) made.push((await create(a, { firstName: `n${n}` })).id);
    const first = await leads.listLeads(a, { limit: 3 });
    await create(a, { firstName: "late" });
    const second = await leads.listLeads(a, { limit: 3, cursor: first.nextCursor ?? "" });
    const third = await leads.listLeads(a, { limit: 3, cursor: second.nextCursor ?? "" });
    expect([...first.data, ...second.data, ...third.data].map(({ id }) => id)).toEqual(made.toReversed());
    expect(third.nextCursor).toBeNull();
    await expect(leads.listLeads(a, { cursor: "garbage" })).rejects.toMatchObject({ code: "page.cursor_invalid" });
  });
});

test("a dead address is marked wherever it is, and only there", async () => {
  const a = await newTenant(database);
  const { contact } = await leads.createLead(a, ada);
  const other = await leads.addContact(a, { leadId: contact?.leadId ?? "", email: "ada@engines.example" });
  const bounced = { channel: "email", address: "ada@engines.example", status: "bounced" } as const;
  expect(await leads.markAddresses(a, { addresses: [bounced] })).toBe(2);
  expect(await leads.markAddresses(a, { addresses: [bounced] })).toBe(0);
  expect((await leads.getContact(a, { id: other.id })).channels).toMatchObject([{ status: "bounced" }]);
  const { data } = await leads.listContacts(a, { leadId: contact?.leadId ?? "" });
  expect(data.map(({ id }) => id)).toEqual([contact?.id, other.id]);
  expect(data[0]?.channels).toMatchObject([
    { channel: "email", status: "bounced" },
    { channel: "sms", status: "active" },
  ]);
});

test("a deleted lead, and its contacts, are gone for everyone", async () => {
  const a = await newTenant(database);
  const { lead, contact } = await leads.createLead(a, ada);
  await leads.deleteLead(a, { id: lead.id });
  const missing = { kind: "not_found" };
  await expect(leads.deleteLead(a, { id: lead.id })).rejects.toMatchObject(missing);
  await expect(leads.getLead(a, { id: lead.id })).rejects.toMatchObject(missing);
  await expect(leads.updateLead(a, { id: lead.id, city: "x" })).rejects.toMatchObject(missing);
  await expect(leads.addContact(a, { leadId: lead.id })).rejects.toMatchObject(missing);
  await expect(leads.getContact(a, { id: contact?.id ?? "" })).rejects.toMatchObject(missing);
  expect(await leads.setLeadStatus(a, { ids: [lead.id], status: "hot" })).toEqual([]);
  expect((await leads.listLeads(a, {})).data).toEqual([]);
  expect((await leads.listContacts(a, {})).data).toEqual([]);
});

test("another tenant's lead is like a missing one", async () => {
  const [a, b] = [await newTenant(database), await newTenant(database)];
  const { lead, contact } = await leads.createLead(a, ada);
  const { id } = lead;
  const missing = { code: "lead.not_found" };
  await expect(leads.getLead(b, { id })).rejects.toMatchObject(missing);
  await expect(leads.updateLead(b, { id, city: "x" })).rejects.toMatchObject(missing);
  await expect(leads.deleteLead(b, { id })).rejects.toMatchObject(missing);
  await expect(leads.statusHistory(b, { id })).rejects.toMatchObject(missing);
  await expect(leads.addContact(b, { leadId: id })).rejects.toMatchObject(missing);
  await expect(leads.getContact(b, { id: contact?.id ?? "" })).rejects.toMatchObject({ code: "contact.not_found" });
  await expect(create(b, { firstName: "x", ownerId: a.actor.id })).rejects.toMatchObject({ code: "actor.not_found" });
  expect(await leads.setLeadStatus(b, { ids: [id], status: "hot" })).toEqual([]);
  expect(await leads.tagLeads(b, { ids: [id], add: ["x"] })).toEqual([]);
  expect(
    await leads.markAddresses(b, {
      addresses: [{ channel: "email", address: "ada@engines.example", status: "invalid" }],
    }),
  ).toBe(0);
  expect((await leads.listLeads(b, {})).data).toEqual([]);
  expect((await leads.listContacts(b, { leadId: id })).data).toEqual([]);
  await expect(create(b, ada)).resolves.toMatchObject({ phone: "+12025550123" });
});

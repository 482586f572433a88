/** Segments on real PostgreSQL: a filter is data, every filter compiles, and nobody counts another tenant's people. */
import fc from "fast-check";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { channels, type DomainError, newId, transact } from "../../../core/kernel/index.ts";
import * as leads from "../../../core/leads/index.ts";
import * as segments from "../../../core/segments/index.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();
type Filter = segments.Filter;

/** Three people: a banker who can be e-mailed and texted, a baker who can be e-mailed, and a lead without anything. */
async function people(tenant: TestTenant): Promise<Record<"banker" | "baker" | "blank", string>> {
  const company = newId("company", new Date());
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into company.master (tenant_id, id, domain, industry, employee_count) values (${tenant.tenantId}, ${company}, 'bank.example', 'Banks', 500)`.execute(
      tx,
    ),
  );
  const add = async (input: Parameters<typeof leads.createLead>[1]): Promise<string> => {
    const { contact, lead } = await leads.createLead(tenant, input);
    return contact?.id ?? (await leads.addContact(tenant, { leadId: lead.id })).id;
  };
  const banker = await add({
    firstName: "Banker",
    email: "b@bank.example",
    phone: "202 555 0101",
    state: "NY",
    status: "hot",
    tags: ["vip", "east"],
  });
  const baker = await add({
    firstName: "Baker",
    email: "baker@oven.example",
    state: "CA",
    tags: ["west"],
    companyName: "50%_off",
  });
  const blank = await add({ firstName: "Blank" });
  await arrange(database, tenant.tenantId, async (tx) => {
    await sql`update leads set company_id = ${company}, lead_score = 80 where first_name = 'Banker' and tenant_id = ${tenant.tenantId}`.execute(
      tx,
    );
  });
  return { banker, baker, blank };
}

describe("filters", async () => {
  const tenant = await newTenant(database);
  const who = await people(tenant);
  const cases: readonly [string, Filter, readonly (keyof typeof who)[]][] = [
    ["equality", { op: "eq", field: "lead.state", value: "NY" }, ["banker"]],
    ["in", { op: "in", field: "lead.state", value: ["NY", "CA"] }, ["banker", "baker"]],
    ["an absent value differs from nothing", { op: "neq", field: "lead.state", value: "NY" }, ["baker"]],
    ["not includes the absent", { not: { op: "eq", field: "lead.state", value: "NY" } }, ["baker", "blank"]],
    ["contains, wildcards are letters", { op: "contains", field: "lead.companyName", value: "%_O" }, ["baker"]],
    ["starts with", { op: "starts_with", field: "company.industry", value: "bank" }, ["banker"]],
    ["any tag", { op: "tags_any", value: ["vip", "west"] }, ["banker", "baker"]],
    ["all tags", { op: "tags_all", value: ["vip", "east"] }, ["banker"]],
    ["no tag", { op: "tags_none", value: ["vip", "west"] }, ["blank"]],
    ["score", { op: "gte", field: "lead.score", value: 80 }, ["banker"]],
    ["company size", { op: "gt", field: "company.employeeCount", value: 499.5 }, ["banker"]],
    ["has a channel", { op: "has_channel", value: "sms" }, ["banker"]],
    ["lacks a channel", { op: "lacks_channel", value: "email" }, ["blank"]],
    ["recent", { op: "within_days", field: "lead.createdAt", value: 1 }, ["banker", "baker", "blank"]],
    ["before", { op: "before", field: "lead.createdAt", value: "2020-01-01T00:00:00Z" }, []],
    ["set", { op: "set", field: "company.revenue" }, []],
    ["not set", { op: "not_set", field: "company.industry" }, ["baker", "blank"]],
    [
      "and",
      {
        and: [
          { op: "set", field: "lead.state" },
          { op: "tags_any", value: ["west"] },
        ],
      },
      ["baker"],
    ],
    [
      "or inside and",
      {
        and: [
          {
            or: [
              { op: "eq", field: "lead.state", value: "NY" },
              { op: "eq", field: "lead.state", value: "CA" },
            ],
          },
          { op: "eq", field: "lead.status", value: "hot" },
        ],
      },
      ["banker"],
    ],
  ];

  test.each(cases)("%s", async (_, filter, expected) => {
    const { data } = await segments.members(tenant, { filter });
    expect(data).toEqual(expected.map((name) => who[name]).sort());
    expect(await segments.count(tenant, { filter })).toEqual({ contacts: expected.length, leads: expected.length });
  });

  test("SQL in a value is a value", async () => {
    const filter: Filter = { op: "eq", field: "lead.state", value: "'; drop table leads; --" };
    expect((await segments.members(tenant, { filter })).data).toEqual([]);
  });

  test.each([
    ["an unknown field", { op: "eq", field: "lead.tenant_id", value: "x" }],
    ["a column that is no field", { op: "eq", field: "l.id", value: "x" }],
    ["an operator of another kind", { op: "gt", field: "lead.state", value: 1 }],
    ["a value of another kind", { op: "eq", field: "lead.state", value: 1 }],
    ["a further key", { op: "eq", field: "lead.state", value: "x", sql: "1" }],
    [
      "an instant that nothing can be stored at",
      { op: "before", field: "lead.createdAt", value: "0000-01-01T00:00:00Z" },
    ],
    ["a day that there is not", { op: "after", field: "lead.createdAt", value: "2026-02-30T00:00:00Z" }],
    ["an empty group", { and: [] }],
    ["two meanings", { and: [{ op: "set", field: "lead.state" }], not: { op: "set", field: "lead.state" } }],
    ["nothing", null],
  ])("refused: %s", async (_, filter) => {
    await expect(segments.count(tenant, { filter: filter as Filter })).rejects.toMatchObject({ kind: "invalid" });
  });

  test("what nobody knows is refused by its place, with its value and what is known there", async () => {
    const refusal = (filter: unknown) =>
      segments.count(tenant, { filter: filter as Filter }).catch((error: DomainError) => error.fields);
    expect(
      await refusal({
        and: [
          { op: "set", field: "lead.state" },
          { op: "eq", field: "lead.colour", value: "red" },
        ],
      }),
    ).toEqual([
      {
        path: "filter.and[1].field",
        value: "lead.colour",
        message: expect.stringMatching(/^unknown field; eq takes lead\.status, .*company\.location$/),
      },
    ]);
    expect(await refusal({ not: { op: "gt", field: "lead.state", value: 1 } })).toEqual([
      {
        path: "filter.not.field",
        value: "lead.state",
        message: expect.stringMatching(/^a field of another kind; gt takes lead\.score, /),
      },
    ]);
    expect(await refusal({ op: "like", field: "lead.state", value: "x" })).toEqual([
      { path: "filter.op", value: "like", message: expect.stringMatching(/^unknown operator; known here: eq, neq, /) },
    ]);
    expect(await refusal({ op: "set" })).toMatchObject([
      { path: "filter.field", message: expect.stringContaining("lead.status") },
    ]);
    expect(await refusal({ op: "constructor", field: "lead.state" })).toMatchObject([{ path: "filter.op" }]);
  });

  test("refused: nesting and size without bound, in no time", async () => {
    let deep: Filter = { op: "set", field: "lead.state" };
    for (let n = 0; n < 5_000; n++) deep = { not: deep };
    await expect(segments.count(tenant, { filter: deep })).rejects.toMatchObject({ kind: "invalid" });
    const wide = {
      or: Array.from({ length: 50 }, () => ({
        or: Array.from({ length: 50 }, () => ({ op: "set", field: "lead.state" })),
      })),
    };
    await expect(segments.count(tenant, { filter: wide as Filter })).rejects.toMatchObject({ kind: "invalid" });
  });

  test("whatever parses runs, and not is the complement", async () => {
    const word = fc.constantFrom("NY", "x'y", "%", "\\", "é");
    const keys = <T extends object>(fields: T) => fc.constantFrom(...(Object.keys(fields) as (keyof T & string)[]));
    const leaf: fc.Arbitrary<Filter> = fc.oneof(
      fc.record({
        op: fc.constantFrom("eq", "neq", "contains", "starts_with"),
        field: keys(segments.textFields),
        value: word,
      }),
      fc.record({
        op: fc.constantFrom("in", "not_in"),
        field: keys(segments.textFields),
        value: fc.array(word, { minLength: 1 }),
      }),
      fc.record({
        op: fc.constantFrom("gt", "lte", "equals"),
        field: keys(segments.numberFields),
        value: fc.double({ noNaN: true, noDefaultInfinity: true }),
      }),
      fc.record({
        op: fc.constant("within_days"),
        field: keys(segments.timeFields),
        value: fc.integer({ min: 1, max: 3_650 }),
      }),
      fc.record({
        op: fc.constantFrom("set", "not_set"),
        field: keys({ ...segments.textFields, ...segments.numberFields, ...segments.timeFields }),
      }),
      fc.record({ op: fc.constantFrom("tags_any", "tags_all", "tags_none"), value: fc.array(word, { minLength: 1 }) }),
      fc.record({ op: fc.constantFrom("has_channel", "lacks_channel"), value: fc.constantFrom(...channels) }),
    ) as fc.Arbitrary<Filter>;
    const { filter } = fc.letrec<{ filter: Filter }>((tie) => ({
      filter: fc.oneof(
        { maxDepth: 3, withCrossShrink: true },
        leaf,
        fc.record({ and: fc.array(tie("filter"), { minLength: 1, maxLength: 3 }) }) as fc.Arbitrary<Filter>,
        fc.record({ or: fc.array(tie("filter"), { minLength: 1, maxLength: 3 }) }) as fc.Arbitrary<Filter>,
        fc.record({ not: tie("filter") }) as fc.Arbitrary<Filter>,
      ),
    }));
    await fc.assert(
      fc.asyncProperty(filter, async (filter) => {
        const [some, rest] = [
          await segments.count(tenant, { filter }),
          await segments.count(tenant, { filter: { not: filter } }),
        ];
        expect(some.contacts + rest.contacts).toBe(3);
      }),
      { numRuns: 60 },
    );
  });
});

const everyone: Filter = { op: "set", field: "lead.createdAt" };

test("who may not be reached is in no segment", async () => {
  const a = await newTenant(database);
  const { banker, baker, blank } = await people(a);
  const { leadId } = await leads.getContact(a, { id: banker });
  await leads.setLeadStatus(a, { ids: [leadId], status: "dnc" });
  await leads.deleteLead(a, { id: (await leads.getContact(a, { id: blank })).leadId });
  expect((await segments.members(a, { filter: everyone })).data).toEqual([baker]);
});

test("pages of members cover everyone once, in id order; a use case may take any page size", async () => {
  const a = await newTenant(database);
  const ids = Object.values(await people(a)).sort();
  const first = await segments.members(a, { filter: everyone, limit: 2 });
  const second = await segments.members(a, { filter: everyone, limit: 2, cursor: first.nextCursor ?? "" });
  expect([...first.data, ...second.data]).toEqual(ids);
  expect(second.nextCursor).toBeNull();
  expect(await transact(a, (ctx) => segments.membersPage(ctx, everyone, { after: ids[0], limit: 10_000 }))).toEqual(
    ids.slice(1),
  );
});

test("a segment is counted when it is made, changed and refreshed", async () => {
  const a = await newTenant(database);
  await people(a);
  const made = await segments.createSegment(a, { name: "NY", filter: { op: "eq", field: "lead.state", value: "NY" } });
  expect(made).toMatchObject({ name: "NY", leadCount: 1 });
  await expect(segments.createSegment(a, { name: "NY", filter: everyone })).rejects.toMatchObject({
    code: "segment.exists",
  });
  expect(await segments.updateSegment(a, { id: made.id, filter: everyone })).toMatchObject({
    name: "NY",
    leadCount: 3,
  });
  await leads.createLead(a, { firstName: "More", email: "more@example.com" });
  expect(await segments.getSegment(a, { id: made.id })).toMatchObject({ leadCount: 3 });
  expect(await segments.refreshSegment(a, { id: made.id })).toMatchObject({ leadCount: 4 });
  await segments.deleteSegment(a, { id: made.id });
  await expect(segments.getSegment(a, { id: made.id })).rejects.toMatchObject({ code: "segment.not_found" });
  expect((await segments.listSegments(a, {})).data).toEqual([]);
  await segments.createSegment(a, { name: "NY", filter: everyone });
});

test("another tenant's segment is like a missing one, and its people are counted by nobody else", async () => {
  const [a, b] = [await newTenant(database), await newTenant(database)];
  await people(a);
  const { id } = await segments.createSegment(a, { name: "all", filter: everyone });
  const missing = { code: "segment.not_found" };
  await expect(segments.getSegment(b, { id })).rejects.toMatchObject(missing);
  await expect(segments.updateSegment(b, { id, name: "mine" })).rejects.toMatchObject(missing);
  await expect(segments.refreshSegment(b, { id })).rejects.toMatchObject(missing);
  await expect(segments.deleteSegment(b, { id })).rejects.toMatchObject(missing);
  await expect(segments.members(b, { id })).rejects.toMatchObject(missing);
  await expect(segments.count(b, { id })).rejects.toMatchObject(missing);
  expect(await segments.count(b, { filter: everyone })).toEqual({ contacts: 0, leads: 0 });
  expect((await segments.listSegments(b, {})).data).toEqual([]);
  expect(await segments.count(a, { id })).toEqual({ contacts: 3, leads: 3 });
});

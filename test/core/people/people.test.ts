/** Golden records of people and companies, read by their tenant and nobody else. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import * as companies from "../../../core/companies/index.ts";
import { newId } from "../../../core/kernel/index.ts";
import * as people from "../../../core/people/index.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();

async function records(tenant: TestTenant): Promise<{ company: string; person: string }> {
  const company = newId("company", new Date());
  const person = newId("person", new Date());
  await arrange(database, tenant.tenantId, async (tx) => {
    await sql`insert into company.master (tenant_id, id, domain, name, industry) values (${tenant.tenantId}, ${company}, 'acme.example', 'Acme', 'Banks')`.execute(
      tx,
    );
    await sql`insert into people.master (tenant_id, id, email, name, company_id, source)
      values (${tenant.tenantId}, ${person}, 'ada@acme.example', 'Ada', ${company}, 'test')`.execute(tx);
    await sql`update company.master set name = 'Acme Inc' where id = ${company}`.execute(tx);
    await sql`update people.master set title = 'CTO' where id = ${person}`.execute(tx);
    await sql`update people.master set title = 'CEO' where id = ${person}`.execute(tx);
  });
  return { company, person };
}

describe("golden records", () => {
  test("are found by id, address and domain, and tell how they changed", async () => {
    const a = await newTenant(database);
    const { company, person } = await records(a);
    expect(await people.get(a, { id: person })).toMatchObject({
      email: "ada@acme.example",
      title: "CEO",
      companyId: company,
    });
    expect((await people.list(a, { email: "ADA@acme.example" })).data.map(({ id }) => id)).toEqual([person]);
    expect((await people.list(a, { companyId: company })).data.map(({ id }) => id)).toEqual([person]);
    expect((await people.list(a, { email: "nonsense" })).data).toEqual([]);
    expect((await companies.list(a, { domain: "ACME.example", industry: "Banks" })).data).toMatchObject([
      { name: "Acme Inc" },
    ]);
    expect((await people.history(a, { id: person })).data).toMatchObject([
      { fields: ["title"], old: { title: "CTO" }, new: { title: "CEO" } },
      { fields: ["title"], old: { title: null }, new: { title: "CTO" } },
    ]);
    expect((await companies.history(a, { id: company })).data).toMatchObject([{ new: { name: "Acme Inc" } }]);
  });

  test("history goes page by page", async () => {
    const a = await newTenant(database);
    const { person } = await records(a);
    const first = await people.history(a, { id: person, limit: 1 });
    const second = await people.history(a, { id: person, limit: 1, cursor: first.nextCursor ?? "" });
    expect([first, second].flatMap(({ data }) => data.map((change) => change.new))).toEqual([
      { title: "CEO" },
      { title: "CTO" },
    ]);
    expect(second.nextCursor).toBeNull();
  });

  test("of another tenant are like missing ones", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const { company, person } = await records(a);
    await expect(people.get(b, { id: person })).rejects.toMatchObject({ code: "person.not_found" });
    await expect(people.history(b, { id: person })).rejects.toMatchObject({ code: "person.not_found" });
    await expect(companies.get(b, { id: company })).rejects.toMatchObject({ code: "company.not_found" });
    await expect(companies.history(b, { id: company })).rejects.toMatchObject({ code: "company.not_found" });
    expect((await people.list(b, {})).data).toEqual([]);
    expect((await companies.list(b, {})).data).toEqual([]);
  });
});

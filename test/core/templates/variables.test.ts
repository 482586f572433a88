/** What authors are told exists in a template is what the records hold that messages are made from. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { variablesOf } from "../../../core/messages/index.ts";
import { plainVariables, recordVariables } from "../../../core/templates/variables.ts";
import { testDatabase } from "../../support/database.ts";

const database = await testDatabase();

test.each([
  ["contact", "contacts", []],
  ["company", "company.master", ["provenance"]],
  ["lead", "leads", ["raw_data", "flags"]],
])("the fields of a %s are the columns of %s but %j", async (record, table, hidden) => {
  const { rows } = await sql<{ name: string }>`select attname as name from pg_attribute
    where attrelid = ${table}::regclass and attnum > 0 and not attisdropped`.execute(database.owner);
  const columns = rows.map(({ name }) => name).filter((name) => !hidden.includes(name));
  expect([...(recordVariables[record] ?? [])].toSorted()).toEqual(columns.toSorted());
});

test("beside the contact's fields nothing is known that a message does not give, and nothing is missing", () => {
  const given = variablesOf({
    contact: Object.fromEntries((recordVariables["contact"] ?? []).map((name) => [name, "x"])),
    lead: {},
    company: {},
    sender: null,
    tenant_name: "T",
    campaign_name: "C",
    to_address: "a@example.com",
  });
  const made = ["unsubscribe_url", "postal_address"];
  expect([...new Set(plainVariables)].toSorted()).toEqual([...Object.keys(given), ...made].toSorted());
});

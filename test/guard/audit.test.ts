/** Every change of a lead is audited: the function that compares its columns knows the columns that there are. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();

/** Kept by triggers, or other names of audited columns. */
const unaudited = [
  "updated_at",
  "name",
  "score",
  "last_contact_date",
  "attempt_count",
  "last_attempt_at",
  "last_response_at",
];

const columns = async (): Promise<string[]> => {
  const { rows } = await sql<{ name: string }>`
    select attname as name from pg_attribute where attrelid = 'public.leads'::regclass and attnum > 0 and not attisdropped`.execute(
    database.owner,
  );
  return rows.map(({ name }) => name).toSorted();
};

/** Those that the trigger's function reads on both sides. */
const compared = async (): Promise<string[]> => {
  const { rows } = await sql<{
    source: string;
  }>`select prosrc as source from pg_proc where oid = 'record_lead_update()'::regprocedure`.execute(database.owner);
  const pairs = (rows[0]?.source ?? "").matchAll(/o\.("?)(\w+)\1 is distinct from n\.("?)(\w+)\3/g);
  return [...new Set([...pairs].map(([, , was, , now]) => (was === now ? String(was) : `${was}/${now}`)))].toSorted();
};

test("the audit of leads compares every column that is there, but those it names", async () => {
  const all = await columns();
  expect(all).toEqual(expect.arrayContaining(unaudited));
  expect(await compared()).toEqual(all.filter((name) => !unaudited.includes(name)));
});

test("a migration that adds or drops a column without audit_lead_columns() is noticed", async () => {
  const before = await compared();
  await sql`alter table leads add column planted text`.execute(database.owner);
  expect(await compared()).toEqual(before);
  expect((await columns()).filter((name) => !unaudited.includes(name))).not.toEqual(before);
  await sql`select audit_lead_columns()`.execute(database.owner);
  expect(await compared()).toEqual([...before, "planted"].toSorted());
});

/** The five seeds are covered: every item is in the live catalogue, or deviates for a stated reason, or belongs to a part to come. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { testDatabase } from "../../support/database.ts";
import { readCatalogue } from "./catalogue.ts";
import { check } from "./checks.ts";
import { deviations, type RuleName, rules } from "./deviations.ts";
import { views } from "./document.ts";
import { type Item, isLater, items, laterParts } from "./inventory.ts";

const database = await testDatabase({ max: 2 });
const catalogue = await readCatalogue(database.owner);

const findings = items.filter((item) => !isLater(item)).map((item) => ({ item, ...check(item, catalogue) }));
const different = findings.filter(({ problems }) => problems.length > 0);
const isExplained = (id: string): boolean => deviations.some((deviation) => deviation.id === id);

const asked = (id: string, change: Partial<Item>): Item => {
  const item = items.find((one) => one.id === id);
  if (!item) throw new Error(`no item ${id}`);
  return { ...item, id: `planted ${id}`, ...change };
};

/** Items as a seed might state them, and as the database is not. */
const planted = [
  { what: "a table", item: asked("000.T.leads", { table: "leds" }) },
  { what: "a column", item: asked("000.C.leads.city", { name: "town" }) },
  { what: "a type", item: asked("000.C.leads.city", { detail: "integer; nullable" }) },
  { what: "a column that may be null", item: asked("000.C.leads.city", { detail: "text; NOT NULL" }) },
  { what: "a column that may not", item: asked("000.C.leads.source_type", { detail: "text; nullable" }) },
  { what: "a default", item: asked("000.C.leads.status", { detail: "text; nullable; DEFAULT 'old'" }) },
  { what: "a missing default", item: asked("000.C.leads.city", { detail: "text; nullable; DEFAULT 'Ulm'" }) },
  { what: "a key", item: asked("000.C.leads.city", { detail: "text; PRIMARY KEY" }) },
  { what: "a foreign key", item: asked("000.K.contacts.lead_id.fk", { name: "contacts.lead_id → actors.id" }) },
  {
    what: "a rule of deletion",
    item: asked("000.K.contacts.lead_id.fk", { detail: "FOREIGN KEY ON DELETE SET NULL" }),
  },
  {
    what: "an index's keys",
    item: asked("000.I.leads_status_idx", { detail: "btree index on leads (tenant_id, city)" }),
  },
  {
    what: "an index's predicate",
    item: asked("000.I.leads_status_idx", { detail: "btree leads(status) WHERE deleted_at IS NULL" }),
  },
  { what: "an index's method", item: asked("004.I.idx_leads_tags", { detail: "btree leads(tags)" }) },
  { what: "uniqueness", item: asked("000.I.leads_status_idx", { detail: "UNIQUE leads(tenant_id, status)" }) },
  { what: "a word", item: asked("000.E.leads.status", { detail: "new | lukewarm" }) },
  { what: "something of an unknown kind", item: asked("004.G.trigger_leads_updated_at", {}) },
];

/** By kind, so that a whole kind going missing cannot hide in a sum. */
const count = (list: readonly Item[]): Readonly<Record<string, number>> =>
  Object.fromEntries([...Map.groupBy(list, ({ kind }) => kind)].map(([kind, group]) => [kind, group.length]));

describe("the seeds' checklist", () => {
  test("every item is present, or differs for a stated reason", () => {
    const unexplained = different.filter(({ item }) => !isExplained(item.id));
    expect(unexplained.map(({ item, problems }) => `${item.id}: ${problems.join("; ")}`)).toEqual([]);
  });

  test("no deviation is stated that is not there, and none twice", () => {
    const needed = new Set(different.map(({ item }) => item.id));
    expect(deviations.filter(({ id }) => !needed.has(id)).map(({ id }) => id)).toEqual([]);
    expect(new Set(deviations.map(({ id }) => id)).size).toBe(deviations.length);
  });

  test("every deviation names a decision, and the place it points at exists", () => {
    const cites = /design §|C-\d\d|D-\d\d|map §/;
    expect(deviations.filter(({ reason }) => !cites.test(reason)).map(({ id }) => id)).toEqual([]);
    const lost = deviations.filter(({ where }) => where !== undefined && !catalogue.places.has(where));
    expect(lost.map(({ id, where }) => `${id}: ${where}`)).toEqual([]);
  });

  test("every general rule is needed by some item", () => {
    const used = new Set(findings.flatMap((finding) => finding.rules));
    expect((Object.keys(rules) as RuleName[]).filter((rule) => !used.has(rule))).toEqual([]);
  });

  test("a table of a later part is not here yet: its part takes the name out of the list", () => {
    expect(laterParts.filter((table) => catalogue.relations.has(table))).toEqual([]);
  });

  test("the views are made of what the page about the seeds says", async () => {
    const { rows } = await sql<{ view: string; parts: readonly string[] }>`
      select v.oid::regclass::text as view, array_agg(distinct d.refobjid::regclass::text) as parts
      from pg_class v join pg_rewrite r on r.ev_class = v.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
      where v.relkind = 'v' and v.oid::regclass::text = any (${Object.keys(views)}) group by v.oid`.execute(
      database.owner,
    );
    const sorted = (of: readonly string[]) => of.toSorted();
    expect(Object.fromEntries(rows.map(({ view, parts }) => [view, sorted(parts)]))).toEqual(
      Object.fromEntries(Object.entries(views).map(([view, parts]) => [view, sorted(parts)])),
    );
    const named = new Set(items.flatMap(({ kind, table }) => (kind === "table" && table !== undefined ? [table] : [])));
    const unlisted = [...named].filter((table) => catalogue.relations.get(table)?.kind === "view" && !(table in views));
    expect(unlisted).toEqual([]);
  });

  test.each(planted)("the check bites: $what", ({ item }) => {
    expect(check(item, catalogue).problems).not.toEqual([]);
  });

  test("nothing is left out: present, deviating and later add up to the whole", () => {
    const later = items.filter(isLater);
    const present = findings.filter(({ problems }) => problems.length === 0).map(({ item }) => item);
    const deviating = different.map(({ item }) => item);
    const byRule = findings.filter(({ problems, rules }) => problems.length === 0 && rules.length > 0).length;
    console.log(
      `seed items: ${present.length} present (${byRule} of them by a general rule), ${deviating.length} deviating, ${later.length} later, ${items.length} in all`,
    );
    expect({ present: count(present), deviating: count(deviating), later: count(later) }).toMatchInlineSnapshot(`
      {
        "deviating": {
          "column": 8,
          "constraint": 20,
          "enum": 12,
          "function": 1,
          "index": 29,
          "policy": 2,
          "schema": 1,
        },
        "later": {
          "column": 91,
          "constraint": 13,
          "enum": 14,
          "index": 4,
          "table": 13,
          "type": 8,
          "validation-schema": 6,
        },
        "present": {
          "column": 418,
          "constraint": 54,
          "enum": 53,
          "function": 16,
          "index": 18,
          "policy": 12,
          "query": 24,
          "schema": 8,
          "table": 57,
          "trigger": 1,
          "type": 11,
          "validation-schema": 5,
        },
      }
    `);
    expect(present.length + deviating.length + later.length).toBe(items.length);
    expect(new Set(items.map(({ id }) => id)).size).toBe(items.length);
  });
});

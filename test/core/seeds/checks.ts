/**
 * Compares one item of the checklist with the live catalogue. Invariant: every answer is a list of what is missing or different; an item
 * that nothing here knows how to check is different, too.
 */
import type { Catalogue, Column, Relation } from "./catalogue.ts";
import type { RuleName } from "./deviations.ts";
import { expectations } from "./expectations.ts";
import { columnFacts, type IndexFacts, type Item, indexFacts, referenceOf, vocabularyOf } from "./inventory.ts";

export interface Finding {
  readonly problems: readonly string[];
  /** General decisions without which it would be different. */
  readonly rules: readonly RuleName[];
}

/** Tables that two seeds name differently. */
const synonyms: Readonly<Record<string, string>> = {
  users: "actors",
  lead_point_of_contacts: "contacts",
  email_campaigns: "marketing.campaigns",
};

export function check(item: Item, catalogue: Catalogue): Finding {
  const expectation = expectations[item.id];
  if (expectation) return { problems: expectation(catalogue, item), rules: [] };
  if (item.kind === "table") return { problems: present(catalogue, item.table), rules: [] };
  const relation = catalogue.relations.get(item.table ?? "");
  if (!relation) return { problems: [`no relation ${item.table ?? "(none named)"}`], rules: [] };
  if (item.kind === "column") return checkColumn(item, relation);
  if (item.kind === "index") return checkIndex(item, relation);
  if (item.kind === "constraint") return checkReference(item, relation);
  if (item.kind === "enum") return { problems: checkWords(item, relation), rules: [] };
  return { problems: [`nothing knows how to check a ${item.kind}`], rules: [] };
}

const present = (catalogue: Catalogue, table: string | undefined): readonly string[] =>
  table !== undefined && catalogue.relations.has(table) ? [] : [`no relation ${table ?? "(none named)"}`];

function checkColumn(item: Item, relation: Relation): Finding {
  const column = relation.columns.get(item.name);
  if (!column) return { problems: [`no column ${relation.name}.${item.name}`], rules: [] };
  const facts = columnFacts(item);
  const rules = new Set<RuleName>();
  const problems: string[] = [];
  if (facts.type !== undefined) problems.push(...checkType(facts.type, column, rules));
  const reference = referenceOf(item);
  if (relation.kind === "view") {
    if (facts.notNull !== undefined || facts.default !== undefined || reference) rules.add("view");
    return { problems, rules: [...rules] };
  }
  problems.push(...checkPresence(facts.notNull, column, rules), ...checkDefault(facts.default, column, rules));
  if (facts.isKey && !relation.indexes.some(({ primary, keys }) => primary && keys.includes(item.name))) {
    problems.push(`${item.name} is not in the primary key`);
  }
  if (facts.isKey && relation.columns.has("tenant_id")) rules.add("tenant-key");
  if (reference) {
    const found = checkReference(item, relation);
    problems.push(...found.problems);
    for (const rule of found.rules) rules.add(rule);
  }
  return { problems, rules: [...rules] };
}

/** The seed's type → what stands for it here, and by which decision. */
const conversions: Readonly<Record<string, readonly [string, RuleName]>> = {
  bigserial: ["text", "ids"],
  uuid: ["text", "ids"],
  varchar: ["text", "text"],
  timestamp: ["timestamp with time zone", "time"],
};

function checkType(type: string, column: Column, rules: Set<RuleName>): readonly string[] {
  const [expected, rule] = conversions[type] ?? [type, null];
  if (column.type === expected) {
    if (rule !== null) rules.add(rule);
    return [];
  }
  return [`type ${column.type} instead of ${type}`];
}

function checkPresence(notNull: boolean | undefined, column: Column, rules: Set<RuleName>): readonly string[] {
  if (notNull === undefined || notNull === column.notNull) return [];
  if (notNull) return ["may be null"];
  if (column.default === null) return ["may not be null"];
  rules.add("one-empty");
  return [];
}

function checkDefault(stated: string | undefined, column: Column, rules: Set<RuleName>): readonly string[] {
  if (stated === undefined) return [];
  const own = (column.default ?? "none").replace(/::[\w ]+(\[\])?$/, "").replace(/^'(.*)'$/, "$1");
  if (/^(generateId|createId|uuid_generate_v4)/.test(stated)) {
    rules.add("ids");
    return own.startsWith("new_id(") ? [] : [`default ${own} instead of a new id`];
  }
  if (stated === "now()") {
    rules.add("clock");
    return own === "app_now()" ? [] : [`default ${own} instead of the present`];
  }
  return own === stated.replace(/^'(.*)'$/, "$1") ? [] : [`default ${own} instead of ${stated}`];
}

function checkReference(item: Item, relation: Relation): Finding {
  const reference = referenceOf(item);
  if (!reference) return { problems: ["nothing knows how to check this constraint"], rules: [] };
  const target = synonyms[reference.target] ?? reference.target;
  const key = relation.foreignKeys.find((one) => one.columns.includes(reference.column) && one.target === target);
  const named = `${relation.name}.${reference.column} → ${target}`;
  if (!key) return { problems: [`no foreign key ${named}`], rules: [] };
  if (reference.onDelete !== undefined && key.onDelete !== reference.onDelete) {
    return { problems: [`${named}: on delete ${key.onDelete} instead of ${reference.onDelete}`], rules: [] };
  }
  return { problems: [], rules: key.columns.includes("tenant_id") && key.columns.length > 1 ? ["tenant-key"] : [] };
}

function checkIndex(item: Item, relation: Relation): Finding {
  const facts = indexFacts(item);
  if (!facts) return { problems: ["nothing knows how to check this index"], rules: [] };
  const index = relation.indexes.find(({ name }) => name === item.name);
  if (!index) return { problems: [`no index ${item.name} on ${relation.name}`], rules: [] };
  const [first, ...rest] = index.keys.map(plain);
  const wanted = facts.keys.map(plain);
  const isSame = (keys: readonly (string | undefined)[]): boolean => keys.join() === wanted.join();
  const rules: RuleName[] = [];
  if (!isSame([first, ...rest])) {
    if (first !== "tenant_id" || !isSame(rest)) return { problems: [`keys ${index.keys.join(", ")}`], rules: [] };
    rules.push("tenant-key");
  }
  return { problems: shapeProblems(facts, index), rules };
}

function shapeProblems(
  facts: IndexFacts,
  index: { readonly method: string; readonly unique: boolean; readonly where: string | null },
): readonly string[] {
  const problems: string[] = [];
  if (index.method !== facts.method) problems.push(`method ${index.method}`);
  if (index.unique !== facts.unique) problems.push(index.unique ? "is unique" : "is not unique");
  if (plain(index.where ?? "") !== plain(facts.where ?? "")) problems.push(`where ${index.where ?? "nothing"}`);
  return problems;
}

const plain = (sql: string): string => sql.toLowerCase().replace(/::\w+/g, "").replace(/[()]/g, "").trim();

/** A column with a list allows the seed's words; a column without one allows any. In a view they are words it writes. */
function checkWords(item: Item, relation: Relation): readonly string[] {
  const vocabulary = vocabularyOf(item);
  if (!vocabulary) return ["nothing knows how to check this vocabulary"];
  if (!relation.columns.has(vocabulary.column)) return [`no column ${relation.name}.${vocabulary.column}`];
  const source = relation.kind === "view" ? (relation.definition ?? "") : listOf(relation, vocabulary.column);
  if (source === null) return [];
  return vocabulary.words.filter((word) => !source.includes(`'${word}'`)).map((word) => `no word ${word}`);
}

const listOf = (relation: Relation, column: string): string | null =>
  relation.checks.find((definition) => new RegExp(`\\(${column} = ANY|\\(${column} = '`).test(definition)) ?? null;

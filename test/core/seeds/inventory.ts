/**
 * The checklist of the five seeds: what each of them states, item by item, with its words. Invariant: an item is present here, deviates
 * with a reason, or belongs to a part that comes later; there is no fourth way.
 */
import { readFileSync } from "node:fs";

export type Kind =
  | "table"
  | "column"
  | "index"
  | "constraint"
  | "function"
  | "trigger"
  | "policy"
  | "enum"
  | "query"
  | "schema"
  | "type"
  | "validation-schema";

export interface Item {
  readonly id: string;
  readonly seed: string;
  readonly kind: Kind;
  readonly table?: string;
  readonly name: string;
  readonly detail: string;
  readonly quote: string;
}

const file = new URL("../../fixtures/seeds/inventory.json", import.meta.url);
export const items = JSON.parse(readFileSync(file, "utf8")) as readonly Item[];

/** Tables of the seeds whose part of the system does not exist yet; each part takes its names out of here. */
export const laterParts: readonly string[] = [
  "pipeline_runs",
  "block_executions",
  "blueprints",
  "automations",
  "lead_enrichments",
  "enrichment_sources",
  "intent_signals",
  "email_validation_results",
  "workflows",
  "workflow_triggers",
  "workflow_actions",
  "workflow_executions",
  "workflow_execution_logs",
];

/** Tables whose names these id prefixes of seed 000 belong to. */
const prefixOfLater = ["run", "block", "bp", "auto"].map((prefix) => `000.E.ID_PREFIXES.${prefix}`);

export const isLater = (item: Item): boolean =>
  (item.table !== undefined && laterParts.includes(item.table)) || prefixOfLater.includes(item.id);

/** What a column's item says; absent where the seed is silent. */
export interface ColumnFacts {
  readonly type?: string;
  readonly notNull?: boolean;
  readonly default?: string;
  readonly isKey: boolean;
}

/** The seeds' words for types, as PostgreSQL's. A word that is no type says nothing. */
const types: readonly (readonly [RegExp, string])[] = [
  [/^(bigserial)\b/, "bigserial"],
  [/^uuid\b/i, "uuid"],
  [/^(text\[\]|text\[\] \(array\))/i, "text[]"],
  [/^varchar\(\d+\)/i, "varchar"],
  [/^text\b|^string\b/i, "text"],
  [/^timestamptz\b/i, "timestamp with time zone"],
  [/^(nullable )?timestamp\b/i, "timestamp"],
  [/^jsonb?\b/i, "jsonb"],
  [/^bigint\b/i, "bigint"],
  [/^int(eger)?\b/i, "integer"],
  [/^numeric\(5,2\)/, "numeric(5,2)"],
  [/^decimal\(10,2\)/i, "numeric(10,2)"],
  [/^numeric\b/, "numeric"],
  [/^boolean\b/, "boolean"],
  [/^date\b/, "date"],
];

export function columnFacts({ seed, name, detail }: Item): ColumnFacts {
  const found = types.find(([pattern]) => pattern.test(detail))?.[1];
  // Seed 002's references to a bigserial key.
  const type = seed === "002" && found === "bigint" && name.endsWith("_id") ? "bigserial" : found;
  const isKey = /primary key/i.test(detail);
  const isNullable = /(?<!NOT )\bnullable\b/i.test(detail);
  const notNull = isKey || /NOT NULL/.test(detail) ? true : isNullable ? false : undefined;
  const stated = /DEFAULT ([\w.-]+\(\w*\)|[^;\s)]+)/i.exec(detail)?.[1]?.replace(/,$/, "");
  return {
    isKey,
    ...(type === undefined ? {} : { type }),
    ...(notNull === undefined ? {} : { notNull }),
    ...(stated === undefined ? {} : { default: stated }),
  };
}

/** `FK → leads.id ON DELETE CASCADE`, in columns and constraints alike. */
export interface Reference {
  readonly column: string;
  readonly target: string;
  /** Absent: the seed does not say. */
  readonly onDelete?: "c" | "n";
}

export function referenceOf({ kind, name, detail }: Item): Reference | null {
  const [, column, target] =
    kind === "column"
      ? [null, name, /FK → ([\w.]+)\.\w+/.exec(detail)?.[1]]
      : (/(\w+) → ([\w.]+)\.\w+$/.exec(name) ?? []);
  if (!column || !target) return null;
  if (/ON DELETE CASCADE/.test(detail)) return { column, target, onDelete: "c" };
  if (/ON DELETE SET NULL/.test(detail)) return { column, target, onDelete: "n" };
  return { column, target };
}

/** What an index item says: `btree index on t (a, b DESC) WHERE …`. */
export interface IndexFacts {
  readonly keys: readonly string[];
  readonly unique: boolean;
  readonly method: string;
  readonly where: string | null;
}

export function indexFacts({ detail }: Item): IndexFacts | null {
  const match = /(?:\w+\.)?\w+(?:\.\w+)? ?(?:USING GIN )?\((.*)\)/.exec(
    detail.replace(/ — .*| \(partial\)| \(needs.*| \(given.*/, ""),
  );
  if (match?.[1] === undefined) return null;
  const inside = match[1].replace(/\) WHERE.*/, "");
  return {
    keys: inside.split(/,\s*/).map((key) => key.trim()),
    unique: /unique/i.test(detail) && !/not unique/.test(detail),
    method: /\bGIN\b/.test(detail) ? "gin" : "btree",
    where: /WHERE (.+?)(?: \(partial\)| —|$)/.exec(detail)?.[1] ?? null,
  };
}

/** Words of which a seed says no more than that they may occur. */
const listed: Readonly<Record<string, readonly string[]>> = {
  "000.E.actors.role": ["member"],
  "000.E.tenants.plan": ["free"],
  "000.E.contacts.source_type": ["csv_import", "api", "enrichment"],
  "000.E.artifacts.artifact_type": ["skiptrace_result", "apollo_result", "sms_message", "csv_import"],
  "000.E.webhook_events.source": ["signalhouse", "twilio", "stripe"],
  "000.E.webhook_events.event_type": ["sms.inbound", "payment.completed"],
  "001.E.scheduled_actions.status": ["pending"],
  "002.E.intake.raw_loads.source": ["apollo", "apify", "manual"],
  "002.E.intake.audit_log.action": [
    "contact_ingested",
    "contact_promoted",
    "contact_updated",
    "contact_deleted",
    "batch_processed",
  ],
  "004.E.lead_sequence_enrollments.status": ["active"],
};

/** The words a vocabulary must allow, and the column it is the vocabulary of. Null: not a column's vocabulary. */
export function vocabularyOf(item: Item): { readonly column: string; readonly words: readonly string[] } | null {
  const words = listed[item.id] ?? (item.detail.includes(" | ") ? splitWords(item.detail) : null);
  if (words === null || item.table === undefined || !item.name.includes(".")) return null;
  return { column: item.name.slice(item.name.lastIndexOf(".") + 1), words };
}

const splitWords = (detail: string): readonly string[] =>
  detail
    .split(" | ")
    .map((part) => /^\w+/.exec(part.trim())?.[0] ?? "")
    .filter(Boolean);

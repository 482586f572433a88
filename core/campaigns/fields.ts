/**
 * What branches read of a contact: fields of its lead, its own and its company's. Invariant: the live run, the simulation and `explain` read
 * the same names of the same records, and a plan that is written names none that no record has, because that compares false for ever.
 */
import { adviceOn, recordVariables } from "../templates/index.ts";
import { type Fields, walkCondition } from "./condition.ts";
import type { Plan } from "./plan.ts";
import { type Problem, problem } from "./rules.ts";

type Row = Readonly<Record<string, unknown>>;

/** The whole rows as JSON; null where there is none. */
export interface Records {
  readonly lead: Row | null;
  readonly contact: Row | null;
  readonly company: Row | null;
}

const customFields = "contact.custom_fields";

/** Their plain values and lists under the names that conditions use; what is nested deeper cannot be named. */
export function fieldsIn({ lead, contact, company }: Records): Fields {
  return {
    ...named("lead", lead),
    ...named("contact", contact),
    ...named(customFields, contact?.["custom_fields"]),
    // A company that is only a name in a list is a company to branches as it is to templates.
    ...named("company", { ...company, name: company?.["name"] || lead?.["company_name"] || null }),
  };
}

function named(prefix: string, record: unknown): Fields {
  if (typeof record !== "object" || record === null) return {};
  const entries = Object.entries(record).filter(
    ([, value]) => value === null || ["string", "number", "boolean"].includes(typeof value) || Array.isArray(value),
  );
  return Object.fromEntries(entries.map(([key, value]) => [`${prefix}.${key}`, value])) as Fields;
}

/** The fields that the plan's branches read, once each. Whoever has none needs no records. */
export function fieldsOf(plan: Plan): string[] {
  return [...new Set(asked(plan).map(({ field }) => field))].toSorted();
}

function asked(plan: Plan) {
  return plan.nodes.flatMap((node, index) =>
    node.type === "branch"
      ? node.cases.flatMap(({ when }, at) =>
          [...walkCondition(when)].flatMap((one) =>
            "field" in one ? [{ field: one.field, nodeId: node.id, index, place: `cases[${at}].when` }] : [],
          ),
        )
      : [],
  );
}

/** Columns that hold objects; of a contact's own fields each is named for itself. */
const objects = new Set(["custom_fields", "lead_score_factors"]);

/** Of a plan that is valid otherwise. Asked when one is written, not when it is read: what runs goes on when a column goes. */
export function fieldProblems(plan: Plan): Problem[] {
  return asked(plan).flatMap(({ field, nodeId, index, place }) => {
    const doubt = doubtOf(field);
    if (doubt === undefined) return [];
    const at = { path: `nodes[${index}].${place}`, nodeId, field: place };
    return [problem({ ...at, code: "condition_unknown_field", message: `there is no field ${field}; ${doubt}` })];
  });
}

function doubtOf(field: string): string | undefined {
  if (field.startsWith(`${customFields}.`)) return undefined;
  const [record = "", name = ""] = field.split(".", 2);
  const known = (recordVariables[record] ?? []).filter((one) => !objects.has(one));
  if (known.includes(name)) return undefined;
  if (field === customFields) return `name one of them: ${customFields}.<name>`;
  return adviceOn(record, name, known);
}

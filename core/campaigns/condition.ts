/**
 * The condition language of branches: facts about the enrollment's own messages and about lead, contact and company fields.
 * Evaluation is pure and total: a missing field makes a comparison false, never an error.
 */
import * as z from "zod";
import { NodeId } from "./vocabulary.ts";

export const conditionEvents = [
  "delivered",
  "opened",
  "clicked",
  "replied",
  "bounced",
  "complained",
  "unsubscribed",
  "failed",
] as const;
export type ConditionEvent = (typeof conditionEvents)[number];

export type Scalar = string | number | boolean | null;
/** What a field may hold when a branch reads it: `{ "lead.status": "hot", "lead.tags": ["vip"] }`. */
export type Fields = Readonly<Record<string, Scalar | readonly Scalar[] | undefined>>;

export type Condition =
  | { op: "and" | "or"; of: Condition[] }
  | { op: "not"; of: Condition }
  | { op: "happened"; event: ConditionEvent; node?: string | undefined }
  | { op: "exists"; field: string }
  | { op: "eq" | "ne"; field: string; value: Scalar }
  | { op: "gt" | "lt"; field: string; value: string | number }
  | { op: "contains"; field: string; value: string }
  | { op: "in"; field: string; values: Scalar[] };

const scalar = z.union([z.string().max(1000), z.number(), z.boolean(), z.null()], {
  error: "expected a text, a number, true, false or null",
});
const field = z
  .string({ error: "expected a field such as lead.status" })
  .regex(/^(?:(?:lead|contact|company)\.[A-Za-z][A-Za-z0-9_]{0,62}|contact\.custom_fields\..{1,100})$/, {
    error: "expected lead.<field>, contact.<field>, company.<field> or contact.custom_fields.<name>",
  });

/** Carries an id because it is recursive: schema generators refer to it by that name instead of unfolding it for ever. */
export const Condition: z.ZodType<Condition> = z
  .discriminatedUnion(
    "op",
    [
      z.strictObject({
        op: z.enum(["and", "or"]),
        get of() {
          return z.array(Condition).min(1, { error: "expected at least one condition" }).max(50);
        },
      }),
      z.strictObject({
        op: z.literal("not"),
        get of() {
          return Condition;
        },
      }),
      z.strictObject({ op: z.literal("happened"), event: z.enum(conditionEvents), node: NodeId.optional() }),
      z.strictObject({ op: z.literal("exists"), field }),
      z.strictObject({ op: z.enum(["eq", "ne"]), field, value: scalar }),
      z.strictObject({
        op: z.enum(["gt", "lt"]),
        field,
        value: z.union([z.string().max(1000), z.number()], { error: "expected a number or a text" }),
      }),
      z.strictObject({ op: z.literal("contains"), field, value: z.string().min(1).max(1000) }),
      z.strictObject({ op: z.literal("in"), field, values: z.array(scalar).min(1).max(500) }),
    ],
    { error: "expected op to be one of and, or, not, happened, exists, eq, ne, gt, lt, contains, in" },
  )
  .meta({ id: "Condition" });

export interface ConditionFacts {
  /** Did it happen on that node's message, or on any message when no node is named. */
  readonly happened: (event: ConditionEvent, node: string | undefined) => boolean;
  readonly fields: Fields;
}

const read = (fields: Fields, name: string) => (Object.hasOwn(fields, name) ? (fields[name] ?? null) : null);

/** Numbers compare as numbers, texts by code unit (so ISO dates compare by time); a mixture compares false. */
function ordered(value: unknown, bound: string | number): number {
  if (typeof value === "number" && typeof bound === "number") return value - bound;
  if (typeof value === "string" && typeof bound === "string") return value < bound ? -1 : value > bound ? 1 : 0;
  return Number.NaN;
}

function contains(value: Fields[string], part: string): boolean {
  if (typeof value === "string") return value.toLowerCase().includes(part.toLowerCase());
  return (
    Array.isArray(value) && value.some((item) => typeof item === "string" && item.toLowerCase() === part.toLowerCase())
  );
}

/** True or false for any facts. A text field `contains` a part of itself, a list field one of its items; both ignore case. */
export function evaluate(condition: Condition, facts: ConditionFacts): boolean {
  switch (condition.op) {
    case "and":
      return condition.of.every((inner) => evaluate(inner, facts));
    case "or":
      return condition.of.some((inner) => evaluate(inner, facts));
    case "not":
      return !evaluate(condition.of, facts);
    case "happened":
      return facts.happened(condition.event, condition.node);
    case "exists": {
      const value = read(facts.fields, condition.field);
      return value !== null && value !== "" && !(Array.isArray(value) && value.length === 0);
    }
    case "eq":
      return read(facts.fields, condition.field) === condition.value;
    case "ne":
      return read(facts.fields, condition.field) !== condition.value;
    case "gt":
      return ordered(read(facts.fields, condition.field), condition.value) > 0;
    case "lt":
      return ordered(read(facts.fields, condition.field), condition.value) < 0;
    case "contains":
      return contains(read(facts.fields, condition.field), condition.value);
    case "in":
      return condition.values.some((value) => value === read(facts.fields, condition.field));
  }
}

/** The condition and every condition inside it. */
export function* walkCondition(condition: Condition): Generator<Condition> {
  yield condition;
  if (condition.op === "and" || condition.op === "or") for (const inner of condition.of) yield* walkCondition(inner);
  if (condition.op === "not") yield* walkCondition(condition.of);
}

/**
 * The filter language: which contacts belong to a segment, as data. Pure: from JSON to a SQL condition whose values are all parameters.
 *
 * Invariant: only fields and operators listed here reach the database, never text of the filter itself; whatever parses compiles.
 */
import { type Expression, type RawBuilder, type SqlBool, sql } from "kysely";
import * as z from "zod";
import { channels, Instant } from "../kernel/index.ts";

/** Field → column of the query in `members.ts` (l: lead, c: contact, p: person, m: company), by the kind of its values. */
export const textFields = {
  "lead.status": "l.status",
  "lead.campaignStatus": "l.campaign_status",
  "lead.source": "l.source",
  "lead.sourceType": "l.source_type",
  "lead.sectorId": "l.sector_id",
  "lead.ownerId": "l.user_id",
  "lead.companyName": "l.company_name",
  "lead.city": "l.city",
  "lead.state": "l.state",
  "lead.zip": "l.zip",
  "lead.country": "l.country",
  "lead.importId": "l.import_run_id",
  "contact.title": "c.title",
  "contact.timeZone": "c.time_zone",
  "contact.postalCode": "c.postal_code",
  "contact.state": "c.state",
  "contact.country": "c.country",
  "person.title": "p.title",
  "person.seniority": "p.seniority",
  "person.department": "p.department",
  "person.location": "p.location",
  "company.domain": "m.domain",
  "company.name": "m.name",
  "company.industry": "m.industry",
  "company.location": "m.location",
} as const;

export const numberFields = {
  "lead.score": "l.lead_score",
  "lead.priorityScore": "l.priority_score",
  "lead.attemptCount": "l.attempt_count",
  "lead.employeeCount": "l.employee_count",
  "company.employeeCount": "m.employee_count",
  "company.revenue": "m.revenue",
} as const;

export const timeFields = {
  "lead.createdAt": "l.created_at",
  "lead.lastAttemptAt": "l.last_attempt_at",
  "lead.lastResponseAt": "l.last_response_at",
  "contact.createdAt": "c.created_at",
  "person.lastActivityAt": "p.last_activity_at",
} as const;

const keysOf = <T extends object>(fields: T) => Object.keys(fields) as [keyof T & string, ...(keyof T & string)[]];

const word = z
  .string()
  .min(1)
  .max(500)
  .refine((text) => !text.includes("\0"), "text without NUL characters");
const words = z.array(word).min(1).max(500);
const textField = z.enum(keysOf(textFields));
const numberField = z.enum(keysOf(numberFields));
const timeField = z.enum(keysOf(timeFields));
const anyField = z.enum([...keysOf(textFields), ...keysOf(numberFields), ...keysOf(timeFields)]);

/** Stays the text that was written: a stored filter reads as its author left it. */
const storableTime = z.iso
  .datetime({ offset: true })
  .refine((text) => Instant.safeParse(text).success, "expected an instant of the years 1 to 9999");

/** `{op: "eq", field: "company.industry", value: "Banks"}`: one condition. Absent values match nothing but `not_set`. */
const Condition = z.discriminatedUnion("op", [
  z.strictObject({ op: z.enum(["eq", "neq"]), field: textField, value: word }),
  z.strictObject({ op: z.enum(["in", "not_in"]), field: textField, value: words }),
  z.strictObject({ op: z.enum(["contains", "starts_with"]), field: textField, value: word }),
  z.strictObject({ op: z.enum(["gt", "gte", "lt", "lte", "equals"]), field: numberField, value: z.number() }),
  z.strictObject({ op: z.enum(["before", "after"]), field: timeField, value: storableTime }),
  /** In the last so many days, as of when the segment is read. */
  z.strictObject({ op: z.literal("within_days"), field: timeField, value: z.number().int().min(1).max(3_650) }),
  z.strictObject({ op: z.enum(["set", "not_set"]), field: anyField }),
  z.strictObject({ op: z.enum(["tags_any", "tags_all", "tags_none"]), value: z.array(word).min(1).max(100) }),
  /** A live address on this channel. */
  z.strictObject({ op: z.enum(["has_channel", "lacks_channel"]), value: z.enum(channels) }),
]);
type Condition = z.output<typeof Condition>;

export type Filter =
  | Condition
  | { readonly and: readonly Filter[] }
  | { readonly or: readonly Filter[] }
  | { readonly not: Filter };

export const maxFilterDepth = 8;
export const maxConditions = 200;

const parts = z.lazy(() => z.array(FilterShape).min(1).max(50));
const FilterShape: z.ZodType<Filter> = z
  .lazy(() =>
    z.union([
      Condition,
      z.strictObject({ and: parts }),
      z.strictObject({ or: parts }),
      z.strictObject({ not: FilterShape }),
    ]),
  )
  .meta({ id: "SegmentFilter" });

/** Bounded before the shape is looked at: recursion over a hostile filter must end. */
function bounded(value: unknown, depth = 0): number {
  if (typeof value !== "object" || value === null) return 0;
  if (depth > maxFilterDepth * 2) return Number.POSITIVE_INFINITY;
  const inner = Object.values(value).reduce((sum: number, part) => sum + bounded(part, depth + 1), 0);
  return inner + ("op" in value ? 1 : 0);
}

const kinds = {
  text: keysOf(textFields),
  number: keysOf(numberFields),
  time: keysOf(timeFields),
  any: anyField.options,
} as const;

/** Which fields an operator takes; tags and channels have no field. */
const kindOf: Readonly<Record<string, keyof typeof kinds>> = {
  ...Object.fromEntries(["eq", "neq", "in", "not_in", "contains", "starts_with"].map((op) => [op, "text" as const])),
  ...Object.fromEntries(["gt", "gte", "lt", "lte", "equals"].map((op) => [op, "number" as const])),
  ...Object.fromEntries(["before", "after", "within_days"].map((op) => [op, "time" as const])),
  set: "any",
  not_set: "any",
};
const operators = [...Object.keys(kindOf), "tags_any", "tags_all", "tags_none", "has_channel", "lacks_channel"];

interface Misnamed {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The first few names that nobody knows. The union below would only say that no form of a filter fits. */
function misnamed(value: unknown, path: readonly (string | number)[] = []): Misnamed[] {
  if (Array.isArray(value)) return value.flatMap((part, n) => misnamed(part, [...path, n])).slice(0, 10);
  if (typeof value !== "object" || value === null) return [];
  const filter = value as Readonly<Record<string, unknown>>;
  if (!("op" in filter)) {
    return ["and", "or", "not"].flatMap((word) =>
      Object.hasOwn(filter, word) ? misnamed(filter[word], [...path, word]) : [],
    );
  }
  const { op, field } = filter;
  if (typeof op !== "string" || !operators.includes(op)) {
    return [{ path: [...path, "op"], message: `unknown operator; known here: ${operators.join(", ")}` }];
  }
  const kind = Object.hasOwn(kindOf, op) ? kindOf[op] : undefined;
  if (kind === undefined || (kinds[kind] as readonly unknown[]).includes(field)) return [];
  const known = `${op} takes ${kinds[kind].join(", ")}`;
  const isOther = (kinds.any as readonly unknown[]).includes(field);
  return [
    { path: [...path, "field"], message: isOther ? `a field of another kind; ${known}` : `unknown field; ${known}` },
  ];
}

export const Filter: z.ZodType<Filter, Filter> = z
  .unknown()
  .superRefine((value, context) => {
    if (bounded(value) > maxConditions) {
      const message = `at most ${maxConditions} conditions, nested at most ${maxFilterDepth} deep`;
      context.addIssue({ code: "custom", message, continue: false });
      return;
    }
    for (const { path, message } of misnamed(value)) {
      context.addIssue({ code: "custom", path: [...path], message, continue: false });
    }
  })
  .pipe(FilterShape) as unknown as z.ZodType<Filter, Filter>;

type Sql = RawBuilder<SqlBool>;

const join = (filters: readonly Filter[], word: " and " | " or "): Sql =>
  sql<SqlBool>`(${sql.join(filters.map(compileFilter), sql.raw(word))})`;

/** The condition, over the aliases l, c, p and m. */
export function compileFilter(filter: Filter): Sql {
  if ("and" in filter) return join(filter.and, " and ");
  if ("or" in filter) return join(filter.or, " or ");
  // `not` of something unknown is true: who has no industry is not in banking.
  if ("not" in filter) return sql<SqlBool>`(${compileFilter(filter.not)}) is not true`;
  return condition(filter);
}

const comparisons = { gt: sql`>`, gte: sql`>=`, lt: sql`<`, lte: sql`<=`, equals: sql`=` } as const;
const likeText = (text: string): string => text.replace(/[\\%_]/g, "\\$&");

function condition(c: Condition): Sql {
  switch (c.op) {
    case "eq":
      return sql`${sql.ref(textFields[c.field])} = ${c.value}`;
    case "neq":
      return sql`${sql.ref(textFields[c.field])} <> ${c.value}`;
    case "in":
      return sql`${sql.ref(textFields[c.field])} = any (${c.value}::text[])`;
    case "not_in":
      return sql`${sql.ref(textFields[c.field])} <> all (${c.value}::text[])`;
    case "contains":
      return sql`${sql.ref(textFields[c.field])} ilike ${`%${likeText(c.value)}%`}`;
    case "starts_with":
      return sql`${sql.ref(textFields[c.field])} ilike ${`${likeText(c.value)}%`}`;
    case "gt":
    case "gte":
    case "lt":
    case "lte":
    case "equals":
      return sql`${sql.ref(numberFields[c.field])} ${comparisons[c.op]} ${c.value}::numeric`;
    case "before":
      return sql`${sql.ref(timeFields[c.field])} < ${c.value}::timestamptz`;
    case "after":
      return sql`${sql.ref(timeFields[c.field])} > ${c.value}::timestamptz`;
    case "within_days":
      return sql`${sql.ref(timeFields[c.field])} >= app_now() - make_interval(days => ${c.value})`;
    case "set":
      return sql`${column(c.field)} is not null`;
    case "not_set":
      return sql`${column(c.field)} is null`;
    case "tags_any":
      return sql`l.tags && ${c.value}::text[]`;
    case "tags_all":
      return sql`l.tags @> ${c.value}::text[]`;
    case "tags_none":
      return sql`not l.tags && ${c.value}::text[]`;
    case "has_channel":
      return hasChannel(c.value);
    case "lacks_channel":
      return sql`not ${hasChannel(c.value)}`;
  }
}

const hasChannel = (channel: string): Sql =>
  sql`exists (select from contact_channels h where h.tenant_id = c.tenant_id and h.contact_id = c.id
    and h.channel = ${channel} and h.status = 'active')`;

const columns: Readonly<Record<string, string>> = { ...textFields, ...numberFields, ...timeFields };
const column = (field: z.output<typeof anyField>): Expression<unknown> => sql.ref(columns[field] ?? "");

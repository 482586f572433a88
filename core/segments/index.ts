/**
 * Segments: named filters over a tenant's contacts. Invariant: membership is computed when asked for, so a segment never lists who has
 * left it; only `leadCount` is remembered, with the instant it was counted at.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  command,
  DomainError,
  decodeCursor,
  encodeCursor,
  idOf,
  newId,
  Page,
  type Paged,
  paged,
  query,
  type TxContext,
} from "../kernel/index.ts";
import { compileFilter, Filter } from "./filter.ts";

export { Filter, maxConditions, maxFilterDepth, numberFields, textFields, timeFields } from "./filter.ts";

export interface Segment {
  readonly id: string;
  readonly name: string;
  readonly filter: unknown;
  readonly leadCount: number;
  readonly countedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const columns = [
  "id",
  "name",
  "filter",
  "lead_count as leadCount",
  "counted_at as countedAt",
  "created_at as createdAt",
  "updated_at as updatedAt",
] as const;

const errors = {
  notFound: (id: string) => new DomainError("not_found", "segment.not_found", `No segment ${id}.`),
  taken: (name: string) =>
    new DomainError("conflict", "segment.exists", `There is a segment named ${name} already.`, {
      fields: [{ path: "name", value: name, message: "a name that no other segment has" }],
    }),
};

/**
 * The contacts a filter selects, as a query for INSERT … SELECT or a count: active contacts of live leads of the transaction's tenant,
 * columns `contact_id`, `lead_id`, in no order. Lead status `dnc` is excluded: nobody may be reached who said so.
 */
export const membersQuery = (ctx: TxContext, filter: Filter) =>
  ctx.db
    .selectFrom("contacts as c")
    .innerJoin("leads as l", (on) => on.onRef("l.tenant_id", "=", "c.tenant_id").onRef("l.id", "=", "c.lead_id"))
    .leftJoin("people.master as p", (on) =>
      on.onRef("p.tenant_id", "=", "c.tenant_id").onRef("p.id", "=", "c.person_id"),
    )
    .leftJoin("company.master as m", (on) =>
      on.onRef("m.tenant_id", "=", "l.tenant_id").onRef("m.id", "=", "l.company_id"),
    )
    .select(["c.id as contact_id", "c.lead_id as lead_id"])
    .where("c.tenant_id", "=", ctx.tenantId)
    .where("c.status", "=", "active")
    .where("l.deleted_at", "is", null)
    .where("l.status", "<>", "dnc")
    .where(compileFilter(filter));

/** Exactly one of the two: a saved segment or a filter of the moment. */
const Selection = z
  .object({ id: idOf("segment").optional(), filter: Filter.optional() })
  .refine(({ id, filter }) => (id === undefined) !== (filter === undefined), "give either id or filter");

async function filterOf(ctx: TxContext, { id, filter }: z.output<typeof Selection>): Promise<Filter> {
  if (filter !== undefined) return filter;
  const segment = await getSegment(ctx, { id: id ?? "" });
  return Filter.parse(segment.filter);
}

export const getSegment = query(z.object({ id: idOf("segment") }), async (ctx, { id }): Promise<Segment> => {
  const row = await ctx.db
    .selectFrom("segments")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

export interface Counted {
  readonly contacts: number;
  readonly leads: number;
}

export const count = query(Selection, async (ctx, selection): Promise<Counted> => {
  const members = membersQuery(ctx, await filterOf(ctx, selection));
  const { rows } = await sql<Counted>`
    select count(*)::int as contacts, count(distinct lead_id)::int as leads from ${members} members`.execute(ctx.db);
  return rows[0] ?? { contacts: 0, leads: 0 };
});

/** Contact ids in id order. */
export const members = query(
  z.object({ ...Page.shape, id: idOf("segment").optional(), filter: Filter.optional() }),
  async (ctx, { limit, cursor, ...selection }): Promise<Paged<string>> => {
    const after = decodeCursor(cursor);
    const filter = await filterOf(ctx, Selection.parse(selection));
    const ids = await membersPage(ctx, filter, { after, limit: limit + 1 });
    const data = ids.slice(0, limit);
    const last = data.at(-1);
    return { data, nextCursor: ids.length > limit && last !== undefined ? encodeCursor(last) : null };
  },
);

/** For walking large segments inside a use case: any page size, no cursor text. */
export async function membersPage(
  ctx: TxContext,
  filter: Filter,
  { after, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<string[]> {
  const rows = await membersQuery(ctx, filter)
    .$if(after !== undefined, (qb) => qb.where("c.id", ">", after ?? ""))
    .orderBy("c.id")
    .limit(limit)
    .execute();
  return rows.map(({ contact_id }) => contact_id);
}

const name = z.string().trim().min(1).max(200);

/** Counted once on the way, so that a list of segments says something from the start. */
export const createSegment = command(z.object({ name, filter: Filter }), async (ctx, input): Promise<Segment> => {
  const row = await ctx.db
    .insertInto("segments")
    .values({
      tenant_id: ctx.tenantId,
      id: newId("segment", ctx.now),
      user_id: ctx.actor.type === "user" ? ctx.actor.id : null,
      name: input.name,
      filter: JSON.stringify(input.filter),
      created_at: ctx.now,
    })
    .onConflict((oc) => oc.columns(["tenant_id", "name"]).where("deleted_at", "is", null).doNothing())
    .returning("id")
    .executeTakeFirst();
  if (!row) throw errors.taken(input.name);
  return refreshSegment(ctx, { id: row.id });
});

export const updateSegment = command(
  z.object({ id: idOf("segment"), name: name.optional(), filter: Filter.optional() }),
  async (ctx, { id, name, filter }): Promise<Segment> => {
    if (name !== undefined) {
      const other = await ctx.db
        .selectFrom("segments")
        .select("id")
        .where("tenant_id", "=", ctx.tenantId)
        .where("name", "=", name)
        .where("id", "<>", id)
        .where("deleted_at", "is", null)
        .executeTakeFirst();
      if (other) throw errors.taken(name);
    }
    await ctx.db
      .updateTable("segments")
      .set({
        updated_at: ctx.now,
        ...(name === undefined ? {} : { name }),
        ...(filter === undefined ? {} : { filter: JSON.stringify(filter) }),
      })
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .where("deleted_at", "is", null)
      .execute();
    return refreshSegment(ctx, { id });
  },
);

/** Counts the leads again. @throws DomainError `segment.not_found` */
export const refreshSegment = command(z.object({ id: idOf("segment") }), async (ctx, { id }): Promise<Segment> => {
  const { leads } = await count(ctx, { id });
  return ctx.db
    .updateTable("segments")
    .set({ lead_count: leads, counted_at: ctx.now })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .returning(columns)
    .executeTakeFirstOrThrow();
});

/** Its name becomes free; what was enrolled through it stays as it is. @throws DomainError `segment.not_found` */
export const deleteSegment = command(z.object({ id: idOf("segment") }), async (ctx, { id }): Promise<void> => {
  const row = await ctx.db
    .updateTable("segments")
    .set({ deleted_at: ctx.now })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
});

/** Newest first. */
export const listSegments = query(Page, async (ctx, { limit, cursor }) => {
  const before = decodeCursor(cursor);
  const rows: Segment[] = await ctx.db
    .selectFrom("segments")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("deleted_at", "is", null)
    .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
    .orderBy("id", "desc")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

/**
 * People: the golden records of persons, read only. Invariant: nothing here writes; the functions of schema vault do, and every
 * change they make leaves history.
 */
import * as z from "zod";
import { changesOf } from "../db/history.ts";
import { DomainError, decodeCursor, idOf, normalizeEmail, Page, paged, query } from "../kernel/index.ts";

export type { Change } from "../db/history.ts";

export interface Person {
  readonly id: string;
  readonly email: string;
  readonly name: string | null;
  readonly firstName: string | null;
  readonly lastName: string | null;
  readonly title: string | null;
  readonly companyId: string | null;
  readonly phone: string | null;
  readonly linkedinUrl: string | null;
  readonly location: string | null;
  readonly seniority: string | null;
  readonly department: string | null;
  readonly timeZone: string | null;
  readonly postalCode: string | null;
  readonly state: string | null;
  readonly country: string | null;
  readonly source: string;
  readonly tags: unknown;
  readonly customFields: unknown;
  readonly loadId: string | null;
  readonly status: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const columns = [
  "id",
  "email",
  "name",
  "first_name as firstName",
  "last_name as lastName",
  "title",
  "company_id as companyId",
  "phone",
  "linkedin_url as linkedinUrl",
  "location",
  "seniority",
  "department",
  "time_zone as timeZone",
  "postal_code as postalCode",
  "state",
  "country",
  "source",
  "tags",
  "custom_fields as customFields",
  "load_id as loadId",
  "status",
  "created_at as createdAt",
  "updated_at as updatedAt",
] as const;

const notFound = (id: string) => new DomainError("not_found", "person.not_found", `No person ${id}.`);

export const get = query(z.object({ id: idOf("person") }), async (ctx, { id }): Promise<Person> => {
  const row = await ctx.db
    .selectFrom("people.master")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw notFound(id);
  return row;
});

/** Newest first. */
export const list = query(
  Page.extend({ email: z.string().max(320).optional(), companyId: idOf("company").optional() }),
  async (ctx, { limit, cursor, email, companyId }) => {
    const before = decodeCursor(cursor);
    const rows: Person[] = await ctx.db
      .selectFrom("people.master")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(email !== undefined, (qb) => qb.where("email", "=", normalizeEmail(email ?? "") ?? ""))
      .$if(companyId !== undefined, (qb) => qb.where("company_id", "=", companyId ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** Latest change first. @throws DomainError `person.not_found` */
export const history = query(Page.extend({ id: idOf("person") }), async (ctx, { id, ...page }) => {
  await get(ctx, { id });
  return changesOf(ctx, "person", id, page);
});

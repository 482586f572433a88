/**
 * Companies: the golden records of companies, read only. Invariant: nothing here writes; the functions of schema vault do, and every
 * change they make leaves history.
 */
import * as z from "zod";
import { changesOf } from "../db/history.ts";
import { DomainError, decodeCursor, idOf, Page, paged, query } from "../kernel/index.ts";

export type { Change } from "../db/history.ts";

export interface Company {
  readonly id: string;
  readonly domain: string;
  readonly name: string | null;
  readonly industry: string | null;
  readonly employeeCount: number | null;
  /** Whole and fractional units as text: more digits than a number keeps. */
  readonly revenue: string | null;
  readonly location: string | null;
  readonly linkedinUrl: string | null;
  readonly website: string | null;
  readonly status: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const columns = [
  "id",
  "domain",
  "name",
  "industry",
  "employee_count as employeeCount",
  "revenue",
  "location",
  "linkedin_url as linkedinUrl",
  "website",
  "status",
  "created_at as createdAt",
  "updated_at as updatedAt",
] as const;

const notFound = (id: string) => new DomainError("not_found", "company.not_found", `No company ${id}.`);

export const get = query(z.object({ id: idOf("company") }), async (ctx, { id }): Promise<Company> => {
  const row = await ctx.db
    .selectFrom("company.master")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw notFound(id);
  return row;
});

/** Newest first. */
export const list = query(
  Page.extend({ domain: z.string().max(253).optional(), industry: z.string().max(200).optional() }),
  async (ctx, { limit, cursor, domain, industry }) => {
    const before = decodeCursor(cursor);
    const rows: Company[] = await ctx.db
      .selectFrom("company.master")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(domain !== undefined, (qb) => qb.where("domain", "=", (domain ?? "").toLowerCase()))
      .$if(industry !== undefined, (qb) => qb.where("industry", "=", industry ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** Latest change first. @throws DomainError `company.not_found` */
export const history = query(Page.extend({ id: idOf("company") }), async (ctx, { id, ...page }) => {
  await get(ctx, { id });
  return changesOf(ctx, "company", id, page);
});

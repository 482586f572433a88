/** How golden records changed: `people.history` and `company.history` have one shape. Invariant: read only; the tables write it themselves. */
import { sql } from "kysely";
import { decodeCursor, type Paged, paged, type TxContext } from "../kernel/index.ts";

/** One change of a golden record: which fields, from what to what, by whom. */
export interface Change {
  readonly id: string;
  readonly fields: unknown;
  readonly old: unknown;
  readonly new: unknown;
  readonly changedBy: string | null;
  readonly changedAt: Date;
}

const histories = {
  person: { table: "people.history", owner: "person_id" },
  company: { table: "company.history", owner: "company_id" },
} as const;

/** Latest change first. An id that is not there has no changes. */
export async function changesOf(
  ctx: TxContext,
  kind: keyof typeof histories,
  id: string,
  { limit, cursor }: { readonly limit: number; readonly cursor?: string | undefined },
): Promise<Paged<Change>> {
  const { table, owner } = histories[kind];
  const before = decodeCursor(cursor);
  const { rows } = await sql<Change>`
    select history_id as id, changed_fields as fields, old_values as old, new_values as new, changed_by as "changedBy", changed_at as "changedAt"
    from ${sql.table(table)}
    where tenant_id = ${ctx.tenantId} and ${sql.ref(owner)} = ${id} and (${before ?? null}::text is null or history_id < ${before ?? null}::text)
    order by history_id desc limit ${limit + 1}`.execute(ctx.db);
  return paged(rows, limit);
}

/** The two doors of the database that every row passes: `intake.f_ingest_rows` and `vault.f_promote_contacts`, a batch per statement. */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import type { IntakeRow } from "./normalize.ts";

/** What became of one row, in the order given. A rejected or duplicate row is kept too, with its reason. */
export interface LoadResult {
  readonly id: string;
  readonly status: "accepted" | "duplicate" | "rejected";
  /** Empty for an accepted row. */
  readonly reason: string | null;
}

export interface TakenIn {
  /** In the order given. */
  readonly loads: readonly LoadResult[];
  /** People that were not known before; 0 without `promote`. */
  readonly promoted: number;
  /** People that were, and may now be known better. */
  readonly updated: number;
}

/**
 * Stores rows as raw loads and, with `promote`, makes golden records of the accepted ones. One batch per tenant at a time, so that no
 * address is accepted twice.
 * @param rows at most a few thousand: they travel as one parameter
 */
export async function takeIn(
  { db }: TxContext,
  rows: readonly IntakeRow[],
  source: string,
  batchId: string,
  promote: boolean,
): Promise<TakenIn> {
  // One JSON document instead of three arrays: written and escaped once.
  const document = JSON.stringify(rows.map(({ raw, email, meta }) => [raw, email, meta]));
  const { rows: results } = await sql<{
    load_id: string | null;
    status: string;
    message: string;
    promoted_count: number | null;
    updated_count: number | null;
  }>`
    with given as materialized (
      select array_agg(e -> 0 order by n) as raws, array_agg(e ->> 1 order by n) as emails, array_agg(e -> 2 order by n) as metas
      from jsonb_array_elements(${document}::jsonb) with ordinality r(e, n)
    )
    select r.*
    from given g, intake.f_ingest_rows(g.raws, g.emails, g.metas, ${source}, ${batchId}, ${promote}) r`.execute(db);
  const summary = results.find(({ load_id }) => load_id === null);
  return {
    loads: results.flatMap(({ load_id, status, message }): LoadResult[] => {
      if (load_id === null) return [];
      if (status === "error") return [{ id: load_id, status: "rejected", reason: message }];
      if (message === "ingested") return [{ id: load_id, status: "accepted", reason: null }];
      return [{ id: load_id, status: "duplicate", reason: message }];
    }),
    promoted: summary?.promoted_count ?? 0,
    updated: summary?.updated_count ?? 0,
  };
}

export interface PromotionResult {
  /** People that were not known before. */
  readonly promoted: number;
  /** People that were, and may now be known better. */
  readonly updated: number;
  readonly failed: number;
  readonly message: string;
}

/** @param loadIds null: whatever is pending, 10,000 at most. Loads that are not pending are left alone. */
export async function promoteLoads({ db }: TxContext, loadIds: readonly string[] | null): Promise<PromotionResult> {
  const { rows } = await sql<{ promoted_count: number; updated_count: number; failed_count: number; message: string }>`
    select promoted_count, updated_count, failed_count, message
    from vault.f_promote_contacts(p_load_ids := ${loadIds as string[] | null}::text[])`.execute(db);
  const [row] = rows;
  return {
    promoted: row?.promoted_count ?? 0,
    updated: row?.updated_count ?? 0,
    failed: row?.failed_count ?? 0,
    message: row?.message ?? "",
  };
}

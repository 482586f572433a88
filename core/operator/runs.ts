/**
 * What the schedule found, per tenant and run: so that "was it looked at, and when" has an answer.
 * Invariant: a row is written once and says only counts, rules and ids.
 */
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";
import { type Context, type TxContext, transact } from "../kernel/index.ts";
import type { Examination } from "./invariants.ts";

export interface DoctorRun {
  readonly ranAt: Date;
  /** Rules that were asked. */
  readonly checks: number;
  /** Rules that would have taken too long. */
  readonly skipped: readonly string[];
  readonly violations: number;
  /** The broken rules only. */
  readonly broken: readonly { readonly id: string; readonly violations: number; readonly sample: readonly string[] }[];
}

export const recordRun = (ctx: Context, { results, skipped }: Examination): Promise<DoctorRun> =>
  transact(ctx, async (ctx) => {
    const broken = results
      .filter(({ violations }) => violations > 0)
      .map(({ id, violations, sample }) => ({ id, violations, sample }));
    const run = {
      ranAt: ctx.now,
      checks: results.length,
      skipped,
      violations: broken.reduce((sum, one) => sum + one.violations, 0),
      broken,
    };
    await sql`
      insert into doctor_runs (tenant_id, ran_at, checks, skipped, violations, broken)
      values (${ctx.tenantId}, ${run.ranAt}, ${run.checks}, ${[...skipped]}, ${run.violations}, ${JSON.stringify(broken)}::jsonb)
      on conflict (tenant_id, ran_at) do nothing`.execute(ctx.db);
    return run;
  });

/** Null: this tenant has not been examined yet. */
export const lastRun = (ctx: Context): Promise<DoctorRun | null> =>
  transact(ctx, async (ctx) => {
    const row = await ctx.db
      .selectFrom("doctor_runs")
      .select(["ran_at as ranAt", "checks", "skipped", "violations", "broken"])
      .where("tenant_id", "=", ctx.tenantId)
      .orderBy("ran_at", "desc")
      .limit(1)
      .executeTakeFirst();
    return row ? { ...row, broken: row.broken as unknown as DoctorRun["broken"] } : null;
  });

/** Every tenant, those first who have waited longest for their examination, the new ones before all: a run takes as many as it has time for. */
export async function longestUnexamined(db: Kysely<DB>): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`select id from tenants_by_examination() as t(id)`.execute(db);
  return rows.map(({ id }) => id);
}

const keptDays = 30;

/** @returns how many runs were forgotten because nobody asks for them any more */
export async function expireRuns(ctx: TxContext): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    with gone as (
      delete from doctor_runs where tenant_id = ${ctx.tenantId} and ran_at < ${ctx.now}::timestamptz - make_interval(days => ${keptDays}) returning 1
    )
    select count(*)::int as n from gone`.execute(ctx.db);
  return rows[0]?.n ?? 0;
}

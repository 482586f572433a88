/**
 * Plans by id. Invariant: a version never changes, so what was read once is good for as long as the process lives.
 */
import { DomainError, type TxContext } from "../kernel/index.ts";
import type { Plan } from "./plan.ts";
import { parsePlan } from "./validate.ts";

export interface PlanVersion {
  readonly id: string;
  readonly campaignId: string;
  readonly hash: string;
  readonly plan: Plan;
}

/** Keyed by tenant and id: an id alone must not open another tenant's plan. */
const cache = new Map<string, PlanVersion>();
const maxCached = 1_000;

/** The version of a campaign that has this plan. */
export async function versionOf(ctx: TxContext, campaignId: string, planHash: string): Promise<string | undefined> {
  const row = await ctx.db
    .selectFrom("campaign_plan_versions")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", campaignId)
    .where("plan_hash", "=", planHash)
    .executeTakeFirst();
  return row?.id;
}

/** @throws DomainError `plan.unreadable` when a stored version no longer parses, which would be a defect of ours. */
export async function planVersions(ctx: TxContext, ids: readonly string[]): Promise<ReadonlyMap<string, PlanVersion>> {
  const found = new Map<string, PlanVersion>();
  const missing: string[] = [];
  for (const id of new Set(ids)) {
    const known = cache.get(`${ctx.tenantId} ${id}`);
    if (known) found.set(id, known);
    else missing.push(id);
  }
  if (missing.length === 0) return found;
  const rows = await ctx.db
    .selectFrom("campaign_plan_versions")
    .select(["id", "campaign_id", "plan_hash", "plan_json"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", missing)
    .execute();
  for (const row of rows) {
    const parsed = parsePlan(row.plan_json);
    if (!parsed.ok) {
      throw new DomainError("unavailable", "plan.unreadable", `Plan version ${row.id} cannot be read by this release.`);
    }
    const version = { id: row.id, campaignId: row.campaign_id, hash: row.plan_hash, plan: parsed.plan };
    if (cache.size >= maxCached) cache.clear();
    cache.set(`${ctx.tenantId} ${row.id}`, version);
    found.set(row.id, version);
  }
  return found;
}

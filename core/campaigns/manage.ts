/**
 * Campaigns and their plans. Invariants: a plan version is immutable and identified by its hash; a campaign changes state only along the
 * legal transitions, each of which is logged; what is paused is not lost, what is stopped does not start again.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  type CampaignStatus,
  campaignStatuses,
  campaignTypes,
  command,
  DomainError,
  decodeCursor,
  idOf,
  newId,
  Page,
  paged,
  query,
  type TxContext,
} from "../kernel/index.ts";
import { getSender, getTenant } from "../tenancy/index.ts";
import { type Compiled, compilePlan } from "./compile.ts";
import { describePlan } from "./describe.ts";
import { canonicalPlan } from "./hash.ts";
import { referenceProblems } from "./references.ts";
import type { Problem } from "./validate.ts";
import { planVersions, versionOf } from "./versions.ts";

export const errors = {
  notFound: (id: string) => new DomainError("not_found", "campaign.not_found", `No campaign ${id}.`),
  invalidPlan: (problems: readonly Problem[]) =>
    new DomainError("invalid", "plan.invalid", `plan: ${problems[0]?.message ?? "is not valid"}`, {
      fields: problems.map((problem) => ({
        path: problem.path === "" ? "plan" : `plan.${problem.path}`,
        message: problem.message,
      })),
    }),
  illegal: (from: string, to: string) =>
    new DomainError(
      "conflict",
      "campaign.illegal_transition",
      from === to ? `The campaign is ${from} already.` : `A campaign that is ${from} cannot become ${to}.`,
    ),
  unknownNodes: (fields: readonly { readonly path: string; readonly message: string }[], nodes: readonly string[]) =>
    new DomainError(
      "invalid",
      "plan.unknown_nodes",
      `${fields[0]?.message ?? ""} Its nodes are ${nodes.slice(0, 20).join(", ")}${nodes.length > 20 ? ", …" : ""}; map old=new.`,
      { fields },
    ),
  noPlan: (id: string) =>
    new DomainError("conflict", "campaign.no_plan", `Campaign ${id} has no plan yet; add a version first.`),
};

/** Any of the three authoring forms: a graph, steps in hours, steps in days. Validated by the compiler, which names node and field. */
export const PlanSource = z.union([z.record(z.string(), z.json()), z.array(z.json())]);

const Settings = z.strictObject({
  /** Goes on taking in contacts: never completes by itself. */
  evergreen: z.boolean().optional(),
  description: z.string().max(2000).optional(),
  senderIdentityId: idOf("sender").optional(),
});

export const CreateCampaign = z.strictObject({
  name: z.string().trim().min(1).max(200),
  type: z.enum(campaignTypes).default("cold_outreach"),
  plan: PlanSource.optional(),
  settings: Settings.default({}),
});

export interface Campaign {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly status: CampaignStatus;
  readonly planVersionId: string | null;
  readonly planHash: string | null;
  readonly settings: unknown;
  readonly responseCount: number;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

/** Counting reads every message of the campaign, so only who looks at it asks; never under a lock. */
export interface CountedCampaign extends Campaign {
  /** Messages that a provider accepted: counted now. */
  readonly sentCount: number;
}

const select = (ctx: TxContext) =>
  ctx.db
    .selectFrom("marketing.campaigns as c")
    .leftJoin("campaign_plan_versions as v", (join) =>
      join.onRef("v.tenant_id", "=", "c.tenant_id").onRef("v.id", "=", "c.plan_version_id"),
    )
    .select([
      "c.campaign_id as id",
      "c.name",
      "c.type",
      "c.status",
      "c.plan_version_id as planVersionId",
      "v.plan_hash as planHash",
      "c.settings",
      "c.response_count as responseCount",
      "c.created_at as createdAt",
      "c.started_at as startedAt",
      "c.ended_at as endedAt",
    ])
    .where("c.tenant_id", "=", ctx.tenantId);

const selectCounted = (ctx: TxContext) =>
  select(ctx).select(
    sql<number>`(select count(m.sent_at)::int from outbound_messages m where m.tenant_id = c.tenant_id and m.campaign_id = c.campaign_id)`.as(
      "sentCount",
    ),
  );

const ById = z.object({ id: idOf("campaign") });

/** For who acts on it. @throws DomainError `campaign.not_found` */
export async function campaignOf(ctx: TxContext, id: string): Promise<Campaign> {
  const row = await select(ctx).where("c.campaign_id", "=", id).executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row as Campaign;
}

/** For who looks at it. @throws DomainError `campaign.not_found` */
export const getCampaign = query(ById, async (ctx, { id }): Promise<CountedCampaign> => {
  const row = await selectCounted(ctx).where("c.campaign_id", "=", id).executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row as CountedCampaign;
});

export const listCampaigns = query(
  Page.extend({ status: z.enum(campaignStatuses).optional() }),
  async (ctx, { limit, cursor, status }) => {
    const after = decodeCursor(cursor);
    let rows = selectCounted(ctx)
      .orderBy("c.campaign_id")
      .limit(limit + 1);
    if (after !== undefined) rows = rows.where("c.campaign_id", ">", after);
    if (status !== undefined) rows = rows.where("c.status", "=", status);
    return paged((await rows.execute()) as CountedCampaign[], limit);
  },
);

/**
 * A plan as this tenant's: one that names no time zone gets the tenant's, and keeps it when the tenant's changes.
 * @throws DomainError `plan.invalid`
 */
export async function compileFor(ctx: TxContext, source: unknown): Promise<Extract<Compiled, { ok: true }>> {
  const { settings } = await getTenant(ctx, {});
  const compiled = compilePlan(source, { timeZone: settings.timeZone });
  if (!compiled.ok) throw errors.invalidPlan(compiled.problems);
  return compiled;
}

async function addVersion(
  ctx: TxContext,
  campaignId: string,
  source: unknown,
  reason: string | undefined,
): Promise<string> {
  const compiled = await compileFor(ctx, source);
  const unknown = await referenceProblems(ctx, compiled.plan);
  if (unknown.length > 0) throw errors.invalidPlan(unknown);
  const inserted = await sql<{ id: string }>`
    insert into campaign_plan_versions (tenant_id, id, campaign_id, version_number, plan_version, plan_json, plan_hash, created_by, reason, created_at, updated_at)
    select ${ctx.tenantId}, ${newId("planVersion", ctx.now)}, ${campaignId}, n.number, n.number || '.0', ${canonicalPlan(compiled.plan)}::jsonb,
      ${compiled.hash}, ${`${ctx.actor.type}:${ctx.actor.id}`}, ${reason ?? null}, ${ctx.now}, ${ctx.now}
    from (select coalesce(max(version_number), 0) + 1 as number from campaign_plan_versions
          where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId}) n
    on conflict (tenant_id, campaign_id, plan_hash) do nothing
    returning id`.execute(ctx.db);
  const id = inserted.rows[0]?.id ?? (await versionOf(ctx, campaignId, compiled.hash));
  if (id === undefined)
    throw new Error(`version ${compiled.hash} of campaign ${campaignId} was neither stored nor there`);
  await ctx.db
    .updateTable("marketing.campaigns")
    .set({ plan_version_id: id })
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", campaignId)
    .execute();
  return id;
}

export const createCampaign = command(CreateCampaign, async (ctx, input): Promise<Campaign> => {
  // Settings have no foreign key: a sender that is not this tenant's is refused here.
  const { senderIdentityId } = input.settings;
  if (senderIdentityId !== undefined) await getSender(ctx, { id: senderIdentityId });
  const id = newId("campaign", ctx.now);
  await ctx.db
    .insertInto("marketing.campaigns")
    .values({
      tenant_id: ctx.tenantId,
      campaign_id: id,
      name: input.name,
      type: input.type,
      settings: JSON.stringify(input.settings),
      created_by: `${ctx.actor.type}:${ctx.actor.id}`,
      created_at: ctx.now,
      updated_at: ctx.now,
    })
    .execute();
  await logCampaign(ctx, id, null, "draft", "created");
  if (input.plan !== undefined) await addVersion(ctx, id, input.plan, "created");
  return campaignOf(ctx, id);
});

/**
 * A new version for contacts who enroll from now on; the ones on their way keep theirs until they are migrated. The same plan again
 * is the same version.
 */
export const addPlanVersion = command(
  ById.extend({ plan: PlanSource, reason: z.string().max(500).optional() }),
  async (ctx, { id, plan, reason }): Promise<Campaign> => {
    const campaign = await lock(ctx, id);
    if (campaign.status === "completed" || campaign.status === "stopped")
      throw errors.illegal(campaign.status, "edited");
    await addVersion(ctx, id, plan, reason);
    return campaignOf(ctx, id);
  },
);

export const listPlanVersions = query(ById, async (ctx, { id }) => {
  await campaignOf(ctx, id);
  return ctx.db
    .selectFrom("campaign_plan_versions")
    .select([
      "id",
      "version_number as versionNumber",
      "plan_hash as planHash",
      "plan_json as plan",
      "created_by as createdBy",
      "reason",
      "created_at as createdAt",
    ])
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", id)
    .orderBy("version_number", "desc")
    .execute();
});

/** The current plan as a Mermaid flowchart. */
export const diagram = query(ById, async (ctx, { id }): Promise<string> => {
  const { planVersionId } = await campaignOf(ctx, id);
  if (planVersionId === null) throw errors.noPlan(id);
  const version = (await planVersions(ctx, [planVersionId])).get(planVersionId);
  if (!version) throw errors.noPlan(id);
  return describePlan(version.plan);
});

/** Locks out everybody who is moving this campaign's enrollments, then the campaign itself. */
export async function lock(ctx: TxContext, id: string): Promise<Campaign> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`campaign:${ctx.tenantId}:${id}`}, 0))`.execute(ctx.db);
  return campaignOf(ctx, id);
}

export async function logCampaign(
  ctx: TxContext,
  campaignId: string,
  from: string | null,
  to: string,
  reason: string,
): Promise<void> {
  await ctx.db
    .insertInto("campaign_transitions")
    .values({
      tenant_id: ctx.tenantId,
      id: newId("transition", ctx.now),
      campaign_id: campaignId,
      from_status: from,
      to_status: to,
      reason,
      triggered_by: `${ctx.actor.type}:${ctx.actor.id}`,
      correlation_id: ctx.correlationId,
    })
    .execute();
}

/** Moving contacts who are on their way to another version of the plan: explicit, with a map of nodes, never sending anything twice. */
import { sql } from "kysely";
import * as z from "zod";
import { command, decodeCursor, idOf, paged, reach, type TxContext } from "../kernel/index.ts";
import { nodeRenames, recordNames, renameNodes } from "../messages/index.ts";
import { lockWalkers, stateOf, type Walker } from "./apply.ts";
import { Net } from "./fold.ts";
import { nodeOf } from "./graph.ts";
import { campaignOf, errors } from "./manage.ts";
import { migrateState, type NodeMap, namesAfter } from "./migrate.ts";
import { isTerminal } from "./state.ts";
import { renameTasks } from "./tasks.ts";
import { type PlanVersion, planVersions } from "./versions.ts";
import { NodeId } from "./vocabulary.ts";
import { writeNets } from "./write.ts";

/** Enrollments moved in one call. */
const maxMoved = 5_000;

export interface MigrationReport {
  readonly migrated: number;
  /**
   * Paused with `needs_mapping`: the node they stand on has no counterpart in the map. They keep their old version, are tried again by the next
   * call, and go on when it brings the name.
   */
  readonly needMapping: readonly { readonly enrollmentId: string; readonly problem: string }[];
  /** More are left; call again with this cursor, so that those who need a mapping do not come back first. null: everybody was looked at. */
  readonly nextCursor: string | null;
  readonly more: boolean;
}

/**
 * Moves everybody still on an older version of the campaign's plan to its current one.
 * @throws DomainError `plan.unknown_nodes`: the map names nodes that there are not; nobody was touched
 */
export const migrateEnrollments = command(
  z.strictObject({
    campaignId: idOf("campaign"),
    /**
     * Old node id → new node id; nodes that keep their id need no entry. All change at once, so two may change places. A node whose id goes to
     * another one has no counterpart unless it has an entry of its own.
     */
    nodeMap: z.record(z.string(), NodeId).default({}),
    cursor: z.string().max(500).optional(),
  }),
  async (ctx, { campaignId, nodeMap, cursor }): Promise<MigrationReport> => {
    const { planVersionId } = await campaignOf(ctx, campaignId);
    if (planVersionId === null) throw errors.noPlan(campaignId);
    const { rows } = await sql<{ id: string }>`
      select id from contact_campaigns
      where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and plan_version_id <> ${planVersionId}
        and status in ('draft', 'active', 'paused') and id > ${decodeCursor(cursor) ?? ""}
      order by id limit ${maxMoved + 1}`.execute(ctx.db);
    const { data, nextCursor } = paged(rows, maxMoved);
    const walkers = await lockWalkers(
      ctx,
      data.map((row) => row.id),
    );
    // Where no name was ever changed, nor is now, nothing has to be written down.
    const isNaming = Object.keys(nodeMap).length > 0 || (await nodeRenames(ctx, campaignId)).length > 0;
    const others = isNaming ? await otherVersions(ctx, campaignId, planVersionId) : [];
    const walked = walkers.map((walker) => walker.plan_version_id);
    const plans = await planVersions(ctx, [planVersionId, ...others.map((one) => one.id), ...walked]);
    const target = plans.get(planVersionId);
    if (!target) throw errors.noPlan(campaignId);
    refuseUnknown(nodeMap, target, [...plans.values()]);
    const needMapping: { enrollmentId: string; problem: string }[] = [];
    const moved: Walker[] = [];
    const changed = walkers.flatMap((walker) => {
      const from = plans.get(walker.plan_version_id);
      // It may have ended, or been moved by another call, before the lock was had.
      if (!from || (walker.status !== "draft" && isTerminal(walker.status)) || walker.plan_version_id === planVersionId)
        return [];
      const state = stateOf(walker);
      const { problem, ...result } = migrateState(from.plan, target.plan, state, nodeMap, ctx.now);
      if (problem === undefined) moved.push(walker);
      else needMapping.push({ enrollmentId: walker.id, problem });
      const net = new Net(walker.id, state);
      net.add(result.state, result.effects);
      // A walk that has not begun only changes its version.
      return walker.status === "draft" ? [] : [{ walker, net }];
    });
    const naming = new Set([...walked, ...others.flatMap((one) => (one.isUnnamed ? [one.id] : []))]);
    naming.delete(planVersionId);
    const versions = [...naming].flatMap((id) => plans.get(id) ?? []);
    if (isNaming) await rename(ctx, { campaignId, planVersionId }, moved, versions, nodeMap);
    await writeNets(ctx, changed);
    if (changed.length > 0) reach("enrollment.migrating");
    if (moved.length > 0) {
      await ctx.db
        .updateTable("contact_campaigns")
        .set({ plan_version_id: planVersionId, plan_hash: target.hash })
        .where("tenant_id", "=", ctx.tenantId)
        .where(
          "id",
          "in",
          moved.map((walker) => walker.id),
        )
        .execute();
    }
    return { migrated: moved.length, needMapping, nextCursor, more: nextCursor !== null };
  },
);

/**
 * The other versions of the campaign. Unnamed are those whose nodes nobody has named in any version but this one: their walks have ended, but
 * what they sent must not go to the same addresses again. What was said on the way through another version holds as it is.
 */
async function otherVersions(ctx: TxContext, campaignId: string, planVersionId: string) {
  const { rows } = await sql<{ id: string; isUnnamed: boolean }>`
    select v.id, not exists (
        select from node_renames n where n.tenant_id = v.tenant_id and n.campaign_id = v.campaign_id
          and n.from_version_id = v.id and n.to_version_id <> ${planVersionId}) as "isUnnamed"
    from campaign_plan_versions v
    where v.tenant_id = ${ctx.tenantId} and v.campaign_id = ${campaignId} and v.id <> ${planVersionId}`.execute(ctx.db);
  return rows;
}

/** A slip in a map would pause everybody it is about. Names of nodes that were retired have an @ and are in no plan. */
function refuseUnknown(nodeMap: NodeMap, target: PlanVersion, versions: readonly PlanVersion[]): void {
  const fields = Object.entries(nodeMap).flatMap(([from, to]) => {
    const path = `nodeMap.${from}`;
    if (!nodeOf(target.plan, to)) return [{ path, message: `The current plan has no node "${to}".` }];
    const isKnown = from.includes("@") || versions.some(({ plan }) => nodeOf(plan, from));
    return isKnown ? [] : [{ path, message: `No version of this campaign's plan has a node "${from}".` }];
  });
  if (fields.length > 0)
    throw errors.unknownNodes(
      fields,
      target.plan.nodes.map((node) => node.id),
    );
}

/** What is found by the names of nodes follows those who were moved: what becomes of their messages, and that a task was given once. */
async function rename(
  ctx: TxContext,
  to: { readonly campaignId: string; readonly planVersionId: string },
  moved: readonly Walker[],
  versions: readonly PlanVersion[],
  nodeMap: NodeMap,
): Promise<void> {
  const walks = moved.map((walker) => ({
    enrollmentId: walker.id,
    planVersionId: walker.plan_version_id,
  }));
  const names = versions.flatMap(({ id, plan }) =>
    namesAfter(plan, nodeMap).map((one) => ({ planVersionId: id, ...one })),
  );
  const renamings = names.filter((one) => one.from !== one.to);
  await recordNames(ctx, to, names);
  await renameNodes(ctx, walks, renamings);
  await renameTasks(ctx, walks, renamings);
}

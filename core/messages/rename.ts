/**
 * The names by which walks know their messages. A message keeps what was sent (`node_id` of `plan_version_id`); when its enrollment is moved
 * to another version of the plan, the name under which the engine hears of it follows the walk. Its dedupe key is put aside, so that another
 * node may take its old name; that the step still goes once to the address is the gate's affair, by the renames that are written down here.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";

/** The node of its enrollment's plan that a message stands for now. Read it under the lock of the enrollment. `m` is the message. */
export const walkNode = sql<string | null>`coalesce(m.walk_node_id, m.node_id)`;

export interface MovedWalk {
  readonly enrollmentId: string;
  /** The version it was on. */
  readonly planVersionId: string;
}

/** What a node of an older version is called from now on. */
export interface Renaming {
  readonly planVersionId: string;
  readonly from: string;
  readonly to: string;
}

/** Writes down what nodes of older versions are called in `planVersionId`, those that keep their names too, whoever is moved. */
export async function recordNames(
  ctx: TxContext,
  { campaignId, planVersionId }: { readonly campaignId: string; readonly planVersionId: string },
  names: readonly Renaming[],
): Promise<void> {
  if (names.length === 0) return;
  await sql`
    insert into node_renames (tenant_id, campaign_id, from_version_id, from_node, to_version_id, to_node, created_at)
    select ${ctx.tenantId}, ${campaignId}, r.version, r.from_node, ${planVersionId}, r.to_node, ${ctx.now} from ${unnested(names)}
    order by r.version, r.from_node, r.to_node
    on conflict do nothing`.execute(ctx.db);
}

const unnested = (renamings: readonly Renaming[]) =>
  sql`unnest(${renamings.map((r) => r.planVersionId)}::text[], ${renamings.map((r) => r.from)}::text[],
             ${renamings.map((r) => r.to)}::text[]) as r(version, from_node, to_node)`;

/** Renames the messages of moved enrollments, all at once. Call it with the enrollments locked. */
export async function renameNodes(
  ctx: TxContext,
  moved: readonly MovedWalk[],
  renamings: readonly Renaming[],
): Promise<void> {
  if (moved.length === 0 || renamings.length === 0) return;
  await sql`
    with renamed as materialized (
      select m.id, r.to_node
      from unnest(${moved.map((w) => w.enrollmentId)}::text[], ${moved.map((w) => w.planVersionId)}::text[]) as w(enrollment, version)
      join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.contact_campaign_id = w.enrollment
      join ${unnested(renamings)} on r.version = w.version and r.from_node = ${walkNode}
      order by m.id for no key update of m
    )
    update outbound_messages m
    set walk_node_id = r.to_node, updated_at = ${ctx.now},
        dedupe_key = case when m.dedupe_key like '%:moved:' || m.id then m.dedupe_key else m.dedupe_key || ':moved:' || m.id end
    from renamed r where m.tenant_id = ${ctx.tenantId} and m.id = r.id`.execute(ctx.db);
}

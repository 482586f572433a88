/**
 * The names by which walks know their messages. A message keeps what was sent (`node_id` of `plan_version_id`); when its enrollment is moved
 * to another version of the plan, the name under which the engine hears of it and its dedupe key follow the walk.
 *
 * Invariant: of the messages of a campaign to one address at most one owns the key of a name, and the one that was or may still be sent
 * comes first.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import { neverSent } from "./outbox.ts";

/** The node of its enrollment's plan that a message stands for now. Read it under the lock of the enrollment. `m` is the message. */
export const walkNode = sql<string | null>`coalesce(m.walk_node_id, m.node_id)`;

export interface MovedWalk {
  readonly enrollmentId: string;
  readonly entry: number;
  /** The version it was on. */
  readonly planVersionId: string;
}

/** What a node of an older version is called from now on. */
export interface Renaming {
  readonly planVersionId: string;
  readonly from: string;
  readonly to: string;
}

/**
 * Renames the messages of moved enrollments, all by their old names at once, in three statements: keys that change places are put aside first
 * and take their places then. Who owns such a place and was never sent gives it up; one that was or may be sent keeps it, and the newcomer
 * stays aside. Call it with the enrollments locked.
 */
export async function renameNodes(
  ctx: TxContext,
  moved: readonly MovedWalk[],
  renamings: readonly Renaming[],
): Promise<void> {
  if (moved.length === 0 || renamings.length === 0) return;
  const { rows } = await sql<{ id: string }>`
    with renamed as materialized (
      select m.id, r.to_node, m.campaign_id || ':' || w.entry || ':' as place, r.from_node
      from unnest(${moved.map((w) => w.enrollmentId)}::text[], ${moved.map((w) => w.entry)}::int[],
                  ${moved.map((w) => w.planVersionId)}::text[]) as w(enrollment, entry, version)
      join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.contact_campaign_id = w.enrollment
      join unnest(${renamings.map((r) => r.planVersionId)}::text[], ${renamings.map((r) => r.from)}::text[],
                  ${renamings.map((r) => r.to)}::text[]) as r(version, from_node, to_node)
        on r.version = w.version and r.from_node = ${walkNode}
      order by m.id for no key update of m
    )
    update outbound_messages m
    set walk_node_id = r.to_node, updated_at = ${ctx.now},
        dedupe_key = case when starts_with(m.dedupe_key, r.place || r.from_node || ':')
                          then r.place || r.to_node || substr(m.dedupe_key, length(r.place || r.from_node) + 1) || ':renamed:' || m.id
                          else m.dedupe_key end
    from renamed r where m.tenant_id = ${ctx.tenantId} and m.id = r.id
    returning m.id`.execute(ctx.db);
  if (rows.length === 0) return;
  const heirs = sql`
    heirs as materialized (
      select distinct on (k.key) m.id, k.key, ${neverSent} as never_sent
      from outbound_messages m, lateral (select left(m.dedupe_key, -length(':renamed:' || m.id)) as key) k
      where m.tenant_id = ${ctx.tenantId} and m.id = any(${rows.map((row) => row.id)}) and m.dedupe_key like '%:renamed:' || m.id
      order by k.key, ${neverSent}, m.id
    )`;
  await sql`
    with ${heirs}, idle as materialized (
      select m.id from outbound_messages m
      where m.tenant_id = ${ctx.tenantId} and m.dedupe_key in (select h.key from heirs h where not h.never_sent) and ${neverSent}
      order by m.id for update of m
    )
    update outbound_messages m set dedupe_key = m.dedupe_key || ':given-up:' || m.id
    from idle where m.tenant_id = ${ctx.tenantId} and m.id = idle.id`.execute(ctx.db);
  await sql`
    with ${heirs}
    update outbound_messages m set dedupe_key = h.key
    from heirs h where m.tenant_id = ${ctx.tenantId} and m.id = h.id
      and not exists (select from outbound_messages o where o.tenant_id = ${ctx.tenantId} and o.dedupe_key = h.key)`.execute(
    ctx.db,
  );
}

/** Work that a plan hands to people: calls, LinkedIn messages, replies to read. Invariant: a task ends once, as done or cancelled, and stays. */
import { sql } from "kysely";
import * as z from "zod";
import { command, DomainError, decodeCursor, idOf, Page, paged, query, type TxContext } from "../kernel/index.ts";
import type { MovedWalk, Renaming } from "../messages/index.ts";

/** tasks.status */
export const taskStatuses = ["open", "done", "cancelled"] as const;

const errors = {
  notFound: (id: string) => new DomainError("not_found", "task.not_found", `No task ${id}.`),
  ended: (id: string, status: string) => new DomainError("conflict", "task.ended", `Task ${id} is ${status} already.`),
  actorNotFound: (id: string) => new DomainError("not_found", "actor.not_found", `No actor ${id}.`),
};

const columns = [
  "id",
  "kind",
  "title",
  "status",
  "contact_campaign_id as enrollmentId",
  "lead_id as leadId",
  "contact_id as contactId",
  "node_id as nodeId",
  "assignee_id as assigneeId",
  "due_at as dueAt",
  "done_at as doneAt",
  "created_at as createdAt",
] as const;

/** In the order they were made. */
export const listTasks = query(
  Page.extend({
    status: z.enum(taskStatuses).optional(),
    assigneeId: idOf("actor").optional(),
    leadId: idOf("lead").optional(),
  }),
  async (ctx, { limit, cursor, status, assigneeId, leadId }) => {
    const after = decodeCursor(cursor);
    let rows = ctx.db.selectFrom("tasks").select(columns).where("tenant_id", "=", ctx.tenantId);
    if (after !== undefined) rows = rows.where("id", ">", after);
    if (status) rows = rows.where("status", "=", status);
    if (assigneeId) rows = rows.where("assignee_id", "=", assigneeId);
    if (leadId) rows = rows.where("lead_id", "=", leadId);
    const found = await rows
      .orderBy("id")
      .limit(limit + 1)
      .execute();
    return paged(found, limit);
  },
);

/** @throws DomainError `task.not_found` */
export const getTask = query(z.object({ id: idOf("task") }), async (ctx, { id }) => {
  const row = await ctx.db
    .selectFrom("tasks")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/** Ending a task, or giving it to somebody. What ended stays ended: `task.ended`. */
export const updateTask = command(
  z.object({
    id: idOf("task"),
    status: z.enum(["done", "cancelled"]).optional(),
    assigneeId: idOf("actor").nullish(),
  }),
  async (ctx, { id, status, assigneeId }) => {
    if (assigneeId) {
      const actor = await ctx.db
        .selectFrom("actors")
        .select("id")
        .where("tenant_id", "=", ctx.tenantId)
        .where("id", "=", assigneeId)
        .executeTakeFirst();
      if (!actor) throw errors.actorNotFound(assigneeId);
    }
    const row = await ctx.db
      .updateTable("tasks")
      .set((eb) => ({
        status: status ?? eb.ref("status"),
        done_at: status === undefined ? eb.ref("done_at") : ctx.now,
        assignee_id: assigneeId === undefined ? eb.ref("assignee_id") : assigneeId,
        updated_at: ctx.now,
      }))
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .where((eb) => (status === undefined ? sql<boolean>`true` : eb("status", "=", "open")))
      .returning(columns)
      .executeTakeFirst();
    if (row) return row;
    const task = await getTask(ctx, { id });
    throw errors.ended(id, task.status);
  },
);

/** A plan gives an enrollment each of its tasks once. */
export const taskKey = (enrollmentId: string, nodeId: string): string => `${enrollmentId}:${nodeId}`;

/**
 * Renames what says that a task was given, as messages are renamed: all by the old names at once, first aside and then into place. Of two
 * that the new plan sees as one the older takes the place.
 */
export async function renameTasks(
  ctx: TxContext,
  moved: readonly MovedWalk[],
  renamings: readonly Renaming[],
): Promise<void> {
  if (moved.length === 0 || renamings.length === 0) return;
  const { rows } = await sql<{ id: string }>`
    with renamed as materialized (
      select t.id, w.enrollment || ':' || r.to_node as to_key
      from unnest(${moved.map((w) => w.enrollmentId)}::text[], ${moved.map((w) => w.planVersionId)}::text[]) as w(enrollment, version)
      join tasks t on t.tenant_id = ${ctx.tenantId} and t.contact_campaign_id = w.enrollment
      join unnest(${renamings.map((r) => r.planVersionId)}::text[], ${renamings.map((r) => r.from)}::text[],
                  ${renamings.map((r) => r.to)}::text[]) as r(version, from_node, to_node)
        on r.version = w.version and t.idempotency_key = w.enrollment || ':' || r.from_node
      order by t.id for no key update of t
    )
    update tasks t set idempotency_key = r.to_key || ':renamed:' || t.id
    from renamed r where t.tenant_id = ${ctx.tenantId} and t.id = r.id returning t.id`.execute(ctx.db);
  if (rows.length === 0) return;
  await sql`
    with heirs as materialized (
      select distinct on (k.key) t.id, k.key
      from tasks t, lateral (select left(t.idempotency_key, -length(':renamed:' || t.id)) as key) k
      where t.tenant_id = ${ctx.tenantId} and t.id = any(${rows.map((row) => row.id)})
      order by k.key, t.id
    )
    update tasks t set idempotency_key = h.key
    from heirs h where t.tenant_id = ${ctx.tenantId} and t.id = h.id
      and not exists (select from tasks o where o.tenant_id = ${ctx.tenantId} and o.idempotency_key = h.key)`.execute(
    ctx.db,
  );
}

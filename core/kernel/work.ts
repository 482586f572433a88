/**
 * One mechanism for all work: a row with `status`, `run_at`, `attempts`, `lease_until`, `generation`.
 *
 * A claim takes due rows (or rows whose worker's lease ran out), adds one to their generation and gives them a lease.
 * Invariant: whoever writes about a claimed row afterwards names its generation; a worker that was paused past its lease
 * therefore writes nothing.
 *
 * Shape of the claim: a materialised CTE over the partial index on due rows, statuses as literals (a parameter would make
 * PostgreSQL forget the partial index), one statement for the whole batch.
 */
import { type Kysely, sql, type Transaction } from "kysely";
import type { DB } from "../db/types.gen.ts";

/** A work table. `ready` rows may start; `running` rows belong to a worker until `lease_until`. */
export interface WorkKind {
  readonly table: string;
  readonly leaseSeconds: number;
}

export const work = {
  deliveries: { table: "webhook_deliveries", leaseSeconds: 60 },
  actions: { table: "scheduled_actions", leaseSeconds: 60 },
  imports: { table: "imports", leaseSeconds: 120 },
} as const satisfies Record<string, WorkKind>;

export interface Claimed {
  readonly id: string;
  readonly generation: number;
  readonly attempts: number;
}

/**
 * Claims up to `limit` rows of the transaction's tenant.
 * @param ids only these, when a bell named them; undefined: whatever is due, oldest first.
 */
export async function claim(
  db: Transaction<DB>,
  tenantId: string,
  kind: WorkKind,
  { ids, limit }: { readonly ids?: readonly string[] | undefined; readonly limit: number },
): Promise<Claimed[]> {
  const table = sql.table(kind.table);
  const named = ids && ids.length > 0 ? sql`and id = any(${ids as string[]})` : sql``;
  const { rows } = await sql<Claimed>`
    with due as materialized (
      select id from ${table}
      where tenant_id = ${tenantId} ${named}
        and (status = 'pending' and run_at <= app_now() or status = 'running' and lease_until <= app_now())
      order by run_at, id
      limit ${limit}
      for update skip locked
    )
    update ${table} w
    set status = 'running', generation = w.generation + 1, attempts = w.attempts + 1,
        lease_until = app_now() + make_interval(secs => ${kind.leaseSeconds})
    from due where w.tenant_id = ${tenantId} and w.id = due.id
    returning w.id, w.generation, w.attempts`.execute(db);
  return rows;
}

export interface Settled {
  readonly id: string;
  readonly generation: number;
  readonly status: "completed" | "failed" | "cancelled" | "pending";
  readonly error?: string | null;
  /** For `pending`: when to try again, in seconds from now. */
  readonly retryInSeconds?: number;
}

/** Ends (or puts back) a batch of claimed rows in one statement. @returns the ids whose generation still held. */
export async function settle(
  db: Transaction<DB>,
  tenantId: string,
  kind: WorkKind,
  results: readonly Settled[],
): Promise<string[]> {
  if (results.length === 0) return [];
  const { rows } = await sql<{ id: string }>`
    update ${sql.table(kind.table)} w
    set status = r.status, lease_until = null, last_error = r.error,
        run_at = case when r.status = 'pending' then app_now() + make_interval(secs => r.retry_in) else w.run_at end,
        completed_at = case when r.status = 'pending' then null else app_now() end
    from unnest(
      ${results.map((r) => r.id)}::text[], ${results.map((r) => r.generation)}::int[], ${results.map((r) => r.status)}::text[],
      ${results.map((r) => r.error ?? null)}::text[], ${results.map((r) => r.retryInSeconds ?? 0)}::float8[]
    ) as r(id, generation, status, error, retry_in)
    where w.tenant_id = ${tenantId} and w.id = r.id and w.generation = r.generation and w.status = 'running'
    returning w.id`.execute(db);
  return rows.map((row) => row.id);
}

/** What a sweep can ask for; `reconcile` are sends whose end is unknown. */
export type DueKind = "deliveries" | "actions" | "imports" | "send" | "reconcile";

/**
 * Work that is due for any tenant, by tenant: ids only, read through a function that may see nothing else. Runs without a tenant.
 * @param limit rows per call; what is beyond it is returned by the next one
 */
export async function dueWork(db: Kysely<DB>, kind: DueKind, limit: number): Promise<ReadonlyMap<string, string[]>> {
  const { rows } = await sql<{ tenant_id: string; id: string }>`
    select tenant_id, id from due_work(${kind}, ${limit})`.execute(db);
  const byTenant = new Map<string, string[]>();
  for (const { tenant_id, id } of rows) {
    const ids = byTenant.get(tenant_id);
    if (ids) ids.push(id);
    else byTenant.set(tenant_id, [id]);
  }
  return byTenant;
}

/** Every tenant's id, for maintenance that goes through them one by one. Runs without a tenant. */
export async function allTenants(db: Kysely<DB>): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`select id from tenant_ids() as t(id)`.execute(db);
  return rows.map((row) => row.id);
}

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

/** A work table. `pending` rows may start when they are due; `running` rows belong to a worker until `lease_until`. */
export interface WorkKind {
  readonly table: string;
  readonly leaseSeconds: number;
  /** A claimed row stays `pending` and only has a lease: whoever pauses or cancels it finds it where it was, and the claim moves no index entry. */
  readonly staysPending?: boolean;
}

export const work = {
  deliveries: { table: "webhook_deliveries", leaseSeconds: 30 },
  // Held from the claim to the locks of its run, which is milliseconds, a few times over when one of the batch is at fault.
  actions: { table: "scheduled_actions", leaseSeconds: 15, staysPending: true },
  imports: { table: "imports", leaseSeconds: 30 },
} as const satisfies Record<string, WorkKind>;

/**
 * Claims without an end after which a row is set aside: whatever takes it up dies. Where workers live for seconds, every sixth claim ends with
 * its worker by chance; ten in a row do not.
 */
export const maxClaims = 10;
/** Stored as the error of a row that was set aside for that. */
export const crashedRepeatedly = `crashed_repeatedly: taken up ${maxClaims} times, and no worker came back`;

export interface Claimed {
  readonly id: string;
  readonly generation: number;
  readonly attempts: number;
  /** Found under a lease that had run out: a worker has taken it up before and did not come back. */
  readonly wasLeft: boolean;
}

/**
 * Claims up to `limit` rows of the transaction's tenant. A row whose worker did not come back is claimed with others of its kind only, a
 * quarter as many for each time: the one that kills its workers ends up alone after five deaths, and its neighbours get done. (Fewer at once
 * would keep those waiting that were with a worker that died by chance.) What a worker has put back is
 * claimed with everything else. Every claim counts but those from others, which somebody waits for and repeats while the database is away; the
 * caller sets aside what has more than `maxClaims`.
 * @param ids only these, when a bell named them; undefined: whatever is due, oldest first.
 * @param fromOthers takes what is not done, due or not, from whoever has it, and waits for them if they are about to end it. They find
 *   their generation gone.
 */
export async function claim(
  db: Transaction<DB>,
  tenantId: string,
  kind: WorkKind,
  {
    ids,
    limit,
    fromOthers = false,
  }: { readonly ids?: readonly string[] | undefined; readonly limit: number; readonly fromOthers?: boolean },
): Promise<Claimed[]> {
  const table = sql.table(kind.table);
  const named = ids && ids.length > 0 ? sql`and id = any(${ids as string[]})` : sql``;
  // Asked once, not once per row.
  const now = sql`(select app_now())`;
  const free = fromOthers
    ? sql`status in ('pending', 'running')`
    : kind.staysPending
      ? sql`status = 'pending' and run_at <= ${now} and (lease_until is null or lease_until <= ${now})`
      : sql`(status = 'pending' and run_at <= ${now} or status = 'running' and lease_until <= ${now})`;
  const { rows } = await sql<Claimed>`
    with due as materialized (
      select id, run_at, case when lease_until is null then 0 else attempts end as left_behind from ${table}
      where tenant_id = ${tenantId} ${named} and ${free}
      order by run_at, id
      limit ${limit}
      for update ${fromOthers ? sql`` : sql`skip locked`}
    ), first as materialized (
      select left_behind, greatest(1, ${limit}::int / power(4, least(left_behind, 6)))::int as size from due order by run_at, id limit 1
    ), taken as materialized (
      select d.id, d.left_behind from due d, first f where d.left_behind = f.left_behind order by d.run_at, d.id limit (select size from first)
    )
    update ${table} w
    set ${kind.staysPending ? sql`` : sql`status = 'running',`} generation = w.generation + 1, attempts = w.attempts + ${fromOthers ? 0 : 1}::int,
        updated_at = ${now}, lease_until = ${now} + make_interval(secs => ${kind.leaseSeconds})
    from taken where w.tenant_id = ${tenantId} and w.id = taken.id
    returning w.id, w.generation, w.attempts, taken.left_behind > 0 as "wasLeft"`.execute(db);
  return rows;
}

/** Were these taken up before by a worker that did not come back? Then others like them may be left to claim. */
export const areSuspect = (claimed: readonly Claimed[]): boolean => claimed.some((one) => one.wasLeft);

export interface Settled {
  readonly id: string;
  readonly generation: number;
  readonly status: "completed" | "failed" | "cancelled" | "pending";
  readonly error?: string | null;
  /** For `pending`: when to try again, in seconds from now. */
  readonly retryInSeconds?: number;
  /** What went wrong was not this row's doing: the claim does not count towards `maxClaims`. */
  readonly isSpared?: boolean;
}

/**
 * Ends (or puts back) a batch of claimed rows in one statement. @returns the ids whose generation still held; of a kind that stays pending,
 * those that nobody has paused or cancelled since.
 */
export async function settle(
  db: Transaction<DB>,
  tenantId: string,
  kind: WorkKind,
  results: readonly Settled[],
): Promise<string[]> {
  if (results.length === 0) return [];
  const held = kind.staysPending ? sql`w.status = 'pending' and w.run_at <= app_now()` : sql`w.status = 'running'`;
  const { rows } = await sql<{ id: string }>`
    update ${sql.table(kind.table)} w
    set status = r.status, lease_until = null, last_error = r.error, attempts = w.attempts - r.spared,
        run_at = case when r.status = 'pending' then app_now() + make_interval(secs => r.retry_in) else w.run_at end,
        completed_at = case when r.status = 'pending' then null else app_now() end
    from unnest(
      ${results.map((r) => r.id)}::text[], ${results.map((r) => r.generation)}::int[], ${results.map((r) => r.status)}::text[],
      ${results.map((r) => r.error ?? null)}::text[], ${results.map((r) => r.retryInSeconds ?? 0)}::float8[],
      ${results.map((r) => (r.isSpared ? 1 : 0))}::int[]
    ) as r(id, generation, status, error, retry_in, spared)
    where w.tenant_id = ${tenantId} and w.id = r.id and w.generation = r.generation and ${held}
    returning w.id`.execute(db);
  return rows.map((row) => row.id);
}

/**
 * For a transaction that works under a claim: it waits so long for each lock and then fails, so that its rows can be put back while they are
 * still its own. Without it they would count as left behind by a worker that crashed.
 */
export const limitLockWaits = (db: Transaction<DB>, ms: number) =>
  sql`select set_config('lock_timeout', ${`${ms}ms`}, true)`.execute(db);

/** Somebody else holds what was waited for: neither a failure nor a crash. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "55P03";

/**
 * What a sweep can ask for; `expired` are sends whose worker died, `reconcile` those whose end is unknown, `wake` tenants whose held messages
 * are being woken (`wakeNoted`).
 */
export type DueKind = "deliveries" | "actions" | "imports" | "send" | "expired" | "reconcile" | "wake";

/**
 * Work that is due for any tenant, by tenant: ids only, read through a function that may see nothing else. Runs without a tenant.
 * @param limit rows per call; what is beyond it is returned by the next one. While several tenants wait, none gets more than its share
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

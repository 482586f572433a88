/**
 * How a tenant is, in numbers: what it has, what waits and for how long, what is held back and why, when it was last examined.
 * Invariant: one answer from one state of the database; it reads rows of one tenant and says nothing about anybody in them.
 */
import { sql } from "kysely";
import { type Context, DomainError, type TxContext, transact } from "../kernel/index.ts";
import { isTimeout, limitStatements } from "./limit.ts";
import { type DoctorRun, lastRun } from "./runs.ts";

type Counts = Readonly<Record<string, number>>;

export interface Queue {
  readonly waiting: number;
  readonly running: number;
  /** Set aside: needs a person. */
  readonly failed: number;
  /** How long the oldest row that is due has been; null when nothing is. */
  readonly oldestDueSeconds: number | null;
}

export interface TenantStatus {
  readonly at: Date;
  readonly contacts: number;
  readonly leads: number;
  readonly campaigns: Counts;
  readonly enrollments: Counts;
  readonly messages: Counts;
  /** Messages that wait, by channel. */
  readonly queued: Counts;
  /** Messages held back, by reason. */
  readonly held: Counts;
  /** Sends without a known end, by provider. */
  readonly ambiguous: Counts;
  readonly queues: Readonly<Record<"deliveries" | "actions" | "imports" | "send", Queue>>;
  /** What the schedule `doctor` found; null before its first run. */
  readonly examined: DoctorRun | null;
}

interface Row {
  readonly what: string;
  readonly name: string;
  readonly n: number;
  readonly oldest: number | null;
}

/** Counted state by state, each by its partial index: what is done with is most of the table, and not read. */
const work = ({ tenantId, now }: TxContext, what: string, table: string) => sql`
  select ${what}::text as what, case when lease_until > ${now} then 'running' else 'waiting' end as name, count(*)::int as n,
    extract(epoch from ${now}::timestamptz - min(run_at) filter (where run_at <= ${now}))::float8 as oldest
  from ${sql.table(table)} where tenant_id = ${tenantId} and status = 'pending' group by 2
  union all
  select ${what}, 'failed', count(*)::int, null from ${sql.table(table)} where tenant_id = ${tenantId} and status = 'failed'`;

const running = ({ tenantId }: TxContext, what: string, table: string) => sql`
  select ${what}, 'running', count(*)::int, null::float8 from ${sql.table(table)} where tenant_id = ${tenantId} and status = 'running'`;

const tally = ({ tenantId }: TxContext, what: string, table: string) => sql`
  select ${what}, status, count(*)::int, null::float8 from ${sql.table(table)} where tenant_id = ${tenantId} group by 2`;

/** Of the messages, which were read once. */
const sums = (what: string, column: string, where = sql`true`) => sql`
  select ${what}, ${sql.ref(column)}, sum(n)::int, null::float8 from told where ${where} group by 2`;

/** One count at a time per tenant: those who ask meanwhile wait, instead of reading the same rows beside it. */
const oneAtATime = ({ db, tenantId }: TxContext) =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`status:${tenantId}`}, 0))`.execute(db);

const limitMs = 5_000;

/**
 * @param limit milliseconds that counting, and waiting for another count of the tenant, may take
 * @throws DomainError `status.too_slow` (unavailable)
 */
export async function tenantStatus(ctx: Context, limit: number = limitMs): Promise<TenantStatus> {
  try {
    return await transact(ctx, (ctx) => count(ctx, limit));
  } catch (error) {
    if (!isTimeout(error)) throw error;
    throw new DomainError(
      "unavailable",
      "status.too_slow",
      "Counting takes too long at the moment. Ask less often, or later.",
      { cause: error },
    );
  }
}

async function count(ctx: TxContext, limit: number): Promise<TenantStatus> {
  await limitStatements(ctx.db, limit);
  await oneAtATime(ctx);
  const { rows } = await sql<Row>`
    with told as materialized (
      select status, channel, coalesce(hold_reason, 'none') as hold_reason, coalesce(provider, 'none') as provider, count(*) as n,
        min(run_at) filter (where status in ('queued', 'held') and run_at <= ${ctx.now}) as due
      from outbound_messages where tenant_id = ${ctx.tenantId} group by 1, 2, 3, 4
    )
    ${work(ctx, "deliveries", "webhook_deliveries")} union all ${running(ctx, "deliveries", "webhook_deliveries")}
    union all ${work(ctx, "actions", "scheduled_actions")}
    union all ${work(ctx, "imports", "imports")} union all ${running(ctx, "imports", "imports")}
    union all
    select 'send', case when status = 'sending' then 'running' else 'waiting' end, sum(n)::int,
      extract(epoch from ${ctx.now}::timestamptz - min(due))::float8
    from told where status in ('queued', 'held', 'sending') group by 2
    union all ${tally(ctx, "campaigns", "marketing.campaigns")}
    union all ${tally(ctx, "enrollments", "contact_campaigns")}
    union all ${sums("messages", "status")}
    union all ${sums("queued", "channel", sql`status = 'queued'`)}
    union all ${sums("held", "hold_reason", sql`status = 'held'`)}
    union all ${sums("ambiguous", "provider", sql`status = 'ambiguous'`)}
    union all select 'contacts', 'all', count(*)::int, null from contacts where tenant_id = ${ctx.tenantId}
    union all select 'leads', 'all', count(*)::int, null from leads where tenant_id = ${ctx.tenantId} and deleted_at is null`.execute(
    ctx.db,
  );
  const counts = (what: string): Counts =>
    Object.fromEntries(rows.filter((row) => row.what === what).map(({ name, n }) => [name, n]));
  const queue = (what: string): Queue => {
    const { waiting = 0, running = 0, failed = 0 } = counts(what);
    const oldest = rows.find((row) => row.what === what && row.name === "waiting")?.oldest;
    return {
      waiting,
      running,
      failed,
      oldestDueSeconds: oldest === undefined || oldest === null ? null : Math.round(oldest),
    };
  };
  return {
    at: ctx.now,
    contacts: counts("contacts")["all"] ?? 0,
    leads: counts("leads")["all"] ?? 0,
    campaigns: counts("campaigns"),
    enrollments: counts("enrollments"),
    messages: counts("messages"),
    queued: counts("queued"),
    held: counts("held"),
    ambiguous: counts("ambiguous"),
    queues: {
      deliveries: queue("deliveries"),
      actions: queue("actions"),
      imports: queue("imports"),
      send: queue("send"),
    },
    examined: await lastRun(ctx),
  };
}

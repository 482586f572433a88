/**
 * How a tenant is, in numbers: what it has, what waits and for how long, what is held back and why, when it was last examined.
 * Invariant: one answer from one state of the database; it reads rows of one tenant and says nothing about anybody in them.
 */
import { sql } from "kysely";
import { type Context, transact } from "../kernel/index.ts";
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

const work = (what: string, table: string) => sql`
  select ${what}::text as what, case status when 'pending' then 'waiting' else status end as name, count(*)::int as n,
    extract(epoch from app_now() - min(run_at) filter (where status = 'pending' and run_at <= app_now()))::float8 as oldest
  from ${sql.table(table)} where tenant_id = nullif(current_setting('app.tenant_id', true), '') and status in ('pending', 'running', 'failed')
  group by status`;

const tally = (what: string, table: string, column: string, where = sql`true`) => sql`
  select ${what}::text, coalesce(${sql.ref(column)}, 'none'), count(*)::int, null::float8
  from ${sql.table(table)} where tenant_id = nullif(current_setting('app.tenant_id', true), '') and ${where} group by 2`;

export const tenantStatus = (ctx: Context): Promise<TenantStatus> =>
  transact(ctx, async (ctx) => {
    const { rows } = await sql<Row>`
      ${work("deliveries", "webhook_deliveries")} union all ${work("actions", "scheduled_actions")} union all ${work("imports", "imports")}
      union all
      select 'send', case when status = 'sending' then 'running' else 'waiting' end, count(*)::int,
        extract(epoch from app_now() - min(run_at) filter (where status <> 'sending' and run_at <= app_now()))::float8
      from outbound_messages where tenant_id = ${ctx.tenantId} and status in ('queued', 'held', 'sending') group by 2
      union all ${tally("campaigns", "marketing.campaigns", "status")}
      union all ${tally("enrollments", "contact_campaigns", "status")}
      union all ${tally("messages", "outbound_messages", "status")}
      union all ${tally("queued", "outbound_messages", "channel", sql`status = 'queued'`)}
      union all ${tally("held", "outbound_messages", "hold_reason", sql`status = 'held'`)}
      union all ${tally("ambiguous", "outbound_messages", "provider", sql`status = 'ambiguous'`)}
      union all ${tally("contacts", "contacts", "status")}
      union all select 'leads', 'all', count(*)::int, null from leads where tenant_id = ${ctx.tenantId} and deleted_at is null`.execute(
      ctx.db,
    );
    const counts = (what: string): Counts =>
      Object.fromEntries(rows.filter((row) => row.what === what).map(({ name, n }) => [name, n]));
    const queue = (what: string): Queue => {
      const { waiting = 0, running = 0, failed = 0 } = counts(what);
      const oldest = rows.find((row) => row.what === what && row.oldest !== null)?.oldest;
      return {
        waiting,
        running,
        failed,
        oldestDueSeconds: oldest === undefined || oldest === null ? null : Math.round(oldest),
      };
    };
    return {
      at: ctx.now,
      contacts: Object.values(counts("contacts")).reduce((sum, n) => sum + n, 0),
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
  });

/** Due work at the scale of a year, and the workers that claim it: the sweep asks what is due, bells carry ids, each is claimed by its tenant. */
import { sql } from "kysely";
import type { Context } from "../core/kernel/context.ts";
import { transact } from "../core/kernel/context.ts";
import { claim, dueWork, work } from "../core/kernel/work.ts";
import { type Rig, workingHour } from "./rig.ts";
import { newTenant } from "./tenants.ts";

export const tenantCount = 50;
/** As functions/sweep.ts asks. */
const sweepLimit = 20_000;
/** Rows per claim: what a bell carries. */
export const batch = 100;

/** What a sweep has rung for and nobody has answered yet. */
export class Bells {
  readonly #rig: Rig;
  readonly #tenants: ReadonlyMap<string, Context>;
  #waiting: { readonly tenant: Context; readonly ids: readonly string[] }[] = [];

  constructor(rig: Rig, tenants: ReadonlyMap<string, Context>) {
    this.#rig = rig;
    this.#tenants = tenants;
  }

  async #sweep(): Promise<void> {
    for (const [tenantId, ids] of await dueWork(this.#rig.db, "actions", sweepLimit)) {
      const tenant = this.#tenants.get(tenantId);
      if (!tenant) continue;
      for (let at = 0; at < ids.length; at += batch) this.#waiting.push({ tenant, ids: ids.slice(at, at + batch) });
    }
  }

  /** Sweeps when nothing is rung for, and claims until at least `count` rows are under a lease. @returns how many */
  async claim(count: number, workers: number): Promise<number> {
    let claimed = 0;
    const worker = async (): Promise<void> => {
      for (let bell = this.#waiting.pop(); bell && claimed < count; bell = this.#waiting.pop()) {
        const { tenant, ids } = bell;
        const rows = await transact(tenant, (ctx) => claim(ctx.db, ctx.tenantId, work.actions, { ids, limit: batch }));
        claimed += rows.length;
      }
    };
    while (claimed < count) {
      if (this.#waiting.length === 0) await this.#sweep();
      if (this.#waiting.length === 0) throw new Error("no work is left to claim");
      await Promise.all(Array.from({ length: workers }, worker));
    }
    return claimed;
  }

  /** Work that was swept and done long ago: `count` dead entries behind the low-water mark. */
  async retire(count: number): Promise<void> {
    for (let done = 0; done < count; ) {
      if (this.#waiting.length === 0) await this.#sweep();
      const ids = this.#waiting.flatMap((bell) => bell.ids);
      this.#waiting = [];
      await asReplica(this.#rig, sql`update scheduled_actions set status = 'completed' where id = any(${ids})`);
      done += ids.length;
    }
  }

  /** What the sweep pays once a minute for looking at everything. @returns milliseconds */
  async fullPass(): Promise<number> {
    await sql`update sweep_state set full_pass_at = '-infinity'`.execute(this.#rig.owner);
    const from = performance.now();
    await dueWork(this.#rig.db, "actions", sweepLimit);
    return performance.now() - from;
  }
}

/** Without triggers and foreign keys: to arrange in seconds what a year of work would leave. */
async function asReplica(rig: Rig, statement: ReturnType<typeof sql>): Promise<void> {
  await rig.owner.transaction().execute(async (tx) => {
    await sql`set local session_replication_role = replica`.execute(tx);
    await statement.execute(tx);
  });
}

export async function leaveDead(rig: Rig): Promise<void> {
  await sql`alter table scheduled_actions set (autovacuum_enabled = false)`.execute(rig.owner);
}

export interface Filling {
  /** Due rows, in the last day before now. */
  readonly pending: number;
  /** Rows that were done in the weeks before. */
  readonly completed?: number;
}

/** @returns the tenants, who share the rows evenly */
export async function fillProduct(
  rig: Rig,
  { pending, completed = 0 }: Filling,
): Promise<ReadonlyMap<string, Context>> {
  const tenants = new Map<string, Context>();
  for (let n = 0; n < tenantCount; n++) {
    const tenant = await newTenant(rig);
    tenants.set(tenant.tenantId, tenant);
  }
  await asReplica(
    rig,
    sql`
    insert into scheduled_actions (tenant_id, id, campaign_id, contact_campaign_id, action_type, node_id, status, run_at, completed_at,
      idempotency_key, created_at, updated_at)
    select t.ids[1 + n % ${tenantCount}::int], 'sact_01' || lpad(n::text, 24, '0'), 'mcmp_01' || lpad('', 24, '0'), 'ccmp_01' || lpad((n / 3)::text, 24, '0'),
      'node', 'intro', case when n > ${completed}::int then 'pending' else 'completed' end,
      case when n > ${completed}::int then ${workingHour}::timestamptz - interval '1 day' + random() * interval '86000 seconds'
        else ${workingHour}::timestamptz - interval '31 days' + n * interval '30 days' / ${Math.max(1, completed)}::int end,
      case when n <= ${completed}::int then ${workingHour}::timestamptz end, 'ccmp:' || n || ':intro', ${workingHour}, ${workingHour}
    from generate_series(1, ${completed + pending}::int) n, (select ${[...tenants.keys()]}::text[] as ids) t`,
  );
  await sql`vacuum analyze scheduled_actions`.execute(rig.owner);
  return tenants;
}

/**
 * What happens next: events of the script, webhooks, bells, sweeps when something is due, and the passing of time in between.
 *
 * Invariant: time passes only while nobody can go on.
 */
import { queues } from "../../functions/topology.ts";
import { start } from "./base.ts";
import { setVirtualNow } from "./clock.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

export interface Pending {
  readonly at: number;
  readonly order: number;
  readonly what: string;
  readonly begin: () => void;
  /** Needs a process of its own. */
  readonly invokes: boolean;
}

const minute = 60_000;
const hour = 60 * minute;
/** A world that has not come to rest after this long never will. */
const maxDays = 30;

export class Agenda {
  readonly #world: World;
  #pending: Pending[] = [];
  #order = 0;
  #gap = 15 * minute;
  #seen = "";

  constructor(world: World) {
    this.#world = world;
  }

  add(when: number, what: string, begin: () => void, invokes: boolean): void {
    this.#pending.push({ at: Math.max(when, this.#world.now), order: this.#order++, what, begin, invokes });
  }

  /** Begins what was due. */
  begin(due: Pending): void {
    this.#pending = this.#pending.filter((one) => one !== due);
    due.begin();
  }

  due(): Pending | undefined {
    return (
      this.#pending
        .filter((one) => one.at <= this.#world.now)
        .reduce<Pending | undefined>(
          (first, one) =>
            first && (first.at < one.at || (first.at === one.at && first.order < one.order)) ? first : one,
          undefined,
        ) ?? this.#received()
    );
  }

  /** A batch of bells that can be received now, as something that is due. */
  #received(): Pending | undefined {
    if (this.#world.queue.nextAt() > this.#world.now) return undefined;
    return {
      at: this.#world.now,
      order: Number.MAX_SAFE_INTEGER,
      what: "bells",
      invokes: true,
      begin: () => {
        const received = this.#world.queue.receive(this.#world.now);
        if (!received) return;
        const { kind, batch } = received;
        const Records = batch.map((one) => ({
          messageId: one.id,
          body: one.body,
          attributes: { ApproximateReceiveCount: String(one.receives) },
        }));
        this.#world.invoke(
          kind,
          queues[kind].timeoutSeconds,
          (handlers, context) => handlers[kind]({ Records } as never, context),
          (answer) => {
            const { batchItemFailures = [] } = (answer ?? {}) as { batchItemFailures?: { itemIdentifier: string }[] };
            const failed = new Set(batchItemFailures.map((one) => one.itemIdentifier));
            this.#world.queue.delete(batch.filter((one) => !failed.has(one.id)));
          },
        );
      },
    };
  }

  /** @returns false when nothing is left to happen */
  async advance(): Promise<boolean> {
    const times = [
      ...this.#pending.map((one) => one.at),
      this.#world.queue.nextAt(),
      ...this.#world.active.flatMap((one) =>
        one.frozen
          ? [one.frozenUntil]
          : one.waiting.flatMap((turn) => (turn.kind === "statement" ? [] : [turn.readyAt])),
      ),
    ];
    // What is due already and has not begun waits for a process, not for time.
    const next = Math.min(...times.filter((at) => at > this.#world.now));
    const idle = this.#world.active.every((one) => one.frozen);
    if (idle) {
      await this.#world.examination.whileIdle();
      // Sweeps come every minute: when something else comes sooner, nobody has to ask what is due.
      const soonest = Math.ceil((this.#world.now + 1) / minute) * minute;
      const { at, recheck, state } = soonest > next ? { at: null, recheck: null, state: "" } : await this.#nextDue();
      if (at !== null || recheck !== null) {
        const due = Math.min(
          at ?? Number.POSITIVE_INFINITY,
          Math.max(recheck ?? Number.POSITIVE_INFINITY, this.#world.now + this.#gap),
        );
        const sweepAt = Math.ceil(Math.max(due, this.#world.now + 1) / minute) * minute;
        if (sweepAt <= next) {
          if (sweepAt - start > maxDays * 24 * hour) {
            if (this.#world.calm) throw new Violation("comes to rest", "work is still due after 30 days");
            return false;
          }
          // Holds without a known end are looked at every quarter of an hour; while that changes nothing it is done less and less often.
          this.#gap = state === this.#seen ? Math.min(this.#gap * 3, 9 * hour) : 15 * minute;
          this.#seen = state;
          this.#world.now = sweepAt;
          await this.#world.setClock();
          this.#world.schedule("sweep");
          this.#world.schedule("reconcile");
          if (this.#world.parts.spills.length > 0) this.#world.schedule("drain");
          if (!this.#world.calm && this.#world.chances.chance(0.1)) {
            this.#world.hit("sweep overlaps");
            this.#world.schedule("sweep");
          }
          return true;
        }
      }
    }
    if (!Number.isFinite(next)) return false;
    this.#world.now = Math.max(this.#world.now, next);
    setVirtualNow(this.#world.now);
    return true;
  }

  /** When something is due, when a hold without a known end is looked at again, and in which states everything is. */
  async #nextDue(): Promise<{ readonly at: number | null; readonly recheck: number | null; readonly state: string }> {
    const [row] = await this.#world.parts.database.rows<{
      at: Date | null;
      recheck: Date | null;
      state: string | null;
    }>(`
      select min(at) as at, min(recheck) as recheck, string_agg(state, ' ' order by state) as state from (
        select min(run_at) filter (where run_at < 'infinity') as at, null::timestamptz as recheck, 'action' || count(*) as state
        from scheduled_actions where status = 'pending'
        union all
        select min(case when status = 'sending' then lease_until when status in ('queued', 'held') then run_at end)
                 filter (where run_at < 'infinity' and not (status = 'held' and hold_reason in ('campaign_not_active', 'tenant_suspended', 'render_failed'))),
               min(run_at) filter (where status = 'ambiguous' or status = 'held' and hold_reason in ('campaign_not_active', 'tenant_suspended', 'render_failed')),
               status || count(*)
        from outbound_messages group by status
        union all
        select min(case when status = 'pending' then run_at else lease_until end), null, 'delivery' || count(*) from webhook_deliveries where status in ('pending', 'running')
        union all
        select min(case when status = 'pending' then run_at else lease_until end), null, 'import' || count(*) from imports where status in ('pending', 'running')
      ) due`);
    return { at: row?.at?.getTime() ?? null, recheck: row?.recheck?.getTime() ?? null, state: `${row?.state}` };
  }
}

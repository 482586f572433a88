/**
 * The demo's driver: moves the virtual clock from one instant at which something is due to the next, and at each lets recipients react,
 * sweeps, and waits until every queue is empty. The handlers, queues and webhooks are the ones that run everywhere.
 *
 * Invariant: the clock never passes an instant at which something was due.
 */
import { sql } from "kysely";
import type { System } from "../system.ts";

export interface PumpProgress {
  readonly now: Date;
  readonly sent: number;
  readonly instants: number;
}

/** Anything later than this is not waited for: a campaign of the demo is over long before. */
const horizonDays = 60;
/** A sweep rings for thousands of rows; more rounds than this at one instant mean that something fails again and again. */
const maxRounds = 200;

async function nextDue(system: System): Promise<Date | null> {
  const { rows } = await sql<{ at: Date | null }>`
    select min(at) as at from (
      select min(run_at) as at from scheduled_actions where status = 'pending' and run_at < 'infinity'
      union all select min(run_at) from outbound_messages where status in ('queued', 'held', 'ambiguous')
      union all select min(run_at) from webhook_deliveries where status = 'pending'
      union all select min(run_at) from imports where status = 'pending'
    ) due`.execute(system.local.owner);
  return rows[0]?.at ?? null;
}

async function sentSoFar(system: System): Promise<number> {
  const { rows } = await sql<{
    n: number;
  }>`select count(*)::int as n from outbound_messages where sent_at is not null`.execute(system.local.owner);
  return rows[0]?.n ?? 0;
}

const earliest = (dates: readonly (Date | null)[]): Date | null =>
  dates.reduce<Date | null>((first, date) => (date !== null && (first === null || date < first) ? date : first), null);

/** Rings for what is due and waits until it is done, until nothing is due at this instant any more. */
async function settle(system: System, now: Date): Promise<void> {
  for (let round = 0; round < maxRounds; round++) {
    await system.local.idle();
    const due = await nextDue(system);
    if (due === null || due > now) return;
    await system.local.run("sweep");
    await system.local.run("reconcile");
  }
  throw new Error(
    `work that was due at ${now.toISOString()} is still due after ${maxRounds} sweeps; see the log above`,
  );
}

/**
 * Runs until nothing is due any more.
 * @param until later than this is not waited for; default 60 days
 * @returns the instant at which the last thing happened
 */
export async function pump(
  system: System,
  from: Date,
  onProgress: (progress: PumpProgress) => void,
  until?: Date,
): Promise<Date> {
  const { simulator } = system;
  const horizon = until ?? new Date(from.getTime() + horizonDays * 86_400_000);
  let now = from;
  for (let instants = 0; ; instants++) {
    await settle(system, now);
    if (instants % 20 === 0) onProgress({ now, sent: await sentSoFar(system), instants });
    const next = earliest([await nextDue(system), simulator?.nextDueAt() ?? null]);
    if (next === null || next > horizon) break;
    now = next > now ? next : now;
    await system.setClock(now);
    await simulator?.flush(now);
  }
  onProgress({ now, sent: await sentSoFar(system), instants: -1 });
  return now;
}

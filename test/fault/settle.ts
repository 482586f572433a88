/**
 * The end of a run: nobody dies any more, and time is moved on until nothing is left to do. Waits of a minute, holds of an hour and the day
 * after which a doubtful send counts as sent pass in seconds. What the providers have yet to tell comes first, while the clock still runs:
 * they sign by it, and by a clock that stood a hundred thousand webhooks would come from the future.
 *
 * Invariant: the clock only moves when nothing is due at the instant it shows, so nothing is judged before it had its chance.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultDatabase } from "./database.ts";
import type { FaultSimulator } from "./simulator.ts";

export interface SettleOptions {
  readonly database: FaultDatabase;
  readonly simulator: FaultSimulator;
  readonly onStep: (what: string) => void;
}

const minuteMs = 60_000;
/** Past every lease: the longest is two minutes. */
const firstStepMs = 130_000;
/** Anything later than this is not waited for. */
const horizonMs = 10 * 86_400_000;
/** A sweep looks at everything again when a minute has passed; a smaller step might leave what it missed. */
const leastStepMs = 61_000;
/** When nothing has changed for this long at one instant, a bell went to a queue's dead consumer: the next instant rings again. */
const patienceMs = 10_000;
/** What stays due through so many instants goes wrong again and again, and is for the judge. */
const maxStuck = 30;

/** Asked ten times a second: each part by its index. */
const due = `
  select (select count(*) from outbound_messages where status in ('queued', 'held') and run_at <= app_now())
       + (select count(*) from outbound_messages where status = 'ambiguous' and run_at <= app_now())
       + (select count(*) from outbound_messages where status = 'sending')
       + (select count(*) from webhook_deliveries where status = 'pending' and run_at <= app_now())
       + (select count(*) from webhook_deliveries where status = 'running')
       + (select count(*) from scheduled_actions where status = 'pending' and run_at <= app_now())
       + (select count(*) from imports where status in ('pending', 'running')) as n, app_now() as now`;

const next = `
  select min(at) as at from (
    select min(run_at) as at from outbound_messages where status in ('queued', 'held')
    union all select min(run_at) from outbound_messages where status = 'ambiguous'
    union all select min(lease_until) from outbound_messages where status = 'sending'
    union all select min(run_at) from scheduled_actions where status = 'pending' and run_at < 'infinity'
    union all select min(run_at) from webhook_deliveries where status = 'pending'
    union all select min(lease_until) from webhook_deliveries where status = 'running'
    union all select min(lease_until) from imports where status = 'running'
  ) waiting`;

/** Waits until nothing is due at the clock's instant and the simulator has nothing to come. @returns false when nothing changes any more before */
async function drained({ database, simulator }: SettleOptions): Promise<boolean> {
  let before = "";
  let changedAt = Date.now();
  for (let calm = 0; calm < 2; ) {
    if ((await simulator.pending()) > 0) await simulator.flush();
    const [row] = await database.query<{ n: string }>(due);
    const pending = await simulator.pending();
    calm = row?.n === "0" && pending === 0 ? calm + 1 : 0;
    const now = `${row?.n} ${pending}`;
    if (now !== before) changedAt = Date.now();
    before = now;
    if (Date.now() - changedAt > patienceMs) return false;
    await sleep(100);
  }
  return true;
}

export async function settle(options: SettleOptions): Promise<void> {
  const { database, onStep } = options;
  let now = 0;
  const move = async (to: number) => {
    now = to;
    await database.query("select set_app_clock($1)", [new Date(now).toISOString()]);
  };
  onStep((await drained(options)) ? "caught up" : "caught up, but for what time brings");
  const began = Date.now();
  await move(began + firstStepMs);
  for (let stuck = 0; ; ) {
    const isDone = await drained(options);
    stuck = isDone ? 0 : stuck + 1;
    const [row] = await database.query<{ at: Date | null }>(next);
    const at = row?.at?.getTime() ?? null;
    const passed = `${((now - began) / 3_600_000).toFixed(1)} h on`;
    onStep(isDone ? passed : `${passed}: something stays due`);
    if ((isDone && at === null) || stuck > maxStuck || now > began + horizonMs) return;
    // The first ten minutes finely, then coarsely: what is looked at again and again needs not be looked at each time.
    const step = !isDone || now - began < 10 * minuteMs ? leastStepMs : 180 * minuteMs;
    await move(Math.max(isDone && at !== null ? at + 1_000 : 0, now + step));
  }
}

/** Two transactions at once, in an order that a test chooses. Invariant: nothing here waits for time, only for what the server says. */
import { sql } from "kysely";
import { type Context, type TxContext, transact } from "../../core/kernel/index.ts";
import type { TestDatabase } from "./database.ts";

export interface Open<R> {
  /** Resolves when the work is done and its transaction still open. */
  readonly reached: Promise<R>;
  /** Lets it commit. */
  release(): void;
  /** Resolves when it has committed. */
  readonly done: Promise<R>;
  /** How often the work ran: more than once when it collided with somebody. */
  tries(): number;
}

/** Runs the work in a transaction that stays open until it is released. */
export function hold<R>(ctx: Context, work: (ctx: TxContext) => Promise<R>): Open<R> {
  const reached = Promise.withResolvers<R>();
  const gate = Promise.withResolvers<void>();
  let tries = 0;
  const done = transact(ctx, async (ctx) => {
    tries++;
    const result = await work(ctx);
    reached.resolve(result);
    await gate.promise;
    return result;
  });
  done.catch(reached.reject);
  // Whoever awaits one of the two hears of a failure.
  reached.promise.catch(() => {});
  return { reached: reached.promise, release: () => gate.resolve(), done, tries: () => tries };
}

/** Resolves when a transaction of this database waits for another's lock, or when the work that might has ended. */
export async function waits(database: TestDatabase, work: Promise<unknown>): Promise<void> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  work.then(end, end);
  while (!ended) {
    const { rows } = await sql`
      select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()`.execute(
      database.owner,
    );
    if (rows.length > 0) return;
  }
}

/** Whether the installation can work. Invariant: it always answers, and in time; a database that does not is the answer. */
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";
import { within } from "../kernel/index.ts";

export interface Health {
  readonly status: "ok" | "unavailable";
  /** The latest migration applied; null when the database did not answer. */
  readonly migration: string | null;
  /** `virtual` while a test or a demo has stopped the clock. */
  readonly clock: "real" | "virtual" | null;
}

const down: Health = { status: "unavailable", migration: null, clock: null };

/** @param limitMs how long the database may take */
export async function health(db: Kysely<DB>, limitMs: number): Promise<Health> {
  const asked = sql<{ migration: string | null; virtual: boolean }>`
    select (select max(name) from kysely_migration) as migration,
           coalesce((select clock_at is not null from deployment), false) as virtual`
    .execute(db)
    .then(
      ({ rows: [row] }): Health => ({
        status: "ok",
        migration: row?.migration ?? null,
        clock: row?.virtual ? "virtual" : "real",
      }),
    );
  return within(limitMs, asked, () => new Error("the database took too long")).catch(() => down);
}

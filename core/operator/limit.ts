/**
 * A limit on what one statement may cost. Invariant: the server holds it, so that what nobody waits for any more does not go on there.
 */
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";

/** For the rest of the transaction. */
export async function limitStatements(db: Kysely<DB>, milliseconds: number): Promise<void> {
  await sql`select set_config('statement_timeout', ${String(milliseconds)}, true)`.execute(db);
}

/** Whether the server ended the statement because it took too long. */
export const isTimeout = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "57014";

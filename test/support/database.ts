/**
 * A migrated database for one test file.
 *
 * Invariant: no two test files see each other's rows; inside a file every test makes its own tenant.
 */
import { sql } from "kysely";
import { afterAll, inject } from "vitest";
import { cloneDatabase, type TestDatabase, type TestDatabaseOptions } from "./clone.ts";

export type { TestDatabase, TestDatabaseOptions } from "./clone.ts";

/** Call it at the top of a test file: `const database = await testDatabase();` */
export async function testDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const drops: (() => Promise<void>)[] = [];
  // Vitest takes hooks only before the first await.
  afterAll(async () => {
    for (const drop of drops) await drop();
  });
  const server = inject("testServer");
  if (server.migrationError !== undefined && !options.empty) throw new Error(server.migrationError);
  const database = await cloneDatabase(server, options);
  drops.push(database.drop);
  return database;
}

/** The number of rows in a table, past row-level security. */
export async function countRows({ owner }: TestDatabase, table: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from ${sql.table(table)}`.execute(owner);
  return rows[0]?.n ?? 0;
}

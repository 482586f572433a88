/**
 * A migrated database for one test file.
 *
 * Invariant: no two test files see each other's rows; inside a file every test makes its own tenant.
 */
import { randomBytes } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { afterAll, inject } from "vitest";
import { connect, useNeonDriver } from "../../core/db/connect.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { asAdmin } from "./admin.ts";

export interface TestDatabase {
  /** Connection string of the application's role, `outrider_app`. */
  readonly url: string;
  /** Connection string of the superuser. */
  readonly ownerUrl: string;
  /** What production code gets: the Neon driver, as the application's role, under row-level security. */
  readonly db: Kysely<DB>;
  /** node-postgres as the superuser, past row-level security: to arrange and to look. */
  readonly owner: Kysely<DB>;
  /** Called by itself after the file's last test. */
  drop(): Promise<void>;
}

export interface TestDatabaseOptions {
  /** Connections that `db` may open. More than one, so that races are real. Default 8. */
  readonly max?: number;
  /** An empty database instead of a clone of the migrated template. */
  readonly empty?: boolean;
}

/** Call it at the top of a test file: `const database = await testDatabase();` */
export async function testDatabase({ max = 8, empty = false }: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const drops: (() => Promise<void>)[] = [];
  // Vitest takes hooks only before the first await.
  afterAll(async () => {
    for (const drop of drops) await drop();
  });
  const server = inject("testServer");
  if (server.migrationError !== undefined && !empty) throw new Error(server.migrationError);
  const name = `test_${randomBytes(6).toString("hex")}`;
  // Copying files is twice as fast as copying through the write-ahead log.
  const source = empty ? "" : `template ${server.template} strategy file_copy`;
  await asAdmin(server.adminUrl, `create database ${name} ${source}`);
  const database = open(server.adminUrl, server.neonProxy, name, max);
  drops.push(database.drop);
  return database;
}

function open(adminUrl: string, neonProxy: string, name: string, max: number): TestDatabase {
  useNeonDriver(neonProxy);
  const ownerUrl = withPath(adminUrl, name);
  const url = withPath(adminUrl, name, "outrider_app");
  const db = connect({ url, driver: "neon", max });
  const owner = connect({ url: ownerUrl, driver: "pg", max });
  let dropped: Promise<void> | undefined;
  const drop = async (): Promise<void> => {
    await Promise.all([db.destroy(), owner.destroy()]);
    await asAdmin(adminUrl, `drop database if exists ${name} with (force)`);
  };
  return {
    url,
    ownerUrl,
    db,
    owner,
    drop: () => {
      dropped ??= drop();
      return dropped;
    },
  };
}

function withPath(adminUrl: string, database: string, user?: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  if (user !== undefined) url.username = user;
  return url.href;
}

/** The number of rows in a table, past row-level security. */
export async function countRows({ owner }: TestDatabase, table: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from ${sql.table(table)}`.execute(owner);
  return rows[0]?.n ?? 0;
}

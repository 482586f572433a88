/**
 * Databases of one server, each a clone of the migrated template. Knows nothing of vitest, so that long runs outside of it
 * stand on the same ground as the tests.
 */
import { randomBytes } from "node:crypto";
import type { Kysely } from "kysely";
import { type ConnectOptions, connect, useNeonDriver } from "../../core/db/connect.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { asAdmin } from "./admin.ts";

/** What a running test server tells those who want a database on it. */
export interface CloneSource {
  /** Superuser on the maintenance database. */
  readonly adminUrl: string;
  /** For `useNeonDriver`. */
  readonly neonProxy: string;
  /** Name of the database that is cloned. */
  readonly template: string;
}

export interface TestDatabase {
  /** Connection string of the application's role, `outrider_app`. */
  readonly url: string;
  /** Connection string of the superuser. */
  readonly ownerUrl: string;
  /** What production code gets: the Neon driver, as the application's role, under row-level security. */
  readonly db: Kysely<DB>;
  /** node-postgres as the superuser, past row-level security: to arrange and to look. */
  readonly owner: Kysely<DB>;
  /** Called by itself after a test file's last test. */
  drop(): Promise<void>;
}

export interface TestDatabaseOptions {
  /** Connections that `db` may open. More than one, so that races are real. Default 8. */
  readonly max?: number;
  /** An empty database instead of a clone of the migrated template. */
  readonly empty?: boolean;
  /** Of `db`. Default: the Neon driver, as in production. */
  readonly driver?: ConnectOptions["driver"];
}

export async function cloneDatabase(server: CloneSource, options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString("hex")}`;
  // Copying files is twice as fast as copying through the write-ahead log.
  const source = options.empty ? "" : `template ${server.template} strategy file_copy`;
  await asAdmin(server.adminUrl, `create database ${name} ${source}`);
  return openDatabase(server, name, options);
}

/** A database that exists. */
export function openDatabase(
  { adminUrl, neonProxy }: CloneSource,
  name: string,
  { max = 8, driver = "neon" }: TestDatabaseOptions = {},
): TestDatabase {
  useNeonDriver(neonProxy);
  const ownerUrl = withPath(adminUrl, name);
  const url = withPath(adminUrl, name, "outrider_app");
  const db = connect({ url, driver, max });
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

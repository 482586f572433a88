/**
 * The database a local host works on: the embedded server behind Neon's protocol, or the one that `DATABASE_URL` names.
 *
 * Invariant: handlers never connect as a user that row-level security does not bind, nor to tables that it does not fence.
 */
import path from "node:path";
import { type Kysely, sql } from "kysely";
import { connect, driverFor, useNeonDriver } from "../core/db/connect.ts";
import { migrate } from "../core/db/migrate.ts";
import type { DB } from "../core/db/types.gen.ts";
import { DomainError } from "../core/kernel/error.ts";
import { requireFences } from "../core/operator/index.ts";
import { startNeonProxy } from "./neon.ts";
import { startPostgres } from "./postgres.ts";
import { dataDirectory } from "./postgres-files.ts";

const name = "outrider";
const role = "outrider_app";
const migrations = path.resolve(import.meta.dirname, "../migrations");

export interface LocalDatabase {
  /** As handlers see it: the application's role, under row-level security. */
  readonly db: Kysely<DB>;
  /** As the one who migrates: for the clock, and to look. */
  readonly owner: Kysely<DB>;
  readonly url: string;
  readonly ownerUrl: string;
  stop(): Promise<void>;
}

export interface LocalDatabaseOptions {
  /** The host's home; an embedded server keeps its data under it. */
  readonly home: string;
  /** An existing server; undefined: an embedded one. */
  readonly url?: string | undefined;
  /** A user that may become `outrider_owner`, past any pooler. Default: `url`. */
  readonly migrationUrl?: string | undefined;
  readonly durable: boolean;
  /** Connections for handlers. */
  readonly max: number;
}

interface Server {
  readonly url: string;
  readonly ownerUrl: string;
  readonly driver: "neon" | "pg";
  stop(): Promise<void>;
}

async function embedded({ home, durable }: LocalDatabaseOptions): Promise<Server> {
  const postgres = await startPostgres({ dir: dataDirectory(home), mode: durable ? "durable" : "test" });
  const proxy = await startNeonProxy(postgres);
  useNeonDriver(proxy.address);
  const admin = connect({ url: postgres.url(), driver: "pg" });
  const { rows } = await sql`select from pg_database where datname = ${name}`.execute(admin);
  if (rows.length === 0) await sql`create database ${sql.id(name)}`.execute(admin);
  await admin.destroy();
  return {
    url: postgres.url(name, role),
    ownerUrl: postgres.url(name),
    driver: "neon",
    async stop() {
      await proxy.close();
      await postgres.stop();
    },
  };
}

function existing(url: string, migrationUrl: string = url): Server {
  const driver = driverFor(url);
  if (driver === "neon") useNeonDriver();
  const app = new URL(url);
  // A developer's DATABASE_URL usually names a superuser. Its connections step down to the application's role as they open.
  if (driver === "pg" && app.username !== role) app.searchParams.set("options", `-c role=${role}`);
  return { url: app.href, ownerUrl: migrationUrl, driver, stop: async () => {} };
}

const unreachable = (url: string, cause: unknown) => {
  const { hostname, port, pathname } = new URL(url);
  const why = cause instanceof AggregateError ? cause.errors.map(String).join(", ") : String(cause);
  const where = `${hostname}:${port || 5432}${pathname}`;
  return new DomainError("unavailable", "database.unreachable", `No database at ${where}: ${why}`, { cause });
};

/** @throws DomainError `database.unreachable`, `database.unsafe`, `database.unbound`, `migrate.*` or `postgres.*`, each with a sentence for the operator */
export async function openDatabase(options: LocalDatabaseOptions): Promise<LocalDatabase> {
  const server = options.url === undefined ? await embedded(options) : existing(options.url, options.migrationUrl);
  const owner = connect({ url: server.ownerUrl, driver: driverFor(server.ownerUrl) });
  const db = connect({ url: server.url, driver: server.driver, max: options.max, bound: true });
  async function stop(): Promise<void> {
    await Promise.allSettled([db.destroy(), owner.destroy()]);
    await server.stop();
  }
  try {
    await sql`select 1`.execute(owner).catch((cause: unknown) => {
      throw unreachable(server.ownerUrl, cause);
    });
    await migrate(owner, { folder: migrations });
    // A catalogue that was altered by hand may serve one tenant's rows to another: then nothing is served.
    await requireFences(db);
    // Only a database of our own may have its clock moved.
    if (options.url === undefined) await sql`update deployment set environment = 'local'`.execute(owner);
    return { db, owner, url: server.url, ownerUrl: server.ownerUrl, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

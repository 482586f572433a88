/**
 * One PostgreSQL server, one Neon proxy and one migrated template database for a whole test run.
 *
 * Invariant: nothing outlives the run. A normal end, a failure and Ctrl-C remove server and files at once; what a killed
 * run left behind is removed by the next one.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Kysely, sql } from "kysely";
import type { TestProject } from "vitest/node";
import { connect } from "../../core/db/connect.ts";
import { migrate } from "../../core/db/migrate.ts";
import { startNeonProxy } from "../../local/neon.ts";
import { type Postgres, startPostgres } from "../../local/postgres.ts";
import { findPostmaster, isAlive } from "../../local/postgres-owner.ts";
import { asAdmin } from "./admin.ts";

export interface TestServer {
  /** Superuser on the maintenance database. */
  readonly adminUrl: string;
  /** For `useNeonDriver`. */
  readonly neonProxy: string;
  /** Name of the database that `testDatabase()` clones. */
  readonly template: string;
  /** Why the template is not fully migrated. Tests that need no database still run. */
  readonly migrationError?: string;
}

declare module "vitest" {
  interface ProvidedContext {
    readonly testServer: TestServer;
  }
}

interface Running {
  readonly server: TestServer;
  users: number;
  stop(): Promise<void>;
}

/** Vitest loads this file once per project; the server is shared through the process. */
const shared = globalThis as typeof globalThis & { outriderTestServer?: Promise<Running> | undefined };
const template = "outrider_template";
const prefix = "outrider-test-";

export async function setup(project: TestProject): Promise<void> {
  shared.outriderTestServer ??= startTestServer();
  const running = await shared.outriderTestServer;
  running.users++;
  project.provide("testServer", running.server);
}

export async function teardown(): Promise<void> {
  const running = await shared.outriderTestServer;
  if (running === undefined || --running.users > 0) return;
  shared.outriderTestServer = undefined;
  await running.stop();
}

/** For runs outside of vitest too: call `stop` of what it returns. */
export async function startTestServer(): Promise<Running> {
  removeLeftovers();
  const dir = mkdtempSync(path.join(os.tmpdir(), `${prefix}${process.pid}-`));
  const postgres = await startPostgres({ dir, mode: "test" }).catch((error: unknown) => {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  });
  const unhook = onSudden(() => {
    postgres.kill();
    rmSync(dir, { recursive: true, force: true });
  });
  const proxy = await startNeonProxy(postgres);
  const migrationError = await makeTemplate(postgres);
  return {
    users: 0,
    server: {
      adminUrl: postgres.url(),
      neonProxy: proxy.address,
      template,
      ...(migrationError === undefined ? {} : { migrationError }),
    },
    stop: async () => {
      await proxy.close();
      await postgres.stop();
      unhook();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A signal that nobody handles would end this process without running teardown. */
function onSudden(clean: () => void): () => void {
  const handlers = (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((signal) => {
    const handler = (): void => {
      clean();
      process.exit(128 + os.constants.signals[signal]);
    };
    process.once(signal, handler);
    return () => process.off(signal, handler);
  });
  process.once("exit", clean);
  return () => {
    for (const off of handlers) off();
    process.off("exit", clean);
  };
}

/** The folder names carry the process that made them; a dead one cannot clean up any more. */
function removeLeftovers(): void {
  for (const name of readdirSync(os.tmpdir()).filter((entry) => entry.startsWith(prefix))) {
    const owner = Number(name.slice(prefix.length).split("-", 1)[0]);
    if (isAlive(owner)) continue;
    const dir = path.join(os.tmpdir(), name);
    const found = findPostmaster(dir);
    if (found?.kind === "orphan") process.kill(found.pid, "SIGQUIT");
    // Its files may still be open for a moment; whatever cannot be removed now is removed by the next run.
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** Returns the error message when a migration fails. */
async function makeTemplate(postgres: Postgres): Promise<string | undefined> {
  await asAdmin(postgres.url(), `create database ${template}`);
  const db = connect({ url: postgres.url(template), driver: "pg" });
  try {
    await migrate(db, { folder: path.resolve(import.meta.dirname, "../../migrations") });
    // A database is taken for production until it says otherwise, and production refuses a virtual clock.
    if (await isMigrated(db)) await sql`update deployment set environment = 'test'`.execute(db);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await db.destroy();
    // A single visitor to the template would make every clone wait.
    await asAdmin(postgres.url(), `alter database ${template} with allow_connections false`);
  }
}

async function isMigrated<DB>(db: Kysely<DB>): Promise<boolean> {
  const { rows } = await sql<{ found: boolean }>`select to_regclass('deployment') is not null as found`.execute(db);
  return rows[0]?.found === true;
}

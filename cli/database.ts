/**
 * The database itself, for verbs that prepare or examine an installation: as its owner, past row-level security.
 * Invariant: a running local system is joined, never replaced; without one its server runs only as long as the verb.
 */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Kysely, sql } from "kysely";
import { connect, driverFor, useNeonDriver } from "../core/db/connect.ts";
import type { DB } from "../core/db/types.gen.ts";
import { startPostgres } from "../local/postgres.ts";
import { dataDirectory } from "../local/postgres-files.ts";
import { findPostmaster } from "../local/postgres-owner.ts";
import { type Environment, homeOf } from "./config.ts";
import { CliError, exitCodes, usageError } from "./errors.ts";

/** As `local/database.ts` calls it. */
const database = "outrider";

interface Reached {
  readonly url: string;
  stop(): Promise<void>;
}

/** `MIGRATION_URL`, else `DATABASE_URL`, else the embedded server of the home directory. */
async function reach(environment: Environment): Promise<Reached> {
  const given = environment["MIGRATION_URL"] || environment["DATABASE_URL"];
  if (given) {
    if (!/^postgres(ql)?:\/\//.test(given) || !URL.canParse(given)) {
      throw usageError("database.bad_url", "MIGRATION_URL or DATABASE_URL: expected postgres://user@host/database.");
    }
    return { url: given, stop: async () => {} };
  }
  const home = homeOf(environment);
  const dir = existsSync(home) ? dataDirectory(home) : path.join(home, "postgres");
  if (!existsSync(path.join(dir, "PG_VERSION"))) {
    throw new CliError(exitCodes.unreachable, "database.none", `There is no database in ${home}.`, {
      hint: "npm start makes one; or set DATABASE_URL (or MIGRATION_URL) to a PostgreSQL of your own",
    });
  }
  if (findPostmaster(dir)?.kind === "owned") {
    // The fourth line of PostgreSQL's lock file is its port.
    const port = readFileSync(path.join(dir, "postmaster.pid"), "utf8").split("\n")[3];
    return { url: `postgres://postgres@127.0.0.1:${port}/${database}`, stop: async () => {} };
  }
  const postgres = await startPostgres({ dir, mode: "durable" });
  return { url: postgres.url(database), stop: () => postgres.stop() };
}

/** @throws CliError exit 4 when there is no database or it does not answer */
export async function withDatabase<R>(environment: Environment, work: (db: Kysely<DB>) => Promise<R>): Promise<R> {
  const { url, stop } = await reach(environment);
  const driver = driverFor(url);
  if (driver === "neon") useNeonDriver();
  const db = connect({ url, driver });
  try {
    await sql`select 1`.execute(db).catch((cause: unknown) => {
      const { hostname, port, pathname } = new URL(url);
      const why = cause instanceof AggregateError ? cause.errors.map(String).join(", ") : String(cause);
      throw new CliError(
        exitCodes.unreachable,
        "database.unreachable",
        `No database at ${hostname}:${port || 5432}${pathname}: ${why}`,
      );
    });
    return await work(db);
  } finally {
    await db.destroy();
    await stop();
  }
}

/**
 * `migrate`, `doctor`, `tenants`: the installation under the API, through the database itself.
 * Invariant: nothing here runs against a database that was not named, and going back a migration is asked for by name.
 */
import { readdir } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import type { Kysely } from "kysely";
import type { MigrateOptions, MigrationOutcome } from "../../core/db/migrate.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { CliError, exitCodes, usageError } from "../errors.ts";
import { verbOf } from "../verb.ts";

const migrations = path.resolve(import.meta.dirname, "../../migrations");

/** Drivers and rules are loaded by the verbs that use them: the others start in half the time. */
async function withDatabase<R>(work: (db: Kysely<DB>) => Promise<R>): Promise<R> {
  const database = await import("../database.ts");
  return database.withDatabase(process.env, work);
}

async function requireFences(db: Kysely<DB>): Promise<void> {
  const operator = await import("../../core/operator/index.ts");
  await operator.requireFences(db);
}

async function runMigrations(options: Omit<MigrateOptions, "folder">): Promise<readonly MigrationOutcome[]> {
  const { migrate } = await import("../../core/db/migrate.ts");
  return withDatabase((db) => migrate(db, { folder: migrations, ...options }));
}

interface MigrationRow {
  readonly name: string;
  readonly state: "applied" | "pending" | "unknown";
  readonly appliedAt: string | null;
}

/** `unknown`: applied, but not among the files of this version. */
async function migrationRows(db: Kysely<DB>): Promise<MigrationRow[]> {
  const { sql } = await import("kysely");
  const files = (await readdir(migrations)).flatMap((file) => /^(\d{4}_\w+)\.up\.sql$/.exec(file)?.[1] ?? []);
  const { rows: found } = await sql<{
    known: boolean;
  }>`select to_regclass('kysely_migration') is not null as known`.execute(db);
  const applied = new Map<string, string>();
  if (found[0]?.known === true) {
    const { rows } = await sql<{
      name: string;
      timestamp: string;
    }>`select name, timestamp from kysely_migration`.execute(db);
    for (const { name, timestamp } of rows) applied.set(name, timestamp);
  }
  return [...new Set([...files, ...applied.keys()])].toSorted().map((name) => ({
    name,
    state: !applied.has(name) ? "pending" : files.includes(name) ? "applied" : "unknown",
    appliedAt: applied.get(name) ?? null,
  }));
}

export function migrate(program: Command): void {
  const group = program
    .command("migrate")
    .description("the database's schema; MIGRATION_URL or DATABASE_URL, else the local one")
    .addHelpText("after", "\nGoing back keeps data: tables that are not empty move to the schema archive.");
  group
    .command("up")
    .description("apply what is pending")
    .option("--to <number>", "the last one to apply, like 0012")
    .action(async ({ to }: { to?: string }, command: Command) => {
      const { out } = verbOf(command);
      const done = await runMigrations(to === undefined ? {} : { to });
      await out.rows(
        done.map((one) => ({ ...one })),
        ["name", "direction"],
        "Nothing was pending.",
      );
      // What was altered by hand is said here, before new code is deployed onto it.
      if (to === undefined) await withDatabase(requireFences);
    });
  group
    .command("down")
    .description("undo the latest one, or all after --to")
    .option("--to <number>", "the one to stop at, which stays; 0000 undoes everything")
    .option("--yes", "really")
    .action(async ({ to, yes }: { to?: string; yes?: boolean }, command: Command) => {
      const { out } = verbOf(command);
      if (yes !== true)
        throw usageError("migrate.not_confirmed", "This takes tables away. Give --yes if that is meant.");
      const done = await runMigrations({ direction: "down", ...(to === undefined ? {} : { to }) });
      await out.rows(
        done.map((one) => ({ ...one })),
        ["name", "direction"],
        "There was nothing to undo.",
      );
    });
  group
    .command("status")
    .description("what is applied and what is pending")
    .action(async (_options, command: Command) => {
      const { out } = verbOf(command);
      const rows = await withDatabase(migrationRows);
      await out.rows(
        rows.map((row) => ({ ...row })),
        ["name", "state", "applied=appliedAt"],
        "There are no migrations.",
      );
      const pending = rows.filter(({ state }) => state === "pending").length;
      if (pending > 0) out.note(`${pending} pending: npx outrider migrate up`);
    });
}

interface Check {
  readonly id: string;
  readonly title: string;
  readonly violations: number;
  /** The first few. */
  readonly sample: readonly string[];
}

async function examine(db: Kysely<DB>): Promise<readonly Check[]> {
  const { checkInvariants, requireSight } = await import("../../core/operator/index.ts");
  await requireSight(db);
  const rows = await migrationRows(db);
  const late = rows.filter(({ state }) => state !== "applied").map(({ name, state }) => `${name} is ${state}`);
  const schema = {
    id: "schema",
    title: "every migration of this version is applied",
    violations: late.length,
    sample: late,
  };
  // The other rules speak about the latest schema; on another they would name the wrong things.
  if (late.length > 0) return [schema];
  return [schema, ...(await checkInvariants(db, new Date()))];
}

export function doctor(program: Command): void {
  program
    .command("doctor")
    .description("examine the installation: schema, fences between tenants, invariants of the data")
    .action(async (_options, command: Command) => {
      const { out } = verbOf(command);
      const checks = await withDatabase(examine);
      const broken = checks.filter(({ violations }) => violations > 0);
      await out.value({ ok: broken.length === 0, checks }, async () => {
        for (const { id, title, violations } of checks) {
          const verdict = violations === 0 ? out.good("ok") : out.bad(`${violations} violations`);
          await out.line(`${id.padEnd(6)}  ${title}: ${verdict}`);
        }
      });
      if (broken.length === 0) return;
      if (out.json) process.exitCode = exitCodes.refused;
      else {
        const fields = broken.flatMap(({ id, sample }) => sample.map((message) => ({ path: id, message })));
        throw new CliError(
          exitCodes.refused,
          "doctor.problems",
          `${broken.length} of ${checks.length} checks failed.`,
          { fields },
        );
      }
    });
}

interface TenantOptions {
  readonly organization: string;
  readonly slug: string;
  readonly adminEmail: string;
}

export function tenants(program: Command): void {
  program
    .command("tenants")
    .description("workspaces of an installation; MIGRATION_URL or DATABASE_URL, else the local one")
    .command("create <name>")
    .description("a tenant with an administrator and a first API key; again with the same slug changes nothing")
    .requiredOption("--slug <slug>", "its short name, unique in the installation")
    .requiredOption("--organization <name>", "a new organization, or the id of one")
    .requiredOption("--admin-email <email>", "its administrator")
    .action(async (tenant: string, { organization, slug, adminEmail }: TenantOptions, command: Command) => {
      const { out } = verbOf(command);
      const { provision } = await import("../../core/tenancy/provision.ts");
      const made = await withDatabase((db) => provision(db, { organization, tenant, slug, adminEmail }));
      const columns = [
        "created",
        "organization=organizationId",
        "tenant=tenantId",
        "administrator=actorId",
        "API key=apiKey",
      ];
      await out.value(made, () => out.record({ ...made }, columns));
      if (made.apiKey !== null) out.note("Keep the API key: it is not shown again.");
    });
}

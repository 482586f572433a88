/**
 * Applies and undoes the SQL files in the migrations folder.
 *
 * Invariant: every migration is one transaction together with its entry in `kysely_migration`, so the record and the schema
 * never disagree; two migrators at once take turns.
 */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { type Kysely, sql } from "kysely";
import { type Migration, type MigrationResultSet, Migrator } from "kysely/migration";
import { DomainError } from "../kernel/error.ts";
import { reach } from "../kernel/fault.ts";

export interface MigrateOptions {
  /** The folder of `NNNN_name.up.sql` / `NNNN_name.down.sql` pairs. */
  readonly folder: string;
  /** Default `up`. */
  readonly direction?: "up" | "down";
  /**
   * A migration's number or name. Up: the last one to apply (default: all). Down: the one to stop at, which stays
   * (default: only the latest is undone; `0000` undoes everything).
   */
  readonly to?: string;
  /** How long a statement may wait for a lock that traffic holds before the migration gives way. Default 2,000. */
  readonly lockTimeoutMs?: number;
}

export interface MigrationOutcome {
  readonly name: string;
  readonly direction: "up" | "down";
}

/** The role that owns every object. 0001 creates it, so it may be missing. */
const ownerRole = "outrider_owner";
/** A file with this line runs as the connecting user (to create roles, say). */
const adminHeader = /^-- role: admin\s*$/m;
const fileName = /^(\d{4}_[a-z0-9_]+)\.(up|down)\.sql$/;

/**
 * Returns what was done, in order; an empty list when there was nothing to do. `db` must reach the server directly (not
 * through a pooler) as a user that may become `outrider_owner`.
 *
 * Throws DomainError `migrate.incomplete` naming a file that misses its other half, `migrate.unknown` for a `to` that does not
 * exist, and `migrate.failed` naming the migration, file and line that PostgreSQL refused; the migrations before it stay.
 */
export async function migrate<DB>(db: Kysely<DB>, options: MigrateOptions): Promise<readonly MigrationOutcome[]> {
  const { folder, direction = "up", lockTimeoutMs = 2_000 } = options;
  const files = await readFolder(folder);
  const target = options.to === undefined ? undefined : resolveTarget(options.to, [...files.keys()]);
  const provide = (names: readonly string[]): Record<string, Migration> =>
    Object.fromEntries(names.map((name) => [name, runnable(name, files.get(name), lockTimeoutMs)]));
  const names = [...files.keys()];
  return direction === "up"
    ? applyUp(db, provide, target === undefined ? names : names.filter((name) => name <= target))
    : undo(db, provide, names, target);
}

type Provide = (names: readonly string[]) => Record<string, Migration>;

const migratorOf = <DB>(db: Kysely<DB>, migrations: Record<string, Migration>): Migrator =>
  new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } });

/** One `migrateUp` per migration, because Kysely puts everything that one call does into a single transaction. */
async function applyUp<DB>(db: Kysely<DB>, provide: Provide, names: readonly string[]): Promise<MigrationOutcome[]> {
  const last = names.at(-1);
  if (last === undefined) return [];
  const known = await migratorOf(db, provide(names)).getMigrations();
  if (known.find(({ name }) => name === last)?.executedAt !== undefined) return [];
  const migrator = migratorOf(db, provide(names));
  const done: MigrationOutcome[] = [];
  for (;;) {
    const step = outcomes(await migrator.migrateUp());
    if (step.length === 0) return done;
    done.push(...step);
  }
}

async function undo<DB>(
  db: Kysely<DB>,
  provide: Provide,
  names: readonly string[],
  target: string | undefined,
): Promise<MigrationOutcome[]> {
  const migrator = migratorOf(db, provide(names));
  if (target === undefined) return outcomes(await migrator.migrateDown());
  const done: MigrationOutcome[] = [];
  for (;;) {
    const executed = (await migrator.getMigrations()).filter(({ executedAt }) => executedAt !== undefined);
    if (!executed.some(({ name }) => name > target)) return done;
    done.push(...outcomes(await migrator.migrateDown()));
  }
}

function outcomes({ results = [], error }: MigrationResultSet): MigrationOutcome[] {
  const failed = results.find(({ status }) => status === "Error");
  if (error !== undefined) {
    if (error instanceof DomainError) throw error;
    throw new DomainError(
      "unavailable",
      "migrate.failed",
      failed === undefined
        ? `Migrating failed: ${messageOf(error)}`
        : `Migration ${failed.migrationName} failed: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return results.map(({ migrationName, direction }) => ({
    name: migrationName,
    direction: direction === "Up" ? "up" : "down",
  }));
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

interface Pair {
  readonly up: string;
  readonly down: string;
}

async function readFolder(folder: string): Promise<ReadonlyMap<string, Pair>> {
  const found = (await readdir(folder)).filter((file) => fileName.test(file)).sort();
  const names = [...new Set(found.map((file) => file.replace(fileName, "$1")))];
  const missing = names.flatMap((name) => [`${name}.up.sql`, `${name}.down.sql`]).find((f) => !found.includes(f));
  if (missing !== undefined) {
    throw new DomainError(
      "unavailable",
      "migrate.incomplete",
      `${missing} is missing; every migration has both halves.`,
    );
  }
  const read = (file: string): Promise<string> => readFile(path.join(folder, file), "utf8");
  const pairs = names.map(async (name): Promise<[string, Pair]> => {
    const [up, down] = await Promise.all([read(`${name}.up.sql`), read(`${name}.down.sql`)]);
    return [name, { up, down }];
  });
  return new Map(await Promise.all(pairs));
}

function resolveTarget(to: string, names: readonly string[]): string {
  if (to === "0000") return to;
  const name = names.find((candidate) => candidate === to || candidate.slice(0, 4) === to);
  if (name !== undefined) return name;
  throw new DomainError("unavailable", "migrate.unknown", `There is no migration ${to}.`);
}

function runnable(name: string, pair: Pair | undefined, lockTimeoutMs: number): Migration {
  const run = (half: keyof Pair) => async (db: Kysely<unknown>) => {
    const text = pair?.[half] ?? "";
    // The parameter is local to the transaction, and cannot be bound in a SET statement.
    await sql`select set_config('lock_timeout', ${`${lockTimeoutMs}ms`}, true)`.execute(db);
    if (!adminHeader.test(text)) {
      await sql`select set_config('role', rolname, true) from pg_roles where rolname = ${ownerRole}`.execute(db);
    }
    try {
      await sql.raw(text).execute(db);
    } catch (cause) {
      throw located(`${name}.${half}.sql`, text, cause);
    }
    reach("schema.migrating");
    // Kysely's own tables belong to the connecting user.
    await sql`set local role none`.execute(db);
  };
  return { up: run("up"), down: run("down") };
}

/** PostgreSQL reports a character position or, inside a function, a context; a reader wants the line. */
function located(file: string, text: string, cause: unknown): DomainError {
  const position = cause instanceof Error && "position" in cause ? Number(cause.position) : Number.NaN;
  const line = Number.isNaN(position) ? "" : `:${[...text].slice(0, position).join("").split("\n").length}`;
  const context = cause instanceof Error && "where" in cause && typeof cause.where === "string" ? cause.where : "";
  const where = context === "" ? "" : ` (${context.split("\n", 1)[0]})`;
  return new DomainError("unavailable", "migrate.failed", `${file}${line}: ${messageOf(cause)}${where}`, { cause });
}

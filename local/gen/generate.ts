/**
 * Makes the files that are derived from the migrations: the database's TypeScript types and its description in SQL.
 *
 * Invariant: they come from a real, freshly migrated database, never from the SQL text.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { connect } from "../../core/db/connect.ts";
import { migrate } from "../../core/db/migrate.ts";
import { startPostgres } from "../postgres.ts";
import { dumpSchema } from "./dump.ts";

const root = path.resolve(import.meta.dirname, "../..");
export const migrationsFolder = path.join(root, "migrations");

/** A generated file, as it should be. */
export interface Generated {
  /** Relative to the project's root. */
  readonly path: string;
  readonly content: string;
}

/** Describes the migrated database at `url`. */
export async function describeDatabase(url: string): Promise<readonly Generated[]> {
  const db = connect({ url, driver: "pg" });
  try {
    const schema = `-- Made by npm run gen from the migrated database. Do not edit; review its changes.\n\n${await dumpSchema(db)}`;
    return [
      { path: "core/db/types.gen.ts", content: generateTypes(url) },
      { path: "migrations/schema.sql", content: schema },
      { path: "docs/seeds.md", content: describeSeeds() },
    ];
  } finally {
    await db.destroy();
  }
}

/** The same from nothing: starts a throw-away server, migrates it and describes it. */
export async function generate(): Promise<readonly Generated[]> {
  const dir = mkdtempSync(path.join(os.tmpdir(), "outrider-gen-"));
  const server = await startPostgres({ dir, mode: "test" });
  try {
    const db = connect({ url: server.url(), driver: "pg" });
    try {
      await migrate(db, { folder: migrationsFolder });
    } finally {
      await db.destroy();
    }
    return await describeDatabase(server.url());
  } finally {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The generated files whose committed text is not what it should be. */
export function outdated(files: readonly Generated[]): readonly string[] {
  return files.filter((file) => read(file.path) !== file.content).map((file) => file.path);
}

export const absolute = (file: string): string => path.join(root, file);

function read(file: string): string | undefined {
  try {
    return readFileSync(absolute(file), "utf8");
  } catch {
    return undefined;
  }
}

/** Where the seeds' tables live, from the checklist of the tests; a program of its own, because only tests import test/. */
function describeSeeds(): string {
  const program = path.join(root, "test/core/seeds/document.ts");
  const { status, stderr, stdout } = spawnSync(process.execPath, [program], { encoding: "utf8" });
  if (status !== 0) throw new Error(`docs/seeds.md could not be made: ${stderr}`);
  return stdout;
}

/** bigint and numeric stay text, because a JavaScript number cannot hold them; timestamptz is a Date. */
function generateTypes(url: string): string {
  const manifest = createRequire(import.meta.url).resolve("kysely-codegen/package.json");
  const cli = path.join(path.dirname(manifest), "dist", "cli", "bin.js");
  const dir = mkdtempSync(path.join(os.tmpdir(), "outrider-types-"));
  const out = path.join(dir, "types.ts");
  const options = ["--dialect", "postgres", "--url", url, "--default-schema", "public", "--numeric-parser", "string"];
  try {
    const args = [cli, ...options, "--exclude-pattern", "{kysely_*,archive.*}", "--out-file", out];
    const { status, stderr, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`kysely-codegen failed: ${stderr}${stdout}`);
    return readFileSync(out, "utf8");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

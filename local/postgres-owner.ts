/**
 * Who holds a data directory.
 *
 * Invariant: a process is taken for the directory's postmaster only if its command line says so; process ids are reused,
 * and signalling a stranger would be worse than not starting.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export type Postmaster =
  /** Its owner, the process that started it, is alive. */
  | { readonly kind: "owned"; readonly pid: number; readonly owner: number }
  /** Its owner is gone. */
  | { readonly kind: "orphan"; readonly pid: number }
  /** The lock file names a process that is no PostgreSQL of this directory. */
  | { readonly kind: "stale" };

/** What `postmaster.pid` in this directory stands for; undefined when there is none. */
export function findPostmaster(dir: string): Postmaster | undefined {
  const file = path.join(dir, "postmaster.pid");
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, "utf8").split("\n", 1)[0]);
  const found = describe(pid);
  if (found === undefined || !found.command.includes(`-D ${dir} `)) return { kind: "stale" };
  const owner = Number(/cluster_name=outrider-(\d+)/.exec(found.command)?.[1]);
  // An orphan is handed to init (or a subreaper), so its parent is no longer the process that started it.
  return found.parent === owner ? { kind: "owned", pid, owner } : { kind: "orphan", pid };
}

interface ProcessFacts {
  readonly parent: number;
  readonly command: string;
}

function describe(pid: number): ProcessFacts | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  return process.platform === "linux" ? fromProc(pid) : fromPs(pid);
}

function fromProc(pid: number): ProcessFacts | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
    const parent = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
    return { parent, command };
  } catch {
    return undefined; // ended
  }
}

function fromPs(pid: number): ProcessFacts | undefined {
  const { stdout } = spawnSync("ps", ["-ww", "-o", "ppid=,command=", "-p", String(pid)], { encoding: "utf8" });
  const [, parent, command] = /^\s*(\d+)\s+(.*)/.exec(stdout ?? "") ?? [];
  return parent === undefined || command === undefined ? undefined : { parent: Number(parent), command };
}

/** Resolves true as soon as the process is gone, false when it is still there after the limit. */
export async function hasEnded(pid: number, limitMs: number): Promise<boolean> {
  for (let waited = 0; waited < limitMs; waited += 50) {
    if (!isAlive(pid)) return true;
    await sleep(50);
  }
  return !isAlive(pid);
}

/** Signal 0 only asks. A zombie still answers it, but has let go of everything. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
  if (process.platform !== "linux") return true;
  return describe(pid)?.command !== "" && existsSync(`/proc/${pid}`);
}

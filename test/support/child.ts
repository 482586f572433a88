/**
 * `npm start` in a process of its own, to be killed.
 *
 * Invariant: every child started here has ended when its file's tests have, and its home is gone.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll } from "vitest";

export interface Child {
  readonly process: ChildProcess;
  /** Everything it has written so far. */
  said(): string;
  /** Resolves when it has ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

export interface Children {
  /** `OUTRIDER_HOME` of all of them, one after the other. */
  readonly home: string;
  /** @param fault `FAULT_POINT`: where it kills itself */
  start(databaseUrl: string, fault?: string): Child;
}

/** How a child ends that its fault point or `kill -9` has killed. */
export const killed = { code: null, signal: "SIGKILL" } as const;
/** How a child ends that Ctrl-C has stopped. */
export const stopped = { code: 0, signal: null } as const;

const root = path.resolve(import.meta.dirname, "../..");
/** Generous: the machine may be busy with other tests. */
const limitMs = 60_000;

/** Call it at the top of a test file. */
export function childrenOf(name: string): Children {
  const home = mkdtempSync(path.join(os.tmpdir(), `outrider-${name}-`));
  const all: Child[] = [];
  afterAll(async () => {
    for (const child of all) child.process.kill("SIGKILL");
    await Promise.all(all.map(({ ended }) => ended));
    rmSync(home, { recursive: true, force: true });
  });
  return {
    home,
    start(databaseUrl, fault = "") {
      const child = begin({ OUTRIDER_HOME: home, DATABASE_URL: databaseUrl, FAULT_POINT: fault });
      all.push(child);
      return child;
    },
  };
}

function begin(settings: Readonly<Record<string, string>>): Child {
  const child = spawn(process.execPath, ["local/launch.js", "main.ts"], {
    cwd: root,
    env: { PATH: process.env["PATH"], PORT: "0", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  const ended = new Promise<Awaited<Child["ended"]>>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  return { process: child, ended, said: () => text };
}

/** Asks until it is so. @throws with what the child said when that takes too long */
export async function until(what: string, child: Child, holds: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`not within ${limitMs / 1000} s: ${what}. It said: ${child.said()}`);
    await wait(10);
  }
}

export const isUp = (child: Child): Promise<void> =>
  until("the process is up", child, () => child.said().includes("Outrider is up"));

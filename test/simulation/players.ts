/**
 * Child processes that play worlds side by side, each on a database of its own.
 * Invariant: nothing outlives `close`, and a child that fails fails the run.
 */
import { type ChildProcess, fork } from "node:child_process";
import { availableParallelism } from "node:os";
import path from "node:path";
import { type CloneSource, cloneDatabase, type TestDatabase } from "../support/clone.ts";
import type { Outcome } from "./parts.ts";
import type { Script } from "./script.ts";
import type { Job, WorkerSetup } from "./worker.ts";

interface Answer {
  readonly ready?: true;
  readonly fences?: readonly string[];
  readonly outcome?: Outcome;
  readonly error?: string;
}

export interface Player {
  readonly fences: readonly string[];
  play(script: Script, trace?: boolean): Promise<Outcome>;
  close(): Promise<void>;
}

export interface PlayerOptions {
  /** Root of the tree whose code runs; default: this one. */
  readonly root?: string;
  readonly sabotage?: string | undefined;
}

const here = path.resolve(import.meta.dirname, "../..");

export async function openPlayer(server: CloneSource, { root = here, sabotage }: PlayerOptions = {}): Promise<Player> {
  const database: TestDatabase = await cloneDatabase(server, { max: 1, driver: "pg" });
  const setup: WorkerSetup = { url: database.url, ownerUrl: database.ownerUrl, sabotage };
  const child: ChildProcess = fork(path.join(root, "test/simulation/worker.ts"), [JSON.stringify(setup)], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    execArgv: [],
  });
  let waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null;
  const next = (): Promise<Answer> =>
    new Promise((resolve, reject) => {
      waiting = { resolve, reject };
    });
  child.on("message", (message: Answer) => waiting?.resolve(message));
  child.on("exit", (code) => waiting?.reject(new Error(`a simulation process ended with ${code}`)));
  const close = async (): Promise<void> => {
    const ended = child.exitCode === null && new Promise((resolve) => child.once("exit", resolve));
    if (child.connected) child.send({ end: true });
    await ended;
    await database.drop();
  };
  const { fences = [] } = await next().catch(async (error: unknown) => {
    await database.drop();
    throw error;
  });
  return {
    fences,
    async play(script, trace) {
      const answer = next();
      child.send({ script, ...(trace && { trace }) } satisfies Job);
      const { outcome, error } = await answer;
      if (!outcome) throw new Error(`seed ${script.seed}: ${error}`);
      return outcome;
    },
    close,
  };
}

/** Plays all scripts, as many at the same time as there are players. */
export async function playAll(
  players: readonly Player[],
  scripts: readonly Script[],
  onOutcome: (outcome: Outcome, script: Script) => void,
  trace = false,
): Promise<void> {
  const waiting = [...scripts];
  await Promise.all(
    players.map(async (player) => {
      for (let script = waiting.shift(); script; script = waiting.shift())
        onOutcome(await player.play(script, trace), script);
    }),
  );
}

export const playerCount = (): number => Math.max(1, Math.min(availableParallelism(), 4));

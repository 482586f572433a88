/** The real command line as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { text } from "node:stream/consumers";

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export type Environment = Readonly<Record<string, string>>;

export const launcher = path.resolve(import.meta.dirname, "../../cli/launch.js");

/** Nothing of this machine's own settings reaches it. */
export function start(
  args: readonly string[],
  environment: Environment,
): ChildProcess & { readonly done: Promise<Ran> } {
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { PATH: process.env["PATH"], TZ: "UTC", ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const done = Promise.all([once(child, "close"), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code: code as number | null, stdout, stderr }),
  );
  return Object.assign(child, { done });
}

export function run(args: readonly string[], environment: Environment, input = ""): Promise<Ran> {
  const child = start(args, environment);
  child.stdin?.end(input);
  return child.done;
}

/** Every line of what was printed, as JSON. */
export const parsed = ({ stdout }: Ran): unknown[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);

/** The real command line as a process of its own. */
import { spawn } from "node:child_process";
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

export interface Started extends ReturnType<typeof spawn> {
  /** Reads everything it prints, to its end. */
  done(): Promise<Ran>;
  /** Without stdout, for tests that read it themselves. */
  readonly ended: Promise<Omit<Ran, "stdout">>;
}

/** Nothing of this machine's own settings reaches it. */
export function start(args: readonly string[], environment: Environment): Started {
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { PATH: process.env["PATH"], TZ: "UTC", ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const ended = Promise.all([once(child, "exit"), text(child.stderr)]).then(([[code], stderr]) => ({
    code: code as number | null,
    stderr,
  }));
  const done = async (): Promise<Ran> => {
    const [end, stdout] = await Promise.all([ended, text(child.stdout)]);
    return { ...end, stdout };
  };
  return Object.assign(child, { ended, done });
}

export function run(args: readonly string[], environment: Environment, input = ""): Promise<Ran> {
  const child = start(args, environment);
  child.stdin?.end(input);
  return child.done();
}

/** Every line of what was printed, as JSON. */
export const parsed = ({ stdout }: Ran): unknown[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);

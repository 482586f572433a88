/** Processes beside the measured one. They end with it. */
import { spawn } from "node:child_process";
import path from "node:path";

export interface Child {
  /** The first line it printed. */
  readonly said: string;
  stop(): void;
}

/** Starts a file of this folder and waits for its first line. */
export function startChild(file: string, args: readonly string[]): Promise<Child> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, file), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = (): void => void child.kill();
  process.once("exit", stop);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${file} ended with ${code}`)));
    child.stdout.setEncoding("utf8").once("data", (said: string) => resolve({ said: said.trim(), stop }));
  });
}

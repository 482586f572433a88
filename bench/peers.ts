/**
 * The other queues, each measurement in a process of its own (`peer.ts`), as somebody who uses nothing else would run it. What is not
 * installed (`npm run bench:install`) is left out with a note.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import type { Rig } from "./rig.ts";

export const peersFolder = path.join(import.meta.dirname, "peers");

export type System = "raw" | "pg-boss" | "graphile-worker" | "bullmq";
export type Measure = "enqueue" | "schedule" | "wake";

/** How a redis-server is started: the machine's own, or the one unpacked beside the peers. undefined: there is none. */
export function redisServer(): { readonly command: string; readonly libraries: string } | undefined {
  const folder = path.join(peersFolder, "redis", "usr");
  const libraries = existsSync(path.join(folder, "lib"))
    ? readdirSync(path.join(folder, "lib"))
        .map((name) => path.join(folder, "lib", name))
        .join(":")
    : "";
  for (const command of ["redis-server", path.join(folder, "bin", "redis-check-rdb")]) {
    const found = spawnSync(command, ["--version"], { env: { ...process.env, LD_LIBRARY_PATH: libraries } });
    if (found.status === 0) return { command, libraries };
  }
  return undefined;
}

export interface Redis {
  readonly port: number;
  stop(): void;
}

/** Redis with its append-only file written every second, which is what its documentation advises for queues: up to a second may be lost. */
export async function startRedis(): Promise<Redis | undefined> {
  const found = redisServer();
  if (!found || !installed("bullmq")) return undefined;
  const dir = mkdtempSync(path.join(os.tmpdir(), "outrider-redis-"));
  const port = await freePort();
  const settings = { port: String(port), bind: "127.0.0.1", appendonly: "yes", appendfsync: "everysec", save: "", dir };
  const child: ChildProcess = spawn(
    found.command,
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    {
      stdio: "ignore",
      argv0: "redis-server",
      env: { ...process.env, LD_LIBRARY_PATH: found.libraries },
    },
  );
  const stop = (): void => {
    child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  process.once("exit", stop);
  await answering(port);
  return { port, stop };
}

export const installed = (name: string): boolean => existsSync(path.join(peersFolder, "node_modules", name));

/** One measurement. @returns what `peer.ts` printed */
export async function measurePeer(
  rig: Rig,
  system: System,
  measure: Measure,
  count: number,
  redisPort = 0,
): Promise<number> {
  const file = path.join(import.meta.dirname, "peer.ts");
  const child = spawn(process.execPath, [file, system, measure, rig.rawUrl, String(count), String(redisPort)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  process.off("exit", kill);
  const value = Number(/^result (\S+)$/m.exec(said)?.[1]);
  if (code !== 0 || !Number.isFinite(value))
    throw new Error(`${system} ${measure} ended with ${code}: ${said.slice(-300)}`);
  return value;
}

/** The given systems that can be measured here. */
export function available(rig: Rig, systems: readonly System[], redis: Redis | undefined): System[] {
  return systems.filter((system) => {
    const there = system === "raw" || (system === "bullmq" ? redis !== undefined : installed(system));
    if (!there) {
      rig.note(
        `  ${system} is left out: ${system === "bullmq" ? "no redis-server or no bullmq" : "not installed"} (npm run bench:install)`,
      );
    }
    return there;
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.end());
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("redis-server does not answer");
}

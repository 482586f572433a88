/**
 * `memory-idle`: what the process of `npm start` holds when nothing happens, PostgreSQL's processes not counted; `memory-import`: the most
 * that a process holds while it imports a file, and `memory-import-growth` by how much the second half of the file needs more than the
 * first, which is 1 when memory does not grow with the file.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { removeHome } from "../local/postgres-files.ts";
import type { Rig } from "./rig.ts";
import { newTenant } from "./tenants.ts";

const root = path.resolve(import.meta.dirname, "..");

export async function memoryLines(rig: Rig): Promise<void> {
  rig.line({ name: "memory-idle", value: await idle(rig.quick ? 10 : 30), unit: "MB", baseline: null }, "lower");
  const rows = rig.quick ? 20_000 : 300_000;
  const { tenantId, actor } = await newTenant(rig);
  const said = await run("memory-import.ts", [rig.url, tenantId, actor.id, String(rows)], (text) =>
    rig.note(`    ${text}`),
  );
  const { most, growth, seconds } = JSON.parse(said) as { most: number; growth: number; seconds: number };
  rig.note(`    ${rows} rows in ${seconds.toFixed(0)} s`);
  rig.line({ name: "memory-import", value: most, unit: "MB", baseline: null }, "lower");
  rig.line({ name: "memory-import-growth", value: growth, unit: "×", baseline: null }, "lower");
}

const residentMb = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1_000;

/** Starts everything in a home of its own, waits until it is up and then for `seconds`. @returns MB */
async function idle(seconds: number): Promise<number> {
  const home = mkdtempSync(path.join(os.tmpdir(), "outrider-idle-"));
  const child = spawn(process.execPath, ["local/launch.js", "main.ts"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, OUTRIDER_HOME: home, PORT: "0" },
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`npm start ended with ${code}`)));
      child.stdout.setEncoding("utf8").once("data", () => resolve());
    });
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    return residentMb(child.pid ?? 0);
  } finally {
    child.kill("SIGINT");
    await ended;
    removeHome(home);
  }
}

/** @returns the last line that the file printed */
function run(file: string, args: readonly string[], note: (text: string) => void): Promise<string> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, file), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => note(text.trim()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) =>
      code === 0 ? resolve(said.trim().split("\n").at(-1) ?? "") : reject(new Error(`${file} ended with ${code}`)),
    );
  });
}

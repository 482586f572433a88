/** `npm start` as a process of its own, with its embedded database: Ctrl-C ends it, `kill -9` loses nothing. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { readAccess } from "../../local/access.ts";
import { removeHome } from "../../local/postgres-files.ts";

const home = mkdtempSync(path.join(os.tmpdir(), "outrider-main-"));
const children: ChildProcess[] = [];
afterAll(async () => {
  for (const child of children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
    child.kill("SIGINT");
    await once(child, "exit");
  }
  // Root's database lies elsewhere.
  removeHome(home);
});

async function npmStart() {
  const child = spawn(process.execPath, ["local/launch.js", "main.ts"], {
    env: { PATH: process.env["PATH"], OUTRIDER_HOME: home, PORT: "0" },
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(child);
  const [line] = await once(child.stdout, "data");
  const access = await readAccess(home);
  if (!access) throw new Error("there is no local.json");
  return {
    line: String(line),
    access,
    async end(signal: NodeJS.Signals) {
      const began = performance.now();
      child.kill(signal);
      const [code] = await once(child, "exit");
      return { code: code as number | null, milliseconds: performance.now() - began };
    },
  };
}

test("starts, is killed, starts again with what it had, and stops in an instant", { timeout: 180_000 }, async () => {
  const first = await npmStart();
  expect(first.line).toContain(first.access.baseUrl);
  await first.end("SIGKILL");
  const second = await npmStart();
  expect(second.access.tenantId).toBe(first.access.tenantId);
  expect(second.access.apiKey).toBe(first.access.apiKey);
  expect(second.access.channels["sendgrid"]?.id).toBe(first.access.channels["sendgrid"]?.id);
  expect((await fetch(`${second.access.simulatorUrl}/accepted`)).status).toBe(200);
  const third = spawnSync(process.execPath, ["local/launch.js", "main.ts"], {
    env: { PATH: process.env["PATH"], OUTRIDER_HOME: home, PORT: "0" },
    encoding: "utf8",
  });
  expect(third.status).toBe(5);
  expect(third.stderr).toContain(`An Outrider already runs in ${home}, at ${second.access.baseUrl}`);
  const beside = spawnSync(process.execPath, ["local/launch.js", "main.ts"], {
    env: {
      PATH: process.env["PATH"],
      OUTRIDER_HOME: path.join(home, "other"),
      PORT: new URL(second.access.baseUrl).port,
    },
    encoding: "utf8",
  });
  expect(beside.status).toBe(3);
  expect(beside.stderr).toContain(`An Outrider of another home already runs at ${second.access.baseUrl}`);
  const { code, milliseconds } = await second.end("SIGINT");
  expect(code).toBe(0);
  expect(milliseconds).toBeLessThan(8_000);
});

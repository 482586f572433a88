/** Ctrl-C at both ends of an import. The system has an API and no workers, so an import waits for as long as a test wants. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { runImports } from "../../core/intake/index.ts";
import { writeAccess } from "../../local/access.ts";
import { type LocalHost, startHost } from "../../local/host.ts";
import { type Provisioned, provision } from "../../local/provision.ts";
import { countRows, testDatabase } from "../support/database.ts";
import { parsed, run, start } from "./run.ts";

// Processes of its own, and an API that may ask them to come again in five seconds.
vi.setConfig({ testTimeout: 120_000 });

const database = await testDatabase();
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-cli-"));
const api = new URL("../../functions/api.ts", import.meta.url).href;
let local: LocalHost;
let tenant: Provisioned;
beforeAll(async () => {
  const functions = path.join(home, "functions");
  mkdirSync(functions);
  writeFileSync(path.join(functions, "api.ts"), `export { define } from ${JSON.stringify(api)};\n`);
  local = await startHost({ home, databaseUrl: database.ownerUrl, durable: false, functions });
  tenant = await provision(local, null, undefined);
  await writeAccess(home, { ...tenant, baseUrl: local.url, simulatorUrl: null });
});
afterAll(async () => {
  await local.stop();
  rmSync(home, { recursive: true, force: true });
});
const environment = { OUTRIDER_HOME: home };

test("Ctrl-C while a file is read leaves nothing, and says so", async () => {
  const child = start(["import", "-", "--source", "pipe", "--json"], environment);
  // It has asked for stdin once it takes the first of more bytes than a pipe holds.
  child.stdin?.write("email\n");
  await new Promise((resolve) => child.stdin?.write("x@x.example\n".repeat(100_000), resolve));
  child.kill("SIGINT");
  const { code, stderr } = await child.ended;
  expect(code).toBe(130);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "import.interrupted" } });
  expect(await countRows(database, "imports")).toBe(0);
});

test("Ctrl-C while an import runs leaves it running, and it can be watched to its end", async () => {
  const file = path.join(home, "people.csv");
  writeFileSync(file, "email\nkim@x.example\nlee@x.example\n");
  const child = start(["import", file, "--wait", "--json"], environment);
  let isOver = false;
  void child.ended.then(() => {
    isOver = true;
  });
  while (!isOver && (await countRows(database, "imports")) === 0);
  child.kill("SIGINT");
  const { code, stderr } = await child.ended;
  expect(code, stderr).toBe(130);
  const { error } = JSON.parse(stderr) as { error: { code: string; hint: string } };
  expect(error.code).toBe("import.unwatched");
  const id = /imp_\w+/.exec(error.hint)?.[0] ?? "";
  expect(parsed(await run(["imports", "show", id, "--json"], environment))).toMatchObject([{ status: "pending" }]);
  await runImports(local.host, local.host.contextFor(tenant.tenantId, "test"), [id], { remainingMs: () => 60_000 });
  const watched = await run(["imports", "watch", id, "--json"], environment);
  expect(parsed(watched)).toMatchObject([{ status: "completed", rows: { read: 2, accepted: 2, promoted: 2 } }]);
});

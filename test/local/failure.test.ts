import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { DomainError } from "../../core/kernel/error.ts";
import { failureOf } from "../../local/failure.ts";
import { readSettings } from "../../local/settings.ts";

const home = mkdtempSync(path.join(os.tmpdir(), "outrider-failure-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

function npmStart(environment: Readonly<Record<string, string>>, ...nodeFlags: string[]) {
  const { status, stderr } = spawnSync(process.execPath, [...nodeFlags, "local/launch.js", "main.ts"], {
    env: { PATH: process.env["PATH"], OUTRIDER_HOME: path.join(home, "h"), ...environment },
    encoding: "utf8",
    timeout: 20_000,
  });
  return { status, lines: stderr.trim().split("\n") };
}

describe("a start that fails is one line and its exit code", () => {
  test("a port that is taken: 3", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const { port } = holder.address() as AddressInfo;
    const { status, lines } = npmStart({ PORT: String(port) });
    holder.close();
    expect(status).toBe(3);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`:${port}`);
  });

  test("a database that is not there: 4", () => {
    const { status, lines } = npmStart({ PORT: "0", DATABASE_URL: "postgres://someone:hidden@127.0.0.1:1/none" });
    expect(status).toBe(4);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("No database at 127.0.0.1:1/none");
    expect(lines[0]).not.toContain("hidden");
  });

  test("a home that is a file: 5", () => {
    const file = path.join(home, "file");
    writeFileSync(file, "");
    const { status, lines } = npmStart({ PORT: "0", OUTRIDER_HOME: file });
    expect(status).toBe(5);
    expect(lines).toHaveLength(1);
  });

  test("a setting that cannot be used: 2, naming it", () => {
    const { status, lines } = npmStart({ PORT: "http" });
    expect(status).toBe(2);
    expect(lines).toEqual(["PORT: expected a port number"]);
  });

  test("an old Node: 2, before anything else is read", () => {
    const old = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})";
    const { status, lines } = npmStart({}, "--import", old);
    expect(status).toBe(2);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/needs Node 24\.2 or later; this is 20\.20\.2/);
  });
});

test.each<[unknown, number]>([
  [new DomainError("unavailable", "postgres.already_running", "Another PostgreSQL is serving it."), 5],
  [new DomainError("unavailable", "migrate.failed", "0003.up.sql:12: no"), 4],
  [new DomainError("conflict", "tenant.exists", "Taken."), 1],
  [Object.assign(new Error("listen EACCES: permission denied 127.0.0.1:80"), { code: "EACCES" }), 3],
  [Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" }), 5],
  [new Error("several\nlines"), 1],
  ["a string", 1],
])("%s ends with exit code %i and one line", (error, exitCode) => {
  const failure = failureOf(error);
  expect(failure.exitCode).toBe(exitCode);
  expect(failure.line).not.toContain("\n");
});

describe("settings", () => {
  test("have the documented defaults, and an empty variable is one that is not set", () => {
    expect(readSettings({ PORT: "", DATABASE_URL: "" })).toEqual({
      home: ".outrider",
      port: 8787,
      databaseUrl: undefined,
      migrationUrl: undefined,
      simulator: true,
      publicUrl: undefined,
    });
  });

  test.each([
    [{ PORT: "70000" }, /^PORT/],
    [{ PORT: "-1" }, /^PORT/],
    [{ DATABASE_URL: "mysql://x" }, /^DATABASE_URL: expected postgres:/],
    [{ OUTRIDER_SIMULATOR: "yes" }, /^OUTRIDER_SIMULATOR/],
    [{ PUBLIC_URL: "example" }, /^PUBLIC_URL/],
  ])("%o is refused by name", (environment, message) => {
    expect(() => readSettings(environment)).toThrow(message);
  });
});

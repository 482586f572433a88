/** Nothing serves a database whose fences between tenants do not stand, nor as a user that they do not bind. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { sql } from "kysely";
import { afterAll, describe, expect, test } from "vitest";
import { connect } from "../../core/db/connect.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-fences-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const run = (...command: string[]) => runAt(database.ownerUrl, ...command);

function runAt(databaseUrl: string, ...command: string[]) {
  const { status, stderr, stdout } = spawnSync(process.execPath, command, {
    env: { PATH: process.env["PATH"], OUTRIDER_HOME: home, PORT: "0", DATABASE_URL: databaseUrl },
    encoding: "utf8",
    timeout: 25_000,
  });
  return { status, said: `${stdout}${stderr}` };
}

describe("with a table whose row-level security was switched off", () => {
  test.each([
    ["npm start", 4, ["local/launch.js", "main.ts"]],
    ["npx outrider doctor", 1, ["cli/main.ts", "doctor"]],
    ["npx outrider migrate up", 4, ["cli/main.ts", "migrate", "up"]],
  ] as const)("%s refuses with a code, the table and the rule", async (_what, exitCode, command) => {
    await sql`alter table leads disable row level security`.execute(database.owner);
    const { status, said } = run(...command);
    await sql`alter table leads enable row level security`.execute(database.owner);
    expect(said).toContain("table public.leads: row-level security is off");
    expect(said).toMatch(/database\.unsafe|I-22/);
    expect(status).toBe(exitCode);
  });
});

test("npx outrider doctor refuses a user who sees no rows, instead of finding nothing wrong with them", async () => {
  const name = `examiner_${process.pid}`;
  await sql`create role ${sql.id(name)} login in role outrider_owner`.execute(database.owner);
  const url = new URL(database.ownerUrl);
  url.username = name;
  const { status, said } = runAt(url.href, "cli/main.ts", "doctor");
  await sql`drop role ${sql.id(name)}`.execute(database.owner);
  expect(said).toContain(`doctor.blind: The database user ${name} sees no tenant's rows`);
  expect(status).toBe(1);
});

describe.each(["pg", "neon"] as const)("a pool of %s for handlers", (driver) => {
  test("refuses every connection of a user that row-level security does not bind, and says so each time", async () => {
    const db = connect({ url: database.ownerUrl, driver, max: 1, bound: true });
    for (let n = 0; n < 3; n++) {
      await expect(sql`select 1`.execute(db)).rejects.toMatchObject({ code: "database.unbound" });
    }
    await db.destroy();
  });

  test("refuses a user that may become the owner", async () => {
    const name = `member_${driver}_${process.pid}`;
    await sql`create role ${sql.id(name)} login in role outrider_owner`.execute(database.owner);
    const url = new URL(database.url);
    url.username = name;
    const db = connect({ url: url.href, driver, bound: true });
    await expect(sql`select 1`.execute(db)).rejects.toMatchObject({ code: "database.unbound" });
    await db.destroy();
    await sql`drop role ${sql.id(name)}`.execute(database.owner);
  });

  test("serves the application's role", async () => {
    const db = connect({ url: database.url, driver, bound: true });
    expect((await sql`select 1 as one`.execute(db)).rows).toEqual([{ one: 1 }]);
    await db.destroy();
  });
});

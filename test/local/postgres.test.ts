/** The embedded server's life: what is committed survives a kill, and every refusal to start says what to do. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Postgres, startPostgres } from "../../local/postgres.ts";
import { dataDirectory, removeHome } from "../../local/postgres-files.ts";
import { findPostmaster, isAlive } from "../../local/postgres-owner.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), "outrider-postgres-"));
  await chmod(root, 0o755);
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Another process that owns a server, as `npm start` would. */
async function owner(dir: string): Promise<{ pid: number; url: string; kill9(): Promise<void> }> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, "orphan.ts"), dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const { pid, url } = JSON.parse(line.toString()) as { pid: number; url: string };
  const kill9 = async (): Promise<void> => {
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  return { pid, url, kill9 };
}

describe("a data directory", () => {
  test("keeps every committed row when its owner is killed, and the orphan is replaced", async () => {
    const dir = path.join(root, "killed");
    const first = await owner(dir);
    await query(first.url, "create table kept (id int)");
    await query(first.url, "insert into kept values (1)");
    await first.kill9();
    expect(findPostmaster(dir)).toEqual({ kind: "orphan", pid: first.pid });

    const second = await startPostgres({ dir, mode: "durable" });
    expect(isAlive(first.pid)).toBe(false);
    expect(await query(second.url(), "select id from kept")).toEqual([{ id: 1 }]);
    await second.stop();
  });

  test("keeps its rows through a machine crash, where server and owner vanish together", async () => {
    const dir = path.join(root, "crashed");
    const first = await owner(dir);
    await query(first.url, "create table kept as select 1 as id");
    await first.kill9();
    process.kill(first.pid, "SIGKILL");
    await expect.poll(() => isAlive(first.pid), { timeout: 10_000 }).toBe(false);

    // The server's children notice a moment after it that it is gone; a new one is refused until then.
    const second = await vi.waitFor(() => startPostgres({ dir, mode: "durable" }), { timeout: 20_000, interval: 100 });
    expect(await query(second.url(), "select id from kept")).toEqual([{ id: 1 }]);
    await second.stop();
  });

  test("is never taken from an owner that lives", async () => {
    const dir = path.join(root, "owned");
    const first = await owner(dir);
    await expect(startPostgres({ dir, mode: "durable" })).rejects.toMatchObject({ code: "postgres.already_running" });
    expect(await query(first.url, "select 1 as alive")).toEqual([{ alive: 1 }]);
    await first.kill9();
    process.kill(first.pid, "SIGQUIT");
  });

  test("with a lock file that names a stranger starts, and the stranger is left alone", async () => {
    const dir = path.join(root, "stranger");
    await (await startPostgres({ dir, mode: "test" })).stop();
    const stranger = spawn("sleep", ["60"]);
    await writeFile(path.join(dir, "postmaster.pid"), `${stranger.pid}\n${dir}\n`);
    const server = await startPostgres({ dir, mode: "test" });
    expect(isAlive(stranger.pid ?? 0)).toBe(true);
    await server.stop();
    stranger.kill();
  });

  test("of another major version is refused by name, untouched", async () => {
    const dir = path.join(root, "older");
    await (await startPostgres({ dir, mode: "test" })).stop();
    await writeFile(path.join(dir, "PG_VERSION"), "12\n");
    await expect(startPostgres({ dir, mode: "durable" })).rejects.toMatchObject({ code: "postgres.version_mismatch" });
    expect(await readFile(path.join(dir, "PG_VERSION"), "utf8")).toBe("12\n");
  });

  test("that cannot be used is refused before anything is written", async () => {
    const file = path.join(root, "a-file");
    await writeFile(file, "");
    const work = startPostgres({ dir: path.join(file, "postgres"), mode: "durable" });
    await expect(work).rejects.toMatchObject({ code: "postgres.data_unreachable" });
  });
});

test("folders that do not exist yet are made so that the server can reach its data", async () => {
  const server = await startPostgres({ dir: path.join(root, "new", "home", "postgres"), mode: "test" });
  expect(await query(server.url(), "select 1 as up")).toEqual([{ up: 1 }]);
  await server.stop();
});

test.runIf(process.getuid?.() === 0)("a directory that nobody cannot reach is refused and not made", async () => {
  const closed = path.join(root, "closed-to-nobody");
  await mkdir(closed, { mode: 0o700 });
  const work = startPostgres({ dir: path.join(closed, "home", "postgres"), mode: "durable" });
  await expect(work).rejects.toMatchObject({ code: "postgres.data_unreachable" });
  expect(await readdir(closed)).toEqual([]);
});

describe("a running server", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres({ dir: path.join(root, "running"), mode: "durable" });
  });
  afterAll(() => server.stop());

  test("in durable mode loses nothing to speed", async () => {
    const rows = await query(
      server.url(),
      `select name, setting from pg_settings
       where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum') order by name`,
    );
    expect(rows).toEqual(
      ["autovacuum", "fsync", "full_page_writes", "synchronous_commit"].map((name) => ({ name, setting: "on" })),
    );
  });

  test("listens on the loopback interface only", async () => {
    expect(await query(server.url(), "show listen_addresses")).toEqual([{ listen_addresses: "127.0.0.1" }]);
    expect(await query(server.url(), "show unix_socket_directories")).toEqual([{ unix_socket_directories: "" }]);
  });

  test("sorts the same on every machine", async () => {
    const rows = await query(
      server.url(),
      "select datlocprovider::text as provider, datlocale from pg_database where datname = current_database()",
    );
    expect(rows).toEqual([{ provider: "b", datlocale: "C.UTF-8" }]);
  });

  test("can be stopped twice", async () => {
    const other = await startPostgres({ dir: path.join(root, "twice"), mode: "test" });
    await Promise.all([other.stop(), other.stop()]);
    await other.stop();
    expect(isAlive(other.pid)).toBe(false);
  });

  test("a port that somebody uses is named", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(startPostgres({ dir: path.join(root, "port"), mode: "test", port })).rejects.toMatchObject({
      code: "postgres.port_in_use",
      message: expect.stringContaining(String(port)),
    });
    taken.close();
  });
});

describe("the place of the data", () => {
  test("is the home's own folder when the server can reach it", async () => {
    const home = path.join(root, "home");
    expect(dataDirectory(home)).toBe(path.join(home, "postgres"));
  });

  test("is where the home's record says, whoever starts", async () => {
    const home = path.join(root, "recorded");
    await mkdir(home);
    await writeFile(path.join(home, "postgres.location"), "/elsewhere/postgres\n");
    expect(dataDirectory(home)).toBe("/elsewhere/postgres");
  });

  test("goes with the home only if it was made for it", async () => {
    const home = path.join(root, "astray");
    const other = path.join(root, "other", "postgres");
    await mkdir(home);
    await mkdir(other, { recursive: true });
    await writeFile(path.join(home, "postgres.location"), `${other}\n`);
    removeHome(home);
    expect([existsSync(home), existsSync(other)]).toEqual([false, true]);
  });

  test.runIf(process.getuid?.() === 0)(
    "for root in a closed home is a recorded place that stays the same",
    async () => {
      const home = path.join(root, "closed");
      await mkdir(home, { mode: 0o700 });
      const first = dataDirectory(home);
      expect(first.startsWith(home)).toBe(false);
      expect(dataDirectory(home)).toBe(first);
      expect((await readFile(path.join(home, "postgres.location"), "utf8")).trim()).toBe(first);
      const server = await startPostgres({ dir: first, mode: "test" });
      expect(await query(server.url(), "select 1 as up")).toEqual([{ up: 1 }]);
      await server.stop();
      removeHome(home);
      expect([home, path.dirname(first)].filter((left) => existsSync(left))).toEqual([]);
    },
  );
});

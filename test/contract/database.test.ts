/** One suite for both drivers: what use cases rely on must not depend on how the bytes travel. */
import { randomBytes } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { WebSocket } from "ws";
import { connect, useNeonDriver } from "../../core/db/connect.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { isAway } from "../../core/kernel/index.ts";
import { startNeonProxy } from "../../local/neon.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase({ empty: true });
await sql`create table notes (id int primary key, body text not null)`.execute(database.owner);

async function value<T>(db: Kysely<DB>, query: ReturnType<typeof sql<{ v: T }>>): Promise<T | undefined> {
  return (await query.execute(db)).rows[0]?.v;
}

/** Resolves with the error that the work ended in. */
async function refusal(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each(["pg", "neon"] as const)("%s", (driver) => {
  const lost: Error[] = [];
  const db = connect({ url: database.ownerUrl, driver, max: 4, onConnectionLost: (error) => lost.push(error) });
  afterAll(() => db.destroy());
  beforeAll(async () => {
    await sql`truncate notes`.execute(db);
  });

  const count = (): Promise<number | undefined> => value(db, sql<{ v: number }>`select count(*)::int as v from notes`);

  test("a committed transaction is visible to other connections", async () => {
    await db.transaction().execute(async (tx) => {
      await sql`insert into notes values (1, 'kept')`.execute(tx);
      expect(await value(db, sql<{ v: number }>`select count(*)::int as v from notes where id = 1`)).toBe(0);
    });
    expect(await value(db, sql<{ v: string }>`select body as v from notes where id = 1`)).toBe("kept");
  });

  test("a transaction that throws leaves nothing behind and passes its error on", async () => {
    const before = await count();
    const cause = new Error("changed my mind");
    const work = db.transaction().execute(async (tx) => {
      await sql`insert into notes values (2, 'lost')`.execute(tx);
      throw cause;
    });
    expect(await refusal(work)).toBe(cause);
    expect(await count()).toBe(before);
  });

  test("rolling back to a savepoint undoes only what came after it", async () => {
    const tx = await db.startTransaction().execute();
    await sql`insert into notes values (3, 'before')`.execute(tx);
    const marked = await tx.savepoint("here").execute();
    await sql`insert into notes values (4, 'after')`.execute(marked);
    await marked.rollbackToSavepoint("here").execute();
    await tx.commit().execute();
    const { rows } = await sql<{ id: number }>`select id from notes where id in (3, 4)`.execute(db);
    expect(rows).toEqual([{ id: 3 }]);
  });

  test("a transaction-local setting is gone when the transaction ends", async () => {
    const one = connect({ url: database.ownerUrl, driver, max: 1 });
    const seen = sql<{ v: string | null }>`select nullif(current_setting('app.tenant_id', true), '') as v`;
    await one.transaction().execute(async (tx) => {
      await sql`select set_config('app.tenant_id', 'tenant_a', true)`.execute(tx);
      expect(await value(tx, seen)).toBe("tenant_a");
    });
    expect(await value(one, seen)).toBeNull();
    await one.destroy();
  });

  test("values arrive in the types that the generated interface promises", async () => {
    const { rows } = await sql`select 9007199254740993::bigint as "int8", 1.10::numeric as "numeric", 7::int as "int4",
      true as "bool", '2026-03-01T12:00:00.123Z'::timestamptz as "timestamptz", '{"a":[1]}'::jsonb as "jsonb",
      array['x','y']::text[] as "textArray", null::text as "nothing", 'zażółć 🐦' as "text"`.execute(db);
    expect(rows[0]).toEqual({
      int8: "9007199254740993",
      numeric: "1.10",
      int4: 7,
      bool: true,
      timestamptz: new Date("2026-03-01T12:00:00.123Z"),
      jsonb: { a: [1] },
      textArray: ["x", "y"],
      nothing: null,
      text: "zażółć 🐦",
    });
  });

  test.each([
    ["a duplicate key", "23505", sql`insert into notes values (100, 'a'), (100, 'b')`],
    ["a missing value", "23502", sql`insert into notes values (101, null)`],
    ["a statement past its time limit", "57014", sql`select pg_sleep(30)`],
    ["an unknown table", "42P01", sql`select * from no_such_table`],
  ])("%s is refused with SQLSTATE %s", async (_what, code, query) => {
    const work = db.transaction().execute(async (tx) => {
      await sql`set local statement_timeout = '1s'`.execute(tx);
      await query.execute(tx);
    });
    const refused = await refusal(work);
    expect(refused).toMatchObject({ code });
    expect(isAway(refused)).toBe(false);
  });

  test("a server that is not there is away", async () => {
    const port = 1;
    const proxy = await startNeonProxy({ port });
    useNeonDriver(proxy.address);
    const nowhere = connect({ url: `postgres://nobody@127.0.0.1:${port}/nothing`, driver });
    const failure = await refusal(sql`select 1`.execute(nowhere));
    await nowhere.destroy();
    useNeonDriver(inject("testServer").neonProxy);
    await proxy.close();
    expect(failure).toBeInstanceOf(Error);
    expect(isAway(failure)).toBe(true);
  });

  test("an error names the constraint that was broken", async () => {
    const work = sql`insert into notes values (102, 'a'), (102, 'b')`.execute(db);
    expect(await refusal(work)).toMatchObject({ constraint: "notes_pkey", table: "notes", schema: "public" });
  });

  test("a connection lost while idle is reported, and the next query gets a new one", async () => {
    const one = connect({ url: database.ownerUrl, driver, max: 1, onConnectionLost: (error) => lost.push(error) });
    const pid = await value(one, sql<{ v: number }>`select pg_backend_pid() as v`);
    const reported = lost.length;
    await sql`select pg_terminate_backend(${pid})`.execute(database.owner);
    await expect.poll(() => lost.length, { timeout: 10_000 }).toBeGreaterThan(reported);
    expect(await value(one, sql<{ v: number }>`select pg_backend_pid() as v`)).not.toBe(pid);
    await one.destroy();
  });

  test("a connection lost inside a transaction fails it and does not poison the pool", async () => {
    // When the end of the connection is noticed, before the next statement, during it or after, differs from time to time.
    for (let n = 0; n < 20; n++) {
      const work = db.transaction().execute(async (tx) => {
        const pid = await value(tx, sql<{ v: number }>`select pg_backend_pid() as v`);
        const killed = sql`select pg_terminate_backend(${pid})`.execute(database.owner);
        if (n % 2 === 0) await killed;
        await sql`select pg_sleep(10)`.execute(tx);
      });
      expect(isAway(await refusal(work))).toBe(true);
      expect(await value(db, sql<{ v: number }>`select 1 as v`)).toBe(1);
    }
  });

  test("100,000 array elements travel as one parameter", async () => {
    const ids = Array.from({ length: 100_000 }, (_, i) => `id-${i}`);
    const query = sql<{ v: number }>`select count(distinct u)::int as v from unnest(${ids}::text[]) as u`;
    expect(await value(db, query)).toBe(100_000);
  });

  test("array elements with quotes, commas, braces and nothing survive", async () => {
    const awkward = ['a"b', "c,d", "{e}", "f\\g", "", "NULL", "new\nline"];
    expect(await value(db, sql<{ v: string[] }>`select ${awkward}::text[] as v`)).toEqual(awkward);
  });

  test("a megabyte of bytes comes back as it went", async () => {
    const bytes = randomBytes(1_048_576);
    const back = await value(db, sql<{ v: Buffer }>`select ${bytes}::bytea as v`);
    expect(Buffer.compare(back ?? Buffer.alloc(0), bytes)).toBe(0);
  });

  test("transactions on several connections run at the same time", async () => {
    const hold = async (key: number): Promise<number | undefined> =>
      db.transaction().execute(async (tx) => {
        await sql`select pg_advisory_xact_lock(${key})`.execute(tx);
        await arrived();
        return value(tx, sql<{ v: number }>`select pg_backend_pid() as v`);
      });
    const arrived = barrier(3);
    const pids = await Promise.all([hold(1), hold(2), hold(3)]);
    expect(new Set(pids).size).toBe(3);
  });
});

/** Everyone waits until all have come. */
function barrier(size: number): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let waiting = 0;
  return () => {
    waiting++;
    if (waiting === size) resolve();
    return promise;
  };
}

test("the proxy serves programs and refuses a web page, which always sends an origin", async () => {
  const { neonProxy } = inject("testServer");
  const knock = (origin?: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://${neonProxy}`, origin === undefined ? {} : { origin });
      socket.once("open", () => {
        socket.close();
        resolve("open");
      });
      socket.once("unexpected-response", (_request, response) => resolve(`refused with ${response.statusCode}`));
    });
  expect(await knock()).toBe("open");
  expect(await knock("https://example.com")).toBe("refused with 401");
});

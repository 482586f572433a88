/**
 * A few connections, many tenants, and everything that goes wrong half-way: whoever gets a connection next sees its own rows and meets no
 * lock. Through both drivers.
 */
import { sql } from "kysely";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { connect } from "../../core/db/connect.ts";
import { type Context, newId, type TxContext, transact } from "../../core/kernel/index.ts";
import { generator } from "../long/report.ts";
import { testDatabase } from "../support/database.ts";
import { runs } from "../support/runs.ts";
import { arrange, newTenant, type TestTenant } from "../support/tenant.ts";

const database = await testDatabase();
const crowd = 6;
const leadsEach = 3;
const tenants: TestTenant[] = [];

beforeAll(async () => {
  for (let n = 0; n < crowd; n++) {
    const tenant = await newTenant(database);
    tenants.push(tenant);
    await arrange(database, tenant.tenantId, async (tx) => {
      for (let i = 0; i < leadsEach; i++) {
        await sql`insert into leads (tenant_id, organization_id, source_type) values (${tenant.tenantId}, ${tenant.organizationId}, 'manual')`.execute(
          tx,
        );
      }
    });
  }
});

/** Advisory locks and transactions that nobody will end. */
async function remains(): Promise<unknown[]> {
  const { rows } = await sql`
    select l.locktype, a.state from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and a.datname = current_database()
    union all
    select 'transaction', state from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%' and pid <> pg_backend_pid()`.execute(
    database.owner,
  );
  return rows;
}

/** PostgreSQL ends a session a moment after its client has gone: what remains for good is the fault. */
const nothingRemains = (): Promise<void> => expect.poll(remains, { timeout: 10_000 }).toEqual([]);

/** What a transaction sees: the owners of all leads. */
const owners = async ({ db }: TxContext): Promise<string[]> =>
  (await sql<{ tenant_id: string }>`select tenant_id from leads`.execute(db)).rows.map((row) => row.tenant_id);

class Abandoned extends Error {}

type Mishap = (ctx: TxContext) => Promise<void>;

/** What may happen to a transaction that has written and holds a lock. */
const mishaps: Readonly<Record<string, Mishap>> = {
  "is left with an error": () => Promise.reject(new Abandoned()),
  "runs into a statement's time limit": async ({ db }) => {
    await sql`select set_config('statement_timeout', '5', true)`.execute(db);
    await sql`select pg_sleep(5)`.execute(db);
  },
  "makes a statement that is refused": async ({ db }) => {
    await sql`select 1 / 0`.execute(db);
  },
  "loses its backend": async ({ db }) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
    await sql`select pg_terminate_backend(${rows[0]?.pid ?? 0})`.execute(database.owner);
    await sql`select 1`.execute(db);
  },
  "was given another tenant's setting for the session, and is rolled back": async ({ db, tenantId }) => {
    const other = tenants.find((one) => one.tenantId !== tenantId);
    await sql`select set_config('app.tenant_id', ${other?.tenantId ?? ""}, false), pg_advisory_xact_lock(7)`.execute(
      db,
    );
    throw new Abandoned();
  },
};

describe.each(["pg", "neon"] as const)("a pool of %s", (driver) => {
  const db = connect({ url: database.url, driver, max: 3, bound: true });
  afterAll(() => db.destroy());
  const contextOf = (tenant: TestTenant): Context => ({ ...tenant, db });

  test("shows each of many tenants its own rows and no other's, whatever becomes of the transactions between", async () => {
    const random = generator(7);
    const wrong: string[] = [];
    const happened = new Map<string, number>();
    const names = Object.keys(mishaps);
    let left = runs(400, 10_000);
    const one = async (): Promise<void> => {
      const tenant = random.pick(tenants);
      const mishap = random.chance(0.4) ? random.pick(names) : undefined;
      const work = transact(contextOf(tenant), async (ctx) => {
        await sql`select pg_advisory_xact_lock(${random.below(3)})`.execute(ctx.db);
        const seen = await owners(ctx);
        if (seen.length !== leadsEach || seen.some((id) => id !== tenant.tenantId))
          wrong.push(`${tenant.tenantId} saw ${seen.join()}`);
        await sql`update leads set company_name = ${newId("correlation", ctx.now)} where tenant_id = ${tenant.tenantId}`.execute(
          ctx.db,
        );
        if (mishap !== undefined) await mishaps[mishap]?.(ctx);
      });
      const failure = await work.then(
        () => null,
        (error: unknown) => String(error),
      );
      const name = mishap ?? "goes well";
      if ((failure !== null) !== (mishap !== undefined)) wrong.push(`${name}: ${failure ?? "did not fail"}`);
      happened.set(name, (happened.get(name) ?? 0) + 1);
      // Outside of any transaction nothing is anybody's.
      if (random.chance(0.1)) {
        const bare = await sql`select from leads`.execute(db).catch(() => ({ rows: [] }));
        if (bare.rows.length > 0) wrong.push(`${bare.rows.length} rows without a tenant`);
      }
    };
    const worker = async (): Promise<void> => {
      while (left-- > 0) await one();
    };
    await Promise.all(Array.from({ length: 12 }, worker));
    expect(wrong).toEqual([]);
    expect([...happened.keys()].toSorted()).toEqual(["goes well", ...names].toSorted());
    await nothingRemains();
  }, 120_000);

  test.each(Object.keys(mishaps))("serves the next one on the same connection when a transaction %s", async (name) => {
    const single = connect({ url: database.url, driver, max: 1, bound: true });
    const [left, right] = tenants;
    if (!left || !right) throw new Error("nobody is there");
    const ctx = { ...left, db: single };
    await expect(transact(ctx, async (ctx) => mishaps[name]?.(ctx))).rejects.toThrow();
    expect(new Set(await transact({ ...right, db: single }, owners))).toEqual(new Set([right.tenantId]));
    expect((await sql`select from leads`.execute(single)).rows).toEqual([]);
    await nothingRemains();
    await single.destroy();
  });

  test("is not led astray by a setting, a role's time limit or a lock that somebody left on the session", async () => {
    const single = connect({ url: database.url, driver, max: 1, bound: true });
    const [left, right] = tenants;
    if (!left || !right) throw new Error("nobody is there");
    await sql`select set_config('app.tenant_id', ${left.tenantId}, false), set_config('app.organization_id', ${left.organizationId}, false),
      set_config('app.clock', '2001-01-01T00:00:00Z', false), pg_advisory_lock(99)`.execute(single);
    const seen = await transact({ ...right, db: single }, async (ctx) => ({
      owners: await owners(ctx),
      organization: ctx.organizationId,
      year: ctx.now.getUTCFullYear(),
    }));
    expect(new Set(seen.owners)).toEqual(new Set([right.tenantId]));
    expect(seen.organization).toBe(right.organizationId);
    expect(seen.year).toBeGreaterThan(2020);
    await single.destroy();
    await nothingRemains();
  });
});

describe("a client that is gone from one moment to the next", () => {
  beforeEach(nothingRemains);

  test("leaves neither rows nor locks", async () => {
    const [tenant] = tenants;
    const client = new pg.Client(database.url);
    client.on("error", () => {});
    await client.connect();
    await client.query("begin");
    await client.query("select begin_tenant($1, 'system:test', 'corr_1')", [tenant?.tenantId]);
    await client.query("update leads set company_name = 'gone'");
    await client.query("select pg_advisory_xact_lock(5), pg_advisory_lock(6)");
    (
      client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }
    ).connection.stream.destroy();
    await nothingRemains();
    const { rows } = await sql`select from leads where company_name = 'gone'`.execute(database.owner);
    expect(rows).toEqual([]);
  });
});

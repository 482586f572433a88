/** What every other test takes for granted. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { transact } from "../../core/kernel/context.ts";
import { testDatabase } from "./database.ts";
import { advance, arrange, clock, newTenant, setClock } from "./tenant.ts";

const database = await testDatabase();

test("a new tenant can be entered, and sees itself alone", async () => {
  const [a, b] = [await newTenant(database), await newTenant(database)];
  const seen = await transact(a, async (ctx) => {
    expect(ctx.organizationId).toBe(a.organizationId);
    return (await sql<{ id: string }>`select tenant_id as id from actors`.execute(ctx.db)).rows;
  });
  expect(seen).toEqual([{ id: a.tenantId }]);
  expect(b.tenantId).not.toBe(a.tenantId);
});

test("tenants of one organization share it", async () => {
  const a = await newTenant(database);
  const b = await newTenant(database, { organization: a.organizationId });
  expect(b.organizationId).toBe(a.organizationId);
});

test("production code runs as a role that row-level security binds", async () => {
  const { rows } = await sql`select current_user::text as role, rolbypassrls as past, rolsuper as super
    from pg_roles where rolname = current_user`.execute(database.db);
  expect(rows).toEqual([{ role: "outrider_app", past: false, super: false }]);
});

test("the clock stands still when set, moves when told, and runs when let go", async () => {
  const tenant = await newTenant(database);
  const noon = new Date("2030-01-01T12:00:00Z");
  await setClock(database, noon);
  expect(await transact(tenant, async ({ now }) => now)).toEqual(noon);
  await advance(database, 90);
  expect(await clock(database)).toEqual(new Date("2030-01-01T12:01:30Z"));
  await setClock(database, null);
  expect(Math.abs((await clock(database)).getTime() - Date.now())).toBeLessThan(60_000);
});

test("rows can be arranged past row-level security", async () => {
  const { tenantId, organizationId } = await newTenant(database);
  await arrange(database, tenantId, async (tx) => {
    await sql`insert into leads (tenant_id, organization_id, source_type, email)
      values (${tenantId}, ${organizationId}, 'manual', 'kim@example.com')`.execute(tx);
  });
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from leads where tenant_id = ${tenantId}`.execute(database.owner);
  expect(rows).toEqual([{ n: 1 }]);
});

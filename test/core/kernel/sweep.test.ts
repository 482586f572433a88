/** What a sweep is told to ring for. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { dueWork } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, setClock, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();

/** Due for longer than anything else in this file. */
const crowd = (tenant: TestTenant, count: number) =>
  arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, run_at, expires_at)
      select ${tenant.tenantId}, 'omsg_' || n, 'email', 'a@example.com', 'a@example.com', n::text, app_now() - interval '1 hour',
        app_now() + interval '1 day' from generate_series(1, ${count}::int) n`.execute(tx),
  );

/** As by a sweep that comes once a minute. */
const sweep = async (limit: number) => {
  await sql`update sweep_state set full_pass_at = '-infinity'`.execute(database.owner);
  return dueWork(database.db, "send", limit);
};

const queue = (tenant: TestTenant, id: string) =>
  arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, expires_at)
      values (${tenant.tenantId}, ${id}, 'email', 'a@example.com', 'a@example.com', ${id}, app_now() + interval '1 day')`.execute(
      tx,
    ),
  );

test("work is found after the clock was set back", async () => {
  const tenant = await newTenant(database);
  await setClock(database, new Date("2027-01-01T00:00:00Z"));
  await dueWork(database.db, "send", 100);
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  await queue(tenant, "omsg_back");
  expect((await dueWork(database.db, "send", 100)).get(tenant.tenantId)).toEqual(["omsg_back"]);
});

test("a tenant with many due rows does not keep another's out of one sweep", async () => {
  const [many, few] = [await newTenant(database), await newTenant(database)];
  await crowd(many, 1_000);
  await queue(few, "omsg_late");
  const due = await sweep(100);
  expect(due.get(few.tenantId)).toEqual(["omsg_late"]);
  // What the others do not need is not lost.
  expect([...due.values()].flat()).toHaveLength(100);
});

test("looks after each other find every row once, however they are shared out", async () => {
  await sql`delete from outbound_messages`.execute(database.owner);
  await setClock(database, new Date("2026-03-03T16:00:00Z"));
  const tenants = [await newTenant(database), await newTenant(database), await newTenant(database)];
  const counts = [500, 70, 3];
  for (const [n, tenant] of tenants.entries()) await crowd(tenant, counts[n] ?? 0);
  await sql`update outbound_messages set run_at = run_at + make_interval(secs => dedupe_key::int)`.execute(
    database.owner,
  );
  const found = new Map<string, Set<string>>();
  const take = (due: ReadonlyMap<string, string[]>) => {
    for (const [tenant, ids] of due) for (const id of ids) found.set(tenant, (found.get(tenant) ?? new Set()).add(id));
    return [...due.values()].flat().length;
  };
  expect(take(await sweep(100))).toBeGreaterThan(97);
  let looks = 1;
  while (take(await dueWork(database.db, "send", 100)) > 2) looks++;
  // The row at which a look stopped is looked at again: it may have neighbours of the same instant.
  expect(looks).toBeLessThanOrEqual(7);
  expect(tenants.map(({ tenantId }) => found.get(tenantId)?.size)).toEqual(counts);
});

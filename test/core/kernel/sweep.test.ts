/** What a sweep is told to ring for. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { dueWork } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, setClock, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();

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

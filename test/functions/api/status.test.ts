/** A tenant's state in numbers: its own only, by state, with how long the oldest has waited. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { transact } from "../../../core/kernel/index.ts";
import { recordRun } from "../../../core/operator/index.ts";
import { tenantStatus } from "../../../core/operator/status.ts";
import { arrange } from "../../support/tenant.ts";
import { arrangeEverything } from "./everything.ts";
import { testApi } from "./support.ts";

const api = await testApi();

test("a new tenant has nothing, and has not been examined", async () => {
  const { status, body } = await (await api.client()).get("/v1/status");
  expect(status).toBe(200);
  const idle = { waiting: 0, running: 0, failed: 0, oldestDueSeconds: null };
  expect(body).toMatchObject({
    contacts: 0,
    leads: 0,
    campaigns: {},
    messages: {},
    queues: { deliveries: idle, actions: idle, imports: idle, send: idle },
    examined: null,
  });
});

test("counts what is there and what waits, and says what the last examination found", async () => {
  const [client, other] = [await api.client(), await api.client()];
  await arrangeEverything(api, client);
  await arrangeEverything(api, other);
  const { tenantId } = client.tenant;
  await arrange(api.database, tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, channel, to_address, suppression_key, dedupe_key, status, hold_reason, run_at, expires_at)
      values (${tenantId}, 'email', 'a@example.com', 'a@example.com', '1', 'queued', null, app_now() - interval '90 seconds', app_now() + interval '1 day'),
             (${tenantId}, 'sms', '+12025550101', '+12025550101', '2', 'held', 'quiet_hours', app_now() + interval '1 hour', app_now() + interval '1 day')`.execute(
      tx,
    ),
  );
  await recordRun(client.tenant, {
    results: [{ id: "I-04", title: "t", violations: 1, sample: ["omsg_1"] }],
    skipped: [],
  });
  const { body } = await client.get("/v1/status");
  expect(body).toMatchObject({
    contacts: 2,
    leads: 2,
    campaigns: { draft: 1 },
    messages: { sent: 1, queued: 1, held: 1 },
    queued: { email: 1 },
    held: { quiet_hours: 1 },
    ambiguous: {},
    queues: { imports: { waiting: 1 }, send: { waiting: 2, running: 0 } },
    examined: { checks: 1, violations: 1, broken: [{ id: "I-04", violations: 1, sample: ["omsg_1"] }] },
  });
  expect(body.queues.send.oldestDueSeconds).toBeGreaterThanOrEqual(90);
  expect(body.queues.send.oldestDueSeconds).toBeLessThan(600);
  expect((await other.get("/v1/status")).body).toMatchObject({ messages: { sent: 1 }, held: {}, examined: null });
});

test("counts a claimed action as running, and what was set aside as failed", async () => {
  const { tenant } = await api.client();
  const { tenantId } = tenant;
  await arrange(api.database, tenantId, async (tx) => {
    await sql`set local session_replication_role = replica`.execute(tx);
    await sql`
      insert into scheduled_actions (tenant_id, campaign_id, contact_campaign_id, node_id, action_type, idempotency_key, run_at, status, lease_until)
      select ${tenantId}, 'mcmp_1', 'cc_' || n, 'n', 'node', n::text, app_now() - make_interval(mins => n::int), case n when 4 then 'failed' else 'pending' end,
             case n when 3 then app_now() + interval '1 minute' end
      from generate_series(1, 4) n`.execute(tx);
  });
  const { actions } = (await tenantStatus(tenant)).queues;
  expect(actions).toMatchObject({ waiting: 2, running: 1, failed: 1 });
  expect(actions.oldestDueSeconds).toBeGreaterThanOrEqual(120);
  expect(actions.oldestDueSeconds).toBeLessThan(180);
});

test("polls do not pile up: a count waits for the tenant's other one, and for no longer than its limit", async () => {
  const [client, other] = [await api.client(), await api.client()];
  const { tenantId } = client.tenant;
  const counting = await api.database.owner.startTransaction().execute();
  await sql`select pg_advisory_xact_lock(hashtextextended(${`status:${tenantId}`}, 0))`.execute(counting);
  await expect(tenantStatus(client.tenant, 100)).rejects.toMatchObject({
    kind: "unavailable",
    code: "status.too_slow",
  });
  expect((await other.get("/v1/status")).status).toBe(200);
  await counting.rollback().execute();
  expect((await client.get("/v1/status")).status).toBe(200);
});

test("the server ends a count that takes too long, and the limit ends with it", async () => {
  const { tenant } = await api.client();
  const holder = await api.database.owner.startTransaction().execute();
  await sql`lock table outbound_messages in access exclusive mode`.execute(holder);
  await expect(tenantStatus(tenant, 100)).rejects.toMatchObject({ code: "status.too_slow" });
  await holder.rollback().execute();
  const limit = await transact(
    tenant,
    async ({ db }) => (await sql<{ statement_timeout: string }>`show statement_timeout`.execute(db)).rows[0],
  );
  expect(limit?.statement_timeout).not.toBe("100ms");
});

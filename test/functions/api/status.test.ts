/** A tenant's state in numbers: its own only, by state, with how long the oldest has waited. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { recordRun } from "../../../core/operator/index.ts";
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

/** A row that kills every worker that takes it up: its neighbours get done, and it is set aside with its reason, to be tried again by hand. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { activate, createCampaign, enroll, pause, resume, runActions } from "../../../core/campaigns/index.ts";
import { actionBatch } from "../../../core/campaigns/run.ts";
import { applyDeliveries, replayDeliveries } from "../../../core/deliveries/index.ts";
import { areSuspect, claim, maxClaims, settle, transact, type WorkKind, work } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** After five deaths only one is taken each time. */
const alone = Array.from({ length: maxClaims - 5 }, () => 1);

/** A worker that is killed after its claim. @returns how many it had taken up */
async function die(tenant: ReadyTenant, kind: WorkKind, limit: number): Promise<number> {
  const claimed = await transact(tenant, ({ db, tenantId }) => claim(db, tenantId, kind, { limit }));
  await advance(database, kind.leaseSeconds + 1);
  return claimed.length;
}

async function enrolled(count: number) {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds: string[] = [];
  for (let n = 0; n < count; n++) contactIds.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const content = { subject: "Hi", text: "Hello" };
  const plan = { start: "intro", nodes: [{ id: "intro", type: "send", channel: "email", content }] };
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  return { tenant, id };
}

/** Deliveries that wait for a worker. */
async function received(count: number): Promise<ReadyTenant> {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  await arrange(database, tenant.tenantId, async (tx) => {
    for (let n = 0; n < count; n++) {
      await sql`insert into webhook_deliveries (tenant_id, channel_config_id, provider, target, body, body_bytes, body_sha256, correlation_id)
        values (${tenant.tenantId}, ${tenant.emailAccount}, 'sendgrid', '/', '[]'::bytea, 2, ${Buffer.from([n])}, 'corr_1')`.execute(
        tx,
      );
    }
  });
  return tenant;
}

test("an action that kills its workers ends its enrollment in error; every other action runs", async () => {
  const { tenant } = await enrolled(12);
  const taken: number[] = [];
  for (let deaths = 0; deaths < maxClaims; deaths++) taken.push(await die(tenant, work.actions, actionBatch));
  expect(taken).toEqual([12, 12, 12, 8, 2, ...alone]);
  await runActions(tenant, []);
  const { rows } = await sql<{ status: string; last_error: string | null; n: number }>`
    select status, last_error, count(*)::int as n from scheduled_actions where tenant_id = ${tenant.tenantId} group by 1, 2 order by 1`.execute(
    database.owner,
  );
  expect(rows).toEqual([
    { status: "completed", last_error: null, n: 11 },
    { status: "failed", last_error: expect.stringMatching(/^crashed_repeatedly/), n: 1 },
  ]);
  const { rows: ended } = await sql`
    select status, exit_reason from contact_campaigns where tenant_id = ${tenant.tenantId} and status = 'error'`.execute(
    database.owner,
  );
  expect(ended).toEqual([{ status: "error", exit_reason: expect.stringMatching(/^crashed_repeatedly/) }]);
});

test("an action that a worker has taken up can still be paused; nothing of it happens", async () => {
  const { tenant, id } = await enrolled(3);
  const claimed = await transact(tenant, ({ db, tenantId }) => claim(db, tenantId, work.actions, { limit: 10 }));
  expect(claimed).toHaveLength(3);
  expect(await runActions(tenant, [])).toBe(0);
  await pause(tenant, { id });
  await advance(database, 60);
  expect(await runActions(tenant, [])).toBe(0);
  await resume(tenant, { id });
  expect(await runActions(tenant, [])).toBe(3);
});

test("a delivery that kills its workers is set aside, its neighbours are applied, and it can be replayed", async () => {
  const tenant = await received(12);
  const parse = async () => ({ events: [], inbound: [], problems: [] });
  const webhooks = { sendgrid: { provider: "sendgrid", parse } };
  const deps = { blobs: { get: async () => new Uint8Array() }, webhooks } as unknown as Parameters<
    typeof applyDeliveries
  >[1];
  const taken: number[] = [];
  for (let deaths = 0; deaths < maxClaims; deaths++) taken.push(await die(tenant, work.deliveries, 100));
  expect(taken).toEqual([12, 12, 6, 2, 1, ...alone]);
  expect(await applyDeliveries(tenant, deps, [])).toMatchObject({ completed: 11, failed: 1 });
  const { rows } = await sql<{ id: string; last_error: string }>`
    select id, last_error from webhook_deliveries where tenant_id = ${tenant.tenantId} and status = 'failed'`.execute(
    database.owner,
  );
  expect(rows).toEqual([{ id: expect.any(String), last_error: expect.stringMatching(/^crashed_repeatedly/) }]);
  expect(await replayDeliveries(tenant, deps, { ids: rows.map((row) => row.id) })).toMatchObject({ failed: [] });
});

test("what a worker has put back is no suspect: it is claimed together with everything else", async () => {
  const tenant = await received(12);
  for (const [limit, taken] of [
    [8, 8],
    [8, 8],
    [100, 12],
  ] as const) {
    await transact(tenant, async ({ db, tenantId }) => {
      const claimed = await claim(db, tenantId, work.deliveries, { limit });
      expect(claimed).toHaveLength(taken);
      expect(areSuspect(claimed)).toBe(false);
      await settle(
        db,
        tenantId,
        work.deliveries,
        claimed.map(({ id, generation }) => ({ id, generation, status: "pending", error: "not now" })),
      );
    });
  }
});

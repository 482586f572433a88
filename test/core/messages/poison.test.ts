/** One message, or one enrollment, that cannot be dealt with: it waits with its reason, and its neighbours go on. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { activate, createCampaign, enroll, runActions } from "../../../core/campaigns/index.ts";
import { ConnectionLost } from "../../../core/kernel/index.ts";
import { deliver } from "../../../core/messages/index.ts";
import { updateChannel, updateTenantSettings } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, type ReadyTenant, readyTenant, rehost } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const names = ["ada", "bad", "eve"] as const;

/** Three messages to three people, due now. A failure leads to a task. */
async function queued(): Promise<ReadyTenant> {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const tenant = await readyTenant(database);
  const contactIds: string[] = [];
  for (const name of names) contactIds.push(await person(database, tenant, { email: `${name}@example.com` }));
  const plan = {
    start: "intro",
    nodes: [
      {
        id: "intro",
        type: "send",
        channel: "email",
        content: { subject: "Hi", text: "Hello" },
        transitions: [{ on: "failed", to: "call" }],
      },
      { id: "call", type: "task", title: "Call", channel: "call" },
    ],
  };
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await runActions(tenant, []);
  return tenant;
}

const messages = (tenant: ReadyTenant) =>
  database.owner
    .selectFrom("outbound_messages")
    .select(["id", "status", "hold_reason", "run_at", "campaign_id"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("to_address")
    .execute();

const send = async (tenant: ReadyTenant) =>
  deliver(
    tenant,
    tenant.deps,
    (await messages(tenant)).map((one) => one.id),
    () => 60_000,
  );

it("a message whose plan cannot be read is held, and does not keep the messages beside it", async () => {
  const tenant = await queued();
  const [, bad] = await messages(tenant);
  await arrange(database, tenant.tenantId, async (tx) => {
    await sql`insert into campaign_plan_versions (tenant_id, id, campaign_id, version_number, plan_json, plan_hash)
      values (${tenant.tenantId}, 'cpv_unreadable', ${bad?.campaign_id ?? ""}, 9, '{"from": "another release"}', ${"0".repeat(64)})`.execute(
      tx,
    );
    await sql`update outbound_messages set plan_version_id = 'cpv_unreadable' where id = ${bad?.id ?? ""}`.execute(tx);
  });
  expect(await send(tenant)).toMatchObject({ accepted: 2, held: 1 });
  expect(await messages(tenant)).toMatchObject([
    { status: "sent" },
    { status: "held", hold_reason: "render_failed", run_at: new Date("2026-03-02T16:15:00Z") },
    { status: "sent" },
  ]);
});

it("an answer whose consequences cannot be stored costs its own message and no other", async () => {
  const tenant = await queued();
  await sql`create function refuse_task() returns trigger language plpgsql as $$ begin raise exception 'no task'; end $$`.execute(
    database.owner,
  );
  await sql`create trigger refuse_task before insert on tasks for each row execute function refuse_task()`.execute(
    database.owner,
  );
  tenant.email.answer = ({ to }, call) =>
    to === "bad@example.com"
      ? { kind: "rejected", failure: "content", code: "400", reason: "no" }
      : { kind: "accepted", providerMessageId: `m${call}` };
  await expect(send(tenant)).rejects.toThrow("no task");
  await sql`drop trigger refuse_task on tasks`.execute(database.owner);
  expect((await messages(tenant)).map((one) => one.status)).toEqual(["sent", "sending", "sent"]);
  await advance(database, 60);
  await send(tenant);
  expect(tenant.email.accepted).toHaveLength(2);
});

it("a database that goes away while messages are claimed is no fault of theirs: they stay due", async () => {
  const tenant = await queued();
  const campaigns = { ...tenant.deps.campaigns, specsOf: () => Promise.reject(new ConnectionLost("gone")) };
  const [first] = await messages(tenant);
  const claiming = deliver(tenant, { ...tenant.deps, campaigns }, [first?.id ?? ""], () => 60_000);
  await expect(claiming).rejects.toThrow("gone");
  expect((await messages(tenant)).map((one) => one.status)).toEqual(["queued", "queued", "queued"]);
});

const written = (tenant: ReadyTenant, settings: object) =>
  sql`update tenants set settings = settings || ${JSON.stringify(settings)}::jsonb where id = ${tenant.tenantId}`.execute(
    database.owner,
  );

it("a setting that another release wrote, and this one cannot read, stops no message", async () => {
  const tenant = await queued();
  await written(tenant, { newer: 1, trackingDomain: { host: "a.example" } });
  expect(await send(tenant)).toMatchObject({ accepted: 3, held: 0 });
});

it.each([
  ["frequencyCaps", { perWeek: 3 }, "frequency_cap", [{ count: 1, windowSeconds: 3_600 }]],
  ["quietHours", { nights: true }, "quiet_hours", { start: "01:00", end: "02:00" }],
])("what %s of another release may keep back waits until it can be read", async (name, unread, reason, readable) => {
  const tenant = await queued();
  await written(tenant, { [name]: unread });
  expect(await send(tenant)).toMatchObject({ accepted: 0, held: 3 });
  expect((await messages(tenant)).map((one) => [one.status, one.hold_reason])).toEqual(Array(3).fill(["held", reason]));
  await updateTenantSettings(tenant, { [name]: readable });
  expect(await send(tenant)).toMatchObject({ accepted: 3 });
});

it("a refusal of credentials that were replaced during the call does not stop the account they were replaced on", async () => {
  const tenant = await queued();
  const account = () =>
    database.owner
      .selectFrom("channel_configs")
      .select(["status", "status_reason"])
      .where("id", "=", tenant.emailAccount)
      .executeTakeFirstOrThrow();
  const refusal = { kind: "rejected", failure: "account", code: "401", reason: "revoked" } as const;
  tenant.email.answer = async () => {
    await updateChannel(tenant, rehost(tenant), { id: tenant.emailAccount, credentials: { apiKey: "new" } });
    return refusal;
  };
  await send(tenant);
  expect(await account()).toEqual({ status: "active", status_reason: null });
  tenant.email.answer = () => refusal;
  await advance(database, 3_600);
  await send(tenant);
  expect(await account()).toEqual({ status: "degraded", status_reason: "401: revoked" });
});

/** Facts about people whose walk cannot go on: what the fact itself says takes effect all the same, for them and for everybody it came with. */
import { sql } from "kysely";
import { beforeEach, expect, it } from "vitest";
import {
  activate,
  createCampaign,
  enroll,
  pauseEnrollment,
  resumeEnrollment,
  runActions,
  stopEnrollment,
} from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { applyNow, recordOwnEvents, replayDeliveries } from "../../../core/deliveries/index.ts";
import { maxClaims, transact } from "../../../core/kernel/index.ts";
import { createSender } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";
import {
  apply,
  archive,
  bumpPlan,
  deliveriesOf,
  deps,
  enrollmentsOf,
  events,
  mailEvent,
  messagesOf,
  monday,
  started,
  suppressionsOf,
} from "./world.ts";

const database = await testDatabase();
beforeEach(() => setClock(database, monday));

/** Whoever clicks is written to by a sender that is not there any more: the plan was right when it was stored. */
async function broken(people: number) {
  const tenant = await readyTenant(database);
  const { id: senderId } = await createSender(tenant, { fromEmail: "eve@sender.example", fromName: "Eve" });
  const content = { subject: "Hi", text: "Hello" };
  const plan: PlanInput = {
    start: "intro",
    nodes: [
      { id: "intro", type: "send", channel: "email", content, transitions: [{ on: "clicked", to: "more" }] },
      { id: "more", type: "send", channel: "email", senderId, content },
    ],
  };
  const who = Array.from({ length: people }, (_, n) => ({ email: `p${n}@example.com` }));
  await started(database, who, plan, tenant);
  await sql`delete from email_sender_identities where id = ${senderId}`.execute(database.owner);
  await advance(database, 3_600);
  const messages = await messagesOf(database, tenant);
  return { tenant, idOf: (n: number) => messages.find((one) => one.to_address === `p${n}@example.com`)?.id ?? "" };
}

const byOne = { email: "p1@example.com" };
const click = (messageId: string, n: number) =>
  mailEvent(messageId, "click", 90, { email: `p${n}@example.com`, url: "https://a.example" });

it("a complaint that came with a click by somebody who cannot go on is in effect, and only that walk ends", async () => {
  const { tenant, idOf } = await broken(4);
  await archive(tenant, "sendgrid", [
    events([click(idOf(0), 0), mailEvent(idOf(1), "spamreport", 95, byOne)]),
    events([mailEvent(idOf(2), "open", 99, { email: "p2@example.com" }), click(idOf(3), 3)]),
  ]);
  expect(await apply(tenant)).toMatchObject({ claimed: 2, completed: 2, failed: 0 });
  expect(await suppressionsOf(database, tenant)).toMatchObject([{ address: "p1@example.com", reason: "complaint" }]);
  expect(await enrollmentsOf(database, tenant)).toMatchObject([
    { status: "error", exit_reason: expect.stringContaining("foreign key") },
    { status: "stopped" },
    { status: "active" },
    { status: "error" },
  ]);
  const seen = (await messagesOf(database, tenant)).map((one) => [one.clicked_at !== null, one.opened_at !== null]);
  expect(seen).toEqual([
    [true, false],
    [false, false],
    [false, true],
    [true, false],
  ]);
});

it("a click through a link of ours is kept, though the walk ends", async () => {
  const { tenant, idOf } = await broken(1);
  const event = { type: "clicked", messageId: idOf(0), machine: false, linkId: "l", url: "https://a.example" } as const;
  expect(await recordOwnEvents(tenant, [event])).toEqual({ recorded: 1, unknown: 0 });
  expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "error" }]);
  expect((await messagesOf(database, tenant))[0]?.clicked_at).not.toBeNull();
});

/** An adapter that lets a text through which PostgreSQL refuses, in deliveries whose body says so. */
const refusing = {
  ...deps,
  webhooks: {
    sendgrid: {
      provider: "sendgrid",
      verify: () => ({ valid: true as const }),
      parse: ({ body }: { readonly body: Uint8Array }) => {
        const text = Buffer.from(body).toString();
        const fact = {
          providerEventId: text,
          type: "delivered" as const,
          at: monday,
          messageId: null,
          providerMessageId: null,
          channel: (text.includes("refused") ? "email\0" : "email") as "email",
          address: "p0@example.com",
          machine: false,
          metadata: {},
        };
        return { events: [fact], inbound: [], problems: [] };
      },
    },
  },
};

it("replayed within one transaction, a delivery that PostgreSQL refuses is reported and the others are applied", async () => {
  const { tenant } = await broken(1);
  const ids = await archive(tenant, "sendgrid", [events(["one"]), events(["refused"]), events(["three"])]);
  const report = await transact(tenant, (ctx) => replayDeliveries(ctx, refusing, { ids }));
  expect(report).toMatchObject({ deliveries: 3, newEvents: 2, failed: [{ id: ids[1] }] });
  const statuses = new Map((await deliveriesOf(database, tenant)).map((row) => [row.id, row.status]));
  expect(ids.map((id) => statuses.get(id))).toEqual(["completed", "pending", "completed"]);
});

it("replayed within one transaction, a click by somebody who cannot go on ends that walk and nothing else", async () => {
  const { tenant, idOf } = await broken(2);
  const ids = await archive(tenant, "sendgrid", [
    events([mailEvent(idOf(1), "spamreport", 95, byOne)]),
    events([click(idOf(0), 0)]),
  ]);
  const report = await transact(tenant, (ctx) => replayDeliveries(ctx, deps, { ids }));
  expect(report).toMatchObject({ deliveries: 2, newEvents: 2, failed: [] });
  expect((await enrollmentsOf(database, tenant)).map(({ status }) => status)).toEqual(["error", "stopped"]);
});

it("a delivery that was set aside does not count as applied and is told of once, however often it is asked for", async () => {
  const { tenant } = await broken(1);
  const [id = ""] = await archive(tenant, "sendgrid", [events(["refused"])]);
  let told = 0;
  const tell = () => void told++;
  expect(await applyNow(tenant, refusing, id, tell)).toBe("set_aside");
  expect(await deliveriesOf(database, tenant)).toMatchObject([{ status: "failed" }]);
  expect(await applyNow(tenant, refusing, id, tell)).toBe("set_aside");
  expect(told).toBe(1);
  const [other = ""] = await archive(tenant, "sendgrid", [events(["sound"])]);
  expect(await applyNow(tenant, refusing, other)).toBe("applied");
  expect(await applyNow(tenant, refusing, other)).toBe("applied");
});

/** Puts the tenant's walks on a plan of another release. */
async function rolledBack(tenant: ReadyTenant) {
  const { rows: walks } = await sql<{ id: string; plan_version_id: string }>`
    select id, plan_version_id from contact_campaigns where tenant_id = ${tenant.tenantId}`.execute(database.owner);
  const version = walks[0]?.plan_version_id ?? "";
  const put = (id: string) =>
    sql`update contact_campaigns set plan_version_id = ${id} where tenant_id = ${tenant.tenantId}`;
  await arrange(database, tenant.tenantId, async (tx) => {
    await sql`insert into campaign_plan_versions (tenant_id, id, campaign_id, version_number, plan_json, plan_hash)
      select tenant_id, 'cpv_newer_release', campaign_id, 9, plan_json || '{"newer": true}', ${"0".repeat(64)}
      from campaign_plan_versions where id = ${version}`.execute(tx);
    await put("cpv_newer_release").execute(tx);
  });
  return { walks, rollForward: () => put(version).execute(database.owner) };
}

it("a walk whose plan could not be read before its first step begins when it is resumed under a release that can", async () => {
  const tenant = await readyTenant(database);
  const contactIds = [await person(database, tenant, { email: "p0@example.com" })];
  const { id } = await createCampaign(tenant, { name: "Spring", plan: bumpPlan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  const { walks, rollForward } = await rolledBack(tenant);
  for (let tries = 0; tries < maxClaims; tries++) {
    await runActions(tenant, []);
    await advance(database, 3_600);
  }
  expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "paused" }]);
  await rollForward();
  await resumeEnrollment(tenant, { id: walks[0]?.id ?? "" });
  expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "active" }]);
  await pump(tenant);
  expect(await messagesOf(database, tenant)).toMatchObject([{ status: "sent" }]);
});

it("who stops or pauses a walk whose plan cannot be read is told that it was not done", async () => {
  const { tenant } = await started(database, [{ email: "p0@example.com" }]);
  const { walks, rollForward } = await rolledBack(tenant);
  const [{ id } = { id: "" }] = walks;
  for (const command of [stopEnrollment, pauseEnrollment, resumeEnrollment])
    await expect(command(tenant, { id })).rejects.toMatchObject({ kind: "unavailable", code: "plan.unreadable" });
  await rollForward();
  expect(await stopEnrollment(tenant, { id })).toMatchObject({ status: "stopped" });
});

it("a no that comes while this release cannot read a walk's plan is in effect, and the walk waits for a release that can", async () => {
  const people = [{ email: "p0@example.com" }, { email: "p1@example.com" }];
  const { tenant } = await started(database, people);
  const { walks, rollForward } = await rolledBack(tenant);
  const messages = await messagesOf(database, tenant);
  const idOf = (address: string) => messages.find((one) => one.to_address === address)?.id ?? "";
  await archive(tenant, "sendgrid", [
    events([click(idOf("p0@example.com"), 0), mailEvent(idOf("p1@example.com"), "spamreport", 95, byOne)]),
  ]);
  expect(await apply(tenant)).toMatchObject({ completed: 1, failed: 0 });
  expect(await suppressionsOf(database, tenant)).toMatchObject([{ address: "p1@example.com", reason: "complaint" }]);
  const unread = { status: "paused", exit_reason: "Plan version cpv_newer_release cannot be read by this release." };
  expect(await enrollmentsOf(database, tenant)).toMatchObject([unread, unread]);
  // Nothing of it is tried meanwhile, and fails.
  const { rows: tried } = await sql`
    select from scheduled_actions where tenant_id = ${tenant.tenantId} and status in ('pending', 'failed')`.execute(
    database.owner,
  );
  expect(tried).toEqual([]);
  await rollForward();
  for (const { id } of walks) await resumeEnrollment(tenant, { id });
  expect((await enrollmentsOf(database, tenant)).map(({ status }) => status)).not.toContain("paused");
});

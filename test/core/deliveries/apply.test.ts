import { readFileSync } from "node:fs";
import { sql } from "kysely";
import { beforeAll, describe, expect, it } from "vitest";
import { applyEvents } from "../../../core/campaigns/apply.ts";
import { applyDeliveries, getDelivery, listDeliveries, replayDeliveries } from "../../../core/deliveries/index.ts";
import { transact } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { advance, setClock } from "../../support/tenant.ts";
import {
  apply,
  archive,
  blobs,
  deliveriesOf,
  deps,
  enrollmentsOf,
  events,
  eventsOf,
  mailEvent,
  messagesOf,
  monday,
  started,
  suppressionsOf,
  textPlan,
  textStatus,
} from "./world.ts";

const database = await testDatabase();
beforeAll(() => setClock(database, monday));

const grace = { email: "grace@example.com" };
const fixture = (name: string): Buffer => readFileSync(new URL(`../../fixtures/sendgrid/${name}`, import.meta.url));

/** Sent on Monday at eleven; what follows is reported an hour later. */
async function oneMessage(plan?: Parameters<typeof started>[2], who: Parameters<typeof started>[1][number] = grace) {
  await setClock(database, monday);
  const { tenant, campaignId } = await started(database, [who], plan);
  await advance(database, 3_600);
  const [message] = await messagesOf(database, tenant);
  if (!message) throw new Error("nothing was sent");
  return { tenant, campaignId, message };
}

describe("events of a batch", () => {
  it("move the message and its enrollment, and are stored with the message they are about", async () => {
    const { tenant, message } = await oneMessage();
    const ids = await archive(tenant, "sendgrid", [
      events([
        mailEvent(message.id, "delivered", 5),
        mailEvent(message.id, "open", 60),
        mailEvent(message.id, "click", 90, { url: "https://a.example" }),
      ]),
    ]);
    expect(await apply(tenant, ids)).toMatchObject({ claimed: 1, completed: 1, failed: 0, newEvents: 3 });
    const [after] = await messagesOf(database, tenant);
    expect(after).toMatchObject({ status: "delivered", provider_message_id: "sendgrid-1" });
    expect(after?.opened_at?.getTime()).toBe(monday.getTime() + 60_000);
    expect(after?.clicked_at?.getTime()).toBe(monday.getTime() + 90_000);
    expect(await eventsOf(database, tenant)).toMatchObject([
      { event_type: "delivered", message_id: message.id },
      { event_type: "opened", message_id: message.id, machine: false },
      { event_type: "clicked", message_id: message.id, machine: false },
    ]);
    const { rows } = await sql<{
      events: object;
    }>`select state #> '{sends,intro,events}' as events from contact_campaigns
      where tenant_id = ${tenant.tenantId}`.execute(database.owner);
    expect(Object.keys(rows[0]?.events ?? {}).toSorted()).toEqual(["clicked", "delivered", "opened"]);
  });

  it("take effect once, however often they are delivered", async () => {
    const { tenant, message } = await oneMessage();
    const batch = [mailEvent(message.id, "delivered", 5), mailEvent(message.id, "open", 60)];
    // The same facts in different bytes: a provider's retries may be cut into other batches.
    const copies = Array.from({ length: 46 }, (_, n) =>
      events(n % 2 === 0 ? [...batch, { ...mailEvent(null, "x", n), event: "noise" }] : batch),
    );
    await archive(tenant, "sendgrid", copies);
    while ((await apply(tenant)).claimed > 0);
    const stored = await eventsOf(database, tenant);
    expect(stored.filter((event) => event.message_id !== null)).toHaveLength(2);
    expect((await deliveriesOf(database, tenant)).reduce((sum, row) => sum + row.duplicates, 0)).toBe(22);
  });

  it("of every kind in the fixtures are applied, and what is unreadable is a problem of its own", async () => {
    const tenant = await readyTenant(database);
    const names = [
      "events.batch.all-kinds.json",
      "event.bounce.classification.json",
      "event.open.machine.json",
      "event.unique-args.json",
    ];
    await archive(
      tenant,
      "sendgrid",
      names.map((name) => ({ body: fixture(name) })),
    );
    const report = await apply(tenant);
    expect(report).toMatchObject({ claimed: names.length, failed: 0 });
    expect(report.newEvents).toBeGreaterThan(10);
    const kinds = new Set((await eventsOf(database, tenant)).map((event) => event.event_type));
    expect(kinds).toEqual(
      new Set([
        "queued",
        "deferred",
        "delivered",
        "bounced",
        "dropped",
        "opened",
        "clicked",
        "complained",
        "unsubscribed",
        "resubscribed",
      ]),
    );
  });
});

describe("evidence", () => {
  it("that a call was accepted settles a message whose answer has not come, and its attempt", async () => {
    const { tenant, message } = await oneMessage();
    await sql`update outbound_messages set status = 'sending', sent_at = null, provider_message_id = null, lease_until = app_now()
      where id = ${message.id}`.execute(database.owner);
    await sql`update send_attempts set outcome = null, finished_at = null, provider_message_id = null where message_id = ${message.id}`.execute(
      database.owner,
    );
    await archive(tenant, "sendgrid", [events([mailEvent(message.id, "processed", 1)])]);
    await apply(tenant);
    expect(await messagesOf(database, tenant)).toMatchObject([
      { status: "sent", provider_message_id: `sg-${message.id}`, lease_until: null },
    ]);
    const attempts = await database.owner
      .selectFrom("send_attempts")
      .selectAll()
      .where("message_id", "=", message.id)
      .execute();
    expect(attempts).toMatchObject([
      { outcome: "accepted", resolved_by: "webhook", provider_message_id: `sg-${message.id}` },
    ]);
  });

  it("of another tenant's message touches nothing of that tenant and is shown as a problem", async () => {
    const theirs = await oneMessage();
    const ours = await readyTenant(database);
    await archive(ours, "sendgrid", [
      events([mailEvent(theirs.message.id, "spamreport", 5, { email: "someone@else.example" })]),
    ]);
    expect(await apply(ours)).toMatchObject({ completed: 1, newEvents: 1 });
    expect(await messagesOf(database, theirs.tenant)).toEqual([theirs.message]);
    expect(await eventsOf(database, theirs.tenant)).toEqual([]);
    expect(await suppressionsOf(database, theirs.tenant)).toEqual([]);
    expect(await eventsOf(database, ours)).toMatchObject([{ event_type: "complained", message_id: null }]);
    const [delivery] = await deliveriesOf(database, ours);
    expect(delivery?.problems).toMatchObject([{ index: 0, reason: expect.stringContaining(theirs.message.id) }]);
  });
});

describe("bad news", () => {
  it("suppresses a dead address at once, marks it, and stops what is queued for it", async () => {
    const { tenant, message } = await oneMessage();
    await archive(tenant, "sendgrid", [
      events([mailEvent(message.id, "bounce", 5, { type: "bounce", status: "5.1.1", reason: "no such user" })]),
    ]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toEqual([
      { channel: "email", address: "grace@example.com", reason: "hard_bounce", source: "sendgrid" },
    ]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "bounced" }]);
    const channels = await database.owner
      .selectFrom("contact_channels")
      .select("status")
      .where("tenant_id", "=", tenant.tenantId)
      .execute();
    expect(channels).toEqual([{ status: "bounced" }]);
  });

  it("does not suppress for a block, which is about us and not about the address", async () => {
    const { tenant, message } = await oneMessage();
    await archive(tenant, "sendgrid", [
      events([mailEvent(message.id, "bounce", 5, { type: "blocked", reason: "try later" })]),
    ]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toEqual([]);
    expect(await messagesOf(database, tenant)).toMatchObject([{ status: "bounced" }]);
  });

  it("without any id of a message is taken to be about the last e-mail to the address", async () => {
    const { tenant, message } = await oneMessage();
    await archive(tenant, "sendgrid", [
      events([mailEvent(null, "bounce", 3_000, { type: "bounce", status: "5.1.1" })]),
    ]);
    await apply(tenant);
    expect(await eventsOf(database, tenant)).toMatchObject([{ event_type: "bounced", message_id: message.id }]);
  });

  it("in the form of a complaint or an unsubscribe reaches every walk that writes to the address", async () => {
    const { tenant, message } = await oneMessage();
    await archive(tenant, "sendgrid", [events([mailEvent(null, "unsubscribe", 5)])]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toMatchObject([{ reason: "unsubscribed" }]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "unsubscribed" }]);
    expect(message.status).toBe("sent");
  });

  it("that closes an address ends the walk whose next message was planned while it waited", async () => {
    const phone = "+12125550123";
    const { tenant, message } = await oneMessage(textPlan, { phone, smsConsent: true });
    const enrollmentId = message.contact_campaign_id ?? "";
    await advance(database, 24 * 3_600);
    const timeout = { type: "timeout", nodeId: "ping", on: "no_reply" } as const;
    const planning = hold(tenant, (ctx) => applyEvents(ctx, [{ enrollmentId, event: timeout }]));
    await planning.reached;
    await archive(tenant, "twilio", [textStatus(tenant, message.id, "undelivered", { ErrorCode: "30006" })]);
    const applying = apply(tenant);
    await waits(database, applying);
    planning.release();
    await planning.done;
    expect(await applying).toMatchObject({ completed: 1 });
    expect((await messagesOf(database, tenant)).map(({ status }) => status)).toEqual(["failed", "suppressed"]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "send_failed" }]);
  });

  it("of a text that failed for its recipient closes the number", async () => {
    const { tenant, message } = await oneMessage(textPlan, { phone: "+12125550123", smsConsent: true });
    await archive(tenant, "twilio", [textStatus(tenant, message.id, "undelivered", { ErrorCode: "30005" })]);
    expect(await apply(tenant)).toMatchObject({ completed: 1, newEvents: 1 });
    expect(await messagesOf(database, tenant)).toMatchObject([{ status: "failed" }]);
    expect(await suppressionsOf(database, tenant)).toMatchObject([{ channel: "sms", address: "+12125550123" }]);
  });
});

describe("a poisonous delivery", () => {
  it("is set aside with its reason while its neighbours are applied, and can be replayed", async () => {
    const { tenant, message } = await oneMessage();
    const deep = Buffer.from(`${"[".repeat(5_000)}${"]".repeat(5_000)}`);
    const poison = [
      Buffer.from("not json"),
      deep,
      Buffer.from([0xff, 0xfe, 0x00]),
      Buffer.from('{"event":"open"}'),
      Buffer.from(""),
    ];
    const good = events([mailEvent(message.id, "delivered", 5), { event: 7 }, mailEvent(message.id, "open", 60)]);
    await archive(tenant, "sendgrid", [...poison.map((body) => ({ body })), good]);
    expect(await apply(tenant)).toMatchObject({ claimed: 6, completed: 1, failed: 5 });
    expect(await messagesOf(database, tenant)).toMatchObject([{ status: "delivered" }]);
    const rows = await deliveriesOf(database, tenant);
    expect(rows.filter((row) => row.status === "failed").every((row) => row.last_error !== null)).toBe(true);
    expect(rows.find((row) => row.status === "completed")).toMatchObject({ problems: [{ index: 1 }], event_count: 2 });
    const failed = await listDeliveries(tenant, { status: "failed" });
    expect(failed.data).toHaveLength(5);
    const [first] = failed.data;
    expect(await getDelivery(tenant, { id: first?.id as never })).toMatchObject({ status: "failed", problems: [] });
    const again = await replayDeliveries(tenant, deps, { ids: failed.data.map((row) => row.id) as never });
    expect(again).toMatchObject({ deliveries: 5, newEvents: 0, failed: { length: 5 } });
  });

  it("that PostgreSQL refuses does not take its neighbours with it", async () => {
    const { tenant, message } = await oneMessage();
    // An instant that no timestamp column holds, from an adapter that let it through.
    const broken = { ...deps.webhooks["sendgrid"], provider: "sendgrid", verify: () => ({ valid: true as const }) };
    const at = new Date(Date.UTC(2026, 2, 2));
    const fact = (id: string, channel: string) => ({
      providerEventId: id,
      type: "delivered" as const,
      at,
      messageId: message.id,
      providerMessageId: null,
      channel: channel as "email",
      address: null,
      machine: false,
      metadata: {},
    });
    let n = 0;
    const webhooks = {
      sendgrid: {
        ...broken,
        parse: () => ({ events: [fact(`e${++n}`, n === 2 ? "email\0" : "email")], inbound: [], problems: [] }),
      },
    };
    await archive(tenant, "sendgrid", [events([1]), events([2]), events([3])]);
    const { applyDeliveries } = await import("../../../core/deliveries/index.ts");
    expect(await applyDeliveries(tenant, { ...deps, webhooks }, [])).toMatchObject({
      claimed: 3,
      completed: 2,
      failed: 1,
      newEvents: 2,
    });
  });
});

describe("replay", () => {
  it("of everything changes nothing", async () => {
    const { tenant, message } = await oneMessage();
    await archive(tenant, "sendgrid", [
      events([mailEvent(message.id, "delivered", 5), mailEvent(message.id, "open", 60)]),
      events([mailEvent(message.id, "spamreport", 90)]),
    ]);
    await apply(tenant);
    const look = async () => ({
      messages: await messagesOf(database, tenant),
      events: await eventsOf(database, tenant),
      suppressions: await suppressionsOf(database, tenant),
      enrollments: await enrollmentsOf(database, tenant),
    });
    const before = await look();
    const report = await replayDeliveries(tenant, deps, { from: new Date(0), to: new Date(Date.UTC(2100, 0)) });
    expect(report).toEqual({ deliveries: 2, newEvents: 0, newInbound: 0, corrected: 0, failed: [], nextCursor: null });
    expect(await look()).toEqual(before);
    expect((await deliveriesOf(database, tenant)).map((row) => row.replays)).toEqual([1, 1]);
  });

  it("goes through any number of deliveries call by call, each once, in the order in which they came", async () => {
    const { tenant, message } = await oneMessage();
    const count = 230;
    await archive(
      tenant,
      "sendgrid",
      Array.from({ length: count }, (_, n) => events([mailEvent(message.id, "open", n, { sg_event_id: `open-${n}` })])),
    );
    const range = { from: new Date(0), to: new Date(Date.UTC(2100, 0)) };
    const calls: number[] = [];
    for (let cursor: string | undefined, more = true; more; ) {
      const report = await transact(tenant, (ctx) =>
        replayDeliveries(ctx, deps, cursor ? { ...range, cursor } : range),
      );
      calls.push(report.deliveries);
      more = report.nextCursor !== null;
      cursor = report.nextCursor ?? undefined;
    }
    expect(calls).toEqual([100, 100, 30]);
    expect((await deliveriesOf(database, tenant)).map((row) => row.replays)).toEqual(Array(count).fill(1));
  });

  it("ends a call after the delivery that brings it to 5,000 facts", async () => {
    const { tenant, message } = await oneMessage();
    const thousand = (of: number) =>
      events(Array.from({ length: 1_000 }, (_, n) => mailEvent(message.id, "open", n, { sg_event_id: `${of}-${n}` })));
    await archive(
      tenant,
      "sendgrid",
      Array.from({ length: 6 }, (_, n) => thousand(n)),
    );
    const range = { from: new Date(0), to: new Date(Date.UTC(2100, 0)) };
    const first = await replayDeliveries(tenant, deps, range);
    expect(first).toMatchObject({ deliveries: 5, newEvents: 5_000, nextCursor: expect.any(String) });
    const second = await replayDeliveries(tenant, deps, { ...range, cursor: first.nextCursor ?? "" });
    expect(second).toMatchObject({ deliveries: 1, newEvents: 1_000, nextCursor: null });
  });

  it("gives a message to a fact that had none", async () => {
    const { tenant, message } = await oneMessage();
    await sql`update outbound_messages set provider_message_id = null where id = ${message.id}`.execute(database.owner);
    await archive(tenant, "sendgrid", [events([mailEvent(null, "delivered", 5, { sg_message_id: "late.recvd" })])]);
    await apply(tenant);
    expect(await messagesOf(database, tenant)).toMatchObject([{ status: "sent" }]);
    await sql`update outbound_messages set provider_message_id = 'late' where id = ${message.id}`.execute(
      database.owner,
    );
    const range = { from: new Date(0), to: new Date(Date.UTC(2100, 0)) };
    expect(await replayDeliveries(tenant, deps, range)).toMatchObject({ newEvents: 0, corrected: 1 });
    expect(await messagesOf(database, tenant)).toMatchObject([{ status: "delivered" }]);
    expect(await replayDeliveries(tenant, deps, range)).toMatchObject({ newEvents: 0, corrected: 0 });
  });
});

it("the same batch on eight connections has one effect and no deadlock", async () => {
  const people = Array.from({ length: 20 }, (_, n) => ({ email: `p${n}@example.com` }));
  await setClock(database, monday);
  const { tenant } = await started(database, people);
  await advance(database, 3_600);
  const messages = await messagesOf(database, tenant);
  const facts = messages.flatMap((message, n) => [
    mailEvent(message.id, "delivered", 5, { email: message.to_address }),
    mailEvent(message.id, n % 3 === 0 ? "spamreport" : "open", 60, { email: message.to_address }),
  ]);
  const shuffled = (seed: number) =>
    facts.toSorted(
      (a, b) =>
        ((a.timestamp * seed + facts.indexOf(a) * 7919 * seed) % 97) -
        ((b.timestamp * seed + facts.indexOf(b) * 7919 * seed) % 97),
    );
  const ids = await archive(
    tenant,
    "sendgrid",
    Array.from({ length: 8 }, (_, n) => events(shuffled(n + 1))),
  );
  const reports = await Promise.all(ids.map((id) => apply(tenant, [id])));
  expect(reports.reduce((sum, report) => sum + report.completed, 0)).toBe(8);
  expect(reports.reduce((sum, report) => sum + report.newEvents, 0)).toBe(facts.length);
  expect(await eventsOf(database, tenant)).toHaveLength(facts.length);
  expect(await suppressionsOf(database, tenant)).toHaveLength(7);
  expect((await messagesOf(database, tenant)).filter((message) => message.status === "complained")).toHaveLength(7);
});

describe("joining an unsubscribe group again", () => {
  const left = (at: number, group?: number) =>
    mailEvent(
      null,
      group === undefined ? "unsubscribe" : "group_unsubscribe",
      at,
      group === undefined ? {} : { asm_group_id: group },
    );
  const joined = (at: number, group: number) => mailEvent(null, "group_resubscribe", at, { asm_group_id: group });
  const inForce = async (...batches: readonly (readonly unknown[])[]) => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    for (const batch of batches) {
      await advance(database, 60);
      await archive(tenant, "sendgrid", [events(batch)]);
      await apply(tenant);
    }
    return (await suppressionsOf(database, tenant)).length;
  };

  it("takes back leaving it, and nothing else that was said by the same person in the same kind", async () => {
    expect(await inForce([left(0, 5)], [joined(60, 5)])).toBe(0);
    expect(await inForce([left(0, 5), joined(60, 5)])).toBe(0);
    expect(await inForce([left(0, 5)], [left(30)], [joined(60, 5)])).toBe(1);
    expect(await inForce([left(0, 5), left(30, 6)], [joined(60, 5)])).toBe(1);
    expect(await inForce([left(0, 5)], [left(30), joined(60, 5)])).toBe(1);
  });

  it("does not take back leaving it once more, though the news of joining comes later", async () => {
    expect(await inForce([left(0, 5)], [left(90, 5)], [joined(60, 5)])).toBe(1);
  });
});

it("more deliveries than one claim takes are applied by the call that was rung for them, as long as it has time", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const dropped = (n: number) =>
    events([mailEvent(null, "dropped", 0, { email: `d${n}@example.com`, reason: "Invalid" })]);
  const ids = await archive(
    tenant,
    "sendgrid",
    Array.from({ length: 350 }, (_, n) => dropped(n)),
  );
  expect(await applyDeliveries(tenant, deps, ids.slice(0, 250))).toMatchObject({ claimed: 250, completed: 250 });
  expect(await applyDeliveries(tenant, deps, [], () => 0)).toMatchObject({ claimed: 0 });
  expect(await applyDeliveries(tenant, deps, [])).toMatchObject({ claimed: 100, completed: 100 });
});

it("a body in object storage is fetched, and waited for while it cannot be", async () => {
  const { tenant, message } = await oneMessage();
  const request = events([mailEvent(message.id, "delivered", 5)]);
  await archive(tenant, "sendgrid", [{ ...request, bodyKey: "t/large" }]);
  expect(await apply(tenant)).toMatchObject({ claimed: 1, completed: 0, failed: 0 });
  expect(await deliveriesOf(database, tenant)).toMatchObject([{ status: "pending", last_error: expect.any(String) }]);
  await blobs.put("t/large", request.body, "application/json");
  expect(await apply(tenant)).toMatchObject({ claimed: 0 });
  await advance(database, 60);
  expect(await apply(tenant)).toMatchObject({ claimed: 1, completed: 1, newEvents: 1 });
});

it("object storage that is away costs a delivery nothing for a day; then somebody has to look", async () => {
  const { tenant, message } = await oneMessage();
  const request = events([mailEvent(message.id, "delivered", 5)]);
  const never = events([mailEvent(message.id, "open", 60)]);
  await archive(tenant, "sendgrid", [
    { ...request, bodyKey: "t/later" },
    { ...never, bodyKey: "t/never" },
  ]);
  for (let hour = 0; hour < 23; hour++) {
    expect(await apply(tenant)).toMatchObject({ claimed: 2, completed: 0, failed: 0 });
    await advance(database, 3_600);
  }
  const { rows } =
    await sql`select distinct status, attempts from webhook_deliveries where tenant_id = ${tenant.tenantId}`.execute(
      database.owner,
    );
  expect(rows).toEqual([{ status: "pending", attempts: 0 }]);
  await blobs.put("t/later", request.body, "application/json");
  expect(await apply(tenant)).toMatchObject({ claimed: 2, completed: 1, failed: 0, newEvents: 1 });
  await advance(database, 3_600);
  expect(await apply(tenant)).toMatchObject({ claimed: 1, completed: 0, failed: 1 });
});

it("deliveries whose message is held for long are put back and spend nothing: waiting is no crash", async () => {
  const { tenant, message } = await oneMessage();
  await archive(tenant, "sendgrid", [
    events([mailEvent(message.id, "delivered", 5)]),
    events([mailEvent(message.id, "open", 60)]),
  ]);
  const holding = hold(tenant, (ctx) =>
    sql`select from outbound_messages where tenant_id = ${ctx.tenantId} for update`.execute(ctx.db),
  );
  await holding.reached;
  expect(await apply(tenant)).toMatchObject({ claimed: 2, completed: 0, failed: 0 });
  holding.release();
  await holding.done;
  const { rows } =
    await sql`select distinct status, attempts from webhook_deliveries where tenant_id = ${tenant.tenantId}`.execute(
      database.owner,
    );
  expect(rows).toEqual([{ status: "pending", attempts: 0 }]);
  await advance(database, 30);
  expect(await apply(tenant)).toMatchObject({ claimed: 2, completed: 2, newEvents: 2 });
}, 30_000);

it("a worker whose lease ran out applies nothing that another has taken over", async () => {
  const { tenant, message } = await oneMessage();
  const [id = ""] = await archive(tenant, "sendgrid", [events([mailEvent(message.id, "delivered", 5)])]);
  await sql`update webhook_deliveries set status = 'running', generation = 3, lease_until = app_now() - interval '1 second' where id = ${id}`.execute(
    database.owner,
  );
  expect(await apply(tenant, [id])).toMatchObject({ claimed: 1, completed: 1 });
  const { rows } = await sql<{
    generation: number;
  }>`select generation from webhook_deliveries where id = ${id}`.execute(database.owner);
  expect(rows).toEqual([{ generation: 4 }]);
});

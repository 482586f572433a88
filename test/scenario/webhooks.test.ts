/** Webhooks as networks deliver them: forged, again and again, in any order; and once more on request. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { replayDeliveries } from "../../core/deliveries/index.ts";
import type { SendgridEvent } from "../../local/simulator/sendgrid-events.ts";
import { launch, look, oneEmail, people, post, type SystemTenant, testSystem } from "../support/system.ts";

const system = await testSystem();

/** One sent message, of which nothing was heard yet. */
async function sent(tenant: SystemTenant, address: string): Promise<string> {
  system.script({ [address]: [] });
  await launch(tenant, oneEmail, await people(system, tenant, [{ email: address }]), address);
  await system.settle();
  const { id, status } = await system.message(tenant, address);
  expect(status).toBe("sent");
  return id;
}

const event = (
  kind: string,
  address: string,
  messageId: string,
  seconds: number,
  more: object = {},
): SendgridEvent => ({
  event: kind,
  email: address,
  timestamp: Math.floor(system.now().getTime() / 1000) + seconds,
  sg_event_id: `${kind}-${messageId}-${seconds}`,
  sg_message_id: `${messageId}.recvd`,
  outrider_message_id: messageId,
  ...more,
});

/** Everything that a webhook may change in a tenant. */
async function everything({ tenantId }: SystemTenant): Promise<unknown> {
  const [row] = await look(
    system,
    sql`select
      (select jsonb_agg(to_jsonb(m) - 'updated_at' order by m.id) from outbound_messages m where m.tenant_id = ${tenantId}) as messages,
      (select jsonb_agg(to_jsonb(e) - 'updated_at' order by e.id) from message_events e where e.tenant_id = ${tenantId}) as events,
      (select jsonb_agg(to_jsonb(c) - 'updated_at' order by c.id) from contact_campaigns c where c.tenant_id = ${tenantId}) as enrollments,
      (select jsonb_agg(to_jsonb(s) - 'updated_at' order by s.id) from communication_suppressions s where s.tenant_id = ${tenantId}) as suppressions,
      (select jsonb_agg(to_jsonb(i) - 'updated_at' order by i.id) from inbound_messages i where i.tenant_id = ${tenantId}) as inbound,
      (select jsonb_agg(to_jsonb(l) - 'updated_at' order by l.id) from leads l where l.tenant_id = ${tenantId}) as leads,
      (select jsonb_agg(to_jsonb(a) - 'updated_at' order by a.id) from scheduled_actions a where a.tenant_id = ${tenantId}) as actions,
      (select jsonb_agg(to_jsonb(x) - 'updated_at' order by x.campaign_id) from marketing.campaigns x where x.tenant_id = ${tenantId}) as campaigns`,
  );
  return row;
}

const count = async (tenantId: string, table: string): Promise<number> => {
  const [row] = await look<{ n: number }>(
    system,
    sql`select count(*)::int as n from ${sql.table(table)} where tenant_id = ${tenantId}`,
  );
  return row?.n ?? 0;
};

describe("a webhook", () => {
  test("with a wrong signature is refused, and nothing but a counter remembers it", async () => {
    const tenant = await system.tenant();
    const id = await sent(tenant, "forged@mail.example");
    const genuine = system.sendgridWebhook(tenant, [event("delivered", "forged@mail.example", id, 5)]);
    const before = await everything(tenant);
    const forged = { ...genuine, body: Buffer.from(String(genuine.body).replace("delivered", "bounced")) };
    const text = system.twilioWebhook(tenant, {
      MessageSid: "SM1",
      From: "+12025550123",
      To: "+12025550100",
      Body: "STOP",
    });
    expect(await post(forged)).toBe(401);
    expect(await post({ ...genuine, headers: { "content-type": "application/json" } })).toBe(401);
    expect(await post({ ...text, body: `${String(text.body)}&Extra=1` })).toBe(401);
    expect(await post({ ...genuine, url: genuine.url.replace(/[^/]+$/, "chc_01J00000000000000000000000") })).toBe(401);
    await system.local.idle();

    expect(await everything(tenant)).toEqual(before);
    expect(await count(tenant.tenantId, "webhook_deliveries")).toBe(0);
    const refusals = await look<{ n: number }>(
      system,
      sql`select sum(count)::int as n from webhook_refusals where tenant_id = ${tenant.tenantId}`,
    );
    expect(refusals).toEqual([{ n: 3 }]);
    expect(await post(genuine)).toBe(200);
  });

  test("that arrives forty-six times takes effect once", async () => {
    const tenant = await system.tenant();
    const id = await sent(tenant, "often@mail.example");
    const events = [
      event("processed", "often@mail.example", id, 0),
      event("delivered", "often@mail.example", id, 5),
      event("spamreport", "often@mail.example", id, 9),
    ];
    expect(await post(system.sendgridWebhook(tenant, events))).toBe(200);
    await system.local.idle();
    const once = await everything(tenant);
    // The same request again, and the same events in other company: both are old news.
    const copies = Array.from({ length: 30 }, () => system.sendgridWebhook(tenant, events));
    const others = Array.from({ length: 15 }, (_, n) =>
      system.sendgridWebhook(tenant, events.slice(n % 3).toReversed()),
    );
    expect(new Set(await Promise.all([...copies, ...others].map(post)))).toEqual(new Set([200]));
    await system.settle();

    expect(await everything(tenant)).toEqual(once);
    expect(await system.message(tenant, "often@mail.example")).toMatchObject({
      status: "complained",
      exit_reason: "complained",
    });
    expect(await count(tenant.tenantId, "message_events")).toBe(3);
    expect(await count(tenant.tenantId, "communication_suppressions")).toBe(1);
  });

  test("may overtake others: every order of the same events ends in the same state", async () => {
    const tenant = await system.tenant();
    const kinds = ["processed", "delivered", "open", "click"] as const;
    const orders = [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [2, 0, 3, 1],
      [1, 3, 0, 2],
    ];
    const ends: unknown[] = [];
    for (const [n, order] of orders.entries()) {
      const address = `order${n}@mail.example`;
      const id = await sent(tenant, address);
      // All of it has happened before the first of it arrives.
      await system.advance(3600);
      for (const at of order) {
        const kind = kinds[at] ?? "processed";
        const told = event(kind, address, id, 60 * at - 3000, { url: "https://example.com/" });
        expect(await post(system.sendgridWebhook(tenant, [told]))).toBe(200);
        await system.local.idle();
      }
      const { sent_at, delivered_at, opened_at, clicked_at, ...rest } = await system.message(tenant, address);
      const since = (at: Date | null) => (at && sent_at ? (at.getTime() - sent_at.getTime()) / 1000 : null);
      const { status, enrollment, exit_reason } = rest;
      const instants = [delivered_at, opened_at, clicked_at].map(since);
      ends.push({ status, enrollment, exit_reason, instants });
    }
    const end = { status: "delivered", enrollment: "active", exit_reason: null, instants: [660, 720, 780] };
    expect(ends).toEqual(orders.map(() => end));
  });

  test.each([
    ["our id", (id: string) => ({ outrider_message_id: id })],
    ["the Message-ID we gave it", (_: string, smtpId: string) => ({ "smtp-id": smtpId })],
    ["nothing but the address", () => ({})],
  ])("about a bounce long after delivery that names %s closes the address", async (_, naming) => {
    const tenant = await system.tenant();
    const address = "gone@mail.example";
    const id = await sent(tenant, address);
    const message = await fetch(`${system.simulator.url}/messages/${id}`);
    const { headers } = (await message.json()) as { readonly headers: Readonly<Record<string, string>> };
    await post(system.sendgridWebhook(tenant, [event("delivered", address, id, 0)]));
    await system.advance(5 * 3600);
    const { outrider_message_id, sg_message_id, ...bare } = event("bounce", address, id, 0, {
      type: "bounce",
      status: "5.1.1",
      reason: "550 5.1.1 mailbox does not exist",
    });
    const notice: SendgridEvent = { ...bare, ...naming(id, headers["message-id"] ?? "") };
    expect(await post(system.sendgridWebhook(tenant, [notice]))).toBe(200);
    await system.settle();
    expect(await system.message(tenant, address)).toMatchObject({ enrollment: "stopped", exit_reason: "bounced" });
    const closed = await look(
      system,
      sql`select s.reason, c.status from communication_suppressions s
          join contact_channels c on c.tenant_id = s.tenant_id and c.address = s.address
          where s.tenant_id = ${tenant.tenantId}`,
    );
    expect(closed).toEqual([{ reason: "hard_bounce", status: "bounced" }]);
    await system.advance(4 * 86_400);
    expect(await system.messages(tenant)).toHaveLength(1);
  });

  test("replayed by id or by time changes nothing, however often", async () => {
    const tenant = await system.tenant();
    const address = "replayed@mail.example";
    const number = "+12025550161";
    system.script({
      [address]: [
        { afterSeconds: 1, kind: "processed" },
        { afterSeconds: 10, kind: "delivered" },
        { afterSeconds: 3600, kind: "replied", text: "Who else uses this?" },
      ],
    });
    await launch(tenant, oneEmail, await people(system, tenant, [{ email: address }]), "Replayed");
    await system.advance(2 * 3600);
    await post(
      system.twilioWebhook(tenant, {
        MessageSid: "SMreplay",
        From: number,
        To: "+12025550100",
        Body: "STOP",
        OptOutType: "STOP",
      }),
    );
    await system.settle();
    const before = await everything(tenant);
    const deliveries = await look<{ id: string }>(
      system,
      sql`select id from webhook_deliveries where tenant_id = ${tenant.tenantId} order by id`,
    );
    expect(deliveries.length).toBeGreaterThanOrEqual(3);

    const { host } = system.local;
    const range = { from: new Date(0), to: new Date(system.now().getTime() + 1000) };
    const byRange = await replayDeliveries(tenant, host, range);
    expect(byRange).toMatchObject({
      deliveries: deliveries.length,
      newEvents: 0,
      newInbound: 0,
      corrected: 0,
      failed: [],
    });
    const byId = await replayDeliveries(tenant, host, { ids: deliveries.map(({ id }) => id).toReversed() });
    expect(byId).toMatchObject({ deliveries: deliveries.length, newEvents: 0, newInbound: 0, failed: [] });
    await system.settle();
    expect(await everything(tenant)).toEqual(before);
  });
});

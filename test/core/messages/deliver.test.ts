import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { activate, createCampaign, enroll, pause, resume, runActions, stop } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { DomainError } from "../../../core/kernel/index.ts";
import { deliver } from "../../../core/messages/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { putRateLimit } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York. */
const monday = new Date("2026-03-02T16:00:00Z");

const mail = (text = "Hello {{ first_name }}"): PlanInput => ({
  start: "intro",
  nodes: [{ id: "intro", type: "send", channel: "email", content: { subject: "Hi", text } }],
});
const text: PlanInput = {
  start: "ping",
  nodes: [{ id: "ping", type: "send", channel: "sms", content: { text: "Hello {{ first_name }}" } }],
};

async function campaignOf(tenant: ReadyTenant, plan: PlanInput, contactIds: readonly string[]): Promise<string> {
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds: [...contactIds] } });
  await activate(tenant, { id });
  return id;
}

async function messages(tenant: ReadyTenant) {
  return database.owner
    .selectFrom("outbound_messages")
    .selectAll()
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();
}

async function enrollments(tenant: ReadyTenant) {
  return database.owner
    .selectFrom("contact_campaigns")
    .select(["status", "exit_reason", "current_node_id"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();
}

describe("a campaign with one e-mail", () => {
  it("reaches the provider once, with our id, list headers and the postal address, and completes", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { email: "grace@example.com" });
    await campaignOf(tenant, mail(), [contact]);
    await pump(tenant);
    const [message] = await messages(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    const sent = tenant.email.accepted[0];
    expect(sent).toMatchObject({ messageId: message?.id, to: "grace@example.com", subject: "Hi" });
    expect(sent?.text).toContain("Hello Grace");
    expect(sent?.text).toContain("1 Main Street");
    expect(sent?.headers).toMatchObject({ "List-Unsubscribe-Post": "List-Unsubscribe=One-Click" });
    expect(message).toMatchObject({ status: "sent", attempts: 1, generation: 1, provider: "sendgrid" });
    expect(await enrollments(tenant)).toEqual([{ status: "completed", exit_reason: "end", current_node_id: "intro" }]);
    const campaign = await database.owner
      .selectFrom("marketing.campaigns")
      .select("status")
      .where("tenant_id", "=", tenant.tenantId)
      .executeTakeFirstOrThrow();
    expect(campaign.status).toBe("completed");
  });

  it("is sent once however often and however concurrently it is asked for", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contacts: string[] = [];
    for (let n = 0; n < 20; n++) contacts.push(await person(database, tenant, { email: `p${n}@example.com` }));
    await campaignOf(tenant, mail(), contacts);
    await Promise.all(Array.from({ length: 8 }, () => pump(tenant)));
    expect(tenant.email.accepted.map((one) => one.to).toSorted()).toEqual(
      contacts.map((_, n) => `p${n}@example.com`).toSorted(),
    );
    const attempts = await database.owner
      .selectFrom("send_attempts")
      .selectAll()
      .where("tenant_id", "=", tenant.tenantId)
      .execute();
    expect(attempts).toHaveLength(20);
    expect(new Set(attempts.map((one) => one.outcome))).toEqual(new Set(["accepted"]));
  });

  it("is held, never sent with a hole, when a variable is missing, and expires with a reason", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { email: "noname@example.com", firstName: null });
    await campaignOf(tenant, mail(), [contact]);
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "held", hold_reason: "render_failed" });
    await advance(database, 3 * 86_400 + 1);
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "expired", hold_reason: "expired" });
    expect(tenant.email.accepted).toHaveLength(0);
    expect((await enrollments(tenant))[0]).toMatchObject({ status: "stopped", exit_reason: "send_failed" });
  });

  it("is not sent to an address that was suppressed before the claim", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { email: "no@example.com" });
    await suppression.add(tenant, {
      channel: "email",
      address: "No@Example.com",
      reason: "unsubscribed",
      source: "test",
    });
    await campaignOf(tenant, mail(), [contact]);
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "suppressed", hold_reason: "suppressed" });
    expect(tenant.email.accepted).toHaveLength(0);
  });

  it("goes to one of two contacts with the same address; the other is cancelled with the reason", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contacts = [
      await person(database, tenant, { email: "same@gmail.com" }),
      await person(database, tenant, { email: "s.ame+x@gmail.com" }),
    ];
    await campaignOf(tenant, mail(), contacts);
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect((await messages(tenant)).map((one) => [one.status, one.hold_reason]).toSorted()).toEqual([
      ["cancelled", "duplicate_address"],
      ["sent", null],
    ]);
  });
});

describe("a text message", () => {
  it("waits for the recipient's morning in every zone the number and the state allow", async () => {
    // Monday 07:30 in New York; the strict window opens at 09:00.
    await setClock(database, new Date("2026-03-02T12:30:00Z"));
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { phone: "+12125550101", smsConsent: true });
    await campaignOf(tenant, text, [contact]);
    await pump(tenant);
    const [held] = await messages(tenant);
    expect(held).toMatchObject({ status: "held", hold_reason: "quiet_hours" });
    expect(held?.run_at.toISOString()).toBe("2026-03-02T14:00:00.000Z");
    await setClock(database, new Date("2026-03-02T14:00:00Z"));
    await pump(tenant);
    expect(tenant.sms.accepted).toMatchObject([
      { to: "+12125550101", from: { address: "+12025550100" }, text: "Hello Grace" },
    ]);
  });

  it("is never sent without consent on record", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await campaignOf(tenant, text, [await person(database, tenant, { phone: "+12125550102" })]);
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "suppressed", hold_reason: "no_consent" });
    expect(tenant.sms.accepted).toHaveLength(0);
  });

  it("suppresses the address when the provider knows an opt-out that we do not", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await campaignOf(tenant, text, [await person(database, tenant, { phone: "+12125550103", smsConsent: true })]);
    tenant.sms.answer = () => ({ kind: "rejected", failure: "suppress", code: "21610", reason: "opted out" });
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "suppressed" });
    expect(await suppression.check(tenant, { channel: "sms", address: "+12125550103" })).toMatchObject({
      allowed: false,
    });
    expect((await enrollments(tenant))[0]).toMatchObject({ status: "stopped" });
  });
});

describe("a call whose end is unknown", () => {
  it("is stored as ambiguous and not repeated", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await campaignOf(tenant, mail(), [await person(database, tenant, { email: "lost@example.com" })]);
    let calls = 0;
    tenant.email.answer = () => {
      calls++;
      return { kind: "ambiguous", reason: "reset after the request was written" };
    };
    await pump(tenant);
    await advance(database, 3600);
    await pump(tenant);
    expect(calls).toBe(1);
    expect((await messages(tenant))[0]).toMatchObject({ status: "ambiguous" });
    expect((await enrollments(tenant))[0]).toMatchObject({ status: "active" });
  });

  it("does not begin when the claim is older than five seconds, and is queued again unharmed", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await campaignOf(tenant, mail(), [await person(database, tenant, { email: "late@example.com" })]);
    let ms = 0;
    const frozen = { ...tenant.deps, monotonicMs: () => (ms += 6_000) };
    await pump({ ...tenant, deps: { ...frozen, senders: {} } as never }).catch(() => {});
    const report = await deliver(tenant, frozen, [], () => 60_000);
    expect(tenant.email.accepted).toHaveLength(0);
    expect(report.accepted).toBe(0);
  });
});

describe("a deferred call", () => {
  it("is tried again when the provider said, and costs no attempt", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await campaignOf(tenant, mail(), [await person(database, tenant, { email: "later@example.com" })]);
    tenant.email.answer = (_message, call) =>
      call === 1
        ? { kind: "deferred", code: "429", reason: "slow down", retryAfterSeconds: 90 }
        : { kind: "accepted", providerMessageId: "x" };
    await pump(tenant);
    expect((await messages(tenant))[0]).toMatchObject({ status: "queued", attempts: 0, last_error: "429: slow down" });
    await advance(database, 89);
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(0);
    await advance(database, 1);
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
  });
});

it("a provider that is away is asked ever more rarely, up to once an hour", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await campaignOf(tenant, mail(), [await person(database, tenant, { email: "patient@example.com" })]);
  tenant.email.answer = () => ({ kind: "deferred", code: "connect", reason: "refused", retryAfterSeconds: null });
  const waits: number[] = [];
  for (let call = 1; call <= 9; call++) {
    await pump(tenant);
    const [message] = await messages(tenant);
    const seconds = ((message?.run_at.getTime() ?? 0) - (message?.updated_at.getTime() ?? 0)) / 1_000;
    waits.push(seconds);
    await advance(database, seconds);
  }
  expect(waits).toEqual([30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
});

it("a key service that is away defers what needs it, and its account stays as it is", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await campaignOf(tenant, mail(), [await person(database, tenant, { email: "sealed@example.com" })]);
  const keys = {
    ...tenant.deps.keys,
    unwrapDataKey: async () => {
      throw new DomainError("unavailable", "keys.unavailable", "The key service cannot be reached at the moment.");
    },
  };
  await pump({ ...tenant, deps: { ...tenant.deps, keys } });
  expect((await messages(tenant))[0]).toMatchObject({ status: "queued", attempts: 0, last_error: /^keys.unavailable/ });
  const { status } = await database.owner
    .selectFrom("channel_configs")
    .select("status")
    .where("id", "=", tenant.emailAccount)
    .executeTakeFirstOrThrow();
  expect(status).toBe("active");
  await advance(database, 60);
  await pump(tenant);
  expect(tenant.email.accepted).toHaveLength(1);
});

it("a claim that waits too long for somebody's lock leaves its messages due, and blames none of them", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const id = await campaignOf(tenant, mail(), [await person(database, tenant, { email: "patience@example.com" })]);
  await runActions(tenant, []);
  const holding = hold(tenant, (ctx) =>
    sql`select pg_advisory_xact_lock(hashtextextended(${`campaign:${ctx.tenantId}:${id}`}, 0))`.execute(ctx.db),
  );
  await holding.reached;
  await expect(deliver(tenant, tenant.deps, [], () => 60_000)).rejects.toMatchObject({ code: "55P03" });
  expect((await messages(tenant))[0]).toMatchObject({ status: "queued", hold_reason: null, generation: 0 });
  holding.release();
  await holding.done;
  await pump(tenant);
  expect(tenant.email.accepted).toHaveLength(1);
});

it("a consent is revoked after the claim that looks at it, or before: never in between", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const phone = "+12125550109";
  await person(database, tenant, { phone });
  const consent = await suppression.grantConsent(tenant, {
    channel: "sms",
    address: phone,
    basis: "express_written",
    source: "form",
  });
  const claiming = hold(tenant, (ctx) => suppression.lockAddresses(ctx, [{ channel: "sms", address: phone }]));
  await claiming.reached;
  const revoking = suppression.revokeConsent(tenant, { id: consent.id });
  await waits(database, revoking);
  expect(await suppression.getConsent(tenant, { id: consent.id })).toMatchObject({ revokedAt: null });
  claiming.release();
  await claiming.done;
  expect((await revoking).revokedAt).not.toBeNull();
});

describe("rate limits", () => {
  it("give each message its window at once and never let more through", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 3, windowSeconds: 60 });
    await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 5, windowSeconds: 3600 });
    const contacts: string[] = [];
    for (let n = 0; n < 8; n++) contacts.push(await person(database, tenant, { email: `r${n}@example.com` }));
    await campaignOf(tenant, mail(), contacts);
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(3);
    const waiting = (await messages(tenant)).filter((one) => one.status === "held");
    expect(waiting.map((one) => one.run_at.toISOString())).toEqual([
      "2026-03-02T16:01:00.000Z",
      "2026-03-02T16:01:00.000Z",
      "2026-03-02T17:00:00.000Z",
      "2026-03-02T17:00:00.000Z",
      "2026-03-02T17:00:00.000Z",
    ]);
    await setClock(database, new Date("2026-03-02T16:01:00Z"));
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(5);
    await setClock(database, new Date("2026-03-02T17:00:00Z"));
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(8);
  });
});

describe("pause, resume and stop", () => {
  it("nothing leaves while a campaign is paused, everything goes on after", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contact = await person(database, tenant, { email: "paused@example.com" });
    const id = await campaignOf(
      tenant,
      { start: "w", nodes: [{ id: "w", type: "wait", duration: "PT1H", to: "intro" }, ...mail().nodes] },
      [contact],
    );
    await pump(tenant);
    await pause(tenant, { id });
    await advance(database, 7200);
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(0);
    await resume(tenant, { id });
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
  });

  it("a stopped campaign cancels what was not sent and does not start again", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const id = await campaignOf(tenant, mail("{{ missing }}"), [
      await person(database, tenant, { email: "stop@example.com" }),
    ]);
    await pump(tenant);
    await stop(tenant, { id });
    expect((await messages(tenant))[0]).toMatchObject({ status: "cancelled" });
    expect((await enrollments(tenant))[0]).toMatchObject({ status: "stopped", exit_reason: "campaign_stopped" });
    await expect(activate(tenant, { id })).rejects.toMatchObject({ code: "campaign.illegal_transition" });
  });
});

it("no accept is claimed after a suppression that covers it, whatever races", async () => {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const contacts: string[] = [];
  for (let n = 0; n < 60; n++) contacts.push(await person(database, tenant, { email: `race${n}@example.com` }));
  await campaignOf(tenant, mail(), contacts);
  await Promise.all([
    ...Array.from({ length: 4 }, () => pump(tenant)),
    ...contacts.map((_, n) =>
      suppression.add(tenant, {
        channel: "email",
        address: `race${n}@example.com`,
        reason: "unsubscribed",
        source: "test",
      }),
    ),
  ]);
  const { rows } = await sql<{ late: number }>`
    select count(*)::int as late from send_attempts a
    join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
    join communication_suppressions s on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key
    where a.tenant_id = ${tenant.tenantId} and a.claim_seq > s.seq`.execute(database.owner);
  expect(rows[0]?.late).toBe(0);
});

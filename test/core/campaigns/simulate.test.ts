/** What is simulated is what is sent: the same world, once computed and once run through the real statements on a real database. */
import { sql } from "kysely";
import { describe, expect, it, vi } from "vitest";
import { compareWithLive, driftOf } from "../../../core/campaigns/compare.ts";
import { activate, createCampaign, enroll, runActions } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { type Reaction, type ReactionModel, ReactionRates, ratesModel } from "../../../core/campaigns/reactions.ts";
import { getSimulation, listSimulatedSends, type SimulationRun, simulate } from "../../../core/campaigns/simulate.ts";
import { takeEffect } from "../../../core/deliveries/effects.ts";
import { type EventType, transact } from "../../../core/kernel/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { putRateLimit, updateTenantSettings } from "../../../core/tenancy/index.ts";
import { countRows, testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { runs } from "../../support/runs.ts";
import { arrange, clock, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
vi.setConfig({ testTimeout: 120_000 });
/** Monday, 07:30 in New York, 04:30 in Los Angeles. */
const dawn = new Date("2026-03-02T12:30:00Z");

const plan: PlanInput = {
  start: "intro",
  timeZone: "America/New_York",
  quietHours: { start: "21:30", end: "08:10" },
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      expiresAfter: "P1D",
      content: {
        subject: "Hi {{ first_name }}",
        text: "Hello {{ first_name }} of {{ company_name | default: 'your company' }}",
      },
      variants: [
        { id: "a", weight: 1 },
        { id: "b", weight: 1, subject: "A question, {{ first_name }}" },
      ],
      transitions: [
        { on: "opened", to: "bump", after: "PT2H" },
        { on: "no_open", to: "is-ny", after: "PT24H" },
      ],
    },
    {
      id: "is-ny",
      type: "branch",
      cases: [{ when: { op: "eq", field: "contact.state", value: "NY" }, to: "note" }],
      else: "bump",
    },
    { id: "note", type: "update", set: { status: "nurturing", tags: { add: ["cold"] } }, to: "pause" },
    { id: "pause", type: "wait", duration: "PT6H", to: "text" },
    {
      id: "bump",
      type: "send",
      channel: "email",
      content: { subject: "Again", html: "<p>Hello {{ first_name }}</p>" },
      schedule: { from: "10:00", to: "16:00", days: ["mon", "tue", "wed", "thu", "fri"] },
      transitions: [{ on: "no_reply", to: "text", after: "PT12H" }],
    },
    {
      id: "text",
      type: "send",
      channel: "sms",
      content: { text: "Hi {{ first_name }}, Ada here. {{ unsubscribe_url }}" },
    },
  ],
};

const zones = [
  { timeZone: "America/New_York", state: "NY", phone: 12 },
  { timeZone: "America/Los_Angeles", state: "CA", phone: 13 },
  { timeZone: "America/Chicago", state: "TX", phone: 14 },
  { timeZone: "America/Denver", state: "CO", phone: 15 },
] as const;
const prefixes: Readonly<Record<number, string>> = { 12: "+1212555", 13: "+1213555", 14: "+1214555", 15: "+1303555" };

/** Every kind of recipient that the gate tells apart. */
async function world(people: number): Promise<{ tenant: ReadyTenant; campaignId: string; contacts: string[] }> {
  const tenant = await readyTenant(database);
  await updateTenantSettings(tenant, { frequencyCaps: [{ channel: "email", count: 1, windowSeconds: 30 * 3600 }] });
  await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 3, windowSeconds: 60 });
  await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 14, windowSeconds: 3600 });
  await putRateLimit(tenant, { scope: "domain", scopeId: "*", channel: "email", maxCount: 4, windowSeconds: 3600 });
  await putRateLimit(tenant, { scope: "tenant", channel: "sms", maxCount: 2, windowSeconds: 60 });
  const contacts: string[] = [];
  for (let n = 0; n < people; n++) {
    const { timeZone, state, phone } = zones[n % zones.length] ?? zones[0];
    contacts.push(
      await person(database, tenant, {
        email: n === 7 ? "p3@d3.example.com" : `p${n}@d${n % 5}.example.com`,
        ...(n % 6 === 5 ? {} : { phone: `${prefixes[phone]}${String(100 + (n % 100)).padStart(4, "0")}` }),
        firstName: n % 9 === 8 ? null : `Person ${n}`,
        state,
        timeZone,
        smsConsent: n % 4 !== 3,
      }),
    );
  }
  await suppression.add(tenant, {
    channel: "email",
    address: "p4@d4.example.com",
    reason: "unsubscribed",
    source: "test",
  });
  await arrange(database, tenant.tenantId, (tx) =>
    sql`update leads set status = 'dnc' where tenant_id = ${tenant.tenantId} and email = 'p6@d1.example.com'`.execute(
      tx,
    ),
  );
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  return { tenant, campaignId: id, contacts };
}

interface Heard {
  readonly at: number;
  readonly messageId: string;
  readonly kind: Reaction["kind"];
}

/** What recipients do, told to the live system as facts of the provider. */
class Recipients {
  readonly #tenant: ReadyTenant;
  readonly #model: ReactionModel;
  readonly #counts = new Map<string, number>();
  #known = 0;
  #ahead: Heard[] = [];

  constructor(tenant: ReadyTenant, model: ReactionModel) {
    this.#tenant = tenant;
    this.#model = model;
  }

  /** Recipients of what was accepted since the last look make up their minds. */
  notice(now: Date): void {
    for (const { to, messageId } of this.#tenant.email.accepted.slice(this.#known)) {
      const ordinal = (this.#counts.get(to) ?? 0) + 1;
      this.#counts.set(to, ordinal);
      const key = { contactId: "", address: to, channel: "email" as const, ordinal, nodeId: "", sentAt: now };
      for (const { afterSeconds, kind } of this.#model(key)) {
        this.#ahead.push({ at: now.getTime() + afterSeconds * 1000, messageId, kind });
      }
    }
    this.#known = this.#tenant.email.accepted.length;
    this.#ahead = this.#ahead.toSorted((a, b) => a.at - b.at);
  }

  next(): Date | null {
    return this.#ahead[0] === undefined ? null : new Date(this.#ahead[0].at);
  }

  async tell(now: Date): Promise<void> {
    for (let due = this.#ahead[0]; due !== undefined && due.at <= now.getTime(); due = this.#ahead[0]) {
      this.#ahead.shift();
      const { messageId, kind } = due;
      const type = kind === "bounced_hard" ? "bounced" : (kind as EventType);
      const event = {
        providerEventId: `${messageId} ${kind}`,
        type,
        at: now,
        messageId,
        providerMessageId: null,
        channel: "email" as const,
        address: null,
        machine: false,
        ...(kind === "bounced_hard" && { bounce: "hard" as const }),
        metadata: {},
      };
      const fact = { channelConfigId: this.#tenant.emailAccount, provider: "sendgrid", deliveryId: null, event };
      await transact(this.#tenant, (ctx) => takeEffect(ctx, { inbound: [], facts: [fact] }));
    }
  }
}

/** Runs the live system from due instant to due instant. */
async function runLive(tenant: ReadyTenant, until: Date, model: ReactionModel = () => []): Promise<void> {
  const recipients = new Recipients(tenant, model);
  for (;;) {
    const now = await clock(database);
    await recipients.tell(now);
    await pump(tenant);
    recipients.notice(now);
    const { rows } = await sql<{ next: Date | null }>`
      select min(at) as next from (
        select min(run_at) as at from scheduled_actions where tenant_id = ${tenant.tenantId} and status = 'pending' and run_at > app_now()
        union all
        select min(run_at) from outbound_messages where tenant_id = ${tenant.tenantId} and status in ('queued', 'held') and run_at > app_now()) n`.execute(
      database.owner,
    );
    const instants = [rows[0]?.next ?? null, recipients.next()].filter((one) => one !== null);
    const [next] = instants.toSorted((a, b) => a.getTime() - b.getTime());
    if (next === undefined || next > until) return;
    await setClock(database, next);
  }
}

const key = (send: {
  contactId: string | null;
  nodeId: string | null;
  variantId: string | null;
  at: Date | null;
}): string => [send.contactId, send.nodeId, send.variantId, send.at?.toISOString()].join(" ");

const sentOf = (run: SimulationRun): string[] =>
  run.sends
    .filter((send) => send.verdict === "sent")
    .map(key)
    .toSorted();

describe("a simulation of everybody who is enrolled", () => {
  it("is the live run, send for send, end for end", async () => {
    const people = runs(32, 48);
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(people);
    await enroll(tenant, { campaignId, audience: { contactIds: contacts } });
    const before = await countRows(database, "outbound_messages");
    const run = await simulate(tenant, { campaignId });
    expect(await countRows(database, "outbound_messages")).toBe(before);

    await activate(tenant, { id: campaignId });
    await runLive(tenant, new Date("2026-04-30T00:00:00Z"));
    const live = await database.owner
      .selectFrom("outbound_messages")
      .select([
        "contact_id as contactId",
        "node_id as nodeId",
        "variant_id as variantId",
        "sent_at as at",
        "status",
        "hold_reason as reason",
      ])
      .where("tenant_id", "=", tenant.tenantId)
      .execute();
    const sent = live.filter((one) => one.at !== null);
    expect(sent.length).toBeGreaterThan(runs(32, 60));
    expect(sentOf(run)).toEqual(sent.map(key).toSorted());
    const ends = (rows: readonly { contactId: string | null; nodeId: string | null; reason: string | null }[]) =>
      rows.map((one) => `${one.contactId} ${one.nodeId} ${one.reason}`).toSorted();
    expect(
      ends(run.sends.filter((one) => one.verdict !== "sent").map((one) => ({ ...one, reason: one.verdict }))),
    ).toEqual(ends(live.filter((one) => one.at === null)));
    const reasons = new Set(run.sends.map((one) => one.verdict));
    for (const reason of [
      "sent",
      "suppressed",
      "no_consent",
      "expired",
      "address_invalid",
      "duplicate_address",
    ] as const) {
      expect(reasons).toContain(reason);
    }
    const held = new Set(run.sends.flatMap((one) => one.held.map(({ reason }) => reason)));
    expect([...held].toSorted()).toEqual(["frequency_cap", "quiet_hours", "rate_limit", "render_failed"]);
    const states = await database.owner
      .selectFrom("contact_campaigns")
      .select(["id", "status", "exit_reason as exitReason"])
      .where("tenant_id", "=", tenant.tenantId)
      .orderBy("id")
      .execute();
    expect(run.enrollments.map(({ id, status, exitReason }) => ({ id, status, exitReason }))).toEqual(states);

    const report = await compareWithLive(tenant, { simulationId: run.id ?? "" });
    expect(report).toMatchObject({ simulated: sent.length, live: sent.length, differences: [] });
    expect(await driftOf(tenant, { simulationId: run.id ?? "" })).toMatchObject({ different: 0, percent: 0 });

    await arrange(database, tenant.tenantId, (tx) =>
      sql`update outbound_messages set sent_at = sent_at + interval '90 seconds'
          where tenant_id = ${tenant.tenantId} and contact_id = ${contacts[0]} and node_id = 'intro'`.execute(tx),
    );
    expect((await compareWithLive(tenant, { simulationId: run.id ?? "" })).differences).toMatchObject([
      { kind: "other_instant", contactId: contacts[0], nodeId: "intro", seconds: 90 },
    ]);
    expect((await compareWithLive(tenant, { simulationId: run.id ?? "", toleranceSeconds: 90 })).differences).toEqual(
      [],
    );
    expect((await driftOf(tenant, { simulationId: run.id ?? "" })).different).toBe(1);
  });

  it("is the live run also when people open, click, answer, leave and bounce", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(32);
    await enroll(tenant, { campaignId, audience: { contactIds: contacts } });
    const model = ratesModel(
      ReactionRates.parse({
        seed: 11,
        open: 0.6,
        click: 0.3,
        reply: 0.15,
        unsubscribe: 0.15,
        complaint: 0.1,
        hardBounce: 0.15,
      }),
    );
    // Texts are left unanswered, so that the live half needs one provider only.
    const emailOnly: ReactionModel = (key) => (key.channel === "email" ? model(key) : []);
    const run = await simulate(tenant, { campaignId }, { reactions: emailOnly });
    await activate(tenant, { id: campaignId });
    await runLive(tenant, new Date("2026-04-30T00:00:00Z"), emailOnly);
    expect((await compareWithLive(tenant, { simulationId: run.id ?? "" })).differences).toEqual([]);
    const states = await database.owner
      .selectFrom("contact_campaigns")
      .select(["id", "status", "exit_reason as exitReason"])
      .where("tenant_id", "=", tenant.tenantId)
      .orderBy("id")
      .execute();
    expect(run.enrollments.map(({ id, status, exitReason }) => ({ id, status, exitReason }))).toEqual(states);
    expect(Object.keys(run.summary.exitReasons)).toEqual(
      expect.arrayContaining(["replied", "unsubscribed", "bounced", "complained", "send_failed"]),
    );
  });

  it("goes on from where everybody stands", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(runs(12, 20));
    await enroll(tenant, { campaignId, audience: { contactIds: contacts } });
    await activate(tenant, { id: campaignId });
    const noon = new Date("2026-03-03T17:00:00Z");
    await runLive(tenant, noon);
    await setClock(database, noon);
    const sentBefore = await database.owner
      .selectFrom("outbound_messages")
      .select("id")
      .where("tenant_id", "=", tenant.tenantId)
      .where("sent_at", "is not", null)
      .execute();
    const known = new Set(sentBefore.map((one) => one.id));
    const run = await simulate(tenant, { campaignId, store: false });
    await runLive(tenant, new Date("2026-04-30T00:00:00Z"));
    const live = await database.owner
      .selectFrom("outbound_messages")
      .select(["id", "contact_id as contactId", "node_id as nodeId", "variant_id as variantId", "sent_at as at"])
      .where("tenant_id", "=", tenant.tenantId)
      .where("sent_at", "is not", null)
      .execute();
    expect(sentOf(run)).toEqual(
      live
        .filter((one) => !known.has(one.id))
        .map(key)
        .toSorted(),
    );
    expect(known.size).toBeGreaterThan(5);
    expect(run.summary.sent).toBeGreaterThan(5);
  });
});

describe("a simulation of an audience that is not enrolled", () => {
  it("is what enrolling and activating would send, leaves out who would be left out, and writes nothing else", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(24);
    const audience = { contactIds: contacts };
    const stored = await countRows(database, "campaign_simulations");
    const run = await simulate(tenant, { campaignId, audience, store: false });
    expect(run.id).toBeNull();
    expect(run.summary.leftOut).toEqual({ unavailable: 1 });
    expect(await countRows(database, "campaign_simulations")).toBe(stored);
    await enroll(tenant, { campaignId, audience });
    const enrolled = await simulate(tenant, { campaignId, store: false });
    expect(enrolled.sendsHash).toBe(run.sendsHash);
    await expect(runActions(tenant, [])).resolves.toBe(0);
  });

  it("does not depend on how many contacts are read at a time, nor on how often it runs", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(24);
    const request = {
      campaignId,
      audience: { contactIds: contacts },
      store: false,
      engagement: { seed: 3, open: 0.6, click: 0.2, reply: 0.2, unsubscribe: 0.1, hardBounce: 0.1 },
    };
    const runs = [
      await simulate(tenant, request),
      await simulate(tenant, request, { pageSize: 1 }),
      await simulate(tenant, request, { pageSize: 7 }),
    ];
    expect(new Set(runs.map((run) => run.sendsHash)).size).toBe(1);
    const [run] = runs;
    expect(run?.summary.exitReasons).toMatchObject({ replied: expect.any(Number), bounced: expect.any(Number) });
    const other = await simulate(tenant, { ...request, engagement: { ...request.engagement, seed: 4 } });
    expect(other.sendsHash).not.toBe(run?.sendsHash);
  });
});

describe("a stored simulation", () => {
  it("can be read back page by page, and adds up", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(16);
    const run = await simulate(tenant, { campaignId, audience: { contactIds: contacts } });
    const stored = await getSimulation(tenant, { id: run.id ?? "" });
    expect(stored.summary).toEqual(run.summary);
    expect(stored.sendsHash).toBe(run.sendsHash);
    const seen: number[] = [];
    let cursor: string | undefined;
    do {
      const page = await listSimulatedSends(tenant, {
        id: run.id ?? "",
        limit: 5,
        ...(cursor !== undefined && { cursor }),
      });
      seen.push(...page.data.map((one) => one.ordinal));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual(run.sends.map((_, n) => n));
    const { summary } = run;
    const total = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((a, b) => a + b, 0);
    expect(total(summary.byVerdict)).toBe(summary.messages);
    expect(total(summary.perHour)).toBe(summary.sent);
    expect(total(summary.perDay)).toBe(summary.sent);
    expect(total(summary.byChannel)).toBe(summary.sent);
    expect(total(summary.enrollments)).toBe(summary.enrolled);
    expect(summary.cost.total).toBeCloseTo(summary.cost.emails * 0.0008 + summary.cost.smsSegments * 0.0079, 3);
  });

  it("belongs to its tenant alone", async () => {
    await setClock(database, dawn);
    const { tenant, campaignId, contacts } = await world(2);
    const run = await simulate(tenant, { campaignId, audience: { contactIds: contacts } });
    const stranger = await readyTenant(database);
    await expect(getSimulation(stranger, { id: run.id ?? "" })).rejects.toMatchObject({ code: "simulation.not_found" });
    await expect(simulate(stranger, { campaignId })).rejects.toMatchObject({ code: "campaign.not_found" });
  });
});

/** Numbers that add up, and the life of one message from the imported row on. */
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { campaignReport, trace } from "../../../core/analytics/index.ts";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { takeEffect } from "../../../core/deliveries/effects.ts";
import { type EventType, transact } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York. */
const monday = new Date("2026-03-02T16:00:00Z");

const plan: PlanInput = {
  start: "intro",
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      content: { subject: "Hi", text: "Hello {{ first_name }}" },
      variants: [
        { id: "a", weight: 1 },
        { id: "b", weight: 1, subject: "Hello" },
      ],
      transitions: [{ on: "no_open", to: "text", after: "PT24H" }],
    },
    { id: "text", type: "send", channel: "sms", content: { text: "Hello" } },
  ],
};

const messagesOf = (tenant: ReadyTenant) =>
  database.owner
    .selectFrom("outbound_messages")
    .select(["id", "status", "contact_id", "node_id", "correlation_id"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

/** What the provider says of a message, as it takes effect in the live system. */
const hear = (tenant: ReadyTenant, messageId: string, type: EventType, seconds: number, bounce?: "hard") =>
  transact(tenant, (ctx) =>
    takeEffect(ctx, {
      inbound: [],
      facts: [
        {
          channelConfigId: tenant.emailAccount,
          provider: "sendgrid",
          deliveryId: "whd_00000000000000000000000001",
          event: {
            providerEventId: `${messageId} ${type}`,
            type,
            at: new Date(ctx.now.getTime() + seconds * 1000),
            messageId,
            providerMessageId: null,
            channel: "email",
            address: null,
            machine: false,
            ...(bounce && { bounce }),
            metadata: {},
          },
        },
      ],
    }),
  );

const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);

describe("the report of a campaign", () => {
  it("adds up: enrollments by state, messages by status, sends by day and by variant", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contacts: string[] = [];
    for (let n = 0; n < 8; n++) {
      contacts.push(
        await person(database, tenant, {
          email: `p${n}@example.com`,
          firstName: n === 7 ? null : "Grace",
          ...(n < 4 && { phone: `+1212555010${n}`, smsConsent: n !== 3 }),
        }),
      );
    }
    const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    expect(await campaignReport(tenant, { campaignId: id })).toMatchObject({ enrolled: 8, enrollments: { draft: 8 } });
    await activate(tenant, { id });
    await pump(tenant);
    const first = await messagesOf(tenant);
    const idOf = (n: number) => first.find((one) => one.contact_id === contacts[n])?.id ?? "";
    await hear(tenant, idOf(0), "delivered", 5);
    await hear(tenant, idOf(0), "opened", 60);
    await hear(tenant, idOf(4), "delivered", 5);
    await hear(tenant, idOf(4), "replied", 90);
    await hear(tenant, idOf(5), "bounced", 5, "hard");
    await advance(database, 86_400);
    await pump(tenant);

    const report = await campaignReport(tenant, { campaignId: id });
    const messages = await messagesOf(tenant);
    expect(report.enrolled).toBe(8);
    expect(total(report.enrollments)).toBe(8);
    expect(report.exitReasons).toMatchObject({ replied: 1, bounced: 1 });
    expect(total(report.messages.byStatus)).toBe(messages.length);
    expect(report.messages.queued).toBe(messages.length);
    expect(total(report.perDay)).toBe(report.messages.sent);
    const intro = report.nodes.find((node) => node.nodeId === "intro");
    expect(intro).toMatchObject({
      queued: 8,
      sent: 7,
      delivered: 2,
      opened: 1,
      replied: 1,
      bounced: 1,
      heldBy: { render_failed: 1 },
    });
    expect(intro?.rates).toMatchObject({ delivered: 0.2857, opened: 0.5, replied: 0.5 });
    expect(report.nodes.find((node) => node.nodeId === "text")).toMatchObject({ endedBy: { no_consent: 1 } });
    for (const node of report.nodes) expect(total(node.byStatus)).toBe(node.queued);
    expect(report.variants.reduce((sum, variant) => sum + variant.sent, 0)).toBe(7);
    expect(report.cost.total).toBeCloseTo(report.cost.emails * 0.0008 + report.cost.texts * 0.0079, 4);
  });

  it("is not shown to another tenant", async () => {
    const tenant = await readyTenant(database);
    const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
    await expect(campaignReport(await readyTenant(database), { campaignId: id })).rejects.toMatchObject({
      code: "campaign.not_found",
    });
  });
});

describe("the trace of a message", () => {
  it("runs from the imported row to what followed, in order of time", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const row = {
      email: "ada@lovelace.example.com",
      first_name: "Ada",
      last_name: "Lovelace",
      company: "Engines",
      state: "NY",
    };
    await transact(tenant, async ({ db }) => {
      await sql`select * from intake.f_ingest_json(array[${JSON.stringify(row)}::jsonb], 'list', 'batch-1')`.execute(
        db,
      );
      await sql`select * from vault.f_promote_contacts()`.execute(db);
    });
    await advance(database, 60);
    const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
    expect(await enroll(tenant, { campaignId: id, audience: { all: true } })).toMatchObject({ enrolled: 1 });
    await activate(tenant, { id });
    await pump(tenant);
    const [message] = await messagesOf(tenant);
    const messageId = message?.id ?? "";
    await hear(tenant, messageId, "delivered", 5);
    await hear(tenant, messageId, "complained", 60);
    const told = await trace(tenant, { messageId });
    const stages = new Set(told.steps.map((step) => step.stage));
    const expected = [
      "raw_load",
      "person",
      "lead",
      "contact",
      "enrollment",
      "transition",
      "action",
      "message",
      "decision",
      "attempt",
      "event",
      "suppression",
    ] as const;
    for (const stage of expected) expect(stages).toContain(stage);
    const instants = told.steps.map((step) => step.at.getTime());
    expect(instants).toEqual(instants.toSorted((a, b) => a - b));
    expect(told.steps[0]?.stage).toBe("raw_load");
    expect(told.correlationIds).toContain(message?.correlation_id);

    const chain = await trace(tenant, { correlationId: message?.correlation_id ?? "" });
    expect(chain.steps.map((step) => step.id)).toEqual(told.steps.map((step) => step.id));
    await expect(trace(await readyTenant(database), { messageId })).rejects.toMatchObject({
      code: "message.not_found",
    });
    await expect(trace(tenant, { correlationId: "corr_unknown" })).rejects.toMatchObject({ code: "trace.not_found" });
  });
});

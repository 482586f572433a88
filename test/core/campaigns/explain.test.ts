/** For every (campaign, contact, node) there is an answer, also where nothing was ever queued. */
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { explain } from "../../../core/campaigns/explain.ts";
import { activate, campaignPort, createCampaign, enroll, pause } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { explainMessage } from "../../../core/messages/explain.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";

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
      transitions: [{ on: "no_open", to: "where", after: "PT24H" }],
    },
    {
      id: "where",
      type: "branch",
      cases: [{ when: { op: "eq", field: "contact.state", value: "CA" }, to: "west" }],
      else: "east",
    },
    { id: "west", type: "send", channel: "email", content: { subject: "West", text: "West" } },
    { id: "east", type: "send", channel: "sms", content: { text: "East" } },
  ],
};

async function begin(tenant: ReadyTenant, contactIds: readonly string[]): Promise<string> {
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds: [...contactIds] } });
  return id;
}

async function messageOf(tenant: ReadyTenant, contactId: string): Promise<string> {
  const row = await database.owner
    .selectFrom("outbound_messages")
    .select("id")
    .where("tenant_id", "=", tenant.tenantId)
    .where("contact_id", "=", contactId)
    .executeTakeFirstOrThrow();
  return row.id;
}

describe("a contact that is not enrolled", () => {
  it("is told apart: never asked, no address, walking elsewhere, do-not-contact", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const walking = await person(database, tenant, { email: "busy@example.com" });
    await begin(tenant, [walking]);
    const campaignId = await begin(tenant, []).catch(async () => {
      const { id } = await createCampaign(tenant, { name: "Other", plan: plan as never });
      return id;
    });
    const never = await person(database, tenant, { email: "never@example.com" });
    const mute = await person(database, tenant, { phone: "+12125550101" });
    const gone = await person(database, tenant, { email: "gone@example.com" });
    await arrange(database, tenant.tenantId, (tx) =>
      sql`update leads set status = 'dnc' where tenant_id = ${tenant.tenantId} and email = 'gone@example.com'`.execute(
        tx,
      ),
    );
    const code = async (contactId: string) => (await explain(tenant, { campaignId, contactId, nodeId: "intro" })).code;
    expect(await code(never)).toBe("never_in_audience");
    expect(await code(mute)).toBe("no_address");
    expect(await code(walking)).toBe("busy");
    expect(await code(gone)).toBe("lead_unavailable");
  });
});

describe("an enrolled contact", () => {
  it("has not started, waits, has not reached a node yet, and took another path, each with its facts", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contactId = await person(database, tenant, {
      email: "grace@example.com",
      phone: "+12125550101",
      smsConsent: true,
    });
    const campaignId = await begin(tenant, [contactId]);
    const ask = (nodeId?: string) =>
      explain(tenant, { campaignId, contactId, ...(nodeId !== undefined && { nodeId }) });
    expect((await ask("intro")).code).toBe("not_started");

    await activate(tenant, { id: campaignId });
    await pump(tenant);
    expect(await ask("intro")).toMatchObject({
      code: "sent",
      message: { status: "sent", attempts: [{ outcome: "accepted" }] },
    });
    const waits = await ask();
    expect(waits.code).toBe("waiting");
    expect(waits.sentences[0]).toContain("2026-03-03T16:00:00.000Z (no_open)");
    expect(await ask("west")).toMatchObject({ code: "not_reached_yet" });

    await advance(database, 86_400);
    await pump(tenant);
    expect((await ask("east")).code).toBe("sent");
    const west = await ask("west");
    expect(west).toMatchObject({
      code: "path_not_taken",
      facts: { turn: { fromNodeId: "where", toNodeId: "east", reason: "else" }, fieldsNow: { "contact.state": "NY" } },
    });
    expect((await ask("where")).code).toBe("not_a_message");
    await expect(ask("nowhere")).rejects.toMatchObject({ code: "plan.node_not_found" });
  });

  it("whose walk ended before a node hears why", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contactId = await person(database, tenant, { email: "no@example.com" });
    await suppression.add(tenant, {
      channel: "email",
      address: "no@example.com",
      reason: "unsubscribed",
      source: "test",
    });
    const campaignId = await begin(tenant, [contactId]);
    await activate(tenant, { id: campaignId });
    await pump(tenant);
    const intro = await explain(tenant, { campaignId, contactId, nodeId: "intro" });
    expect(intro).toMatchObject({
      code: "suppressed",
      message: { suppressions: [{ list: "suppression", reason: "unsubscribed" }] },
    });
    expect(await explain(tenant, { campaignId, contactId, nodeId: "east" })).toMatchObject({
      code: "ended_before",
      facts: { status: "stopped", exitReason: "send_failed" },
    });
    expect((await explain(tenant, { campaignId, contactId })).code).toBe("ended");
  });

  it("of a paused campaign is told so", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contactId = await person(database, tenant, { email: "wait@example.com" });
    const campaignId = await begin(tenant, [contactId]);
    await activate(tenant, { id: campaignId });
    await pump(tenant);
    await pause(tenant, { id: campaignId });
    expect((await explain(tenant, { campaignId, contactId })).code).toBe("campaign_not_active");
  });
});

describe("a message that waits", () => {
  it("names the rule that holds it, and every check with its answer now", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contactId = await person(database, tenant, { email: "noname@example.com", firstName: null });
    const campaignId = await begin(tenant, [contactId]);
    await activate(tenant, { id: campaignId });
    await pump(tenant);
    const messageId = await messageOf(tenant, contactId);
    const held = await explainMessage(tenant, campaignPort, { messageId });
    expect(held).toMatchObject({
      status: "held",
      code: "render_failed",
      remedy: expect.stringContaining("Give the contact what the template names"),
      decided: { reason: "render_failed", facts: { at: monday.toISOString() } },
      now: { verdict: "hold", reason: "render_failed" },
    });
    expect(held.now?.checks.filter((check) => !check.passed)).toMatchObject([{ asks: ["render_failed"] }]);
    expect(held.now?.checks).toHaveLength(16);

    // The gate answers for now: what was mended since, and what has come up since.
    await arrange(database, tenant.tenantId, async (tx) => {
      await sql`update contacts set first_name = 'Grace' where tenant_id = ${tenant.tenantId}`.execute(tx);
      await sql`update email_sender_identities set validation_status = 'failed' where tenant_id = ${tenant.tenantId}`.execute(
        tx,
      );
    });
    expect(await explainMessage(tenant, campaignPort, { messageId })).toMatchObject({
      code: "sender_unverified",
      remedy: expect.stringContaining("npx outrider senders verify"),
      decided: { reason: "render_failed" },
    });
  });

  it("cannot be asked about by another tenant", async () => {
    await setClock(database, monday);
    const tenant = await readyTenant(database);
    const contactId = await person(database, tenant, { email: "mine@example.com" });
    const campaignId = await begin(tenant, [contactId]);
    await activate(tenant, { id: campaignId });
    await pump(tenant);
    const stranger = await readyTenant(database);
    const messageId = await messageOf(tenant, contactId);
    await expect(explainMessage(stranger, campaignPort, { messageId })).rejects.toMatchObject({
      code: "message.not_found",
    });
    await expect(explain(stranger, { campaignId, contactId })).rejects.toMatchObject({ code: "campaign.not_found" });
  });
});

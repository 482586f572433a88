import { sql } from "kysely";
import { beforeEach, describe, expect, it } from "vitest";
import { getConversation, listConversations, listInbound } from "../../../core/conversations/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { updateTenantSettings } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { readyTenant } from "../../support/outreach.ts";
import { advance, setClock } from "../../support/tenant.ts";
import {
  apply,
  archive,
  enrollmentsOf,
  mailFrom,
  messagesOf,
  monday,
  started,
  suppressionsOf,
  textFrom,
  textPlan,
} from "../deliveries/world.ts";

const database = await testDatabase();
beforeEach(() => setClock(database, monday));

const phone = "+12125550123";

async function mailed(email = "grace@example.com") {
  const world = await started(database, [{ email }]);
  const [message] = await messagesOf(database, world.tenant);
  if (!message) throw new Error("nothing was sent");
  await advance(database, 3_600);
  return { ...world, message };
}

async function texted() {
  const world = await started(database, [{ phone, smsConsent: true }], textPlan);
  const [message] = await messagesOf(database, world.tenant);
  if (!message) throw new Error("nothing was sent");
  await advance(database, 3_600);
  return { ...world, message };
}

const leadOf = async (tenantId: string) => {
  const { rows } = await sql<{ status: string; last_response_at: Date | null; trigger: string | null }>`
    select l.status, l.last_response_at, (select h.trigger_type from lead_status_history h where h.tenant_id = l.tenant_id and h.to_status = 'dnc') as trigger
    from leads l where l.tenant_id = ${tenantId}`.execute(database.owner);
  return rows[0];
};

describe("a reply by e-mail", () => {
  it.each([
    [
      "by our Message-ID in References",
      "reference",
      (id: string) => ({ headers: { "In-Reply-To": `<${id}@sender.example>` } }),
    ],
    [
      "by the reply address, in whatever case",
      "plus_address",
      (id: string) => ({ to: `Reply+${id.toLowerCase()}@in.example` }),
    ],
    ["by its sender", "address", () => ({})],
  ] as const)("is matched %s, stops the walk, and counts once", async (_, matchedBy, more) => {
    const { tenant, message, campaignId } = await mailed();
    await archive(tenant, "sendgrid", [
      mailFrom({ from: "grace@example.com", text: "Sounds great, call me!", ...more(message.id) }),
    ]);
    await apply(tenant);
    await archive(tenant, "sendgrid", [
      mailFrom({ from: "grace@example.com", text: "And send the deck.", ...more(message.id) }),
    ]);
    await apply(tenant);
    const { data } = await listInbound(tenant, {});
    expect(data).toMatchObject([
      {
        classification: "reply",
        messageId: message.id,
        matchedBy,
        enrollmentId: message.contact_campaign_id,
        leadId: message.lead_id,
      },
      { classification: "reply", responseType: "positive" },
    ]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "replied" }]);
    expect((await messagesOf(database, tenant))[0]).toMatchObject({
      replied_at: new Date(monday.getTime() + 3_600_000),
    });
    const campaign = await database.owner
      .selectFrom("marketing.campaigns")
      .select("response_count")
      .where("campaign_id", "=", campaignId)
      .executeTakeFirst();
    expect(campaign).toEqual({ response_count: 1 });
    expect((await leadOf(tenant.tenantId))?.last_response_at).not.toBeNull();
    const conversations = await listConversations(tenant, {});
    expect(conversations.data).toMatchObject([
      { channel: "email", address: "grace@example.com", leadId: message.lead_id },
    ]);
    const thread = await getConversation(tenant, { id: conversations.data[0]?.id as never });
    expect(thread.messages.map((one) => one.direction)).toEqual(["outbound", "inbound", "inbound"]);
  });

  it("from somebody unknown is kept", async () => {
    const tenant = await readyTenant(database);
    await archive(tenant, "sendgrid", [mailFrom({ from: "who@else.example", text: "Hello?" })]);
    await apply(tenant);
    expect((await listInbound(tenant, {})).data).toMatchObject([
      { from: "who@else.example", matchedBy: null, messageId: null, classification: "reply" },
    ]);
  });

  it("that names another tenant's message belongs to nobody", async () => {
    const theirs = await mailed();
    const ours = await readyTenant(database);
    await archive(ours, "sendgrid", [
      mailFrom({
        from: "eve@example.com",
        text: "unsubscribe",
        headers: { References: `<${theirs.message.id}@sender.example>` },
      }),
    ]);
    await apply(ours);
    expect((await listInbound(ours, {})).data).toMatchObject([
      { matchedBy: null, messageId: null, classification: "opt_out" },
    ]);
    expect(await suppressionsOf(database, theirs.tenant)).toEqual([]);
    expect(await enrollmentsOf(database, theirs.tenant)).toMatchObject([{ status: "active" }]);
  });

  it("made by a machine is recorded and moves nothing", async () => {
    const { tenant } = await mailed();
    await archive(tenant, "sendgrid", [
      mailFrom({
        from: "grace@example.com",
        subject: "Automatic reply",
        text: "I am out of office",
        headers: { "Auto-Submitted": "auto-replied" },
      }),
    ]);
    await apply(tenant);
    expect((await listInbound(tenant, {})).data).toMatchObject([{ classification: "auto_reply" }]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "active" }]);
    expect(await suppressionsOf(database, tenant)).toEqual([]);
  });

  it("that opts out from another address closes both, and the lead", async () => {
    const { tenant, message } = await mailed();
    await archive(tenant, "sendgrid", [
      mailFrom({
        from: "g.hopper@navy.example",
        text: "Please remove me from your list.",
        headers: { "In-Reply-To": `<${message.id}@sender.example>` },
      }),
    ]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toMatchObject([
      { address: "g.hopper@navy.example", reason: "unsubscribed" },
      { address: "grace@example.com", reason: "unsubscribed" },
    ]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "unsubscribed" }]);
    expect(await leadOf(tenant.tenantId)).toMatchObject({ status: "dnc", trigger: "reply" });
  });
});

describe("a text", () => {
  it.each([
    "STOP",
    "stop!!",
    "S.T.O.P.",
    " Unsubscribe ",
    "Stop all",
    "please stop texting me",
    "alto",
    "🛑",
    "END",
    "Remove me",
  ])("saying %j suppresses the number in the transaction that stores it, and ends the walk", async (words) => {
    const { tenant, message } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, words)]);
    expect(await apply(tenant)).toMatchObject({ completed: 1, newInbound: 1 });
    expect(await suppressionsOf(database, tenant)).toMatchObject([
      { channel: "sms", address: phone, reason: "stop", source: "twilio" },
    ]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "unsubscribed" }]);
    expect((await messagesOf(database, tenant))[0]?.unsubscribed_at).not.toBeNull();
    expect((await listInbound(tenant, {})).data).toMatchObject([{ classification: "opt_out", messageId: message.id }]);
  });

  it("that the provider took for STOP is one, whatever its words", async () => {
    const { tenant } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, "no mas", { OptOutType: "STOP" })]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toHaveLength(1);
    expect(await leadOf(tenant.tenantId)).toMatchObject({ status: "dnc", trigger: "webhook" });
  });

  it("saying STOP puts the number on the organization's list where the tenant wants that", async () => {
    const { tenant } = await texted();
    await updateTenantSettings(tenant, { stopMeansDoNotCall: true });
    await archive(tenant, "twilio", [textFrom(phone, "STOP")]);
    await apply(tenant);
    const { rows } = await sql<{
      n: number;
    }>`select count(*)::int as n from dnc_list where organization_id = ${tenant.organizationId} and phone_number = ${phone}`.execute(
      database.owner,
    );
    expect(rows).toEqual([{ n: 1 }]);
  });

  it("saying START takes back an earlier STOP, and never a later one", async () => {
    const { tenant } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, "STOP")]);
    await apply(tenant);
    await advance(database, 60);
    const [start = ""] = await archive(tenant, "twilio", [textFrom(phone, "START")]);
    await advance(database, 60);
    const [stop = ""] = await archive(tenant, "twilio", [textFrom(phone, "STOP")]);
    await apply(tenant, [stop]);
    await apply(tenant, [start]);
    expect(await suppressionsOf(database, tenant)).toHaveLength(1);
    await advance(database, 60);
    await archive(tenant, "twilio", [textFrom(phone, "START")]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toEqual([]);
  });

  it("saying START is heard whatever evidence the earlier no was entered with", async () => {
    const { tenant } = await texted();
    const entry = {
      channel: "sms",
      address: phone,
      reason: "stop",
      source: "api",
      evidence: { at: "last week" },
    } as const;
    await suppression.add(tenant, entry);
    await advance(database, 60);
    await archive(tenant, "twilio", [textFrom(phone, "START")]);
    expect(await apply(tenant)).toMatchObject({ completed: 1 });
    expect(await suppressionsOf(database, tenant)).toEqual([]);
  });

  it("saying START and STOP at the same instant is a STOP", async () => {
    const { tenant } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, "STOP"), textFrom(phone, "START")]);
    await apply(tenant);
    expect(await suppressionsOf(database, tenant)).toHaveLength(1);
  });

  it("saying YES is an answer, unless the number is opted out", async () => {
    const { tenant } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, "YES")]);
    await apply(tenant);
    expect((await listInbound(tenant, {})).data).toMatchObject([{ classification: "reply" }]);
  });

  it("that may be an opt-out pauses the walk and asks a person", async () => {
    const { tenant, message } = await texted();
    await archive(tenant, "twilio", [textFrom(phone, "Did you unsubscribe my coworker from this?")]);
    await apply(tenant);
    expect((await listInbound(tenant, {})).data).toMatchObject([{ classification: "unclear_opt_out" }]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "paused" }]);
    const tasks = await database.owner
      .selectFrom("tasks")
      .selectAll()
      .where("tenant_id", "=", tenant.tenantId)
      .execute();
    expect(tasks).toMatchObject([{ kind: "review", status: "open", contact_campaign_id: message.contact_campaign_id }]);
  });
});

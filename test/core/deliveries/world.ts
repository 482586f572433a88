/** A campaign under way, and ways to make providers speak about it. Events are SendGrid's and Twilio's own shapes, read by the real adapters. */
import { createHash } from "node:crypto";
import { activate, createCampaign, enroll } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { Archive, applyDeliveries, type DeliveryDeps } from "../../../core/deliveries/index.ts";
import type { Context } from "../../../core/kernel/context.ts";
import { newId } from "../../../core/kernel/id.ts";
import { memoryBlobs } from "../../../core/providers/memory/index.ts";
import { messageIdArgument, sendgrid } from "../../../core/providers/sendgrid/index.ts";
import { messageIdParameter, twilio } from "../../../core/providers/twilio/index.ts";
import type { TestDatabase } from "../../support/database.ts";
import { type PersonInput, person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";

/** Monday, 11:00 in New York. */
export const monday = new Date("2026-03-02T16:00:00Z");
export const blobs = memoryBlobs();
export const deps: DeliveryDeps = { blobs, webhooks: { sendgrid, twilio } };

/** Intro by e-mail, a bump after a day for everybody who did not answer. */
export const bumpPlan: PlanInput = {
  start: "intro",
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      content: { subject: "Hi", text: "Hello {{ first_name }}" },
      transitions: [{ on: "no_reply", to: "bump", after: "PT24H" }],
    },
    { id: "bump", type: "send", channel: "email", content: { subject: "Again", text: "Hello again" } },
  ],
};
/** One text; then a wait, so that the enrollment is still under way. */
export const textPlan: PlanInput = {
  start: "ping",
  nodes: [
    {
      id: "ping",
      type: "send",
      channel: "sms",
      content: { text: "Hello" },
      transitions: [{ on: "no_reply", to: "again", after: "PT24H" }],
    },
    { id: "again", type: "send", channel: "sms", content: { text: "Hello again" } },
  ],
};

export interface Started {
  readonly tenant: ReadyTenant;
  readonly contactIds: readonly string[];
  readonly campaignId: string;
}

/** A tenant whose campaign has sent its first message to everybody. */
export async function started(
  database: TestDatabase,
  people: readonly PersonInput[],
  plan: PlanInput = bumpPlan,
  given?: ReadyTenant,
): Promise<Started> {
  const tenant = given ?? (await readyTenant(database));
  const contactIds: string[] = [];
  for (const one of people) contactIds.push(await person(database, tenant, one));
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await pump(tenant);
  return { tenant, contactIds, campaignId: id };
}

export interface Posted {
  readonly body: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly target?: string;
  /** Where the body is, when it is not in the row. */
  readonly bodyKey?: string;
}

/** Archives requests as the front door would. @returns ids of the deliveries */
export async function archive(
  tenant: ReadyTenant,
  provider: "sendgrid" | "twilio",
  requests: readonly Posted[],
  at = new Date(),
): Promise<string[]> {
  const shelf = new Archive({ db: tenant.db });
  const channelConfigId = provider === "sendgrid" ? tenant.emailAccount : tenant.smsAccount;
  const kept = await Promise.all(
    requests.map(({ body, headers = {}, target = `/webhooks/${provider}/${channelConfigId}`, bodyKey = null }) =>
      shelf.add({
        tenantId: tenant.tenantId,
        id: newId("delivery", at),
        channelConfigId,
        provider,
        target,
        headers,
        body: bodyKey === null ? body : null,
        bodyKey,
        bodyBytes: body.byteLength,
        bodySha256: createHash("sha256").update(target).update("\0").update(body).digest(),
        signature: null,
        correlationId: newId("correlation", at),
      }),
    ),
  );
  return kept.map((one) => one.id);
}

export const apply = (tenant: Context, ids: readonly string[] = []) => applyDeliveries(tenant, deps, ids);

let serial = 0;
/** One SendGrid event about one of our messages. `at` in seconds after `monday`. */
export const mailEvent = (messageId: string | null, event: string, at: number, more: Record<string, unknown> = {}) => ({
  email: "grace@example.com",
  timestamp: monday.getTime() / 1000 + at,
  event,
  sg_event_id: `ev-${++serial}`,
  ...(messageId === null ? {} : { [messageIdArgument]: messageId, sg_message_id: `sg-${messageId}.recvd-1` }),
  ...more,
});

export const events = (list: readonly unknown[]): Posted => ({
  body: Buffer.from(`${JSON.stringify(list)}\r\n`),
  headers: { "content-type": "application/json" },
});

const form = (fields: Readonly<Record<string, string>>): Uint8Array =>
  Buffer.from(new URLSearchParams(fields).toString());

export const textStatus = (
  tenant: ReadyTenant,
  messageId: string,
  status: string,
  more: Record<string, string> = {},
): Posted => ({
  body: form({
    MessageSid: `SM${messageId}`,
    AccountSid: "AC1",
    MessageStatus: status,
    To: "+12125550123",
    From: "+12025550100",
    ...more,
  }),
  target: `/webhooks/twilio/${tenant.smsAccount}?${messageIdParameter}=${messageId}`,
});

export const textFrom = (from: string, body: string, more: Record<string, string> = {}): Posted => ({
  body: form({
    MessageSid: `SM${++serial}in`,
    AccountSid: "AC1",
    From: from,
    To: "+12025550100",
    Body: body,
    SmsStatus: "received",
    ...more,
  }),
});

export interface Mail {
  readonly from: string;
  readonly to?: string;
  readonly subject?: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What Inbound Parse posts in its raw mode. */
export function mailFrom({ from, to = "ada@sender.example", subject = "Re: Hi", text, headers = {} }: Mail): Posted {
  const lines = [
    `From: ${from}`,
    `To: ${to}`,
    `Subject: ${subject}`,
    `Message-ID: <in-${++serial}@mail.example>`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "Content-Type: text/plain; charset=utf-8",
    "",
    text,
  ];
  const parts = { email: lines.join("\r\n"), envelope: JSON.stringify({ to: [to], from }) };
  const body = Object.entries(parts)
    .map(([name, value]) => `--xYzZY\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)
    .join("");
  return {
    body: Buffer.from(`${body}--xYzZY--\r\n`),
    headers: { "content-type": "multipart/form-data; boundary=xYzZY" },
  };
}

export const messagesOf = (database: TestDatabase, tenant: Context) =>
  database.owner
    .selectFrom("outbound_messages")
    .selectAll()
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

export const eventsOf = (database: TestDatabase, tenant: Context) =>
  database.owner
    .selectFrom("message_events")
    .select(["event_type", "message_id", "machine", "address", "metadata"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("event_at")
    .orderBy("event_type")
    .execute();

export const suppressionsOf = (database: TestDatabase, tenant: Context) =>
  database.owner
    .selectFrom("communication_suppressions")
    .select(["channel", "address", "reason", "source"])
    .where("tenant_id", "=", tenant.tenantId)
    .where("released_at", "is", null)
    .orderBy("address")
    .execute();

export const enrollmentsOf = (database: TestDatabase, tenant: Context) =>
  database.owner
    .selectFrom("contact_campaigns")
    .select(["status", "exit_reason", "current_node_id"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

export const deliveriesOf = (database: TestDatabase, tenant: Context) =>
  database.owner
    .selectFrom("webhook_deliveries")
    .select(["id", "status", "last_error", "problems", "event_count", "duplicates", "replays"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

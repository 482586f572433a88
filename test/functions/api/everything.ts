/** One of each resource that has an id, for tests about ids. Invariant: an endpoint with an id whose resource is missing here fails its test. */
import { newId } from "../../../core/kernel/id.ts";
import { arrange } from "../../support/tenant.ts";
import type { Answer, Client, TestApi } from "./support.ts";

/** Resource (the part of the path after `/v1/`) → id. */
export type Known = Readonly<Record<string, string>>;

const made = ({ status, body, text }: Answer) => {
  if (status >= 300) throw new Error(text);
  return body;
};

export const smallPlan = [
  { channel: "email", subject: "Hello", text: "A question" },
  { channel: "email", delayHours: 72, subject: "Once more", text: "Still a question" },
];

export async function arrangeEverything(api: TestApi, client: Client): Promise<Known> {
  const { tenantId } = client.tenant;
  const at = new Date();
  const { lead, contact } = made(
    await client.post("/v1/leads", { firstName: "Kim", companyName: "Acme", email: "kim@acme.example" }),
  );
  const campaign = made(await client.post("/v1/campaigns", { name: "Autumn", plan: smallPlan }));
  made(await client.post(`/v1/campaigns/${campaign.id}/enroll`, { audience: { contactIds: [contact.id] } }));
  const [enrollment] = made(await client.get(`/v1/enrollments?campaignId=${campaign.id}`)).data;
  made(
    await client.post("/v1/intake/loads", {
      source: "test",
      promote: true,
      rows: [{ email: "ada@banks.example", first_name: "Ada", company_name: "Banks", domain: "banks.example" }],
    }),
  );
  const [person] = made(await client.get("/v1/people")).data;
  const [company] = made(await client.get("/v1/companies")).data;
  const imported = made(
    await client.send("POST", "/v1/imports?source=test", {
      headers: { "content-type": "text/csv" },
      body: "email,first_name\nlin@example.com,Lin\n",
    }),
  );
  const channel = made(
    await client.post("/v1/channels", {
      channel: "email",
      provider: "sendgrid",
      name: "Main",
      credentials: { apiKey: "SG.x" },
    }),
  );
  const sender = made(await client.post("/v1/senders", { fromEmail: "ada@acme.example", fromName: "Ada" }));
  const segment = made(
    await client.post("/v1/segments", { name: "All", filter: { op: "set", field: "lead.companyName" } }),
  );
  const { template } = made(await client.post("/v1/templates", { name: "intro", subject: "Hi", text: "Hi" }));
  const { key } = made(await client.post("/v1/api-keys", { name: "further", scopes: ["leads:read"] }));
  const limit = made(
    await client.post("/v1/rate-limits", { scope: "tenant", channel: "email", maxCount: 1, windowSeconds: 60 }),
  );
  const suppressed = made(
    await client.post("/v1/suppressions", {
      entries: [{ channel: "email", address: "no@example.com", reason: "manual", source: "api" }],
    }),
  );
  const simulation = made(await client.post(`/v1/campaigns/${campaign.id}/simulate`, {}));
  const consent = made(
    await client.post("/v1/consents", {
      channel: "sms",
      address: "+12025550123",
      basis: "express_written",
      source: "form",
    }),
  );
  const ids = {
    messages: newId("message", at),
    conversations: newId("conversation", at),
    deliveries: newId("delivery", at),
    tasks: newId("task", at),
  };
  await arrange(api.database, tenantId, async (tx) => {
    await tx
      .insertInto("outbound_messages")
      .values({
        tenant_id: tenantId,
        id: ids.messages,
        campaign_id: campaign.id,
        contact_campaign_id: enrollment.id,
        contact_id: contact.id,
        lead_id: lead.id,
        node_id: "step_1",
        channel: "email",
        to_address: "kim@acme.example",
        suppression_key: "kim@acme.example",
        subject: "Hello",
        dedupe_key: ids.messages,
        status: "sent",
        sent_at: at,
        expires_at: at,
      })
      .execute();
    await tx
      .insertInto("message_events")
      .values({
        tenant_id: tenantId,
        event_at: at,
        message_id: ids.messages,
        provider: "sendgrid",
        provider_event_id: "1",
        event_type: "delivered",
        channel: "email",
        address: "kim@acme.example",
      })
      .execute();
    await tx
      .insertInto("conversations")
      .values({ tenant_id: tenantId, id: ids.conversations, channel: "email", address: "kim@acme.example" })
      .execute();
    await tx
      .insertInto("webhook_deliveries")
      .values({
        tenant_id: tenantId,
        id: ids.deliveries,
        channel_config_id: channel.id,
        provider: "sendgrid",
        target: `/webhooks/sendgrid/${channel.id}`,
        body: Buffer.from("[]"),
        body_bytes: 2,
        body_sha256: Buffer.alloc(32),
        status: "completed",
        correlation_id: "corr_1",
      })
      .execute();
    await tx
      .insertInto("tasks")
      .values({
        tenant_id: tenantId,
        id: ids.tasks,
        kind: "call",
        title: "Call Kim",
        idempotency_key: ids.tasks,
        lead_id: lead.id,
      })
      .execute();
  });
  return {
    ...ids,
    leads: lead.id,
    contacts: contact.id,
    people: person.id,
    companies: company.id,
    segments: segment.id,
    imports: imported.id,
    campaigns: campaign.id,
    enrollments: enrollment.id,
    templates: template.id,
    senders: sender.id,
    channels: channel.id,
    "rate-limits": limit.id,
    "api-keys": key.id,
    suppressions: suppressed.added[0].id,
    simulations: simulation.id,
    consents: consent.id,
  };
}

/**
 * A tenant that is ready to send, and a provider in memory that records every accept.
 *
 * Invariant: what is sent goes through the real claim, gate and result statements; only the wire to the provider is replaced, by an
 * object that implements the Sender port.
 */
import { activate, campaignPort, createCampaign, enroll, runActions } from "../../core/campaigns/index.ts";
import type { Context } from "../../core/kernel/context.ts";
import { newId } from "../../core/kernel/id.ts";
import { type DeliverDeps, type DeliverReport, deliver } from "../../core/messages/index.ts";
import type { OutgoingMessage, Sender, SendOutcome } from "../../core/ports/sender.ts";
import { memoryKeys } from "../../core/providers/memory/index.ts";
import {
  createChannel,
  createSender,
  markSenderVerified,
  setDefaultSender,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import type { TestDatabase } from "./database.ts";
import { arrange, newTenant, type TestTenant } from "./tenant.ts";

export interface Recorder extends Sender {
  readonly accepted: OutgoingMessage[];
  /** Decides what becomes of a call; default: accepted. */
  answer: (message: OutgoingMessage, call: number) => SendOutcome | Promise<SendOutcome>;
}

/** A provider that accepts everything and remembers it. */
export function recorder(provider: string): Recorder {
  const accepted: OutgoingMessage[] = [];
  let calls = 0;
  const self: Recorder = {
    provider,
    accepted,
    answer: () => ({ kind: "accepted", providerMessageId: `${provider}-${calls}` }),
    async send(_credentials, message) {
      calls++;
      const outcome = await self.answer(message, calls);
      if (outcome.kind === "accepted") accepted.push(message);
      return outcome;
    },
  };
  return self;
}

export interface ReadyTenant extends TestTenant {
  readonly deps: DeliverDeps;
  readonly email: Recorder;
  readonly sms: Recorder;
  readonly emailAccount: string;
  readonly smsAccount: string;
  readonly senderId: string;
}

/** Verified sender, an account for e-mail and one for text messages, a postal address. */
export async function readyTenant(database: TestDatabase): Promise<ReadyTenant> {
  const tenant = await newTenant(database);
  const keys = memoryKeys();
  const host = { keys, publicUrl: "https://go.example.test" };
  await updateTenantSettings(tenant, { postalAddress: "1 Main Street, Springfield, IL 62701" });
  const emailAccount = await createChannel(tenant, host, {
    channel: "email",
    provider: "sendgrid",
    name: "mail",
    credentials: { apiKey: "k" },
  });
  const smsAccount = await createChannel(tenant, host, {
    channel: "sms",
    provider: "twilio",
    name: "text",
    settings: { from: "+12025550100" },
    credentials: { accountSid: "AC1", authTokens: ["t"] },
  });
  const sender = await createSender(tenant, { fromEmail: "ada@sender.example", fromName: "Ada" });
  await markSenderVerified(tenant, { id: sender.id });
  await setDefaultSender(tenant, { id: sender.id });
  const email = recorder("sendgrid");
  const sms = recorder("twilio");
  const deps: DeliverDeps = {
    senders: { sendgrid: email, twilio: sms },
    keys,
    publicUrl: host.publicUrl,
    signingKeys: [new Uint8Array(32).fill(7)],
    campaigns: campaignPort,
    monotonicMs: () => performance.now(),
  };
  return { ...tenant, deps, email, sms, emailAccount: emailAccount.id, smsAccount: smsAccount.id, senderId: sender.id };
}

/** What commands of accounts need of the host. */
export const rehost = ({ deps }: ReadyTenant) => ({ keys: deps.keys, publicUrl: deps.publicUrl });

export interface PersonInput {
  readonly email?: string;
  readonly phone?: string;
  readonly firstName?: string | null;
  readonly state?: string;
  readonly timeZone?: string;
  readonly smsConsent?: boolean;
}

/** A lead with one contact and its channels. @returns the contact's id */
export async function person(database: TestDatabase, tenant: TestTenant, input: PersonInput): Promise<string> {
  const at = new Date();
  const leadId = newId("lead", at);
  const contactId = newId("contact", at);
  await arrange(database, tenant.tenantId, async (tx) => {
    await tx
      .insertInto("leads")
      .values({
        tenant_id: tenant.tenantId,
        id: leadId,
        organization_id: tenant.organizationId,
        source_type: "manual",
        email: input.email ?? null,
      })
      .execute();
    await tx
      .insertInto("contacts")
      .values({
        tenant_id: tenant.tenantId,
        id: contactId,
        lead_id: leadId,
        first_name: input.firstName === undefined ? "Grace" : input.firstName,
        primary_email: input.email ?? null,
        primary_phone: input.phone ?? null,
        state: input.state ?? "NY",
        time_zone: input.timeZone ?? null,
        country: "US",
        source_type: "manual",
      })
      .execute();
    const channels = [
      ["email", input.email],
      ["sms", input.phone],
    ] as const;
    for (const [channel, address] of channels) {
      if (address === undefined) continue;
      await tx
        .insertInto("contact_channels")
        .values({
          tenant_id: tenant.tenantId,
          id: newId("contactChannel", at),
          contact_id: contactId,
          channel,
          address,
        })
        .execute();
    }
    if (input.smsConsent && input.phone !== undefined) {
      await tx
        .insertInto("consents")
        .values({
          tenant_id: tenant.tenantId,
          id: newId("consent", at),
          contact_id: contactId,
          channel: "sms",
          address: input.phone,
          basis: "express_written",
          source: "test",
          granted_at: new Date(0),
        })
        .execute();
    }
  });
  return contactId;
}

/** So many people walk an active campaign of one e-mail, which ends two days after it without a reply. @returns the campaign's id */
export async function underway(database: TestDatabase, tenant: ReadyTenant, count: number): Promise<string> {
  const contactIds: string[] = [];
  for (let n = 0; n < count; n++) contactIds.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const plan = {
    start: "intro",
    nodes: [
      {
        id: "intro",
        type: "send",
        channel: "email",
        content: { subject: "Hi", text: "Hello" },
        transitions: [{ on: "no_reply", to: "end", after: "P2D" }],
      },
      { id: "end", type: "stop", outcome: "completed" },
    ],
  };
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  return id;
}

/** Runs due actions and sends until nothing is due at this instant. @returns what the sends came to */
export async function pump(tenant: Context & { readonly deps: DeliverDeps }): Promise<DeliverReport> {
  const total = { accepted: 0, rejected: 0, deferred: 0, ambiguous: 0, held: 0, ended: 0 };
  for (;;) {
    const ran = await runActions(tenant, []);
    const report = await deliver(tenant, tenant.deps, [], () => 60_000);
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += report[key];
    if (ran === 0 && Object.values(report).every((n) => n === 0)) return total;
  }
}

export { enroll };

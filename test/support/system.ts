/**
 * The whole system for one test file: a local host on a database of the test server, the provider simulator, a virtual clock.
 *
 * Invariants: what runs are the deployed handlers, reached through real queues and HTTP; nothing here replaces a part of them. Every
 * tenant of a file has accounts of its own at the simulated providers, so tests of one file need no clean-up between them.
 */
import { createPrivateKey, type KeyObject, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Kysely, sql } from "kysely";
import { afterAll } from "vitest";
import { activate, createCampaign, enroll, type PlanInput } from "../../core/campaigns/index.ts";
import type { DB } from "../../core/db/types.gen.ts";
import type { Context } from "../../core/kernel/context.ts";
import {
  createChannel,
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateChannel,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { pump } from "../../local/demo/pump.ts";
import { simulatorDirectory } from "../../local/provision.ts";
import type { SettingsInput } from "../../local/simulator/behaviour.ts";
import type { WebhookRequest } from "../../local/simulator/outbox.ts";
import type { Reaction } from "../../local/simulator/script.ts";
import { eventBatch, type SendgridEvent } from "../../local/simulator/sendgrid-events.ts";
import type { Simulator } from "../../local/simulator/server.ts";
import { signedForm } from "../../local/simulator/twilio.ts";
import { type System, startSystem } from "../../local/system.ts";
import { type TestDatabase, testDatabase } from "./database.ts";
import { type PersonInput, person } from "./outreach.ts";
import type { TestTenant } from "./tenant.ts";

/** A Monday at 11 on the east coast and 8 on the west coast of the United States: every law lets marketing leave. */
export const monday = new Date("2026-09-14T15:00:00Z");

export const minutes = 60;
export const hours = 60 * minutes;
export const days = 24 * hours;

/** Nothing is heard of a message unless a test says so. */
const silence = {
  deliver: 0,
  hardBounce: 0,
  blocked: 0,
  asyncBounce: 0,
  dropped: 0,
  undelivered: 0,
  deferred: 0,
  open: 0,
  machineOpen: 0,
  click: 0,
  reply: 0,
  complaint: 0,
  unsubscribe: 0,
  stop: 0,
  autoreply: 0,
} as const;

export interface Account {
  readonly id: string;
  readonly webhookUrl: string;
}

export interface SystemTenant extends TestTenant {
  readonly name: string;
  readonly apiKey: string;
  readonly email: Account & { readonly apiKey: string };
  readonly sms: Account & { readonly accountSid: string; readonly authToken: string };
  readonly senderId: string;
}

/** A message as it stands, with what stands around it. */
export interface MessageView {
  readonly id: string;
  readonly status: string;
  readonly hold_reason: string | null;
  readonly last_error: string | null;
  readonly attempts: number;
  readonly node_id: string | null;
  readonly to_address: string;
  readonly channel: string;
  readonly run_at: Date;
  readonly sent_at: Date | null;
  readonly delivered_at: Date | null;
  readonly opened_at: Date | null;
  readonly clicked_at: Date | null;
  readonly replied_at: Date | null;
  readonly bounced_at: Date | null;
  readonly complained_at: Date | null;
  readonly unsubscribed_at: Date | null;
  readonly provider_message_id: string | null;
  readonly enrollment: string | null;
  readonly exit_reason: string | null;
}

export interface TestSystem extends System {
  readonly database: TestDatabase;
  readonly simulator: Simulator;
  readonly owner: Kysely<DB>;
  readonly signingKey: KeyObject;
  now(): Date;
  /** A new tenant that is ready to send on both channels. */
  tenant(name?: string, organization?: string): Promise<SystemTenant>;
  /** What the simulated recipients and providers do from now on. Recipients without an override stay silent. */
  behave(settings: SettingsInput): void;
  /** Adds fixed reactions for addresses; those of other tests stay. */
  script(reactions: Readonly<Record<string, readonly Reaction[]>>): void;
  /** Works off what is due by an instant this many seconds from now, and leaves the clock there. */
  advance(seconds: number): Promise<void>;
  /** Works off what is due at this instant. */
  settle(): Promise<void>;
  /** One message to one address, as the owner sees it. @throws when there is not exactly one */
  message(tenant: Context, address: string, nodeId?: string): Promise<MessageView>;
  messages(tenant: Context): Promise<MessageView[]>;
  /** A webhook as SendGrid signs it at this instant. */
  sendgridWebhook(tenant: SystemTenant, events: readonly SendgridEvent[]): WebhookRequest;
  twilioWebhook(tenant: SystemTenant, fields: Readonly<Record<string, string>>, query?: string): WebhookRequest;
  /** Gives the tenant's degraded mail account its credentials again, as an operator does. */
  heal(tenant: SystemTenant): Promise<void>;
  stop(): Promise<void>;
}

/** Call it at the top of a test file: `const system = await testSystem();` */
export async function testSystem({ at = monday }: { readonly at?: Date } = {}): Promise<TestSystem> {
  const opening = testDatabase();
  const stops: (() => Promise<void>)[] = [];
  // Vitest takes hooks only before the first await; it runs them in reverse order, so the database is dropped last.
  afterAll(async () => {
    for (const stop of stops) await stop();
  });
  const database = await opening;
  const home = mkdtempSync(path.join(os.tmpdir(), "outrider-scenario-"));
  const removeHome = async () => rmSync(home, { recursive: true, force: true });
  stops.push(removeHome);
  const log = createLog({
    write: (line) => process.stderr.write(`${line}\n`),
    level: "error",
    metrics: false,
    now: () => new Date(),
  });
  const system = await startSystem({
    home,
    port: 0,
    durable: false,
    clock: "virtual",
    at,
    databaseUrl: database.ownerUrl,
    log,
  });
  stops.unshift(() => system.stop());
  const { simulator, local } = system;
  if (!simulator) throw new Error("the simulator is off");
  await local.run("maintain");
  return assemble(system, simulator, database, at);
}

function assemble(system: System, simulator: Simulator, database: TestDatabase, at: Date): TestSystem {
  const { local } = system;
  const { owner } = local;
  const signingKey = createPrivateKey(
    readFileSync(path.join(simulatorDirectory(local.home), "sendgrid-key.pem"), "utf8"),
  );
  const tenants: SystemTenant[] = [];
  let now = at;
  let settings: SettingsInput = {};
  let overrides: Record<string, Reaction[]> = {};
  const apply = () => simulator.setBehaviour({ rates: silence, ...settings, overrides });
  apply();

  async function setClock(to: Date): Promise<void> {
    await system.setClock(to);
    now = to;
  }

  async function tenant(name = "Acme", organization = `${name} Group`): Promise<SystemTenant> {
    const made = await makeTenant(local, simulator, name, organization);
    tenants.push(made);
    simulator.setEndpoints({
      // Answers arrive taken apart and whole, as an account may be set.
      sendgrid: tenants.map(({ email }) => ({
        webhookUrl: email.webhookUrl,
        apiKey: email.apiKey,
        inboundMode: "mixed" as const,
      })),
      twilio: tenants.map(({ sms }) => ({
        webhookUrl: sms.webhookUrl,
        accountSid: sms.accountSid,
        authToken: sms.authToken,
      })),
    });
    return made;
  }

  async function messages({ tenantId }: Context): Promise<MessageView[]> {
    const { rows } = await sql<MessageView>`
      select m.id, m.status, m.hold_reason, m.last_error, m.attempts, m.node_id, m.to_address, m.channel, m.run_at, m.sent_at, m.delivered_at,
        m.opened_at, m.clicked_at, m.replied_at, m.bounced_at, m.complained_at, m.unsubscribed_at, m.provider_message_id,
        e.status as enrollment, e.exit_reason
      from outbound_messages m left join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id
      where m.tenant_id = ${tenantId} order by m.created_at, m.id`.execute(owner);
    return rows;
  }

  return {
    ...system,
    simulator,
    database,
    owner,
    signingKey,
    now: () => now,
    setClock,
    tenant,
    behave(next) {
      settings = next;
      apply();
    },
    script(reactions) {
      overrides = {
        ...overrides,
        ...Object.fromEntries(Object.entries(reactions).map(([address, list]) => [address, [...list]])),
      };
      apply();
    },
    async advance(seconds) {
      const until = new Date(now.getTime() + seconds * 1000);
      await pump({ ...system, setClock }, now, () => {}, until);
      await setClock(until);
      await simulator.flush(until);
      await local.idle();
    },
    settle: async () => void (await pump({ ...system, setClock }, now, () => {}, now)),
    messages,
    async message(about, address, nodeId) {
      const found = (await messages(about)).filter(
        (row) => row.to_address === address && (nodeId === undefined || row.node_id === nodeId),
      );
      const [row] = found;
      if (!row || found.length > 1) throw new Error(`${found.length} messages to ${address} ${nodeId ?? ""}`);
      return row;
    },
    sendgridWebhook: ({ email }, events) => eventBatch(email.webhookUrl, signingKey, events, now),
    heal: async (who) =>
      void (await updateChannel(who, local.host, {
        id: who.email.id,
        credentials: mailCredentials(simulator, who.email.apiKey),
      })),
    twilioWebhook: ({ sms }, fields, query = "") =>
      signedForm(sms.authToken, `${sms.webhookUrl}${query}`, { AccountSid: sms.accountSid, ...fields }, false),
  };
}

const mailCredentials = (simulator: Simulator, apiKey: string) => ({
  apiKey,
  apiBaseUrl: simulator.url,
  eventWebhookPublicKeys: [simulator.publicKeys.sendgrid],
});

async function makeTenant(
  { host, owner }: System["local"],
  simulator: Simulator,
  name: string,
  organization: string,
): Promise<SystemTenant> {
  const made = await provision(owner, {
    organization,
    tenant: name,
    slug: `t-${randomBytes(8).toString("hex")}`,
    adminEmail: "admin@customer.example",
  });
  const { organizationId, tenantId, actorId } = made;
  const ctx: Context = { ...host.contextFor(tenantId, "test"), actor: { type: "user", id: actorId } };
  const apiKey = `SG.${randomBytes(12).toString("hex")}`;
  const accountSid = `AC${randomBytes(16).toString("hex")}`;
  const authToken = randomBytes(16).toString("hex");
  const email = await createChannel(ctx, host, {
    channel: "email",
    provider: "sendgrid",
    name: "Mail",
    settings: { inboundDomain: "reply.outrider.example" },
    credentials: mailCredentials(simulator, apiKey),
  });
  const sms = await createChannel(ctx, host, {
    channel: "sms",
    provider: "twilio",
    name: "Text",
    settings: { from: "+12025550100" },
    credentials: { accountSid, authTokens: [authToken], apiBaseUrl: simulator.url },
  });
  await updateTenantSettings(ctx, {
    companyName: name,
    postalAddress: `${name}, 1 Main Street, Springfield, IL 62701, USA`,
    defaultCountry: "US",
    timeZone: "America/New_York",
  });
  const sender = await createSender(ctx, { fromEmail: "ada@outrider.example", fromName: `Ada at ${name}` });
  await markSenderVerified(ctx, { id: sender.id });
  await setDefaultSender(ctx, { id: sender.id });
  return {
    ...ctx,
    name,
    organizationId,
    apiKey: made.apiKey ?? "",
    email: { id: email.id, webhookUrl: email.webhookUrl, apiKey },
    sms: { id: sms.id, webhookUrl: sms.webhookUrl, accountSid, authToken },
    senderId: sender.id,
  };
}

/** One person per entry, with a lead and channels of their own. @returns contact ids in the order given */
export async function people(
  system: TestSystem,
  tenant: SystemTenant,
  inputs: readonly PersonInput[],
): Promise<string[]> {
  const ids: string[] = [];
  for (const input of inputs) ids.push(await person(system.database, tenant, input));
  return ids;
}

/** A plan of one message: who answers it and how is the test. */
export const oneEmail: PlanInput = {
  name: "One e-mail",
  start: "hello",
  nodes: [
    {
      id: "hello",
      type: "send",
      channel: "email",
      content: {
        subject: "Hello {{ first_name }}",
        html: '<p>Hello {{ first_name }}, <a href="https://www.outrider.example/guide">read this</a>.</p>',
      },
      transitions: [
        { on: "opened", to: "bump", after: "PT24H" },
        { on: "no_open", to: "bump", after: "PT72H" },
      ],
    },
    {
      id: "bump",
      type: "send",
      channel: "email",
      content: { subject: "Again, {{ first_name }}", html: "<p>One more thing.</p>" },
    },
  ],
};

export const oneText: PlanInput = {
  name: "One text",
  start: "text",
  nodes: [
    {
      id: "text",
      type: "send",
      channel: "sms",
      content: { text: "Ada here, {{ first_name }}. Reply STOP to opt out." },
      transitions: [{ on: "no_reply", to: "again", after: "PT48H" }],
    },
    { id: "again", type: "send", channel: "sms", content: { text: "Still there, {{ first_name }}?" } },
  ],
};

/** Makes a campaign, enrolls, activates. @returns its id */
export async function launch(
  tenant: Context,
  plan: PlanInput,
  contactIds: readonly string[],
  name = "Spring",
): Promise<string> {
  const campaign = await createCampaign(tenant, { name, plan: plan as never });
  await enroll(tenant, { campaignId: campaign.id, audience: { contactIds: [...contactIds] } });
  await activate(tenant, { id: campaign.id });
  return campaign.id;
}

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the test is about to assert
export type Body = any;

/** A call of the API over HTTP, with the tenant's key. A text is sent as CSV, anything else as JSON. */
export async function api(
  system: System,
  { apiKey }: Pick<SystemTenant, "apiKey">,
  method: string,
  target: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly body: Body; readonly text: string }> {
  const type = typeof body === "string" ? "text/csv" : "application/json";
  const response = await fetch(`${system.local.url}${target}`, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, ...(body !== undefined && { "content-type": type }) },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") ?? false;
  return { status: response.status, text, body: isJson && text !== "" ? JSON.parse(text) : undefined };
}

/** Uploads a CSV and waits until the queue has worked on it. @returns the import */
export async function importCsv(system: System, tenant: SystemTenant, csv: string): Promise<Body> {
  const created = await api(system, tenant, "POST", "/v1/imports?source=fair&fileName=leads.csv", csv);
  if (created.status !== 201) throw new Error(created.text);
  await system.local.idle();
  return (await api(system, tenant, "GET", `/v1/imports/${created.body.id}`)).body;
}

/** Carries out a webhook. @returns the status of the answer */
export async function post({ method, url, headers, body }: WebhookRequest): Promise<number> {
  const response = await fetch(url, { method, headers, body: body as never });
  await response.arrayBuffer();
  return response.status;
}

/** Rows of a query past row-level security. */
export async function look<T>(system: Pick<TestSystem, "owner">, query: ReturnType<typeof sql<T>>): Promise<T[]> {
  return (await query.execute(system.owner)).rows;
}

/**
 * The demo tenant of a local system, with a channel for each provider the simulator plays. Idempotent: every start calls it, only the
 * first one makes anything, and an API key that is still known is kept.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Context } from "../core/kernel/context.ts";
import {
  authenticate,
  createApiKey,
  createChannel,
  createSender,
  listChannels,
  listSenders,
  provision as makeTenant,
  markSenderVerified,
  updateChannel,
  updateTenantSettings,
} from "../core/tenancy/index.ts";
import type { LocalAccess } from "./access.ts";
import type { LocalHost } from "./host.ts";
import type { Simulator } from "./simulator/server.ts";

export type Provisioned = Pick<LocalAccess, "organizationId" | "tenantId" | "apiKey" | "channels">;
type Channels = LocalAccess["channels"];

interface ChannelPlan {
  readonly channel: "email" | "sms";
  /** Where answers go, and which number texts come from. */
  readonly settings: Readonly<Record<string, string>>;
  readonly credentials: Readonly<Record<string, unknown>>;
  /** For local.json: what signs webhooks as this provider. */
  readonly signing: Readonly<Record<string, unknown>>;
}

/** Where the simulator keeps what it must not forget. */
export const simulatorDirectory = (home: string): string => path.join(home, "simulator");

/** Accounts at the simulated providers. Secrets that an earlier start wrote down are kept. */
async function plans(home: string, simulator: Simulator, known: Channels): Promise<Record<string, ChannelPlan>> {
  const kept = (provider: string, name: string): string | undefined => {
    const value = known[provider]?.signing[name];
    return typeof value === "string" ? value : undefined;
  };
  const apiKey =
    kept("sendgrid", "apiKey") ??
    `SG.${randomBytes(16).toString("base64url")}.${randomBytes(32).toString("base64url")}`;
  const accountSid = kept("twilio", "accountSid") ?? `AC${randomBytes(16).toString("hex")}`;
  const authToken = kept("twilio", "authToken") ?? randomBytes(16).toString("hex");
  const publicKey = simulator.publicKeys.sendgrid;
  const privateKey = await readFile(path.join(simulatorDirectory(home), "sendgrid-key.pem"), "utf8");
  return {
    sendgrid: {
      channel: "email",
      settings: { inboundDomain: "reply.outrider.example" },
      credentials: { apiKey, apiBaseUrl: simulator.url, eventWebhookPublicKeys: [publicKey] },
      signing: { scheme: "ecdsa-p256-sha256", publicKey, privateKey, apiKey },
    },
    twilio: {
      channel: "sms",
      settings: { from: "+12025550100" },
      credentials: { accountSid, authTokens: [authToken], apiBaseUrl: simulator.url },
      signing: { scheme: "hmac-sha1", accountSid, authToken },
    },
  };
}

/** What tells the simulator's channels from those that a user has made. */
const simulatorName = "Simulator";

async function simulatorChannels(ctx: Context, { host }: LocalHost) {
  const { data } = await listChannels(ctx, host, {});
  return data.filter(({ name }) => name === simulatorName);
}

/** Makes or refreshes the channels, and tells the simulator where their webhooks go. */
async function connectChannels(ctx: Context, local: LocalHost, simulator: Simulator, known: Channels) {
  const { host, home } = local;
  const wanted = await plans(home, simulator, known);
  const made = await simulatorChannels(ctx, local);
  const channels: Channels = {};
  for (const [provider, { channel, settings, credentials, signing }] of Object.entries(wanted)) {
    const existing = made.find((one) => one.provider === provider && one.channel === channel);
    // The simulator's address changes with every start, and it is part of the credentials.
    const { id, webhookUrl } = existing
      ? await updateChannel(ctx, host, { id: existing.id, credentials, status: "active" })
      : await createChannel(ctx, host, {
          channel,
          provider: provider as "sendgrid" | "twilio",
          name: simulatorName,
          settings,
          credentials,
        });
    channels[provider] = { id, webhookUrl, signing };
  }
  const urlOf = (provider: string) => channels[provider]?.webhookUrl ?? "";
  simulator.setEndpoints({
    sendgrid: { webhookUrl: urlOf("sendgrid"), apiKey: String(wanted["sendgrid"]?.signing["apiKey"]) },
    twilio: {
      webhookUrl: urlOf("twilio"),
      accountSid: String(wanted["twilio"]?.signing["accountSid"]),
      authToken: String(wanted["twilio"]?.signing["authToken"]),
    },
  });
  return channels;
}

/** A simulator that does not run takes no messages: what earlier starts connected to it must not be chosen for any. */
async function disconnectChannels(ctx: Context, local: LocalHost): Promise<void> {
  for (const { id } of await simulatorChannels(ctx, local))
    await updateChannel(ctx, local.host, { id, status: "disabled" });
}

/** What a tenant needs before its first message may leave, so that a first campaign can be sent at once. All of it at reserved domains. */
async function makeReady(ctx: Context, sendgrid: string): Promise<void> {
  await updateTenantSettings(ctx, {
    companyName: "Outrider Demo",
    postalAddress: "Outrider Demo, 1 Main Street, Springfield, IL 62701, USA",
    defaultCountry: "US",
    timeZone: "America/New_York",
  });
  const sender = await createSender(ctx, {
    fromEmail: "ada@outrider.example",
    fromName: "Ada at Outrider",
    channelConfigId: sendgrid,
  });
  // The first verified sender is the default one.
  await markSenderVerified(ctx, { id: sender.id });
}

/**
 * @param simulator null: the providers are real, and the tenant's channels are the user's to make
 * @param known what an earlier start wrote down: the API key itself is only there, the database has its hash
 */
export async function provision(
  local: LocalHost,
  simulator: Simulator | null,
  known: LocalAccess | undefined,
): Promise<Provisioned> {
  const { host, owner } = local;
  const made = await makeTenant(owner, {
    organization: "Demo organization",
    tenant: "Demo",
    slug: "demo",
    adminEmail: "admin@demo.example",
  });
  const { organizationId, tenantId, actorId } = made;
  const ctx: Context = { ...host.contextFor(tenantId, "provision"), actor: { type: "user", id: actorId } };
  const kept = known?.tenantId === tenantId ? known : undefined;
  const valid = kept && (await authenticate(host.db, kept.apiKey)) ? kept.apiKey : undefined;
  const apiKey = made.apiKey ?? valid ?? (await createApiKey(ctx, { name: "local", scopes: ["*"] })).apiKey;
  if (!simulator) await disconnectChannels(ctx, local);
  const channels = simulator ? await connectChannels(ctx, local, simulator, kept?.channels ?? {}) : {};
  const sendgrid = channels["sendgrid"];
  if (sendgrid && (await listSenders(ctx, { limit: 1 })).data.length === 0) await makeReady(ctx, sendgrid.id);
  return { organizationId, tenantId, apiKey, channels };
}

/** Three tenants in two organizations, each with accounts of its own at the simulated providers: what a run starts from. */
import { randomBytes } from "node:crypto";
import { connect } from "../../core/db/connect.ts";
import type { Context } from "../../core/kernel/context.ts";
import { cachedKeys } from "../../core/kernel/seal.ts";
import { keyFile } from "../../core/providers/keyfile/index.ts";
import {
  createChannel,
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";

export interface FaultTenant {
  /** 0, 1, 2: also the part of its people's addresses. */
  readonly index: number;
  readonly tenantId: string;
  readonly apiKey: string;
  readonly email: { readonly webhookUrl: string; readonly apiKey: string };
  readonly sms: { readonly webhookUrl: string; readonly accountSid: string; readonly authToken: string };
}

/** The number that texts come from. */
export const ourNumber = "+12025550100";
/** The second tenant sends through limits, so that places under them are reserved while processes die. */
const limits = [
  { scope: "tenant", channel: "email", maxCount: 5_000, windowSeconds: 60 },
  { scope: "domain", scopeId: "*", channel: "email", maxCount: 4_000, windowSeconds: 60 },
] as const;

export async function makeTenants(
  ownerUrl: string,
  keyPath: string,
  publicUrl: string,
  simulator: { readonly url: string; readonly publicKey: string },
): Promise<FaultTenant[]> {
  const owner = connect({ url: ownerUrl, driver: "pg", max: 2 });
  const keys = cachedKeys(await keyFile(keyPath), { now: () => new Date() });
  const host = { keys, publicUrl, allowApiBaseUrl: true };
  const made: FaultTenant[] = [];
  let organization = "Fault organization";
  try {
    for (let index = 0; index < 3; index++) {
      const { organizationId, tenantId, actorId, apiKey } = await provision(owner, {
        organization: index === 2 ? "Another organization" : organization,
        tenant: `Tenant ${index}`,
        slug: `fault-${index}`,
        adminEmail: "admin@customer.example",
        rateLimits: index === 1 ? [...limits] : [],
      });
      organization = organizationId;
      const actor: Context["actor"] = { type: "user", id: actorId };
      const ctx: Context = { tenantId, actor, db: owner, correlationId: "cor_fault" };
      const email = { apiKey: `SG.${randomBytes(12).toString("hex")}` };
      const sms = { accountSid: `AC${randomBytes(16).toString("hex")}`, authToken: randomBytes(16).toString("hex") };
      const mail = await createChannel(ctx, host, {
        channel: "email",
        provider: "sendgrid",
        name: "Mail",
        settings: { inboundDomain: "reply.outrider.example" },
        credentials: { ...email, apiBaseUrl: simulator.url, eventWebhookPublicKeys: [simulator.publicKey] },
      });
      const text = await createChannel(ctx, host, {
        channel: "sms",
        provider: "twilio",
        name: "Text",
        settings: { from: ourNumber },
        credentials: { accountSid: sms.accountSid, authTokens: [sms.authToken], apiBaseUrl: simulator.url },
      });
      await updateTenantSettings(ctx, { postalAddress: "1 Main Street, Springfield, IL 62701, USA" });
      const sender = await createSender(ctx, { fromEmail: "ada@outrider.example", fromName: "Ada" });
      await markSenderVerified(ctx, { id: sender.id });
      await setDefaultSender(ctx, { id: sender.id });
      made.push({
        index,
        tenantId,
        apiKey: apiKey ?? "",
        email: { ...email, webhookUrl: mail.webhookUrl },
        sms: { ...sms, webhookUrl: text.webhookUrl },
      });
    }
  } finally {
    await owner.destroy();
  }
  return made;
}

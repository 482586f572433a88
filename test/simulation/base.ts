/**
 * What every seed starts from: two tenants of one organization that know the same people, ready to send, with campaigns still in draft.
 *
 * Invariant: made by the same commands that a customer uses, once per database; a seed only chooses from it.
 */
import { generateKeyPairSync } from "node:crypto";
import type { Kysely } from "kysely";
import { createCampaign } from "../../core/campaigns/index.ts";
import type { PlanInput } from "../../core/campaigns/plan.ts";
import { planVersions } from "../../core/campaigns/versions.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { createImport, runImports } from "../../core/intake/index.ts";
import { type Context, seedIds, transact } from "../../core/kernel/index.ts";
import { makePartitions } from "../../core/messages/index.ts";
import type { Blobs, KeyService } from "../../core/ports/index.ts";
import { grantConsent } from "../../core/suppression/index.ts";
import {
  createChannel,
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import type { Host } from "../../functions/lib/runtime.ts";
import { Rng } from "./rng.ts";

/** A Monday at 11 on the east coast and 8 on the west coast of the United States. */
export const start = Date.parse("2026-09-14T15:00:00Z");
export const publicUrl = "https://go.simulation.example";

export interface Person {
  readonly email: string;
  readonly phone: string;
  readonly firstName: string;
  readonly state: string;
  readonly zone: string;
  readonly consent: boolean;
  /** Where they may be, by everything that is known of them: what the oracle judges texts by. */
  readonly zones: readonly string[];
}

const ny = "America/New_York";
const la = "America/Los_Angeles";

export const people: readonly Person[] = [
  {
    email: "ada@people.example",
    phone: "+12125550101",
    firstName: "Ada",
    state: "NY",
    zone: ny,
    consent: true,
    zones: [ny],
  },
  {
    email: "bob@people.example",
    phone: "+13105550102",
    firstName: "Bob",
    state: "NY",
    zone: ny,
    consent: true,
    zones: [ny, la],
  },
  {
    email: "cy@people.example",
    phone: "+14155550103",
    firstName: "Cy",
    state: "CA",
    zone: la,
    consent: true,
    zones: [la],
  },
  {
    email: "dan@people.example",
    phone: "+16025550104",
    firstName: "",
    state: "AZ",
    zone: "America/Phoenix",
    consent: true,
    zones: ["America/Phoenix"],
  },
  {
    email: "eve@people.example",
    phone: "+13055550105",
    firstName: "Eve",
    state: "FL",
    zone: ny,
    consent: true,
    zones: [ny],
  },
  {
    email: "fay@people.example",
    phone: "+12125550106",
    firstName: "Fay",
    state: "NY",
    zone: ny,
    consent: false,
    zones: [ny],
  },
];

/** Rows that come with an import while the world runs; the last one is everybody's. */
export const newcomers: readonly Person[] = [
  {
    email: "gus@people.example",
    phone: "+12125550107",
    firstName: "Gus",
    state: "NY",
    zone: ny,
    consent: true,
    zones: [ny],
  },
  {
    email: "hal@people.example",
    phone: "+14155550108",
    firstName: "Hal",
    state: "CA",
    zone: la,
    consent: true,
    zones: [la],
  },
];

export const csvOf = (rows: readonly Person[]): string =>
  ["email,phone,first_name,last_name,company,state,country,time_zone"]
    .concat(rows.map((p) => [p.email, p.phone, p.firstName, "Doe", "Acme Works", p.state, "US", p.zone].join(",")))
    .join("\n");

const mailFirst: PlanInput = {
  name: "Mail, wait, bump, text",
  start: "hello",
  quietHours: { start: "22:00", end: "07:00" },
  nodes: [
    {
      id: "hello",
      type: "send",
      channel: "email",
      expiresAfter: "P1D",
      content: {
        subject: "Hello {{ first_name }}",
        html: '<p>Hello {{ first_name }}, <a href="https://www.outrider.example/guide">read this</a>.</p>',
      },
      transitions: [
        { on: "clicked", to: "text", after: "PT4H" },
        { on: "opened", to: "bump", after: "PT12H" },
        { on: "no_open", to: "rest", after: "PT20H" },
      ],
    },
    { id: "rest", type: "wait", duration: "PT6H", to: "bump" },
    {
      id: "bump",
      type: "send",
      channel: "email",
      expiresAfter: "P1D",
      content: { subject: "Again", html: "<p>One more thing.</p>" },
      transitions: [{ on: "no_reply", to: "text", after: "PT20H" }],
    },
    {
      id: "text",
      type: "send",
      channel: "sms",
      expiresAfter: "P2D",
      content: { text: "Ada here. Reply STOP to opt out." },
    },
  ],
};

const textFirst: PlanInput = {
  name: "Text, then mail",
  start: "text",
  nodes: [
    {
      id: "text",
      type: "send",
      channel: "sms",
      expiresAfter: "P1D",
      content: { text: "Ada here. Reply STOP to opt out." },
      transitions: [{ on: "no_reply", to: "mail", after: "PT30H" }],
    },
    {
      id: "mail",
      type: "send",
      channel: "email",
      expiresAfter: "P1D",
      content: { subject: "Missed you", html: "<p>We sent you a text.</p>" },
    },
  ],
};

const announcement: PlanInput = {
  name: "One mail",
  start: "news",
  nodes: [
    {
      id: "news",
      type: "send",
      channel: "email",
      expiresAfter: "P1D",
      content: { subject: "News", html: "<p>Something new.</p>" },
    },
  ],
};

export const plans = { mailFirst, textFirst, announcement } as const;
export type PlanName = keyof typeof plans;

export interface SimTenant {
  readonly name: string;
  readonly tenantId: string;
  readonly organizationId: string;
  readonly actorId: string;
  readonly emailAccount: string;
  readonly smsAccount: string;
  readonly apiKey: string;
  readonly accountSid: string;
  readonly authToken: string;
  readonly campaigns: Readonly<Record<PlanName, string>>;
  /** By e-mail address. */
  readonly contacts: Readonly<Record<string, string>>;
}

export interface Base {
  readonly tenants: readonly [SimTenant, SimTenant];
  /** SendGrid's. */
  readonly signingKey: ReturnType<typeof generateKeyPairSync>["privateKey"];
}

/** @param host of an ordinary process whose statements wait for nobody */
export async function makeBase(host: Host, owner: Kysely<DB>, blobs: Blobs, keys: KeyService): Promise<Base> {
  const rng = new Rng("base");
  seedIds(() => rng.next());
  const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const publicKey = pair.publicKey.export({ type: "spki", format: "der" }).toString("base64");
  await makePartitions(owner);
  const first = await makeTenant("Acme", "Sim Group");
  const second = await makeTenant("Borealis", first.organizationId);
  return { tenants: [first, second], signingKey: pair.privateKey };

  async function makeTenant(name: string, organization: string): Promise<SimTenant> {
    const made = await provision(owner, {
      organization,
      tenant: name,
      slug: name.toLowerCase(),
      adminEmail: "admin@customer.example",
      rateLimits: [
        { scope: "tenant", channel: "email", maxCount: 3, windowSeconds: 3_600 },
        { scope: "tenant", channel: "sms", maxCount: 3, windowSeconds: 3_600 },
      ],
    });
    const ctx: Context = {
      tenantId: made.tenantId,
      actor: { type: "user", id: made.actorId },
      db: host.db,
      correlationId: "corr_base",
    };
    const apiKey = `SG.${name}`;
    const accountSid = `AC${name}`;
    const authToken = `token${name}`;
    const deps = { keys, publicUrl };
    const email = await createChannel(ctx, deps, {
      channel: "email",
      provider: "sendgrid",
      name: "Mail",
      settings: { inboundDomain: "reply.simulation.example" },
      credentials: { apiKey, eventWebhookPublicKeys: [publicKey] },
    });
    const sms = await createChannel(ctx, deps, {
      channel: "sms",
      provider: "twilio",
      name: "Text",
      settings: { from: "+12025550100" },
      credentials: { accountSid, authTokens: [authToken] },
    });
    await updateTenantSettings(ctx, {
      companyName: name,
      postalAddress: `${name}, 1 Main Street, Springfield, IL 62701, USA`,
      defaultCountry: "US",
      timeZone: ny,
      trackOpens: true,
      trackClicks: true,
    });
    const sender = await createSender(ctx, { fromEmail: "ada@simulation.example", fromName: `Ada at ${name}` });
    await markSenderVerified(ctx, { id: sender.id });
    await setDefaultSender(ctx, { id: sender.id });
    const bytes = Buffer.from(csvOf(people));
    const file = (async function* () {
      yield bytes;
    })();
    await createImport({ blobs }, ctx, { source: "list", fileName: "people.csv" }, file);
    await runImports({ blobs, queue: { ring: async () => {} } }, ctx, [], { remainingMs: () => 600_000 });
    for (const person of [...people, ...newcomers]) {
      if (!person.consent) continue;
      await grantConsent(ctx, {
        channel: "sms",
        address: person.phone,
        basis: "express_written",
        source: "form",
        text: "yes",
      });
    }
    const found = await owner
      .selectFrom("contacts")
      .select(["id", "primary_email"])
      .where("tenant_id", "=", made.tenantId)
      .execute();
    const campaigns: Record<string, string> = {};
    for (const [key, plan] of Object.entries(plans)) {
      campaigns[key] = (await createCampaign(ctx, { name: key, plan: plan as never })).id;
    }
    // Plans are remembered by a process for as long as it lives: every seed starts with all of them read.
    await transact(ctx, async (ctx) => {
      const versions = await ctx.db
        .selectFrom("campaign_plan_versions")
        .select("id")
        .where("tenant_id", "=", ctx.tenantId)
        .execute();
      await planVersions(
        ctx,
        versions.map((row) => row.id),
      );
    });
    return {
      name,
      tenantId: made.tenantId,
      organizationId: made.organizationId,
      actorId: made.actorId,
      emailAccount: email.id,
      smsAccount: sms.id,
      apiKey,
      accountSid,
      authToken,
      campaigns: campaigns as Record<PlanName, string>,
      contacts: Object.fromEntries(found.map((row) => [row.primary_email ?? "", row.id])),
    };
  }
}

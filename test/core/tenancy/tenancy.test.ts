/** Tenancy on real PostgreSQL, as the application's role: provisioning, keys, channels, senders, limits, settings. */

import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { memoryKeys } from "../../../core/providers/memory/index.ts";
import { sendgrid } from "../../../core/providers/sendgrid/index.ts";
import * as tenancy from "../../../core/tenancy/index.ts";
import { isWellFormedKey, makeKey } from "../../../core/tenancy/token.ts";
import { testDatabase } from "../../support/database.ts";
import { statementsOf } from "../../support/statements.ts";
import { advance, newTenant, setClock } from "../../support/tenant.ts";

const database = await testDatabase();

describe("provisioning", () => {
  const input = { organization: "Acme Group", tenant: "Acme", slug: "acme", adminEmail: "Ada@Example.com" };

  test("twenty at once make one tenant, and the key is shown to one of them", async () => {
    const results = await Promise.all(Array.from({ length: 20 }, () => tenancy.provision(database.owner, input)));
    expect(new Set(results.map(({ tenantId }) => tenantId)).size).toBe(1);
    expect(new Set(results.map(({ actorId }) => actorId)).size).toBe(1);
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(results.filter(({ apiKey }) => apiKey !== null)).toHaveLength(1);
    const { rows } =
      await sql`select email, type from actors where tenant_id = ${results[0]?.tenantId} order by type`.execute(
        database.owner,
      );
    expect(rows).toEqual([
      { email: null, type: "system" },
      { email: "ada@example.com", type: "user" },
    ]);
  });

  test("the first key opens the tenant", async () => {
    const made = await tenancy.provision(database.owner, { ...input, slug: "first-key" });
    expect(await tenancy.authenticate(database.db, made.apiKey ?? "")).toMatchObject({
      tenantId: made.tenantId,
      organizationId: made.organizationId,
      actorId: made.actorId,
      actorType: "user",
      tenantStatus: "active",
      scopes: ["*"],
    });
  });

  test("a second tenant can join an organization, and only one that exists", async () => {
    const first = await tenancy.provision(database.owner, { ...input, slug: "agency-1" });
    const second = await tenancy.provision(database.owner, {
      ...input,
      slug: "agency-2",
      organization: first.organizationId,
    });
    expect(second.organizationId).toBe(first.organizationId);
    const missing = { ...input, slug: "agency-3", organization: "org_01J00000000000000000000000" };
    await expect(tenancy.provision(database.owner, missing)).rejects.toMatchObject({ code: "organization.not_found" });
  });

  test("a slug or address that is none is named", async () => {
    await expect(
      tenancy.provision(database.owner, { ...input, slug: "No Good", adminEmail: "nobody" }),
    ).rejects.toMatchObject({
      kind: "invalid",
      fields: [{ path: "slug" }, { path: "adminEmail", value: "nobody" }],
    });
  });
});

describe("API keys", () => {
  test("a made key is well formed; any one character changed is not", () => {
    const key = makeKey();
    expect(key).toMatch(/^or_live_[0-9A-Za-z]{30}_[0-9A-Za-z]{6}$/);
    expect(isWellFormedKey(key)).toBe(true);
    for (let at = 0; at < key.length; at++) {
      const changed = `${key.slice(0, at)}${key[at] === "x" ? "y" : "x"}${key.slice(at + 1)}`;
      expect(isWellFormedKey(changed), `position ${at}`).toBe(false);
    }
  });

  test("no table holds the key, only its hash and first characters", async () => {
    const a = await newTenant(database);
    const { apiKey, key } = await tenancy.createApiKey(a, { name: "ci", scopes: ["leads:read"] });
    const { rows } = await sql<{
      row: string;
    }>`select api_keys::text as row from api_keys where id = ${key.id}`.execute(database.owner);
    expect(rows[0]?.row).not.toContain(apiKey.slice(16));
    expect(apiKey.startsWith(key.prefix)).toBe(true);
    expect(JSON.stringify(await tenancy.listApiKeys(a, {}))).not.toContain(apiKey.slice(16));
  });

  test("unknown, revoked and expired keys open nothing", async () => {
    const a = await newTenant(database);
    const made = await tenancy.createApiKey(a, { name: "ci", scopes: ["admin"] });
    await tenancy.revokeApiKey(a, { id: made.key.id });
    expect(await tenancy.authenticate(database.db, made.apiKey)).toBeNull();
    expect(await tenancy.authenticate(database.db, makeKey())).toBeNull();
    expect(await tenancy.authenticate(database.db, "")).toBeNull();
    await setClock(database, new Date("2026-03-01T00:00:00Z"));
    const short = await tenancy.createApiKey(a, { name: "short", scopes: ["*"], expiresAt: "2026-03-01T01:00:00Z" });
    expect(await tenancy.authenticate(database.db, short.apiKey)).not.toBeNull();
    await advance(database, 3_600);
    expect(await tenancy.authenticate(database.db, short.apiKey)).toBeNull();
    await setClock(database, null);
  });

  test("an unknown key costs the same statements as a known one", async () => {
    const a = await newTenant(database);
    const { apiKey } = await tenancy.createApiKey(a, { name: "ci", scopes: ["*"] });
    const count = (key: string) => statementsOf(database.db, (db) => tenancy.authenticate(db, key));
    expect(await count(makeKey())).toBe(await count(apiKey));
  });

  test("last use is written at most once a minute", async () => {
    const a = await newTenant(database);
    const { apiKey, key } = await tenancy.createApiKey(a, { name: "ci", scopes: ["*"] });
    const lastUse = async () => (await tenancy.listApiKeys(a, {})).data.find(({ id }) => id === key.id)?.lastUsedAt;
    await setClock(database, new Date("2026-04-01T00:00:00Z"));
    await tenancy.authenticate(database.db, apiKey);
    expect(await lastUse()).toEqual(new Date("2026-04-01T00:00:00Z"));
    await advance(database, 30);
    await tenancy.authenticate(database.db, apiKey);
    expect(await lastUse()).toEqual(new Date("2026-04-01T00:00:00Z"));
    await advance(database, 30);
    await tenancy.authenticate(database.db, apiKey);
    expect(await lastUse()).toEqual(new Date("2026-04-01T00:01:00Z"));
    await setClock(database, null);
  });

  test("another tenant's key is like a missing one, and is on no other tenant's list", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const { key } = await tenancy.createApiKey(a, { name: "ci", scopes: ["*"] });
    await expect(tenancy.revokeApiKey(b, { id: key.id })).rejects.toMatchObject({ kind: "not_found" });
    expect((await tenancy.listApiKeys(b, {})).data).toEqual([]);
    await expect(tenancy.createApiKey(b, { name: "x", scopes: ["*"], actorId: a.actor.id })).rejects.toMatchObject({
      code: "actor.not_found",
    });
  });

  test("pages go through every key once, newest first", async () => {
    const a = await newTenant(database);
    const made: string[] = [];
    for (let n = 0; n < 5; n++) made.push((await tenancy.createApiKey(a, { name: `key ${n}`, scopes: ["*"] })).key.id);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: { data: readonly { id: string }[]; nextCursor: string | null } = await tenancy.listApiKeys(a, {
        limit: 2,
        ...(cursor === null ? {} : { cursor }),
      });
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual(made.toReversed());
  });
});

describe("channels", () => {
  const deps: tenancy.ChannelDeps = { keys: memoryKeys(), publicUrl: "https://out.example" };
  const input = {
    channel: "email",
    provider: "sendgrid",
    name: "main",
    settings: { pool: "a" },
    credentials: { apiKey: "SG.very-secret" },
  } as const;

  test("refuses credentials of another shape, and an API address that a tenant could point at our network", async () => {
    const a = await newTenant(database);
    const real = { ...deps, senders: { sendgrid } };
    await expect(
      tenancy.createChannel(a, real, { ...input, provider: "sendgrid", credentials: { apiKey: "two words" } }),
    ).rejects.toMatchObject({ code: "channel.credentials_invalid", fields: [{ path: "credentials.apiKey" }] });
    const inside = { apiKey: "SG.x", apiBaseUrl: "http://169.254.169.254" };
    await expect(
      tenancy.createChannel(a, real, { ...input, provider: "sendgrid", credentials: inside }),
    ).rejects.toMatchObject({ code: "channel.credentials_invalid", fields: [{ path: "credentials.apiBaseUrl" }] });
    const simulated = { ...real, allowApiBaseUrl: true };
    await expect(
      tenancy.createChannel(a, simulated, { ...input, provider: "sendgrid", credentials: inside }),
    ).resolves.toMatchObject({ provider: "sendgrid" });
  });

  test("credentials are stored sealed, never answered, and open again for their own row only", async () => {
    const a = await newTenant(database);
    const made = await tenancy.createChannel(a, deps, input);
    expect(made.webhookUrl).toBe(`https://out.example/webhooks/sendgrid/${made.id}`);
    const answers = [made, await tenancy.getChannel(a, deps, { id: made.id }), await tenancy.listChannels(a, deps, {})];
    expect(JSON.stringify(answers)).not.toContain("very-secret");
    expect(JSON.stringify(answers)).not.toContain("v1.");
    const { rows } = await sql<{
      row: string;
    }>`select c::text as row from channel_configs c where id = ${made.id}`.execute(database.owner);
    expect(rows[0]?.row).not.toContain("very-secret");
    const [sealed] = await tenancy.sealedChannels(a, { ids: [made.id] });
    if (!sealed) throw new Error("the channel was not found");
    expect(await tenancy.openCredentials(a, deps.keys, sealed)).toEqual({ apiKey: "SG.very-secret" });
    const other = await tenancy.createChannel(a, deps, input);
    await expect(tenancy.openCredentials(a, deps.keys, { ...sealed, id: other.id })).rejects.toMatchObject({
      code: "seal.broken",
    });
    const b = await newTenant(database);
    await expect(tenancy.openCredentials(b, deps.keys, sealed)).rejects.toMatchObject({ code: "seal.broken" });
  });

  test("new credentials wake a degraded channel, and leave a disabled one disabled", async () => {
    const a = await newTenant(database);
    const { id } = await tenancy.createChannel(a, deps, input);
    expect(await tenancy.degradeChannel(a, { id: id, reason: "401" })).toEqual({ changed: true });
    expect(await tenancy.degradeChannel(a, { id: id, reason: "401" })).toEqual({ changed: false });
    expect(await tenancy.getChannel(a, deps, { id })).toMatchObject({ status: "degraded", statusReason: "401" });
    const credentials = { apiKey: "SG.new" };
    expect(await tenancy.updateChannel(a, deps, { id, credentials })).toMatchObject({
      status: "active",
      statusReason: null,
    });
    await tenancy.updateChannel(a, deps, { id, status: "disabled" });
    expect(await tenancy.updateChannel(a, deps, { id, credentials, name: "renamed" })).toMatchObject({
      status: "disabled",
      name: "renamed",
      settings: { pool: "a" },
    });
  });

  test("an endpoint leads to its tenant, also disabled, because its recipients still answer; an unknown or mistaken one to nobody", async () => {
    const a = await newTenant(database);
    const { id } = await tenancy.createChannel(a, deps, input);
    expect(await tenancy.endpointTenant(database.db, "sendgrid", id)).toBe(a.tenantId);
    expect(await tenancy.endpointTenant(database.db, "twilio", id)).toBeNull();
    expect(await tenancy.endpointTenant(database.db, "sendgrid", "chc_1")).toBeNull();
    await tenancy.updateChannel(a, deps, { id, status: "disabled" });
    expect(await tenancy.endpointTenant(database.db, "sendgrid", id)).toBe(a.tenantId);
  });

  test("another tenant's channel is like a missing one", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const { id } = await tenancy.createChannel(a, deps, input);
    const missing = { code: "channel.not_found" };
    await expect(tenancy.getChannel(b, deps, { id })).rejects.toMatchObject(missing);
    await expect(tenancy.updateChannel(b, deps, { id, name: "mine" })).rejects.toMatchObject(missing);
    expect(await tenancy.degradeChannel(b, { id: id, reason: "x" })).toEqual({ changed: false });
    expect(await tenancy.sealedChannels(b, { ids: [id] })).toEqual([]);
    expect((await tenancy.listChannels(b, deps, {})).data).toEqual([]);
    await expect(
      tenancy.createSender(b, { fromEmail: "x@b.example", fromName: "B", channelConfigId: id }),
    ).rejects.toMatchObject(missing);
  });
});

describe("senders", () => {
  test("the first verified sender becomes the default; switching leaves exactly one, also when twenty switch at once", async () => {
    const a = await newTenant(database);
    const ids: string[] = [];
    for (const name of ["a", "b", "c"]) {
      const { id } = await tenancy.createSender(a, { fromEmail: `${name}@Acme.example`, fromName: name });
      ids.push(id);
    }
    const [first, second] = ids as [string, string];
    expect(await tenancy.defaultSender(a, {})).toBeNull();
    await expect(tenancy.setDefaultSender(a, { id: second })).rejects.toMatchObject({ code: "sender.unverified" });
    for (const id of ids) await tenancy.markSenderVerified(a, { id: id });
    expect(await tenancy.defaultSender(a, {})).toMatchObject({
      id: first,
      fromEmail: "a@acme.example",
      domain: "acme.example",
    });
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => tenancy.setDefaultSender(a, { id: n % 2 ? first : second })),
    );
    expect((await tenancy.listSenders(a, {})).data.filter(({ isDefault }) => isDefault)).toHaveLength(1);
  });

  test("a default whose verification failed is no default to send with", async () => {
    const a = await newTenant(database);
    const { id } = await tenancy.createSender(a, { fromEmail: "a@acme.example", fromName: "A" });
    await tenancy.markSenderVerified(a, { id: id, providerSenderId: "42" });
    await tenancy.markSenderFailed(a, { id: id });
    expect(await tenancy.defaultSender(a, {})).toBeNull();
    expect(await tenancy.getSender(a, { id: id })).toMatchObject({ status: "failed", providerSenderId: "42" });
  });

  test("settings of an account that every message would carry are checked when they are written", async () => {
    const a = await newTenant(database);
    const deps = { keys: memoryKeys(), publicUrl: "https://in.example.test" };
    const mail = { channel: "email", provider: "sendgrid", name: "m", credentials: { apiKey: "SG.x" } } as const;
    for (const [name, value] of [
      ["inboundDomain", "reply.example\r\nBcc: x@y.example"],
      ["inboundDomain", "re\u2028ply.example"],
      ["inboundDomain", { host: "reply.example" }],
      ["inboundDomain", "a b.example"],
      ["from", 12_025_550_100],
      ["from", "+12025550100\nTo: +1"],
      ["from", ""],
    ] as const) {
      const settings = { [name]: value };
      await expect(
        tenancy.createChannel(a, deps, { ...mail, settings }),
        JSON.stringify(settings),
      ).rejects.toMatchObject({
        code: "input.invalid",
        fields: [{ path: `settings.${name}` }],
      });
    }
    const { id, settings } = await tenancy.createChannel(a, deps, {
      ...mail,
      settings: { inboundDomain: " Reply.Example ", region: ["eu"] },
    });
    expect(settings).toEqual({ inboundDomain: "reply.example", region: ["eu"] });
    await expect(tenancy.updateChannel(a, deps, { id, settings: JSON.parse('{"from":["x"]}') })).rejects.toMatchObject({
      fields: [{ path: "settings.from" }],
    });
  });

  test("a line break in a name and a second sender of the same address are refused", async () => {
    const a = await newTenant(database);
    const fromEmail = "a@acme.example";
    for (const end of ["\r\n", "\n", "\0", "\u0085", "\u2028", "\u2029"]) {
      await expect(tenancy.createSender(a, { fromEmail, fromName: `A${end}Bcc: x@y.example` })).rejects.toMatchObject({
        fields: [{ path: "fromName" }],
      });
    }
    await tenancy.createSender(a, { fromEmail, fromName: "A" });
    await expect(tenancy.createSender(a, { fromEmail, fromName: "B" })).rejects.toMatchObject({
      code: "sender.exists",
    });
  });

  test("another tenant's sender is like a missing one", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const { id } = await tenancy.createSender(a, { fromEmail: "a@acme.example", fromName: "A" });
    const calls = [tenancy.getSender, tenancy.markSenderVerified, tenancy.markSenderFailed, tenancy.setDefaultSender];
    for (const call of calls) {
      await expect(call(b, { id: id })).rejects.toMatchObject({ code: "sender.not_found" });
    }
    expect((await tenancy.listSenders(b, {})).data).toEqual([]);
    await expect(tenancy.createSender(b, { fromEmail: "a@acme.example", fromName: "B" })).resolves.toMatchObject({
      status: "pending",
    });
  });
});

describe("limits, configuration, settings", () => {
  test("the same limit again changes it; it is switched off rather than deleted", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const limit = { scope: "domain", scopeId: "*", channel: "email", maxCount: 10, windowSeconds: 60 } as const;
    const { id } = await tenancy.putRateLimit(a, limit);
    expect(await tenancy.putRateLimit(a, { ...limit, maxCount: 20 })).toMatchObject({ id, maxCount: 20 });
    await tenancy.updateRateLimit(a, { id: id, enabled: false });
    expect((await tenancy.listRateLimits(a, {})).data).toMatchObject([{ id, maxCount: 20, enabled: false }]);
    expect((await tenancy.listRateLimits(b, {})).data).toEqual([]);
    await expect(tenancy.updateRateLimit(b, { id: id, enabled: true })).rejects.toMatchObject({
      code: "rate_limit.not_found",
    });
    await expect(tenancy.putRateLimit(a, { ...limit, scopeId: "" })).rejects.toMatchObject({
      fields: [{ path: "scopeId" }],
    });
  });

  test("configuration is shared in an organization and invisible outside it", async () => {
    const a = await newTenant(database);
    const sister = await newTenant(database, { organization: a.organizationId });
    const stranger = await newTenant(database);
    await tenancy.setConfig(a, { key: "scoring.weights", value: { open: 1 } });
    await tenancy.setConfig(sister, { key: "scoring.weights", value: { open: 2 } });
    expect(await tenancy.getConfig(a, { key: "scoring.weights" })).toMatchObject({ value: { open: 2 } });
    await expect(tenancy.getConfig(stranger, { key: "scoring.weights" })).rejects.toMatchObject({
      code: "config.not_found",
    });
    expect((await tenancy.listConfig(stranger, {})).data).toEqual([]);
  });

  test("changes of different settings at once all survive; null takes one away", async () => {
    const a = await newTenant(database);
    await Promise.all([
      tenancy.updateTenantSettings(a, { companyName: "Acme" }),
      tenancy.updateTenantSettings(a, { postalAddress: "1 Main St, Springfield" }),
      tenancy.updateTenantSettings(a, { quietHours: { start: "20:00", end: "09:00" } }),
    ]);
    await tenancy.updateTenantSettings(a, { companyName: null, defaultCountry: "DE" });
    expect((await tenancy.getTenant(a, {})).settings).toEqual({
      postalAddress: "1 Main St, Springfield",
      quietHours: { start: "20:00", end: "09:00" },
      defaultCountry: "DE",
    });
    await expect(tenancy.updateTenantSettings(a, { timeZone: "Mars/Base", nonsense: 1 })).rejects.toMatchObject({
      code: "input.invalid",
      fields: expect.arrayContaining([expect.objectContaining({ path: "timeZone" })]),
    });
    // No plan could be written in it.
    await expect(tenancy.updateTenantSettings(a, { timeZone: "+02:00" })).rejects.toMatchObject({
      fields: [{ path: "timeZone", message: expect.stringContaining("America/New_York") }],
    });
  });

  test("changing one setting keeps those that this release cannot read, and reads the others", async () => {
    const a = await newTenant(database);
    const stored = {
      timeZone: "Mars/Base",
      stopMeansDoNotCall: true,
      madeLater: [1],
      postalAddress: "1 Main St, Springfield",
    };
    await sql`update tenants set settings = ${JSON.stringify(stored)}::jsonb where id = ${a.tenantId}`.execute(
      database.owner,
    );
    const readable = { stopMeansDoNotCall: true, postalAddress: "1 Main St, Springfield" };
    expect((await tenancy.getTenant(a, {})).settings).toEqual(readable);
    const changed = await tenancy.updateTenantSettings(a, { companyName: "Acme" });
    expect(changed.settings).toEqual({ ...readable, companyName: "Acme" });
    const { rows } = await sql`select settings from tenants where id = ${a.tenantId}`.execute(database.owner);
    expect(rows).toEqual([{ settings: { ...stored, companyName: "Acme" } }]);
  });

  test("suspending one tenant leaves the others active, and its keys say so", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const { apiKey } = await tenancy.createApiKey(a, { name: "ci", scopes: ["*"] });
    expect(await tenancy.suspendTenant(a, {})).toMatchObject({ status: "suspended" });
    expect(await tenancy.authenticate(database.db, apiKey)).toMatchObject({ tenantStatus: "suspended" });
    expect(await tenancy.getTenant(b, {})).toMatchObject({ status: "active" });
    expect(await tenancy.resumeTenant(a, {})).toMatchObject({ status: "active", suspendedAt: null });
  });

  test("an actor's address is taken once per tenant", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    await tenancy.createActor(a, { name: "Kim", email: "Kim@acme.example" });
    await expect(tenancy.createActor(a, { name: "Kim", email: "kim@acme.example" })).rejects.toMatchObject({
      code: "actor.email_taken",
    });
    await tenancy.createActor(b, { name: "Kim", email: "kim@acme.example" });
    expect((await tenancy.listActors(b, {})).data.map(({ name }) => name)).toEqual(["test", "Kim"]);
  });
});

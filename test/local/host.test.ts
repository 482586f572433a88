/** The local host around handlers of the test's own, on a database of the test server. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { sql } from "kysely";
import { afterAll, describe, expect, test } from "vitest";
import type { Context } from "../../core/kernel/context.ts";
import { createChannel, listChannels } from "../../core/tenancy/index.ts";
import { readAccess, writeAccess } from "../../local/access.ts";
import { type LocalHost, startHost } from "../../local/host.ts";
import { provision } from "../../local/provision.ts";
import { startSystem } from "../../local/system.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();
/** Where no simulator was ever connected. */
const another = await testDatabase();
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-host-"));
const started: LocalHost[] = [];
afterAll(async () => {
  for (const local of started) await local.stop();
  rmSync(home, { recursive: true, force: true });
});

/** A handler that keeps what it was given, and rings on: `actions` answers every bell by ringing `send`. */
const folder = path.join(home, "functions");
const seen: { readonly queue: string; readonly ids: readonly string[] }[] = [];
Object.assign(globalThis, { outriderSeen: seen });
const handlers: Readonly<Record<string, string>> = {
  actions: `export const define = (host) => async ({ Records }) => {
    const bells = Records.map(({ body }) => JSON.parse(body));
    for (const { tenantId, ids } of bells) {
      globalThis.outriderSeen.push({ queue: "actions", ids });
      await host.queue.ring([{ kind: "send", tenantId, ids }]);
    }
    return { batchItemFailures: [] };
  };`,
  send: `export const define = () => async ({ Records }) => {
    for (const { body } of Records) globalThis.outriderSeen.push({ queue: "send", ids: JSON.parse(body).ids });
    return { batchItemFailures: [] };
  };`,
  sweep: `export const define = (host) => async () => {
    await host.queue.ring([{ kind: "actions", tenantId: "tenant_a", ids: ["swept"] }]);
  };`,
  api: `export const define = (host) => async () => ({ statusCode: 200, body: host.publicUrl });`,
};
rmSync(folder, { recursive: true, force: true });
await import("node:fs").then(({ mkdirSync }) => mkdirSync(folder));
for (const [name, source] of Object.entries(handlers)) writeFileSync(path.join(folder, `${name}.ts`), source);

async function start(name: string): Promise<LocalHost> {
  const local = await startHost({
    home: path.join(home, name),
    databaseUrl: database.ownerUrl,
    durable: false,
    clock: "virtual",
    functions: folder,
  });
  started.push(local);
  return local;
}

describe("a local host", () => {
  test("runs the handlers there are: a schedule rings, a queue rings on, and idle waits for the last bell", async () => {
    const local = await start("bells");
    await local.run("sweep");
    await local.idle();
    expect(seen).toEqual([
      { queue: "actions", ids: ["swept"] },
      { queue: "send", ids: ["swept"] },
    ]);
    await expect(local.run("maintain")).rejects.toThrow(/no handler for the schedule maintain/);
  });

  test("answers HTTP at its address, and hands that address out for links", async () => {
    const local = await start("http");
    expect(await (await fetch(`${local.url}/v1/anything`)).text()).toBe(local.url);
    expect((await fetch(`${local.url}/webhooks/sendgrid/x`, { method: "POST" })).status).toBe(404);
  });

  test("gives handlers a database user that row-level security binds", async () => {
    const { host } = await start("role");
    const { rows } = await sql<{ user: string; bypass: boolean }>`
      select current_user as user, rolsuper or rolbypassrls as bypass from pg_roles where rolname = current_user`.execute(
      host.db,
    );
    expect(rows).toEqual([{ user: "outrider_app", bypass: false }]);
  });

  test("seals under one key over restarts, and keeps it to its owner", async () => {
    const first = await start("keys");
    await first.stop();
    const second = await start("keys");
    expect(second.host.signingKeys).toEqual(first.host.signingKeys);
    expect(second.host.keys.keyId).toBe(first.host.keys.keyId);
    expect(statSync(path.join(second.home, "key")).mode & 0o777).toBe(0o600);
  });

  test("that cannot start says why and leaves nothing running", async () => {
    const local = await start("port");
    const port = Number(new URL(local.url).port);
    const again = startHost({
      home: path.join(home, "port2"),
      port,
      databaseUrl: database.ownerUrl,
      functions: folder,
    });
    await expect(again).rejects.toMatchObject({ code: "EADDRINUSE" });
    const nowhere = startHost({
      home: path.join(home, "db"),
      databaseUrl: "postgres://x@127.0.0.1:1/x",
      functions: folder,
    });
    await expect(nowhere).rejects.toMatchObject({ code: "database.unreachable" });
  });
});

describe("provisioning", () => {
  test("makes the demo tenant once, and keeps its API key as long as it is known", async () => {
    const local = await start("provision");
    const first = await provision(local, null, undefined);
    const access = { ...first, baseUrl: local.url, simulatorUrl: null };
    await writeAccess(local.home, access);
    expect(await readAccess(local.home)).toEqual(access);
    expect(statSync(path.join(local.home, "local.json")).mode & 0o777).toBe(0o600);
    expect(await provision(local, null, await readAccess(local.home))).toEqual(first);
    const fresh = await provision(local, null, undefined);
    expect(fresh.tenantId).toBe(first.tenantId);
    expect(fresh.apiKey).not.toBe(first.apiKey);
  });

  test("by two hosts at once makes one tenant", async () => {
    const local = await start("race");
    const all = await Promise.all([provision(local, null, undefined), provision(local, null, undefined)]);
    expect(new Set(all.map(({ tenantId }) => tenantId)).size).toBe(1);
  });

  test("connects a channel for each simulated provider, keeps it over restarts, and writes down what signs its webhooks", async () => {
    const options = {
      home: path.join(home, "system"),
      databaseUrl: database.ownerUrl,
      durable: false,
      functions: folder,
    };
    const first = await startSystem(options);
    await first.stop();
    const second = await startSystem(options);
    await second.stop();
    const channels = second.access.channels;
    expect(Object.keys(channels).sort()).toEqual(["sendgrid", "twilio"]);
    for (const provider of ["sendgrid", "twilio"]) {
      expect(channels[provider]?.id).toBe(first.access.channels[provider]?.id);
      expect(channels[provider]?.signing).toEqual(first.access.channels[provider]?.signing);
      expect(channels[provider]?.webhookUrl).toBe(`${second.local.url}/webhooks/${provider}/${channels[provider]?.id}`);
    }
    expect(second.access.apiKey).toBe(first.access.apiKey);
    expect(await readAccess(second.local.home)).toEqual(second.access);
  });

  test("without the simulator its channels are disabled, with it they are active again, and those of the user stay as they are", async () => {
    const options = { home: path.join(home, "off"), databaseUrl: another.ownerUrl, durable: false, functions: folder };
    const channelsOf = async (simulator: boolean, work?: (local: LocalHost, ctx: Context) => Promise<unknown>) => {
      const system = await startSystem({ ...options, simulator });
      try {
        const { local, access } = system;
        const ctx = local.host.contextFor(access.tenantId, "test");
        await work?.(local, ctx);
        const { data } = await listChannels(ctx, local.host, {});
        const keys = await another.owner.selectFrom("channel_configs").select(["id", "api_credentials"]).execute();
        const sealed = new Map(keys.map((row) => [row.id, row.api_credentials]));
        return data.map(({ id, name, provider, status }) => ({ name, provider, status, sealed: sealed.get(id) }));
      } finally {
        await system.stop();
      }
    };
    const [ours] = await channelsOf(false, (local, ctx) =>
      createChannel(ctx, local.host, {
        channel: "sms",
        provider: "twilio",
        name: "Ours",
        settings: { from: "+12025550123" },
        credentials: { accountSid: `AC${"0".repeat(32)}`, authTokens: ["0".repeat(32)] },
      }),
    );
    const simulators = (status: string) => [
      ours,
      { name: "Simulator", provider: "sendgrid", status, sealed: expect.anything() },
      { name: "Simulator", provider: "twilio", status, sealed: expect.anything() },
    ];
    expect(await channelsOf(true)).toEqual(simulators("active"));
    expect(await channelsOf(false)).toEqual(simulators("disabled"));
    expect(await channelsOf(true)).toEqual(simulators("active"));
  });

  test("a local.json that cannot be read is as none", async () => {
    const local = await start("broken");
    expect(await readAccess(local.home)).toBeUndefined();
    writeFileSync(path.join(local.home, "local.json"), '{"baseUrl": 1}');
    expect(await readAccess(local.home)).toBeUndefined();
  });
});

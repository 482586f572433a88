import { createHmac, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { type AddressInfo, createConnection, createServer } from "node:net";
import { brotliDecompressSync } from "node:zlib";
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { connect } from "../../core/db/connect.ts";
import {
  applyDeliveries,
  applyNow,
  drainSpill,
  type IntakeDeps,
  type WebhookCall,
  WebhookIntake,
} from "../../core/deliveries/index.ts";
import { spill } from "../../core/deliveries/spill.ts";
import { type Context, claim, transact, work } from "../../core/kernel/index.ts";
import { checkInvariants } from "../../core/operator/index.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import { sendgrid } from "../../core/providers/sendgrid/index.ts";
import { twilio } from "../../core/providers/twilio/index.ts";
import { lockAddresses } from "../../core/suppression/index.ts";
import { createChannel, updateChannel } from "../../core/tenancy/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost } from "../../functions/lib/runtime.ts";
import { webhookIntake } from "../../functions/lib/webhook-intake.ts";
import { app } from "../../functions/webhooks.ts";
import { mailFrom } from "../core/deliveries/world.ts";
import { testDatabase } from "../support/database.ts";
import { hold } from "../support/race.ts";
import { newTenant, type TestTenant } from "../support/tenant.ts";

const database = await testDatabase();
const publicUrl = "https://in.example.test";
const keys = memoryKeys();
const queue = memoryQueue();
const blobs = memoryBlobs();
const hostOver = (db: typeof database.db) =>
  createHost({
    db,
    queue,
    blobs,
    keys,
    senders: {},
    webhooks: { sendgrid, twilio },
    publicUrl,
    signingKeys: [new Uint8Array(32)],
    log: createLog({ write: () => {}, now: () => new Date(0) }),
  });
const http = app(hostOver(database.db));
/** A busy machine may take longer than a request waits; what was spilled for that is archived here. */
const drainSpilled = () => drainSpill(blobs, webhookIntake(hostOver(database.db)), () => true);

const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, spki: publicKey.export({ format: "der", type: "spki" }).toString("base64") };
};
type Pair = ReturnType<typeof pair>;

async function mailEndpoint(tenant: TestTenant, { spki }: Pair) {
  const { id } = await createChannel(
    tenant,
    { keys, publicUrl },
    {
      channel: "email",
      provider: "sendgrid",
      name: "mail",
      credentials: { apiKey: "SG.k", eventWebhookPublicKeys: [spki] },
    },
  );
  return id;
}

function post(path: string, body: Uint8Array, key: Pair | null, headers: Record<string, string> = {}, over = http) {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature =
    key === null ? "AAAA" : createSign("sha256").update(timestamp).update(body).sign(key.privateKey, "base64");
  return over.request(path, {
    method: "POST",
    body: Buffer.from(body),
    headers: {
      "content-type": "application/json",
      "x-twilio-email-event-webhook-signature": signature,
      "x-twilio-email-event-webhook-timestamp": timestamp,
      ...headers,
    },
  });
}

const deliveries = (tenant: TestTenant) =>
  database.owner
    .selectFrom("webhook_deliveries")
    .selectAll()
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();
const refusals = async (tenant: TestTenant) => {
  const rows = await database.owner
    .selectFrom("webhook_refusals")
    .select(["reason", "count"])
    .where("tenant_id", "=", tenant.tenantId)
    .execute();
  return rows;
};

async function ready() {
  const tenant = await newTenant(database);
  const key = pair();
  const id = await mailEndpoint(tenant, key);
  return { tenant, key, id, path: `/webhooks/sendgrid/${id}` };
}

describe("a signed request", () => {
  it("is archived byte for byte, rung for, and answered with an empty 200", async () => {
    const { tenant, key, id, path } = await ready();
    const body = Uint8Array.from([...Buffer.from('[{"event":"open"}]\r\n'), 0xff, 0x00, 0xfe]);
    queue.drain();
    const response = await post(path, body, key, { authorization: "Bearer secret" });
    expect([response.status, await response.text()]).toEqual([200, ""]);
    const [row] = await deliveries(tenant);
    expect(row).toMatchObject({
      channel_config_id: id,
      provider: "sendgrid",
      target: path,
      status: "pending",
      body_bytes: body.length,
      body_key: null,
    });
    expect(Buffer.from(row?.body ?? [])).toEqual(Buffer.from(body));
    expect(row?.headers).toMatchObject({ "content-type": "application/json" });
    expect(JSON.stringify(row?.headers)).not.toContain("secret");
    expect(queue.drain()).toEqual([{ kind: "deliveries", tenantId: tenant.tenantId, ids: [row?.id] }]);
  });

  it("that comes again is the same delivery", async () => {
    const { tenant, key, path } = await ready();
    const body = Buffer.from("[]");
    const answers = await Promise.all(Array.from({ length: 46 }, () => post(path, body, key)));
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([200]));
    await drainSpilled();
    expect(await deliveries(tenant)).toMatchObject([{ duplicates: 45 }]);
  });

  it("of hundreds at once, from several tenants, lands whole in its own tenant", async () => {
    const worlds = await Promise.all(Array.from({ length: 3 }, ready));
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, n) => {
        const world = worlds[n % 3];
        if (!world) throw new Error("no world");
        return post(world.path, Buffer.from(`[${n}]`), world.key);
      }),
    );
    expect(answers.every((answer) => answer.status === 200)).toBe(true);
    await drainSpilled();
    for (const [n, world] of worlds.entries()) {
      const bodies = (await deliveries(world.tenant)).map((row) => Buffer.from(row.body ?? []).toString());
      expect(bodies.toSorted()).toEqual(Array.from({ length: 100 }, (_, k) => `[${k * 3 + n}]`).toSorted());
    }
  });

  it("that is large goes to object storage", async () => {
    const { tenant, key, path } = await ready();
    const body = Buffer.from(`["${randomBytes(150_000).toString("base64")}"]`);
    expect((await post(path, body, key)).status).toBe(200);
    const [row] = await deliveries(tenant);
    expect(row).toMatchObject({ body: null, body_encoding: "identity", body_bytes: body.length });
    expect(Buffer.from(await blobs.get(row?.body_key ?? ""))).toEqual(body);
  });

  it("that is large and shrinks stays in its row, to the byte", async () => {
    const { tenant, key, path } = await ready();
    const events = Array.from({ length: 1_000 }, (_, n) => ({
      event: "open",
      timestamp: 1_700_000_000,
      sg_event_id: `event-${n}`,
      useragent: "Mozilla/5.0",
    }));
    const body = Buffer.from(`${JSON.stringify(events, null, 8)}\r\n`);
    expect(body.length).toBeGreaterThan(100 * 1_024);
    expect((await post(path, body, key)).status).toBe(200);
    const [row] = await deliveries(tenant);
    expect(row).toMatchObject({ body_encoding: "br", body_key: null, body_bytes: body.length });
    expect(brotliDecompressSync(row?.body ?? Buffer.alloc(0)).equals(body)).toBe(true);
    expect(await applyDeliveries(tenant, { blobs, webhooks: { sendgrid } }, [])).toMatchObject({
      newEvents: 1_000,
      failed: 0,
    });
    const results = await checkInvariants(database.owner);
    expect(results.find(({ id }) => id === "I-05")).toMatchObject({ violations: 0 });
  });

  it("whose stored bytes have changed since is set aside, not applied", async () => {
    const { tenant, key, path } = await ready();
    const body = randomBytes(150_000);
    expect((await post(path, body, key)).status).toBe(200);
    const [row] = await deliveries(tenant);
    await blobs.put(row?.body_key ?? "", randomBytes(150_000), "application/octet-stream");
    expect(await applyDeliveries(tenant, { blobs, webhooks: { sendgrid } }, [])).toMatchObject({ newEvents: 0 });
    expect((await deliveries(tenant))[0]?.last_error).toBe("the stored bytes are not those that came");
  });

  it("by Twilio is verified against the configured address, whatever Host says", async () => {
    const { tenant, target, text } = await textEndpoint();
    expect((await text({ Body: "Hello" })).status).toBe(200);
    expect((await text({ Body: "Hello" }, { token: "other" })).status).toBe(401);
    expect(await deliveries(tenant)).toMatchObject([{ target, provider: "twilio" }]);
  });

  it("with a STOP holds when it is answered, and rings no bell", async () => {
    const { tenant, text } = await textEndpoint();
    queue.drain();
    expect((await text({ Body: "STOP" })).status).toBe(200);
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
    expect(await deliveries(tenant)).toMatchObject([{ status: "completed" }]);
    expect(queue.drain()).toEqual([]);
  });

  it("with a STOP that a worker took and died with holds when it comes again and is answered", async () => {
    const { tenant, call, text } = await textEndpoint();
    const dying = intakeThat(async (ctx, id) => {
      await take(ctx, id);
      throw new Error("killed");
    });
    queue.drain();
    await dying.receive(call({ Body: "STOP" }));
    expect(await suppressed(tenant)).toEqual([]);
    expect(queue.drain()).toMatchObject([{ kind: "deliveries", tenantId: tenant.tenantId }]);
    expect((await text({ Body: "STOP" })).status).toBe(200);
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
  });

  it("with a STOP that comes while the database restarts waits for it", async () => {
    const { tenant, text } = await textEndpoint();
    const { url, refused, close } = await restarting(3);
    const late = connect({ url, driver: "pg" });
    expect((await text({ Body: "STOP" }, { over: app(hostOver(late)) })).status).toBe(200);
    expect(refused()).toBe(3);
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
    await late.destroy();
    await close();
  });

  it("with a STOP that was spilled holds when it is drained", async () => {
    const { tenant, call } = await textEndpoint();
    await spill(blobs, call({ Body: "STOP" }), { receivedAt: new Date(), isVerified: false });
    await drainSpill(blobs, webhookIntake(hostOver(database.db)), () => true);
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
  });

  it("with a STOP whose claim outlives the database holds when it is answered", async () => {
    const { tenant, call } = await textEndpoint();
    const { webhooks } = hostOver(database.db);
    let tries = 0;
    const intake = intakeThat(async (ctx, id) => {
      if (++tries > 1) return applyNow(ctx, { webhooks, blobs }, id);
      await take(ctx, id);
      throw Object.assign(new Error("terminating connection due to administrator command"), { code: "57P01" });
    });
    queue.drain();
    await intake.receive(call({ Body: "STOP" }));
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
    expect(queue.drain()).toEqual([]);
  });

  it("with a STOP holds when it is answered, though the database was away for seconds after the claim", async () => {
    const { tenant, call } = await textEndpoint();
    const { webhooks } = hostOver(database.db);
    const away = AbortSignal.timeout(3_000);
    const intake = intakeThat(async (ctx, id) => {
      if (away.aborted) return applyNow(ctx, { webhooks, blobs }, id);
      // A dozen claims that nobody ended: more than a delivery may have whose workers die of it.
      await take(ctx, id, true);
      throw Object.assign(new Error("the database system is starting up"), { code: "57P03" });
    });
    queue.drain();
    await intake.receive(call({ Body: "STOP" }));
    expect(await suppressed(tenant)).toEqual([{ address: person, reason: "stop" }]);
    expect(queue.drain()).toEqual([]);
  });

  it("with a STOP that somebody else's lock keeps waiting is due when its bell rings", async () => {
    const { tenant, text } = await textEndpoint();
    const holding = hold(tenant, (ctx) => lockAddresses(ctx, [{ channel: "sms", address: person }]));
    await holding.reached;
    queue.drain();
    expect((await text({ Body: "STOP" })).status).toBe(200);
    const [bell] = queue.drain();
    expect(bell).toMatchObject({ kind: "deliveries", tenantId: tenant.tenantId });
    holding.release();
    await holding.done;
    const { webhooks } = hostOver(database.db);
    // On a slow machine the request's own attempt may still be ending.
    const suppressedByBell = async () => {
      await applyDeliveries(tenant, { webhooks, blobs }, bell?.ids ?? []);
      return suppressed(tenant);
    };
    await expect.poll(suppressedByBell, { timeout: 10_000 }).toEqual([{ address: person, reason: "stop" }]);
  });

  it("that reports a status waits for its bell", async () => {
    const { tenant, text } = await textEndpoint();
    expect((await text({ MessageStatus: "delivered" })).status).toBe(200);
    expect(await deliveries(tenant)).toMatchObject([{ status: "pending" }]);
  });
});

const person = "+12125550123";
const suppressed = (tenant: TestTenant) =>
  database.owner
    .selectFrom("communication_suppressions")
    .select(["address", "reason"])
    .where("tenant_id", "=", tenant.tenantId)
    .execute();

/** Claimed by a worker that goes no further. */
const take = (ctx: Context, id: string, fromOthers = false) =>
  transact(ctx, ({ db, tenantId }) => claim(db, tenantId, work.deliveries, { ids: [id], limit: 1, fromOthers }));

/** The front door of a process that applies texts in a way of its own. */
function intakeThat(apply: IntakeDeps["apply"]): WebhookIntake {
  const { db, webhooks, contextFor } = hostOver(database.db);
  const named = (tenantId: string) => contextFor(tenantId, "webhooks");
  return new WebhookIntake({ db, keys, blobs, webhooks, wallClock: () => new Date(), contextFor: named, apply });
}

/** An endpoint for texts, and a way to call it as Twilio does. */
async function textEndpoint() {
  const tenant = await newTenant(database);
  const { id } = await createChannel(
    tenant,
    { keys, publicUrl },
    { channel: "sms", provider: "twilio", name: "text", credentials: { accountSid: "AC1", authTokens: ["token"] } },
  );
  const target = `/webhooks/twilio/${id}?mid=1`;
  const signed = (given: Record<string, string>, token = "token") => {
    const fields = { AccountSid: "AC1", From: person, MessageSid: "SM1", To: "+12025550100", ...given };
    const text = Object.keys(fields)
      .toSorted()
      .reduce((all, name) => `${all}${name}${fields[name as keyof typeof fields]}`, `${publicUrl}${target}`);
    return {
      body: new URLSearchParams(fields).toString(),
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": createHmac("sha1", token).update(text).digest("base64"),
        host: "evil.example",
      },
    };
  };
  const call = (given: Record<string, string>): WebhookCall => {
    const { headers, body } = signed(given);
    const request = { url: `${publicUrl}${target}`, headers, body: Buffer.from(body) };
    return { provider: "twilio", channelConfigId: id, target, request };
  };
  const text = (given: Record<string, string>, { token = "token", over = http } = {}) =>
    over.request(`https://evil.example${target}`, { method: "POST", ...signed(given, token) });
  return { tenant, target, call, text };
}

/** The database behind a door that shuts in the face of the first so many connections. */
async function restarting(count: number) {
  const { hostname, port, pathname, username } = new URL(database.url);
  let refused = 0;
  const door = createServer((socket) => {
    socket.on("error", () => {});
    if (refused < count) {
      refused++;
      socket.destroy();
      return;
    }
    const behind = createConnection({ host: hostname, port: Number(port) });
    behind.on("error", () => socket.destroy());
    socket.pipe(behind).pipe(socket);
  });
  await new Promise<void>((resolve) => door.listen(0, "127.0.0.1", resolve));
  return {
    url: `postgres://${username}@127.0.0.1:${(door.address() as AddressInfo).port}${pathname}`,
    refused: () => refused,
    close: () => new Promise((resolve) => door.close(resolve)),
  };
}

describe("a request that is refused", () => {
  it("leaves a counter and nothing else", async () => {
    const { tenant, key, path } = await ready();
    const flipped = Buffer.from('[{"event":"opem"}]');
    const valid = Buffer.from('[{"event":"open"}]');
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signature = createSign("sha256").update(timestamp).update(valid).sign(key.privateKey, "base64");
    const forged = {
      "x-twilio-email-event-webhook-signature": signature,
      "x-twilio-email-event-webhook-timestamp": timestamp,
    };
    expect((await post(path, flipped, null, forged)).status).toBe(401);
    expect((await post(path, flipped, null, forged)).status).toBe(401);
    expect(await deliveries(tenant)).toEqual([]);
    expect(await refusals(tenant)).toEqual([{ reason: "signature", count: 2 }]);
  });

  it("looks the same whether the endpoint exists or not", async () => {
    const { key, id, path } = await ready();
    const body = Buffer.from("[]");
    const answers = await Promise.all(
      [
        path,
        "/webhooks/sendgrid/chc_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        `/webhooks/twilio/${id}`,
        "/webhooks/constructor/x",
        // Asking the database for these would fail like an outage.
        "/webhooks/sendgrid/%00",
        "/webhooks/sendgrid/%ed%a0%80",
      ].map(async (at) => {
        const response = await post(at, body, at === path ? pair() : key);
        const { instance, ...rest } = (await response.json()) as Record<string, unknown>;
        return [response.status, typeof instance, rest, Object.fromEntries(response.headers)];
      }),
    );
    expect(answers[0]?.[0]).toBe(401);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  });

  it("for its size is told so and counted", async () => {
    const { tenant, key, path } = await ready();
    const body = randomBytes(1_048_577);
    expect((await post(path, body, key)).status).toBe(413);
    expect((await post(path, body, key, { "content-type": "multipart/form-data; boundary=x" })).status).toBe(200);
    expect(await refusals(tenant)).toEqual([{ reason: "too_large", count: 1 }]);
  });

  it("only because nothing can be stored anywhere may come again", async () => {
    const { tenant, key, path } = await ready();
    const dead = connect({ url: "postgres://nobody@127.0.0.1:1/none", driver: "pg" });
    const put = () => Promise.reject(new Error("the object store is away, too"));
    const response = await post(path, Buffer.from("[]"), key, {}, app({ ...hostOver(dead), blobs: { ...blobs, put } }));
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    await dead.destroy();
    expect(await deliveries(tenant)).toEqual([]);
  });
});

it("a rotated key is accepted at once, and the old one refused", async () => {
  const { tenant, key, id, path } = await ready();
  expect((await post(path, Buffer.from("[1]"), key)).status).toBe(200);
  const next = pair();
  await updateChannel(
    tenant,
    { keys, publicUrl },
    { id: id as never, credentials: { apiKey: "SG.k", eventWebhookPublicKeys: [next.spki] } },
  );
  expect((await post(path, Buffer.from("[2]"), next)).status).toBe(200);
  expect((await post(path, Buffer.from("[3]"), key)).status).toBe(401);
});

it("a disabled account is still heard: an opt-out that comes by it is about the tenant", async () => {
  const { tenant, key, id, path } = await ready();
  await updateChannel(tenant, { keys, publicUrl }, { id: id as never, status: "disabled" });
  expect((await post(path, Buffer.from("[]"), key)).status).toBe(200);
  expect(await deliveries(tenant)).toHaveLength(1);
});

it("a channel that vanishes costs its own request and not those that shared its INSERT", async () => {
  const [gone, stays] = [await ready(), await ready()];
  await post(gone.path, Buffer.from("[0]"), gone.key);
  await post(stays.path, Buffer.from("[0]"), stays.key);
  await sql`delete from webhook_deliveries where tenant_id = ${gone.tenant.tenantId}`.execute(database.owner);
  await sql`delete from channel_configs where id = ${gone.id}`.execute(database.owner);
  const [a, b] = await Promise.all([
    post(gone.path, Buffer.from("[1]"), gone.key),
    post(stays.path, Buffer.from("[1]"), stays.key),
  ]);
  expect([a.status, b.status]).toEqual([503, 200]);
  expect(await deliveries(stays.tenant)).toHaveLength(2);
});

describe("an e-mail by which somebody asks to be left alone", () => {
  const answer = (text: string) => mailFrom({ from: "eve@example.com", text });

  it("holds when it is answered, and rings for nothing", async () => {
    const { tenant, key, path } = await ready();
    const { body, headers } = answer("unsubscribe");
    queue.drain();
    expect((await post(path, body, key, { ...headers })).status).toBe(200);
    expect(await suppressed(tenant)).toEqual([{ address: "eve@example.com", reason: "unsubscribed" }]);
    expect(queue.drain()).toEqual([]);
  });

  it("waits for its bell when its body might not fit into its row", async () => {
    const { tenant, key, path } = await ready();
    const { body, headers } = answer(`unsubscribe\n${"x".repeat(102_400)}`);
    queue.drain();
    expect((await post(path, body, key, { ...headers })).status).toBe(200);
    expect(await suppressed(tenant)).toEqual([]);
    expect(queue.drain()).toMatchObject([{ kind: "deliveries", tenantId: tenant.tenantId }]);
  });
});

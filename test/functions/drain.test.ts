/** Webhooks while the database is away: answered when they are durable in object storage, and applied when it is back. */
import { createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import type { Context as Invocation } from "aws-lambda";
import { sql } from "kysely";
import { afterAll, beforeEach, expect, test } from "vitest";
import { connect } from "../../core/db/connect.ts";
import type { Blobs } from "../../core/ports/index.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import { sendgrid } from "../../core/providers/sendgrid/index.ts";
import { createChannel, updateChannel } from "../../core/tenancy/index.ts";
import { define } from "../../functions/drain.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost } from "../../functions/lib/runtime.ts";
import { app } from "../../functions/webhooks.ts";
import { testDatabase } from "../support/database.ts";
import { newTenant, type TestTenant } from "../support/tenant.ts";

const database = await testDatabase();
const dead = connect({ url: "postgres://nobody@127.0.0.1:1/none", driver: "pg" });
afterAll(() => dead.destroy());
const keys = memoryKeys();
const queue = memoryQueue();
const publicUrl = "https://in.example.test";
const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const spki = publicKey.export({ format: "der", type: "spki" }).toString("base64");

let blobs: Blobs;
let tenant: TestTenant;
let path: string;
let lines: Record<string, unknown>[];
const hostOver = (db: typeof database.db) =>
  createHost({
    db,
    queue,
    blobs,
    keys,
    senders: {},
    webhooks: { sendgrid },
    publicUrl,
    signingKeys: [new Uint8Array(32)],
    log: createLog({
      write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>),
      now: () => new Date(0),
    }),
  });

beforeEach(async () => {
  blobs = memoryBlobs();
  lines = [];
  tenant = await newTenant(database);
  const credentials = { apiKey: "SG.k", eventWebhookPublicKeys: [spki] };
  const channel = { channel: "email", provider: "sendgrid", name: "mail", credentials } as const;
  path = `/webhooks/sendgrid/${(await createChannel(tenant, { keys, publicUrl }, channel)).id}`;
});

interface Posted {
  readonly at?: Date;
  readonly headers?: Record<string, string>;
}
const post = (web: ReturnType<typeof app>, body: Uint8Array, { at = new Date(), headers = {} }: Posted = {}) => {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  return web.request(path, {
    method: "POST",
    body: Buffer.from(body),
    headers: {
      "content-type": "application/json",
      "x-twilio-email-event-webhook-signature": createSign("sha256")
        .update(timestamp)
        .update(body)
        .sign(privateKey, "base64"),
      "x-twilio-email-event-webhook-timestamp": timestamp,
      authorization: "Basic c2VjcmV0",
      ...headers,
    },
  });
};
const invocation = { getRemainingTimeInMillis: () => 50_000 } as Invocation;
const drain = async (db = database.db) => {
  await define(hostOver(db))({}, invocation);
  const counts = lines.findLast(({ event }) => event === "schedule.ran")?.["counts"];
  return counts === undefined ? null : (JSON.parse(String(counts)) as unknown);
};
const archived = () =>
  database.owner
    .selectFrom("webhook_deliveries")
    .selectAll()
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();
const spilled = () => blobs.list("spill/", 100);

test("what was answered while the database was away is archived byte for byte when it is back, and rung for", async () => {
  const down = app(hostOver(dead));
  const body = Buffer.concat([Buffer.from("[\n\u0000"), randomBytes(500), Buffer.from("\n]")]);
  expect((await post(down, body)).status).toBe(200);
  expect(await archived()).toEqual([]);
  expect(await drain(dead)).toEqual({ archived: 0, refused: 0, failed: 0, waiting: 1 });
  queue.drain();
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 0 });
  const [row] = await archived();
  expect(row?.body?.equals(body)).toBe(true);
  expect(row?.headers).toMatchObject({ "content-type": "application/json" });
  expect(queue.drain()).toEqual([{ kind: "deliveries", tenantId: tenant.tenantId, ids: [row?.id] }]);
  expect(await spilled()).toEqual([]);
});

test("an outage that begins under a process that knows the endpoint keeps what comes, also a body too large for a row", async () => {
  const own = connect({ url: database.url, driver: "pg" });
  const web = app(hostOver(own));
  expect((await post(web, Buffer.from("[1]"))).status).toBe(200);
  await own.destroy();
  const large = randomBytes(300_000);
  expect((await post(web, large)).status).toBe(200);
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 0 });
  const [, second] = await archived();
  expect(second?.body).toBeNull();
  expect(Buffer.from(await blobs.get(second?.body_key ?? "")).equals(large)).toBe(true);
});

test("a database that takes the request and does not answer is an outage; its late commit and the spilled copy are one delivery", async () => {
  const web = app(hostOver(database.db));
  await database.owner.transaction().execute(async (tx) => {
    await sql`lock table webhook_deliveries in access exclusive mode`.execute(tx);
    expect((await post(web, Buffer.from("[9]"))).status).toBe(200);
    expect(await spilled()).toHaveLength(1);
  });
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 0 });
  await expect.poll(archived, { timeout: 10_000 }).toMatchObject([{ duplicates: 1 }]);
});

test("the signature is judged as of the moment it came, however long the outage was", async () => {
  const down = app(hostOver(dead));
  // As old as SendGrid's retries may be when they come; a day later it would be too old.
  expect((await post(down, Buffer.from("[]"), { at: new Date(Date.now() - 25 * 3_600_000) })).status).toBe(200);
  const [key = ""] = await spilled();
  const stored = Buffer.from(await blobs.get(key)).toString("latin1");
  const yesterday = new Date(Date.now() - 24 * 3_600_000);
  const older = stored.replace(/"receivedAt":"[^"]*"/, `"receivedAt":"${yesterday.toISOString()}"`);
  await blobs.put(key, Buffer.from(older, "latin1"), "application/octet-stream");
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 0 });
});

test("it is archived as of the moment it came, so that what was said later stays later", async () => {
  const before = Date.now();
  expect((await post(app(hostOver(dead)), Buffer.from("[]"))).status).toBe(200);
  const [key = ""] = await spilled();
  const stored = Buffer.from(await blobs.get(key)).toString("latin1");
  const earlier = new Date(before - 600_000);
  const moved = stored.replace(/"receivedAt":"[^"]*"/, `"receivedAt":"${earlier.toISOString()}"`);
  await blobs.put(key, Buffer.from(moved, "latin1"), "application/octet-stream");
  await drain();
  expect((await archived())[0]?.received_at).toEqual(earlier);
});

test("an endpoint whose credentials cannot be opened holds up nobody else", async () => {
  const down = app(hostOver(dead));
  await post(down, Buffer.from("[1]"));
  const [other, otherPath] = [tenant, path];
  await database.owner
    .updateTable("channel_configs")
    .set({ api_credentials: "broken" })
    .where("tenant_id", "=", other.tenantId)
    .execute();
  tenant = await newTenant(database);
  const credentials = { apiKey: "SG.k", eventWebhookPublicKeys: [spki] };
  const channel = { channel: "email", provider: "sendgrid", name: "mail", credentials } as const;
  path = `/webhooks/sendgrid/${(await createChannel(tenant, { keys, publicUrl }, channel)).id}`;
  expect(path).not.toBe(otherPath);
  await post(down, Buffer.from("[2]"));
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 1 });
  expect(await archived()).toHaveLength(1);
});

test("endpoints whose credentials cannot be opened hold up nobody, however many they are and however much waits for them", async () => {
  const down = app(hostOver(dead));
  const channel = (n: number) =>
    ({
      channel: "email",
      provider: "sendgrid",
      name: `mail ${n}`,
      credentials: { apiKey: "SG.k", eventWebhookPublicKeys: [spki] },
    }) as const;
  const broken = await newTenant(database);
  for (let n = 0; n < 4; n++) {
    path = `/webhooks/sendgrid/${(await createChannel(broken, { keys, publicUrl }, channel(n))).id}`;
    for (let k = 0; k < 10; k++) await post(down, Buffer.from(`[${k}]`));
  }
  await database.owner
    .updateTable("channel_configs")
    .set({ api_credentials: "broken" })
    .where("tenant_id", "=", broken.tenantId)
    .execute();
  path = `/webhooks/sendgrid/${(await createChannel(tenant, { keys, publicUrl }, channel(9))).id}`;
  await post(down, Buffer.from("[1]"));
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 0, waiting: 40 });
  expect(await archived()).toHaveLength(1);
});

test("the same webhook spilled twice and delivered once more is one delivery", async () => {
  const down = app(hostOver(dead));
  const at = new Date();
  await post(down, Buffer.from("[7]"), { at });
  await post(down, Buffer.from("[7]"), { at });
  await post(app(hostOver(database.db)), Buffer.from("[7]"), { at });
  expect(await drain()).toEqual({ archived: 2, refused: 0, failed: 0, waiting: 0 });
  expect(await archived()).toMatchObject([{ duplicates: 2 }]);
});

test("a forgery that came during the outage is refused when it can be judged, and leaves nothing but a count", async () => {
  const down = app(hostOver(dead));
  const headers = { "x-twilio-email-event-webhook-signature": "AAAA" };
  expect((await post(down, Buffer.from("[]"), { headers })).status).toBe(200);
  expect(await drain()).toEqual({ archived: 0, refused: 1, failed: 0, waiting: 0 });
  expect(await archived()).toEqual([]);
  expect(await spilled()).toEqual([]);
  const refusals = database.owner
    .selectFrom("webhook_refusals")
    .select("count")
    .where("tenant_id", "=", tenant.tenantId);
  expect(await refusals.execute()).toEqual([{ count: 1 }]);
});

test("what was verified when it came and is refused after its keys were changed is set aside, not thrown away", async () => {
  const own = connect({ url: database.url, driver: "pg" });
  const web = app(hostOver(own));
  const body = Buffer.from("[2]");
  expect((await post(web, Buffer.from("[1]"))).status).toBe(200);
  await own.destroy();
  expect((await post(web, body)).status).toBe(200);
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "der", type: "spki" });
  const credentials = { apiKey: "SG.k", eventWebhookPublicKeys: [other.toString("base64")] };
  await updateChannel(tenant, { keys, publicUrl }, { id: path.split("/").at(-1) ?? "", credentials });
  expect(await drain()).toMatchObject({ archived: 0, refused: 0, failed: 1, waiting: 0 });
  expect(await spilled()).toEqual([]);
  const [kept] = await blobs.list("spill-failed/", 10);
  expect(Buffer.from(await blobs.get(kept ?? "")).subarray(-body.length)).toEqual(body);
});

test("what is not signed at all is not kept for anybody", async () => {
  const down = app(hostOver(dead));
  const headers = { "content-type": "application/json" };
  const answer = await down.request(path, { method: "POST", body: "[]", headers });
  expect(answer.status).toBe(503);
  expect(await spilled()).toEqual([]);
});

test("credentials of the request itself are not stored", async () => {
  await post(app(hostOver(dead)), Buffer.from("[]"), { headers: { cookie: "session=secret" } });
  const [key = ""] = await spilled();
  const text = Buffer.from(await blobs.get(key)).toString();
  expect(text).not.toContain("c2VjcmV0");
  expect(text).not.toContain("session=secret");
});

test("an object that cannot be read is set aside where it can be looked at, and costs no other its turn", async () => {
  await blobs.put("spill/dlv_0", Buffer.from("no head"), "application/octet-stream");
  await post(app(hostOver(dead)), Buffer.from("[]"));
  expect(await drain()).toEqual({ archived: 1, refused: 0, failed: 1, waiting: 0 });
  expect(await spilled()).toEqual([]);
  expect(Buffer.from(await blobs.get("spill-failed/dlv_0")).toString()).toBe("no head");
  expect(await archived()).toHaveLength(1);
});

test("more than a page is drained in one run, and a key that another run has taken is no failure", async () => {
  const down = app(hostOver(dead));
  await Promise.all(Array.from({ length: 40 }, (_, n) => post(down, Buffer.from(`[${n}]`))));
  const get: Blobs["get"] = async (key) => {
    const bytes = await blobs.get(key);
    if (key === first) await blobs.delete(key);
    return bytes;
  };
  const [first = ""] = await spilled();
  await Promise.all([drain(), define({ ...hostOver(database.db), blobs: { ...blobs, get } })({}, invocation)]);
  expect(await spilled()).toEqual([]);
  expect(await archived()).toHaveLength(40);
});

test("a forgery under keys that this process knows is not kept, however old they are", async () => {
  const own = connect({ url: database.url, driver: "pg" });
  const web = app(hostOver(own));
  expect((await post(web, Buffer.from("[1]"))).status).toBe(200);
  await own.destroy();
  const headers = { "x-twilio-email-event-webhook-signature": "AAAA" };
  expect((await post(web, Buffer.from("[2]"), { headers })).status).toBe(503);
  expect(await spilled()).toEqual([]);
});

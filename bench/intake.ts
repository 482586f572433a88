/**
 * `intake`: signed webhooks over 32 connections until each is verified, archived and answered, against Hono with one INSERT per request; `verify`: SendGrid's
 * signature against the vendor's own library.
 */
import { createHmac, createSecretKey, generateKeyPairSync, sign, timingSafeEqual } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { EventWebhook } from "@sendgrid/eventwebhook";
import { Hono } from "hono";
import type pg from "pg";
import { memoryBlobs } from "../core/providers/memory/index.ts";
import { sendgrid } from "../core/providers/sendgrid/index.ts";
import { createChannel } from "../core/tenancy/index.ts";
import { createLog } from "../functions/lib/log.ts";
import { createHost, providerAdapters } from "../functions/lib/runtime.ts";
import { app as webhooks } from "../functions/webhooks.ts";
import { startChild } from "./child.ts";
import { interleave, type Rig, rate } from "./rig.ts";
import { keys, newTenant, publicUrl } from "./tenants.ts";

const secret = "a-secret-of-the-account";

/** The same few lines between a socket and either application. */
function serve(app: Hono): Promise<Server> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const given = new Request(`http://localhost${request.url}`, {
        method: request.method ?? "GET",
        headers: request.headers as Record<string, string>,
        body: Buffer.concat(chunks),
      });
      void Promise.resolve(app.fetch(given)).then((answer) =>
        response.writeHead(answer.status, { "content-length": 0 }).end(),
      );
    });
  });
  server.keepAliveTimeout = 60_000;
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** What perf people write first: verify, insert, answer. */
function plainIntake(raw: pg.Pool): Hono {
  const key = createSecretKey(Buffer.from(secret));
  return new Hono().post("/w", async (c) => {
    const body = Buffer.from(await c.req.arrayBuffer());
    const given = Buffer.from(c.req.header("x-signature") ?? "", "hex");
    const wanted = createHmac("sha256", key).update(body).digest();
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return c.body(null, 401);
    await raw.query({
      name: "insert-delivery",
      text: "insert into deliveries (tenant_id, provider, dedupe_key, payload) values ($1, $2, $3, $4) on conflict do nothing returning id",
      values: [7, "twilio", c.req.header("webhook-id"), body],
    });
    return c.body(null, 204);
  });
}

export async function intakeLines(rig: Rig): Promise<void> {
  await rig.raw.query(`
    create table deliveries (id uuid primary key default uuidv7(), tenant_id int not null, provider text not null, dedupe_key text not null,
      payload bytea not null, received_at timestamptz not null default now(), status text not null default 'received',
      unique (tenant_id, provider, dedupe_key))`);
  const tenant = await newTenant(rig);
  const channel = await createChannel(
    tenant,
    { keys, publicUrl },
    {
      channel: "sms",
      provider: "twilio",
      name: "text",
      settings: { from: "+12025550100" },
      credentials: { accountSid: `AC${"0".repeat(32)}`, authTokens: [secret] },
    },
  );
  const host = createHost({
    db: rig.db,
    // The bell is left out on both sides.
    queue: { ring: async () => {} },
    blobs: memoryBlobs(),
    keys,
    ...providerAdapters,
    publicUrl,
    signingKeys: [new Uint8Array(32).fill(7)],
    log: createLog({ write: () => {}, now: () => new Date() }),
  });
  const servers = { outrider: await serve(webhooks(host)), raw: await serve(plainIntake(rig.raw)) };
  const load = (server: Server, path: string, scheme: string) => async (): Promise<number> => {
    const { port } = server.address() as AddressInfo;
    const { said, stop } = await startChild("load.ts", [
      String(port),
      path,
      scheme,
      secret,
      rig.quick ? "2000" : "4000",
    ]);
    stop();
    const result = JSON.parse(said) as { rate: number; p50: number; p99: number; failed: number };
    if (result.failed > 0) throw new Error(`${result.failed} requests to ${path} were refused`);
    rig.note(`    ${scheme}: p50 ${result.p50.toFixed(1)} ms, p99 ${result.p99.toFixed(1)} ms`);
    return result.rate;
  };
  const values = await interleave(rig, "intake", {
    outrider: load(servers.outrider, `/webhooks/twilio/${channel.id}`, "twilio"),
    raw: load(servers.raw, "/w", "plain"),
  });
  rig.line({ name: "intake", value: values.outrider, unit: "requests/s", baseline: values.raw });
  for (const server of Object.values(servers)) server.close();
}

export async function verifyLines(rig: Rig): Promise<void> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = publicKey.export({ type: "spki", format: "der" }).toString("base64");
  const body = Buffer.from(JSON.stringify({ event: "delivered", meta: "m".repeat(960) }));
  const now = new Date();
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  const signature = sign("sha256", Buffer.concat([Buffer.from(timestamp), body]), privateKey).toString("base64");
  const request = {
    url: publicUrl,
    body,
    headers: {
      "x-twilio-email-event-webhook-signature": signature,
      "x-twilio-email-event-webhook-timestamp": timestamp,
    },
  };
  const vendor = new EventWebhook();
  const vendorKey = vendor.convertPublicKeyToECDSA(der);
  const repeat = (count: number, check: () => boolean) => () =>
    rate(async () => {
      for (let n = 0; n < count; n++) if (!check()) throw new Error("a genuine signature was refused");
      return count;
    });
  const credentials = { apiKey: "key", apiBaseUrl: "https://api.sendgrid.com", eventWebhookPublicKeys: [der] };
  const values = await interleave(rig, "verify", {
    outrider: repeat(10_000, () => sendgrid.verify(credentials, request, now).valid),
    vendor: repeat(200, () => vendor.verifySignature(vendorKey, body, signature, timestamp)),
  });
  rig.line({ name: "verify", value: values.outrider, unit: "signatures/s", baseline: values.vendor });
}

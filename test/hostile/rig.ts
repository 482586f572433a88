/**
 * A tenant with real endpoints and a campaign under way, and the deployed handlers over it. Invariant: everything goes in at a handler,
 * as API Gateway or SQS would hand it over; nothing is called from the side.
 */
import { createHash, createHmac, createPublicKey, createSign, generateKeyPairSync } from "node:crypto";
import { sql } from "kysely";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import { createApiKey, createChannel } from "../../core/tenancy/index.ts";
import { define as defineActions } from "../../functions/actions.ts";
import { createApi } from "../../functions/api.ts";
import { define as defineDeliveries } from "../../functions/deliveries.ts";
import { define as defineImports } from "../../functions/imports.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost, providerAdapters } from "../../functions/lib/runtime.ts";
import { define as defineSend } from "../../functions/send.ts";
import { define as defineTracking, app as trackingApp } from "../../functions/tracking.ts";
import { define as defineWebhooks, app as webhooksApp } from "../../functions/webhooks.ts";
import { mailEvent, messagesOf, monday, started } from "../core/deliveries/world.ts";
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import type { TestDatabase } from "../support/clone.ts";
import { setClock } from "../support/tenant.ts";

const publicUrl = "https://in.example.test";
const account = { accountSid: "AC1", token: "0123456789abcdef0123456789abcdef" };

export type Rig = Awaited<ReturnType<typeof hostileRig>>;

export async function hostileRig(database: TestDatabase) {
  await setClock(database, monday);
  const keys = memoryKeys();
  const queue = memoryQueue();
  const blobs = memoryBlobs();
  const errors: Record<string, unknown>[] = [];
  const signingKeys = [new Uint8Array(32).fill(9)] as const;
  const host = createHost({
    db: database.db,
    queue,
    blobs,
    keys,
    ...providerAdapters,
    publicUrl,
    signingKeys: [...signingKeys],
    log: createLog({
      write: (line) => {
        const entry = JSON.parse(line) as Record<string, unknown>;
        if (entry["level"] === "error") errors.push(entry);
      },
      now: () => new Date(0),
    }),
  });
  const world = await started(database, [{ email: "grace@example.com" }, { email: "kim@example.com" }]);
  const { tenant } = world;
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" }).toString("base64");
  const mail = await createChannel(
    tenant,
    { keys, publicUrl },
    {
      channel: "email",
      provider: "sendgrid",
      name: "hostile mail",
      credentials: { apiKey: "SG.x", eventWebhookPublicKeys: [spki] },
    },
  );
  const text = await createChannel(
    tenant,
    { keys, publicUrl },
    {
      channel: "sms",
      provider: "twilio",
      name: "hostile text",
      credentials: { accountSid: account.accountSid, authTokens: [account.token] },
    },
  );
  const { apiKey } = await createApiKey(tenant, { name: "hostile", scopes: ["*"] });
  const api = createApi(host);
  const timestamp = String(monday.getTime() / 1000);

  return {
    database,
    host,
    world,
    tenant,
    queue,
    blobs,
    errors,
    signingKeys,
    mail,
    text,
    apiKey,
    api,
    webhooks: webhooksApp(host),
    tracking: trackingApp(host),
    lambdas: { webhooks: defineWebhooks(host), tracking: defineTracking(host) },
    consumers: {
      deliveries: defineDeliveries(host),
      actions: defineActions(host),
      send: defineSend(host),
      imports: defineImports(host),
    },

    /** Path and query of an endpoint. */
    target(provider: "sendgrid" | "twilio", query?: string): string {
      const path = `/webhooks/${provider}/${provider === "sendgrid" ? mail.id : text.id}`;
      // As a URL spells it, which is how it arrives.
      const { pathname, search } = new URL(`${publicUrl}${path}${query === undefined ? "" : `?${query}`}`);
      return `${pathname}${search}`;
    },

    /** Headers with which the provider itself would have sent these bytes. */
    signed(provider: "sendgrid" | "twilio", target: string, body: Buffer): Record<string, string> {
      if (provider === "sendgrid") {
        const signature = createSign("sha256").update(timestamp).update(body).sign(privateKey, "base64");
        return {
          "x-twilio-email-event-webhook-signature": signature,
          "x-twilio-email-event-webhook-timestamp": timestamp,
        };
      }
      const url = new URL(`${publicUrl}${target}`);
      const parameters = new Map<string, Set<string>>();
      if (!url.searchParams.has("bodySHA256")) {
        for (const [name, value] of new URLSearchParams(`&${body.toString("utf8")}`)) {
          parameters.set(name, (parameters.get(name) ?? new Set()).add(value));
        }
      }
      const said = [...parameters.keys()]
        .sort()
        .map((name) =>
          [...(parameters.get(name) ?? [])]
            .sort()
            .map((value) => name + value)
            .join(""),
        )
        .join("");
      return { "x-twilio-signature": createHmac("sha1", account.token).update(`${url.href}${said}`).digest("base64") };
    },

    /** A fact that must get through whatever stands around it. */
    async honest(n: number): Promise<Buffer> {
      const [message] = await messagesOf(database, tenant);
      return Buffer.from(
        JSON.stringify([mailEvent(message?.id ?? null, "delivered", n, { sg_event_id: `honest-${n}` })]),
      );
    },

    async get(path: string): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
      const response = await api.request(path, { headers: { authorization: `Bearer ${apiKey}` } });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },

    async stored(target: string, body: Buffer) {
      const sha256 = createHash("sha256").update(target).update("\0").update(body).digest();
      const row = await database.owner
        .selectFrom("webhook_deliveries")
        .select([
          "id",
          "status",
          "attempts",
          "body",
          "body_encoding",
          "body_key",
          "last_error",
          "problems",
          "event_count",
          "inbound_count",
          "replays",
        ])
        .where("tenant_id", "=", tenant.tenantId)
        .where("body_sha256", "=", sha256)
        .executeTakeFirst();
      return row;
    },

    async count(table: string): Promise<number> {
      const { rows } = await sql<{
        n: number;
      }>`select count(*)::int as n from ${sql.table(table)} where tenant_id = ${tenant.tenantId}`.execute(
        database.owner,
      );
      return rows[0]?.n ?? -1;
    },

    /** Answers what was rung, once. @returns how many bells failed */
    async answer(): Promise<number> {
      let failed = 0;
      for (const { kind, tenantId, ids } of queue.drain()) {
        const { batchItemFailures } = await this.consumers[kind](sqsEvent([bell(tenantId, ...ids)]), fakeInvocation());
        failed += batchItemFailures.length;
      }
      return failed;
    },
  };
}

import { readFileSync } from "node:fs";
import { sql } from "kysely";
import { beforeEach, describe, expect, it } from "vitest";
import { connect } from "../../core/db/connect.ts";
import { type LinkKind, signLink, trackedLinkId } from "../../core/messages/index.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost } from "../../functions/lib/runtime.ts";
import { app } from "../../functions/tracking.ts";
import { enrollmentsOf, eventsOf, messagesOf, monday, started, suppressionsOf } from "../core/deliveries/world.ts";
import { testDatabase } from "../support/database.ts";
import { advance, arrange, setClock } from "../support/tenant.ts";

const database = await testDatabase();
const signingKeys = [new Uint8Array(32).fill(7)] as const;
const hostOver = (db: typeof database.db) =>
  createHost({
    db,
    queue: memoryQueue(),
    blobs: memoryBlobs(),
    keys: memoryKeys(),
    senders: {},
    webhooks: {},
    publicUrl: "https://go.example.test",
    signingKeys: [...signingKeys],
    log: createLog({ write: () => {}, now: () => new Date(0) }),
  });
const http = app(hostOver(database.db));
const browser = {
  "user-agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36",
};

beforeEach(() => setClock(database, monday));

async function mailed() {
  const world = await started(database, [{ email: "grace@example.com" }]);
  const [message] = await messagesOf(database, world.tenant);
  if (!message) throw new Error("nothing was sent");
  await advance(database, 3_600);
  const token = (kind: LinkKind, linkId?: string) =>
    signLink(signingKeys, { kind, tenantId: world.tenant.tenantId, messageId: message.id, linkId });
  return { ...world, message, token };
}

const one = {
  method: "POST",
  headers: { "content-type": "application/x-www-form-urlencoded" },
  body: "List-Unsubscribe=One-Click",
};

describe("the pixel", () => {
  it("is always a picture, and an open when a person saw it", async () => {
    const { tenant, token } = await mailed();
    for (const at of [`/o/${token("open")}`, "/o/nonsense", `/o/${token("unsubscribe")}`]) {
      const response = await http.request(at, { headers: browser });
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/gif"]);
      expect(
        Buffer.from(await response.arrayBuffer())
          .subarray(0, 6)
          .toString(),
      ).toBe("GIF89a");
    }
    expect(await eventsOf(database, tenant)).toMatchObject([{ event_type: "opened", machine: false }]);
    expect((await messagesOf(database, tenant))[0]?.opened_at).not.toBeNull();
  });

  it.each([
    ["Apple's privacy proxy", "GET", { "user-agent": "Mozilla/5.0" }],
    ["a prefetch", "GET", { ...browser, "sec-purpose": "prefetch" }],
    ["a scanner", "GET", { "user-agent": "Barracuda Sentinel (EE)" }],
    ["nobody who says who they are", "GET", {}],
    ["a HEAD", "HEAD", browser],
  ] as const)("loaded by %s is no open of a person", async (_, method, headers) => {
    const { tenant, token } = await mailed();
    expect((await http.request(`/o/${token("open")}`, { method, headers })).status).toBe(200);
    expect(await eventsOf(database, tenant)).toMatchObject([{ event_type: "opened", machine: true }]);
    expect((await messagesOf(database, tenant))[0]?.opened_at).toBeNull();
  });

  it("is shown while nothing can be stored", async () => {
    const { token } = await mailed();
    const dead = connect({ url: "postgres://nobody@127.0.0.1:1/none", driver: "pg" });
    const blind = app(hostOver(dead));
    expect((await blind.request(`/o/${token("open")}`)).status).toBe(200);
    expect((await blind.request(`/u/${token("unsubscribe")}`)).status).toBe(200);
    const refused = await blind.request(`/u/${token("unsubscribe")}`, one);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "30"]);
    await dead.destroy();
  });
});

describe("a click", () => {
  const url = "https://example.com/péage?a=1&b=2#x";
  it("leads to the stored address, and only there", async () => {
    const { tenant, token } = await mailed();
    const { id, sha256 } = trackedLinkId(url);
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into tracked_links (tenant_id, id, url, url_sha256) values (${tenant.tenantId}, ${id}, ${url}, ${sha256})`.execute(
        tx,
      ),
    );
    const response = await http.request(`/c/${token("click", id)}?url=https://evil.example`, { headers: browser });
    expect([response.status, response.headers.get("location")]).toEqual([302, new URL(url).href]);
    expect(await eventsOf(database, tenant)).toMatchObject([
      { event_type: "clicked", machine: false, metadata: { linkId: id } },
    ]);
    for (const at of [
      "/c/nonsense",
      `/c/${token("click", trackedLinkId("https://other.example").id)}`,
      `/c/${token("open")}`,
      `/c/${token("click", id)}x`,
    ]) {
      const refused = await http.request(at, { headers: browser });
      expect([refused.status, refused.headers.get("location")]).toEqual([404, null]);
    }
  });
});

describe("unsubscribe", () => {
  it("shows the same page for every token, and a GET changes nothing, however often", async () => {
    const { tenant, token } = await mailed();
    const pages = await Promise.all(
      [`/u/${token("unsubscribe")}`, "/u/nonsense"].map(async (at) => (await http.request(at)).text()),
    );
    expect(pages[0]).toContain('<form method="post">');
    expect(pages[1]).toBe(pages[0]);
    for (let n = 0; n < 10_000; n++)
      await http.request(`/u/${token("unsubscribe")}`, { method: n % 2 === 0 ? "GET" : "HEAD" });
    expect(await suppressionsOf(database, tenant)).toEqual([]);
    expect(await eventsOf(database, tenant)).toEqual([]);
  });

  const { cases } = JSON.parse(
    readFileSync(new URL("../fixtures/email/one-click/requests.http.json", import.meta.url), "utf8"),
  ) as {
    cases: {
      name: string;
      request: { method: string; headers?: Record<string, string>; body?: string };
      expect: { status: number; unsubscribed: boolean };
    }[];
  };
  it.each(cases)("by one click does what RFC 8058 says: $name", async ({ request, expect: expected }) => {
    const { tenant, token } = await mailed();
    const { method, headers = {}, body } = request;
    const response = await http.request(`/u/${token("unsubscribe")}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    expect(response.status).toBe(expected.status);
    expect((await suppressionsOf(database, tenant)).length > 0).toBe(expected.unsubscribed);
  });

  it("closes the address, stops the walk, and may be asked for again", async () => {
    const { tenant, token } = await mailed();
    const bodies = await Promise.all(
      [1, 2, 3].map(async () => (await http.request(`/u/${token("unsubscribe")}`, one)).text()),
    );
    expect(bodies).toEqual(["", "", ""]);
    const form = await http.request(`/u/${token("unsubscribe")}`, { method: "POST" });
    expect(await form.text()).toContain("You are unsubscribed");
    expect(await suppressionsOf(database, tenant)).toEqual([
      { channel: "email", address: "grace@example.com", reason: "unsubscribed", source: "unsubscribe_link" },
    ]);
    expect(await enrollmentsOf(database, tenant)).toMatchObject([{ status: "stopped", exit_reason: "unsubscribed" }]);
    expect((await messagesOf(database, tenant))[0]?.unsubscribed_at).not.toBeNull();
  });

  it("works for a suspended tenant, years later, and answers an unknown token like a known one", async () => {
    const { tenant, token } = await mailed();
    await sql`update tenants set status = 'suspended', suspended_at = app_now() where id = ${tenant.tenantId}`.execute(
      database.owner,
    );
    await advance(database, 3 * 365 * 86_400);
    expect((await http.request(`/u/${token("unsubscribe")}`, one)).status).toBe(200);
    expect(await suppressionsOf(database, tenant)).toHaveLength(1);
    const forged = signLink([new Uint8Array(32)], {
      kind: "unsubscribe",
      tenantId: tenant.tenantId,
      messageId: "omsg_x",
    });
    const gone = signLink(signingKeys, { kind: "unsubscribe", tenantId: "tenant_gone", messageId: "omsg_x" });
    for (const at of [forged, gone]) expect((await http.request(`/u/${at}`, one)).status).toBe(200);
  });
});

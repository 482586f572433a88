/**
 * Two customers with the same list, the same campaign, the same words, the same numbers: as if the other were not there. Over the API,
 * through webhooks and through links in messages.
 */
import { sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { activate, createCampaign, enroll } from "../../core/campaigns/index.ts";
import { signLink } from "../../core/messages/index.ts";
import { check } from "../../core/suppression/index.ts";
import { putRateLimit } from "../../core/tenancy/index.ts";
import type { Endpoint } from "../../functions/api/endpoint.ts";
import { endpoints } from "../../functions/api.ts";
import type { SendgridEvent } from "../../local/simulator/sendgrid-events.ts";
import {
  api,
  type Body,
  days,
  importCsv,
  look,
  oneEmail,
  post,
  type SystemTenant,
  testSystem,
} from "../support/system.ts";

const system = await testSystem();
const crowd = 8;
const addressOf = (n: number) => `person${n}@shared.example`;
const numberOf = (n: number) => `+1202555018${n}`;
const list = [
  "Email,First Name,Last Name,Phone,Company,Company Domain,State,Zip,Country,SMS Consent,SMS Consent Text",
  ...Array.from(
    { length: crowd },
    (_, n) =>
      `${addressOf(n)},Grace${n},Hopper,${numberOf(n)},Shared,shared.example,NY,10017,United States,yes,I agree to receive marketing texts.`,
  ),
  "",
].join("\n");

/** The whole journey of one tenant up to its sent messages and one answer. */
async function journey(organization?: string): Promise<SystemTenant> {
  const tenant = await system.tenant("Twin", organization);
  await importCsv(system, tenant, list);
  const written = [
    await api(system, tenant, "POST", "/v1/templates", {
      name: "Hello",
      subject: "Hello",
      text: "Hello {{ first_name }}",
    }),
    await api(system, tenant, "POST", "/v1/segments", {
      name: "Everybody",
      filter: { op: "eq", field: "contact.state", value: "NY" },
    }),
  ];
  expect(written.map(({ status, text }) => (status === 201 ? "" : text))).toEqual(["", ""]);
  // Each by itself has room for all of them within a minute; together they would not.
  await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: crowd, windowSeconds: 60 });
  const campaign = await createCampaign(tenant, { name: "Spring", plan: oneEmail as never });
  await enroll(tenant, { campaignId: campaign.id, audience: { all: true } });
  await activate(tenant, { id: campaign.id });
  return tenant;
}

let left: SystemTenant;
let right: SystemTenant;

beforeAll(async () => {
  system.script({
    [addressOf(0)]: [
      { afterSeconds: 1, kind: "delivered" },
      { afterSeconds: 3600, kind: "replied", text: "Tell me more." },
    ],
  });
  left = await journey();
  right = await journey();
  await system.settle();
});

/** Everything of a tenant, as it may be changed by others' doings. */
async function everything({ tenantId }: SystemTenant): Promise<unknown> {
  const tables = [
    "outbound_messages",
    "contact_campaigns",
    "contact_channels",
    "communication_suppressions",
    "message_events",
    "leads",
  ];
  const rows = await Promise.all(
    tables.map((table) =>
      look(
        system,
        sql`select to_jsonb(t) - 'updated_at' as row from ${sql.table(table)} t where tenant_id = ${tenantId} order by t.id`,
      ),
    ),
  );
  return rows;
}

const ofTenant = async (tenant: SystemTenant, address: string) => system.message(tenant, address, "hello");

const lists = endpoints.filter(
  ({ method, path }: Endpoint) => method === "get" && !path.includes("{") && !path.startsWith("/v1/simulations"),
);
const ones = endpoints.filter(({ method, path }: Endpoint) => method === "get" && /^[^{]*\{\w+\}[^{]*$/.test(path));

/** The ids that a tenant's own lists show it, by the path of the list. */
async function idsOf(tenant: SystemTenant): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const { path } of lists) {
    const { status, body } = await api(system, tenant, "GET", path);
    if (status !== 200 || !Array.isArray(body?.data)) continue;
    found.set(
      path,
      body.data.flatMap(({ id }: Body) => (typeof id === "string" ? [id] : [])),
    );
  }
  return found;
}

describe("two tenants with the same people and the same names", () => {
  test("send the same messages, each its own, neither held up by the other's limits", async () => {
    for (const tenant of [left, right]) {
      const messages = await system.messages(tenant);
      expect(messages.map(({ status }) => status)).toEqual(Array(crowd).fill("sent"));
    }
    const accepts = system.simulator.accepted();
    expect(accepts).toHaveLength(2 * crowd);
    expect(new Set(accepts.map(({ ourMessageId }) => ourMessageId)).size).toBe(2 * crowd);
  });

  test("see nothing of each other in any list, and count only their own", async () => {
    await system.advance(2 * 3600);
    const [mine, theirs] = [await idsOf(left), await idsOf(right)];
    const filled = [...mine].filter(([, ids]) => ids.length > 0).map(([path]) => path);
    expect(filled).toEqual(
      expect.arrayContaining([
        "/v1/leads",
        "/v1/contacts",
        "/v1/people",
        "/v1/companies",
        "/v1/campaigns",
        "/v1/enrollments",
      ]),
    );
    expect(filled).toEqual(
      expect.arrayContaining([
        "/v1/messages",
        "/v1/imports",
        "/v1/templates",
        "/v1/segments",
        "/v1/channels",
        "/v1/conversations",
      ]),
    );
    for (const [path, ids] of mine) {
      expect(theirs.get(path)?.length, path).toBe(ids.length);
      const shared = ids.filter((id) => theirs.get(path)?.includes(id));
      expect(shared, path).toEqual([]);
    }
  });

  test("get the same answer for the other's id as for one that never was", async () => {
    const mine = await idsOf(left);
    let asked = 0;
    for (const { path } of ones) {
      const prefix = path.slice(0, path.indexOf("/{"));
      const id = mine.get(prefix)?.[0];
      if (id === undefined) continue;
      const never = `${id.slice(0, id.indexOf("_"))}_01J0000000000000000000000Z`;
      const at = (given: string) => path.replace(/\{\w+\}/, given);
      expect((await api(system, left, "GET", at(id))).status, path).toBe(200);
      const theirs = await api(system, right, "GET", at(id));
      const nobodys = await api(system, right, "GET", at(never));
      expect([theirs.status, nobodys.status], path).toEqual([404, 404]);
      const blank = ({ text }: { text: string }, given: string) =>
        text.replaceAll(given, "").replace(/"(requestId|instance)":"[^"]*"/g, "");
      expect(blank(theirs, id), path).toBe(blank(nobodys, never));
      asked++;
    }
    expect(asked).toBeGreaterThanOrEqual(12);
  });

  test("cannot act on each other's things", async () => {
    const mine = await idsOf(left);
    const before = await everything(left);
    const first = (path: string) => mine.get(path)?.[0] ?? "";
    const acts = [
      ["POST", `/v1/campaigns/${first("/v1/campaigns")}/pause`, {}],
      ["POST", `/v1/campaigns/${first("/v1/campaigns")}/stop`, {}],
      ["POST", `/v1/campaigns/${first("/v1/campaigns")}/enroll`, { audience: { all: true } }],
      ["POST", `/v1/campaigns/${first("/v1/campaigns")}/simulate`, {}],
      ["PATCH", `/v1/leads/${first("/v1/leads")}`, { firstName: "Theirs" }],
      ["DELETE", `/v1/leads/${first("/v1/leads")}`, undefined],
      ["PATCH", `/v1/channels/${first("/v1/channels")}`, { name: "Theirs" }],
      ["DELETE", `/v1/segments/${first("/v1/segments")}`, undefined],
    ] as const;
    for (const [method, path, body] of acts) {
      const { status } = await api(system, right, method, path, body);
      expect(status, `${method} ${path}`).toBe(404);
    }
    // Naming them inside something of one's own reaches them no more.
    const campaign = (await api(system, right, "GET", "/v1/campaigns")).body.data[0];
    const enrolled = await api(system, right, "POST", `/v1/campaigns/${campaign.id}/enroll`, {
      audience: { contactIds: mine.get("/v1/contacts") },
    });
    expect(enrolled.body).toMatchObject({ enrolled: 0, unavailable: crowd });
    expect(await everything(left)).toEqual(before);
  });

  test("cannot move each other's messages through their own webhook endpoints", async () => {
    const { id } = await ofTenant(right, addressOf(2));
    const before = await everything(right);
    const at = Math.floor(system.now().getTime() / 1000);
    const event = (kind: string): SendgridEvent => ({
      event: kind,
      email: addressOf(2),
      timestamp: at,
      sg_event_id: `${kind}-foreign`,
      sg_message_id: "foreign.recvd",
      outrider_message_id: id,
    });
    const hook = system.sendgridWebhook(left, ["delivered", "open", "spamreport"].map(event));
    expect(await post(hook)).toBe(200);
    const status = {
      MessageSid: "SMforeign",
      MessageStatus: "undelivered",
      ErrorCode: "30005",
      To: numberOf(2),
      From: "+12025550100",
    };
    expect(await post(system.twilioWebhook(left, status, `?m=${id}`))).toBe(200);
    await system.settle();
    expect(await everything(right)).toEqual(before);
    const noted = await look<{ problems: unknown[] }>(
      system,
      sql`select problems from webhook_deliveries where tenant_id = ${left.tenantId} and problems::text like ${`%${id}%`}`,
    );
    expect(noted.length).toBeGreaterThan(0);
    // Signed for one endpoint, a request is refused at the other's.
    const twilio = system.twilioWebhook(left, status);
    expect(await post({ ...twilio, url: right.sms.webhookUrl })).toBe(401);
  });

  test("hear a no each for itself, from the same person at the same number", async () => {
    const stop = { MessageSid: "SMtwinstop", From: numberOf(3), To: "+12025550100", Body: "STOP", OptOutType: "STOP" };
    expect(await post(system.twilioWebhook(left, stop))).toBe(200);
    await system.settle();
    const target = { channel: "sms", address: numberOf(3) } as const;
    expect(await check(left, target)).toMatchObject({ allowed: false });
    expect(await check(right, target)).toEqual({ allowed: true });
  });

  test("cannot be reached by links that name the other's message", async () => {
    const { signingKeys } = system.local.host;
    const { id } = await ofTenant(right, addressOf(4));
    const before = await everything(right);
    const token = (kind: "open" | "click" | "unsubscribe") =>
      signLink(signingKeys, { kind, tenantId: left.tenantId, messageId: id, linkId: "lnk_none" });
    const { url } = system.local;
    expect((await fetch(`${url}/o/${token("open")}`)).status).toBe(200);
    expect((await fetch(`${url}/c/${token("click")}`, { redirect: "manual" })).status).toBe(404);
    expect((await fetch(`${url}/u/${token("unsubscribe")}`, { method: "POST" })).status).toBe(200);
    // A genuine token, changed to name another tenant, is none.
    const genuine = signLink(signingKeys, { kind: "unsubscribe", tenantId: left.tenantId, messageId: id });
    const [payload = "", mac = ""] = genuine.split(".");
    const moved = Buffer.from(
      Buffer.from(payload, "base64url").toString().replace(left.tenantId, right.tenantId),
    ).toString("base64url");
    expect((await fetch(`${url}/u/${moved}.${mac}`, { method: "POST" })).status).toBe(200);
    await system.settle();
    expect(await everything(right)).toEqual(before);
    expect(await check(right, { channel: "email", address: addressOf(4) })).toEqual({ allowed: true });
  });

  test("and a third without rows sees none", async () => {
    const third = await system.tenant("Third", left.organizationId);
    const own = new Set([
      "/v1/channels",
      "/v1/senders",
      "/v1/rate-limits",
      "/v1/actors",
      "/v1/api-keys",
      "/v1/dnc",
      "/v1/config",
    ]);
    for (const [path, ids] of await idsOf(third)) if (!own.has(path)) expect(ids, path).toEqual([]);
    await system.advance(1 * days);
  });
});

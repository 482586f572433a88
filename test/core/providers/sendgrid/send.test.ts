import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { newId } from "../../../../core/kernel/id.ts";
import type { OutgoingMessage } from "../../../../core/ports/sender.ts";
import { closeConnections } from "../../../../core/providers/http.ts";
import { sendgrid } from "../../../../core/providers/sendgrid/index.ts";
import { type ProviderServer, startProvider } from "../server.ts";

const now = new Date("2026-11-20T12:00:00Z");
const message: OutgoingMessage = {
  messageId: newId("message", now),
  channel: "email",
  to: "ada@example.com",
  from: { address: "grace@example.org", name: "Grace", ipPool: "warm" },
  replyTo: "replies@example.org",
  subject: "Grüße",
  text: "Hello Ada",
  html: "<p>Hello Ada</p>",
  headers: {
    "List-Unsubscribe": "<https://out.example/u/t>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
  },
};

let server: ProviderServer;
beforeAll(async () => {
  server = await startProvider();
});
afterEach(() => {
  server.requests.length = 0;
});
afterAll(async () => {
  await closeConnections();
  await server.close();
});

const credentials = () => ({ apiKey: "SG.key", apiBaseUrl: server.url });
const send = (changes: Partial<OutgoingMessage> = {}, timeoutMs = 5_000) =>
  sendgrid.send(credentials(), { ...message, ...changes }, timeoutMs, now);

describe("the request", () => {
  it("carries the message, our id and nothing that tracks", async () => {
    server.answer = { status: 202, headers: { "X-Message-Id": "14c5d75ce93.dfd.64b469" } };
    expect(await send()).toEqual({ kind: "accepted", providerMessageId: "14c5d75ce93.dfd.64b469" });
    const [request] = server.requests;
    expect(request).toMatchObject({ method: "POST", path: "/v3/mail/send" });
    expect(request?.headers).toMatchObject({ authorization: "Bearer SG.key", "content-type": "application/json" });
    expect(JSON.parse(request?.body ?? "")).toEqual({
      personalizations: [
        { to: [{ email: "ada@example.com" }], custom_args: { outrider_message_id: message.messageId } },
      ],
      from: { email: "grace@example.org", name: "Grace" },
      reply_to: { email: "replies@example.org" },
      subject: "Grüße",
      content: [
        { type: "text/plain", value: "Hello Ada" },
        { type: "text/html", value: "<p>Hello Ada</p>" },
      ],
      headers: message.headers,
      ip_pool_name: "warm",
      tracking_settings: {
        click_tracking: { enable: false, enable_text: false },
        open_tracking: { enable: false },
        subscription_tracking: { enable: false },
        ganalytics: { enable: false },
      },
    });
  });

  it("leaves out what is not given", async () => {
    server.answer = { status: 202 };
    await send({ html: undefined, replyTo: undefined, headers: {}, from: { address: "grace@example.org" } });
    const body: unknown = JSON.parse(server.requests[0]?.body ?? "");
    expect(Object.keys(body as object).toSorted()).toEqual([
      "content",
      "from",
      "personalizations",
      "subject",
      "tracking_settings",
    ]);
    expect(body).toMatchObject({ from: { email: "grace@example.org" }, content: [{ type: "text/plain" }] });
  });

  it.each<[string, Partial<OutgoingMessage>]>([
    ["a header value", { headers: { "X-Team": "a\r\nBcc: all@example.com" } }],
    ["a line separator", { subject: "a\u2028Bcc: all@example.com" }],
    ["a next line", { from: { address: "grace@example.org", name: "a\u0085b" } }],
    ["a lone line feed", { headers: { "X-Team": "a\nb" } }],
    ["a header name", { headers: { "X-Te\r\nam": "a" } }],
    ["a header name with a colon", { headers: { "X:Y": "a" } }],
    ["the subject", { subject: "Hi\r\nBcc: all@example.com" }],
    ["the sender's name", { from: { address: "grace@example.org", name: "G\nBcc: x@example.com" } }],
    ["the reply address", { replyTo: "a@example.org\r\n" }],
  ])("is never made when %s would smuggle a header", async (_name, changes) => {
    expect(await send(changes)).toMatchObject({ kind: "rejected", failure: "request", code: "header" });
    expect(server.requests).toEqual([]);
  });

  it("is never made with unusable credentials or for another channel", async () => {
    const noKey = await sendgrid.send({ apiBaseUrl: server.url }, message, 1_000, now);
    expect(noKey).toMatchObject({ kind: "rejected", failure: "account", code: "credentials" });
    const split = await sendgrid.send({ ...credentials(), apiKey: "a\r\nb" }, message, 1_000, now);
    expect(split).toMatchObject({ kind: "rejected", failure: "account" });
    expect(await send({ channel: "sms" })).toMatchObject({ kind: "rejected", failure: "request" });
    expect(server.requests).toEqual([]);
  });
});

describe("the outcome", () => {
  it.each([
    [200, {}, "", { kind: "accepted", providerMessageId: null }],
    [202, {}, "", { kind: "accepted", providerMessageId: null }],
    [202, { "x-message-id": "" }, "surprise", { kind: "accepted", providerMessageId: null }],
    [413, { "content-type": "text/html" }, "<html>413</html>", { kind: "rejected", failure: "request", code: "413" }],
    [
      401,
      {},
      '{"errors":[{"message":"bad key","field":null}]}',
      { failure: "account", code: "401", reason: "bad key" },
    ],
    [403, {}, '{"errors":[{"message":"from","field":"from"}]}', { failure: "account", reason: "from: from" }],
    [404, {}, "", { kind: "rejected", failure: "account" }],
    [422, {}, "", { kind: "rejected", failure: "request" }],
    [408, {}, "", { kind: "ambiguous" }],
    [500, {}, '{"errors":[{"message":"x"}]}', { kind: "ambiguous" }],
    [502, {}, "<html>", { kind: "ambiguous" }],
    [503, {}, "", { kind: "ambiguous" }],
    [302, { location: "/elsewhere" }, "", { kind: "ambiguous" }],
  ])("of status %i with %j is what it proves", async (status, headers, body, expected) => {
    server.answer = { status, headers, body };
    expect(await send()).toMatchObject(expected);
    expect(server.requests).toHaveLength(1);
  });

  it("of every documented answer is ours", async () => {
    const path = new URL("../../../fixtures/sendgrid/mail-send.http.json", import.meta.url);
    const { responses } = JSON.parse(readFileSync(path, "utf8")) as {
      responses: { name: string; status: number; headers: Record<string, string>; body: unknown }[];
    };
    const kinds: Record<string, string> = {};
    for (const { name, status, headers, body } of responses) {
      server.answer = { status, headers, body: typeof body === "string" ? body : JSON.stringify(body) };
      kinds[name] = (await send()).kind;
    }
    expect(kinds).toEqual({
      accepted: "accepted",
      "sandbox-mode validated": "accepted",
      "bad request": "rejected",
      "rate limited": "deferred",
    });
  });

  const second = now.getTime() / 1000;
  it.each([
    ["X-RateLimit-Reset in 30 s", { "x-ratelimit-reset": String(second + 30) }, 30],
    ["X-RateLimit-Reset long past", { "x-ratelimit-reset": "1392815263" }, 1],
    ["X-RateLimit-Reset in ten years", { "x-ratelimit-reset": String(second + 315_360_000) }, 3600],
    ["Retry-After in seconds", { "retry-after": "7", "x-ratelimit-reset": String(second + 30) }, 7],
    ["Retry-After as a date", { "retry-after": "Fri, 20 Nov 2026 12:02:00 GMT" }, 120],
    ["garbage", { "retry-after": "soon", "x-ratelimit-reset": "later" }, null],
    ["nothing", {}, null],
  ])("of a 429 with %s is deferred for a sane time", async (_name, headers, retryAfterSeconds) => {
    server.answer = { status: 429, headers };
    expect(await send()).toMatchObject({ kind: "deferred", code: "429", retryAfterSeconds });
  });

  it("is ambiguous when the answer is lost and deferred when nothing was sent", async () => {
    server.answer = "reset";
    expect(await send()).toMatchObject({ kind: "ambiguous" });
    server.answer = "hang";
    expect(await send({}, 1_000)).toMatchObject({ kind: "ambiguous" });
    const nowhere = { ...credentials(), apiBaseUrl: "http://127.0.0.1:1" };
    expect(await sendgrid.send(nowhere, message, 1_000, now)).toMatchObject({
      kind: "deferred",
      code: "not_sent",
      retryAfterSeconds: null,
    });
  });
});

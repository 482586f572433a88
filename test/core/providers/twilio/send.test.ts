import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { newId } from "../../../../core/kernel/id.ts";
import type { OutgoingMessage } from "../../../../core/ports/sender.ts";
import { closeConnections } from "../../../../core/providers/http.ts";
import { twilio } from "../../../../core/providers/twilio/index.ts";
import { type ProviderServer, startProvider } from "../server.ts";

const now = new Date("2026-11-20T12:00:00Z");
const message: OutgoingMessage = {
  messageId: newId("message", now),
  channel: "sms",
  to: "+12025550123",
  from: { address: "+12025550199" },
  text: "Grüße & Küsse + 100%",
  headers: {},
  callbackUrl: "https://out.example/webhooks/twilio/chc_1?x=1",
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

const credentials = () => ({ accountSid: "AC0123", authTokens: ["first", "second"], apiBaseUrl: server.url });
const send = (changes: Partial<OutgoingMessage> = {}, extra: Record<string, unknown> = {}, timeoutMs = 5_000) =>
  twilio.send({ ...credentials(), ...extra }, { ...message, ...changes }, timeoutMs, now);
const form = (): Record<string, string> => Object.fromEntries(new URLSearchParams(server.requests[0]?.body));

describe("the request", () => {
  it("carries the message, and our id in the callback's query", async () => {
    server.answer = { status: 201, body: '{"sid":"SM1","status":"queued"}' };
    expect(await send()).toEqual({ kind: "accepted", providerMessageId: "SM1" });
    expect(server.requests[0]).toMatchObject({
      method: "POST",
      path: "/2010-04-01/Accounts/AC0123/Messages.json",
      headers: {
        authorization: `Basic ${Buffer.from("AC0123:first").toString("base64")}`,
        "content-type": "application/x-www-form-urlencoded",
      },
    });
    expect(form()).toEqual({
      To: "+12025550123",
      From: "+12025550199",
      Body: "Grüße & Küsse + 100%",
      StatusCallback: `https://out.example/webhooks/twilio/chc_1?x=1&m=${message.messageId}`,
    });
  });

  it("names the messaging service and keeps the sender within its pool", async () => {
    server.answer = { status: 201, body: '{"sid":"SM1"}' };
    await send({}, { messagingServiceSid: "MG1" });
    expect(form()).toMatchObject({ From: "+12025550199", MessagingServiceSid: "MG1" });
  });

  it("leaves the choice to a service that is itself the sender", async () => {
    server.answer = { status: 201, body: '{"sid":"SM1"}' };
    await send({ from: { address: "MG2" }, callbackUrl: undefined });
    expect(form()).toEqual({ To: "+12025550123", MessagingServiceSid: "MG2", Body: message.text });
  });

  it("marks WhatsApp addresses", async () => {
    server.answer = { status: 201, body: '{"sid":"SM1"}' };
    await send({ channel: "whatsapp" });
    expect(form()).toMatchObject({ To: "whatsapp:+12025550123", From: "whatsapp:+12025550199" });
  });

  it("is never made with unusable credentials, callback or channel", async () => {
    const account = { kind: "rejected", failure: "account", code: "credentials" };
    expect(await send({}, { authTokens: [] })).toMatchObject(account);
    expect(await send({}, { accountSid: "AC\r\nX: y" })).toMatchObject(account);
    expect(await send({ callbackUrl: "nowhere" })).toMatchObject({ kind: "rejected", failure: "request" });
    expect(await send({ channel: "email" })).toMatchObject({ kind: "rejected", failure: "request" });
    expect(server.requests).toEqual([]);
  });
});

describe("the outcome", () => {
  const problem = (code: number, status = 400) => JSON.stringify({ code, message: `problem ${code}`, status });

  it.each([
    [21610, "suppress"],
    [63014, "suppress"],
    [30640, "suppress"],
    [21211, "recipient"],
    [21614, "recipient"],
    [30006, "recipient"],
    [30003, "recipient"],
    [30007, "content"],
    [21617, "content"],
    [63016, "request"],
    [21212, "account"],
    [21408, "account"],
    [30034, "account"],
    [99999, "request"],
  ])("of error %i is rejected: %s", async (code, failure) => {
    server.answer = { status: 400, body: problem(code) };
    expect(await send()).toEqual({ kind: "rejected", failure, code: String(code), reason: `problem ${code}` });
  });

  it.each([20429, 21611, 30001, 30022, 63018])("of error %i is deferred", async (code) => {
    server.answer = { status: 400, body: problem(code) };
    expect(await send()).toMatchObject({ kind: "deferred", code: String(code), retryAfterSeconds: null });
  });

  it("of quiet hours is deferred for an hour at a time", async () => {
    server.answer = { status: 400, body: problem(30610) };
    expect(await send()).toMatchObject({ kind: "deferred", code: "30610", retryAfterSeconds: 3600 });
  });

  it.each([
    ["a number", "3", 3],
    ["a date", "Fri, 20 Nov 2026 12:01:00 GMT", 60],
    ["zero", "0", 1],
    ["a negative number", "-5", 1],
    ["ten years", "315360000", 3600],
    ["garbage", "soon", null],
  ])("of a 429 with %s is deferred for a sane time", async (_name, header, retryAfterSeconds) => {
    server.answer = { status: 429, headers: { "retry-after": header }, body: problem(20429, 429) };
    expect(await send()).toMatchObject({ kind: "deferred", retryAfterSeconds });
  });

  it.each([
    [200, '{"sid":"SM1"}', { kind: "accepted", providerMessageId: "SM1" }],
    [201, "not json", { kind: "accepted", providerMessageId: null }],
    [201, '{"sid":null}', { kind: "accepted", providerMessageId: null }],
    [400, "<html>", { kind: "rejected", failure: "request", code: "400" }],
    [401, problem(20003, 401), { kind: "rejected", failure: "account", code: "20003" }],
    [401, "", { kind: "rejected", failure: "account", code: "401" }],
    [404, problem(20404, 404), { kind: "rejected", failure: "account" }],
    [429, "<html>", { kind: "deferred", code: "429" }],
    [408, "", { kind: "ambiguous" }],
    [302, "", { kind: "ambiguous" }],
    [500, problem(20500, 500), { kind: "ambiguous" }],
    [502, "<html>Bad Gateway</html>", { kind: "ambiguous" }],
    [503, problem(20503, 503), { kind: "ambiguous" }],
  ])("of status %i with body %s is what it proves", async (status, body, expected) => {
    server.answer = { status, body };
    expect(await send()).toMatchObject(expected);
    expect(server.requests).toHaveLength(1);
  });

  it("is ambiguous when the answer is lost and deferred when nothing was sent", async () => {
    server.answer = "reset";
    expect(await send()).toMatchObject({ kind: "ambiguous" });
    server.answer = "hang";
    expect(await send({}, {}, 1_000)).toMatchObject({ kind: "ambiguous" });
    const nothing = await send({}, { apiBaseUrl: "http://127.0.0.1:1" });
    expect(nothing).toMatchObject({ kind: "deferred", code: "not_sent", retryAfterSeconds: null });
  });
});

import twilio from "twilio/lib/webhooks/webhooks.js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  accountSid,
  authToken,
  jsonOf,
  putBehaviour,
  type Received,
  type Rig,
  rig,
  sendSms,
  start,
} from "./support.ts";

let on: Rig;
beforeEach(async () => {
  on = await rig();
});
afterEach(() => on.stop());

interface Resource {
  readonly sid: string;
  readonly num_segments: string;
}
interface Refusal {
  readonly code: number;
}

const [from, to] = ["+12025550100", "+12025550142"];
const sms = (parts: Readonly<Record<string, string>> = {}) => ({
  To: to,
  From: from,
  Body: "Hello there",
  StatusCallback: `${on.endpoint.origin}/webhooks/twilio/chc_2?m=omsg_01TEST&x=%20y`,
  ...parts,
});
const told = (...script: object[]) => putBehaviour(on.simulator, { overrides: { [to]: script } });
const fieldsOf = ({ body }: Received) => Object.fromEntries(new URLSearchParams(body.toString()));
const isSigned = (received: Received, token = authToken) =>
  twilio.validateRequest(
    token,
    received.headers["x-twilio-signature"] ?? "",
    on.endpoint.origin + received.url,
    fieldsOf(received),
  );

describe("create message", () => {
  test("answers 201 with the resource, and logs the accept with our id from the callback", async () => {
    const response = await sendSms(on.simulator, sms());
    expect(response.status).toBe(201);
    const resource = await jsonOf<Resource>(response);
    expect(resource).toMatchObject({
      sid: expect.stringMatching(/^SM[0-9a-f]{32}$/),
      account_sid: accountSid,
      status: "queued",
      direction: "outbound-api",
      body: "Hello there",
      num_segments: "1",
      from,
      to,
      error_code: null,
      date_created: "Mon, 02 Mar 2026 10:00:00 +0000",
    });
    expect(on.simulator.accepted()).toMatchObject([
      { provider: "twilio", messageId: resource.sid, ourMessageId: "omsg_01TEST", to, from, ordinal: 1 },
    ]);
  });

  test.each([
    ["no To", { To: "" }, 21604],
    ["an impossible To", { To: "+1555" }, 21211],
    ["a To that is not E.164", { To: "202-555-0142" }, 21211],
    ["no From", { From: "" }, 21603],
    ["an empty body", { Body: "" }, 21602],
    ["a body over 1,600 characters", { Body: "x".repeat(1601) }, 21617],
    ["a callback that is no URL", { StatusCallback: "nowhere" }, 21609],
  ])("refuses %s with Twilio's error shape and takes nothing", async (_name, parts, code) => {
    const response = await sendSms(on.simulator, sms(parts));
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      code,
      message: expect.any(String),
      more_info: `https://www.twilio.com/docs/errors/${code}`,
      status: 400,
    });
    expect(on.simulator.accepted()).toEqual([]);
  });

  test("refuses a wrong token and another account's with 20003", async () => {
    for (const [account, token] of [
      [accountSid, "wrong"],
      [`AC${"b".repeat(32)}`, authToken],
    ] as const) {
      const response = await sendSms(on.simulator, sms(), account, token);
      expect([response.status, (await jsonOf<Refusal>(response)).code]).toEqual([401, 20003]);
    }
  });

  test("counts segments of plain and of unicode text", async () => {
    const count = async (Body: string) => (await jsonOf<Resource>(sendSms(on.simulator, sms({ Body })))).num_segments;
    expect([
      await count("a".repeat(160)),
      await count("a".repeat(161)),
      await count("ж".repeat(70)),
      await count("ж".repeat(71)),
    ]).toEqual(["1", "2", "1", "2"]);
  });
});

describe("status callbacks", () => {
  test("go to the message's own URL, query included, signed as the vendor's verifier wants it", async () => {
    await told({ kind: "processed", afterSeconds: 1 }, { kind: "delivered", afterSeconds: 3 });
    const { sid } = await jsonOf<Resource>(sendSms(on.simulator, sms()));
    await on.run();
    expect(on.endpoint.received.map(fieldsOf)).toMatchObject([
      { MessageSid: sid, MessageStatus: "sent", SmsStatus: "sent", To: to, From: from, AccountSid: accountSid },
      { MessageSid: sid, MessageStatus: "delivered", RawDlrDoneDate: "2603021000" },
    ]);
    for (const received of on.endpoint.received) {
      expect(received.url).toBe("/webhooks/twilio/chc_2?m=omsg_01TEST&x=%20y");
      expect([isSigned(received), isSigned(received, "other")]).toEqual([true, false]);
    }
  });

  test("an undelivered message names the carrier's error", async () => {
    await told({ kind: "undelivered", afterSeconds: 3, code: 30006 });
    await sendSms(on.simulator, sms());
    await on.run();
    expect(on.endpoint.received.map(fieldsOf)).toMatchObject([{ MessageStatus: "undelivered", ErrorCode: "30006" }]);
  });

  test("are not repeated when the endpoint answers 500", async () => {
    await told({ kind: "delivered", afterSeconds: 1 });
    on.endpoint.answers = [500];
    await sendSms(on.simulator, sms());
    await on.run();
    expect(on.endpoint.received.length).toBe(1);
  });

  test("are not sent for a message that asks for none", async () => {
    const { StatusCallback: _, ...without } = sms();
    await told({ kind: "delivered", afterSeconds: 1 });
    await sendSms(on.simulator, without);
    await on.run();
    expect(on.endpoint.received).toEqual([]);
  });
});

describe("inbound messages", () => {
  test("a reply comes from the recipient to the sender's number, signed", async () => {
    await told({ kind: "replied", afterSeconds: 60, text: "Tell me more 👍 & how" });
    await sendSms(on.simulator, sms());
    await on.run();
    const [received] = on.endpoint.received;
    if (received === undefined) throw new Error("no reply came");
    expect(fieldsOf(received)).toMatchObject({
      From: to,
      To: from,
      Body: "Tell me more 👍 & how",
      SmsStatus: "received",
      NumMedia: "0",
    });
    expect(fieldsOf(received)).not.toHaveProperty("OptOutType");
    expect(received.url).toBe("/webhooks/twilio/chc_2");
    expect(isSigned(received)).toBe(true);
  });

  test("after STOP that sender is refused with 21610, another sender is not", async () => {
    await told({ kind: "stop", afterSeconds: 60, text: "Stop" });
    await sendSms(on.simulator, sms());
    await on.run();
    expect(on.endpoint.received.map(fieldsOf)).toMatchObject([{ Body: "Stop", OptOutType: "STOP" }]);
    const refused = await sendSms(on.simulator, sms());
    expect([refused.status, (await jsonOf<Refusal>(refused)).code]).toEqual([400, 21610]);
    expect((await sendSms(on.simulator, sms({ From: "+12025550101" }))).status).toBe(201);
  });

  test("a STOP whose webhook is lost still blocks", async () => {
    await putBehaviour(on.simulator, {
      overrides: { [to]: [{ kind: "stop", afterSeconds: 60 }] },
      webhooks: { dropRate: 1 },
    });
    await sendSms(on.simulator, sms());
    await on.run();
    expect(on.endpoint.received).toEqual([]);
    expect((await jsonOf<Refusal>(sendSms(on.simulator, sms()))).code).toBe(21610);
  });
});

describe("look-up", () => {
  const get = (path: string, token = authToken) =>
    fetch(`${on.simulator.url}/2010-04-01/Accounts/${accountSid}/${path}`, {
      headers: { authorization: `Basic ${Buffer.from(`${accountSid}:${token}`).toString("base64")}` },
    });

  test("finds an accepted message by recipient and time, with the status it has now", async () => {
    await told({ kind: "processed", afterSeconds: 1 }, { kind: "undelivered", afterSeconds: 10, code: 30003 });
    const { sid } = await jsonOf<Resource>(sendSms(on.simulator, sms()));
    const list = async (query: string) =>
      (await jsonOf<{ messages: Resource[] }>(get(`Messages.json?${query}`))).messages;
    const encoded = encodeURIComponent(to);
    expect(await list(`To=${encoded}&DateSent%3E=2026-03-02`)).toMatchObject([{ sid, status: "queued" }]);
    expect(await list(`To=${encoded}&DateSent%3E=2026-03-03`)).toEqual([]);
    expect(await list("To=%2B12025550199")).toEqual([]);
    on.clock.at = new Date(start.getTime() + 10_000);
    expect(await (await get(`Messages/${sid}.json`)).json()).toMatchObject({
      sid,
      status: "undelivered",
      error_code: 30003,
    });
  });

  test("knows no other message and no other token", async () => {
    expect((await get(`Messages/SM${"0".repeat(32)}.json`)).status).toBe(404);
    expect((await get("Messages.json", "wrong")).status).toBe(401);
  });
});

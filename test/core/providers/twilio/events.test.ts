import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newId } from "../../../../core/kernel/id.ts";
import type { ParsedDelivery } from "../../../../core/ports/sender.ts";
import { twilio } from "../../../../core/providers/twilio/index.ts";
import { runs } from "../../../support/runs.ts";

const receivedAt = new Date("2026-11-20T12:00:30Z");
const messageId = newId("message", receivedAt);
const url = "https://out.example/webhooks/twilio/chc_1";

async function parse(form: Record<string, string> | Uint8Array, at = url): Promise<ParsedDelivery> {
  const body = form instanceof Uint8Array ? form : Buffer.from(new URLSearchParams(form).toString());
  return await twilio.parse({ url: at, headers: {}, body }, receivedAt);
}
const status = async (form: Record<string, string>, at = `${url}?m=${messageId}`) => {
  const { events, inbound, problems } = await parse({ MessageSid: "SM1", To: "+12025550123", ...form }, at);
  expect([inbound, problems]).toEqual([[], []]);
  return events[0];
};
const message = async (form: Record<string, string>) => {
  const { events, inbound, problems } = await parse({
    MessageSid: "SM1",
    SmsStatus: "received",
    From: "+12025550123",
    To: "+12025550199",
    ...form,
  });
  expect([events, problems]).toEqual([[], []]);
  return inbound[0];
};

describe("a status callback", () => {
  it.each([
    ["accepted", "queued"],
    ["scheduled", "queued"],
    ["queued", "queued"],
    ["sending", "sent"],
    ["sent", "sent"],
    ["delivered", "delivered"],
    ["undelivered", "failed"],
    ["failed", "failed"],
    ["read", "opened"],
    ["canceled", "dropped"],
    ["partially_delivered", "unknown"],
    ["receiving", "unknown"],
    ["received", "unknown"],
    ["constructor", "unknown"],
  ])("of %s is %s", async (given, type) => {
    expect(await status({ MessageStatus: given })).toMatchObject({ type, providerEventId: `SM1:${given}` });
  });

  it("brings back our id, the recipient and the status as its key", async () => {
    expect(await status({ MessageStatus: "delivered", From: "+12025550199", AccountSid: "AC1" })).toEqual({
      providerEventId: "SM1:delivered",
      type: "delivered",
      at: receivedAt,
      messageId,
      providerMessageId: "SM1",
      channel: "sms",
      address: "+12025550123",
      machine: false,
      metadata: { status: "delivered", From: "+12025550199" },
    });
  });

  it("in its shortest real form is read", async () => {
    const { events } = await parse({ MessageSid: "SM1", MessageStatus: "sent" });
    expect(events).toMatchObject([{ type: "sent", messageId: null, address: null }]);
    expect((await parse({ SmsSid: "SM1", SmsStatus: "sent" })).events).toMatchObject([{ type: "sent" }]);
  });

  it.each(["", "?m=", "?m=omsg_1", "?m=lead_01J00000000000000000000000"])(
    "does not take %j for one of our ids",
    async (query) => {
      expect((await status({ MessageStatus: "sent" }, url + query))?.messageId).toBeNull();
    },
  );

  it.each([
    ["21610", { failure: "suppress" }],
    ["30006", { failure: "recipient" }],
    ["30007", { failure: "content" }],
    ["30034", { failure: "account" }],
    ["30003", { bounce: "soft" }],
    ["30008", {}],
    ["99999", {}],
    ["x", {}],
  ])("failed with %s means %j", async (code, expected) => {
    const event = await status({ MessageStatus: "undelivered", ErrorCode: code, ErrorMessage: "why" });
    const { failure, bounce } = event ?? {};
    expect(JSON.parse(JSON.stringify({ failure, bounce }))).toEqual(expected);
    expect(event).toMatchObject({ type: "failed", code, reason: "why" });
  });

  it("keeps the failure class off a message that did not fail", async () => {
    expect(await status({ MessageStatus: "sent", ErrorCode: "21610" })).not.toHaveProperty("failure");
  });

  it.each([
    ["2611201158", "2026-11-20T11:58:00Z"],
    ["2611201200", "2026-11-20T12:00:00Z"],
    ["2611201300", "2026-11-20T12:00:30Z"],
    ["2611200658", "2026-11-20T12:00:30Z"],
    ["2613991158", "2026-11-20T12:00:30Z"],
    ["soon", "2026-11-20T12:00:30Z"],
  ])("with the carrier's date %s happened at %s", async (RawDlrDoneDate, at) => {
    expect((await status({ MessageStatus: "delivered", RawDlrDoneDate }))?.at).toEqual(new Date(at));
  });

  it("of WhatsApp is told from its prefix, or from its own parameters when the prefix is missing", async () => {
    const plain = { MessageStatus: "read" };
    expect(await status({ ...plain, To: "whatsapp:+12025550123" })).toMatchObject({
      channel: "whatsapp",
      type: "opened",
      address: "+12025550123",
    });
    expect(await status({ ...plain, ChannelPrefix: "whatsapp" })).toMatchObject({ channel: "whatsapp" });
  });
});

describe("an inbound message", () => {
  it("of the documented WhatsApp sample is read", async () => {
    const body = readFileSync(new URL("../../../fixtures/twilio/inbound.whatsapp.text.form", import.meta.url));
    const { events, inbound, problems } = await parse(body);
    expect([events, problems]).toEqual([[], []]);
    expect(inbound).toEqual([
      {
        providerMessageId: "SM00000000000000000000000000000b01",
        channel: "whatsapp",
        from: "+14135550123",
        to: "+12025550111",
        subject: null,
        text: "Interested! 👍",
        html: null,
        headers: {},
        references: [],
        optOut: null,
        at: null,
      },
    ]);
  });

  it("with media only has an empty text", async () => {
    expect(await message({ NumMedia: "1", MediaUrl0: "https://api.twilio.com/x" })).toMatchObject({ text: "" });
  });

  it("from a button says what the button said", async () => {
    expect(await message({ Body: "payload", ButtonText: "Yes, call me", ButtonPayload: "p" })).toMatchObject({
      text: "Yes, call me",
    });
  });

  it.each([
    ["STOP", "stop"],
    ["START", "start"],
    ["help", "help"],
    ["OTHER", null],
  ])("with OptOutType %s says %s", async (OptOutType, optOut) => {
    expect((await message({ Body: "arrêt", OptOutType }))?.optOut).toBe(optOut);
  });

  it("leaves keywords to those who decide them", async () => {
    expect(await message({ Body: "STOP" })).toMatchObject({ text: "STOP", optOut: null });
  });

  it("never makes a number out of a business-scoped id or a short code", async () => {
    expect(await message({ From: "whatsapp:US.12025550123", WaId: "12025550123" })).toMatchObject({
      channel: "whatsapp",
      from: "US.12025550123",
    });
    expect(await message({ To: "54321" })).toMatchObject({ channel: "sms", to: "54321" });
  });

  it("holds nothing that PostgreSQL refuses", async () => {
    expect((await message({ Body: "a\0b" }))?.text).toBe("a\uFFFDb");
  });
});

describe("any other body", () => {
  it.each([
    ["nothing", ""],
    ["no sid", "MessageStatus=sent"],
    ["no sender", "MessageSid=SM1"],
    ["JSON without a hash", '{"MessageSid":"SM1"}'],
  ])("with %s is one problem", async (_name, body) => {
    expect(await parse(Buffer.from(body))).toMatchObject({ events: [], inbound: [], problems: [{ index: -1 }] });
  });

  it("that is JSON and says so in its URL is read", async () => {
    const body = Buffer.from('{"MessageSid":"SM1","MessageStatus":"delivered","ErrorCode":null}');
    expect((await parse(body, `${url}?bodySHA256=00&m=${messageId}`)).events).toMatchObject([
      { type: "delivered", messageId },
    ]);
  });

  it("never throws, whatever the bytes and the URL are, and keeps only what PostgreSQL takes", async () => {
    const names = fc.constantFrom(
      "MessageSid",
      "MessageStatus",
      "SmsStatus",
      "From",
      "To",
      "Body",
      "ErrorCode",
      "OptOutType",
    );
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .dictionary(names, fc.string({ unit: "binary" }))
        .map((form) => Buffer.from(new URLSearchParams(form).toString())),
    );
    const anyUrl = fc.oneof(fc.string(), fc.webUrl({ withQueryParameters: true }), fc.constant(`${url}?bodySHA256=1`));
    await fc.assert(
      fc.asyncProperty(body, anyUrl, async (bytes, at) => {
        const { events, inbound, problems } = await parse(bytes, at);
        expect(events.length + inbound.length + problems.length).toBe(1);
        expect(JSON.stringify([events, inbound])).not.toMatch(/\\u0000|\\ud[89a-f]/i);
      }),
      { numRuns: runs(750, 3_000) },
    );
  });
});

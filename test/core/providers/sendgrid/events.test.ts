import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newId } from "../../../../core/kernel/id.ts";
import type { ParsedDelivery } from "../../../../core/ports/sender.ts";
import { sendgrid } from "../../../../core/providers/sendgrid/index.ts";
import { runs } from "../../../support/runs.ts";

const fixtures = new URL("../../../fixtures/", import.meta.url);
const fixture = (name: string): Buffer => readFileSync(new URL(name, fixtures));
const receivedAt = new Date("2026-11-20T12:00:00Z");
const json = { "content-type": "application/json" };

async function parse(body: unknown, headers: Record<string, string> = json): Promise<ParsedDelivery> {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
  return await sendgrid.parse({ url: "", headers, body: bytes }, receivedAt);
}

interface IndexRow {
  readonly provider: string;
  readonly file: string;
  readonly expect?: readonly { readonly kind: string; readonly sub?: string; readonly detail?: string }[];
}
const index = JSON.parse(fixture("INDEX.json").toString()) as { files: IndexRow[] };
const documented = index.files.filter(({ provider, file, expect: rows }) => {
  return provider === "sendgrid" && rows !== undefined && /\/events?\./.test(file);
});

const base = {
  email: "Ada@Example.com",
  timestamp: 1_792_000_000,
  sg_event_id: "evt-1",
  sg_message_id: "abc.filter.1",
};
const one = async (event: Record<string, unknown>) => {
  const { events, problems } = await parse([{ ...base, ...event }]);
  expect(problems).toEqual([]);
  return events[0];
};

describe("every documented event becomes what its documentation says", () => {
  it("has samples", () => {
    expect(documented.length).toBeGreaterThan(12);
  });

  it.each(documented)("$file", async ({ file, expect: rows }) => {
    const { events, inbound, problems } = await parse(fixture(file));
    expect(problems).toEqual([]);
    expect(inbound).toEqual([]);
    expect(events.map(({ type }) => type)).toEqual(rows?.map(({ kind }) => kind));
    for (const [at, row] of (rows ?? []).entries()) {
      if (row.sub === "hard" || row.sub === "soft") expect(events[at]?.bounce).toBe(row.sub);
      expect(events[at]?.machine).toBe(row.detail === "machine");
    }
  });
});

describe("one event", () => {
  it("brings back our id, SendGrid's id before the first dot, and the normalised address", async () => {
    const messageId = newId("message", receivedAt);
    const event = await one({ event: "delivered", outrider_message_id: messageId, response: "250 OK", tls: 1 });
    expect(event).toEqual({
      providerEventId: "evt-1",
      type: "delivered",
      at: new Date(1_792_000_000_000),
      messageId,
      providerMessageId: "abc",
      channel: "email",
      address: "ada@example.com",
      machine: false,
      reason: "250 OK",
      metadata: { event: "delivered", sg_message_id: "abc.filter.1", tls: 1 },
    });
  });

  it.each([
    [{ sg_message_id: "LRzXl_NHSt.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0" }, "LRzXl_NHSt"],
    [{ sg_message_id: "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0" }, "14c5d75ce93.dfd.64b469"],
    [{ sg_message_id: "abc.recvd-5c8d9-abc-1-60A6C1B2-4.0" }, "abc"],
    [{ sg_message_id: "abc.canary.1" }, "abc"],
    [{ sg_message_id: "abc" }, "abc"],
    [{ sg_message_id: "" }, null],
    [{ sg_message_id: undefined, "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>" }, "14c5d75ce93.dfd.64b469"],
    [{ sg_message_id: undefined, "smtp-id": "<wrfRR@ismtpd0006p1sjc2.sendgrid.net>" }, "wrfRR"],
    [{ sg_message_id: undefined, "smtp-id": "<our.own@out.example>" }, null],
    [{ sg_message_id: undefined }, null],
  ])("with %j belongs to the send answered %j", async (fields, id) => {
    expect((await one({ event: "bounce", ...fields }))?.providerMessageId).toBe(id);
  });

  it.each(["omsg_1", "lead_01J00000000000000000000000", 42, null, "omsg_01J0000000000000000000000U'"])(
    "does not take %j for one of our ids",
    async (outrider_message_id) => {
      expect((await one({ event: "open", outrider_message_id }))?.messageId).toBeNull();
    },
  );

  it("is read whatever the case of its name and the unit or type of its timestamp", async () => {
    const at = new Date(1_792_000_000_000);
    expect(await one({ event: "Delivered" })).toMatchObject({ type: "delivered", at });
    expect(await one({ event: "click", timestamp: 1_792_000_000_000 })).toMatchObject({ type: "clicked", at });
    expect(await one({ event: "click", timestamp: "1792000000" })).toMatchObject({ at });
  });

  it("never happened after it was reported", async () => {
    expect((await one({ event: "open", timestamp: 9e15 }))?.at).toEqual(receivedAt);
  });

  it.each([
    [
      { type: "bounce", status: "5.1.1" },
      { bounce: "hard", failure: "recipient", code: "5.1.1" },
    ],
    [{ status: "5.0.0" }, { bounce: "hard", failure: "recipient" }],
    [{ type: "blocked", status: "5.7.1" }, { bounce: "soft" }],
    [
      { type: "bounce", bounce_classification: "Invalid Address" },
      { bounce: "hard", failure: "recipient" },
    ],
    [
      { type: "bounce", bounce_classification: "Reputation" },
      { bounce: "soft", failure: "account" },
    ],
    [
      { type: "blocked", bounce_classification: "Frequency or Volume Too High" },
      { bounce: "soft", failure: "account" },
    ],
    [
      { type: "bounce", bounce_classification: "Content" },
      { bounce: "soft", failure: "content" },
    ],
    [{ type: "blocked", bounce_classification: "Technical" }, { bounce: "soft" }],
    [
      { type: "bounce", bounce_classification: "constructor" },
      { bounce: "hard", failure: "recipient" },
    ],
  ])("bounced with %j tells the address's fault from ours", async (fields, expected) => {
    const event = await one({ event: "bounce", ...fields });
    expect(event).toMatchObject({ type: "bounced", ...expected });
    if (!("failure" in expected)) expect(event).not.toHaveProperty("failure");
  });

  it.each([
    ["Bounced Address", "recipient"],
    ["Invalid", "recipient"],
    ["Unsubscribed Address", "suppress"],
    ["Spam Reporting Address", "suppress"],
    ["Spam Content (if Spam Checker app is enabled)", "content"],
    ["Invalid SMTPAPI header", "request"],
    ["Recipient List over Package Quota", "account"],
    ["Something new", undefined],
  ])("dropped because of %j means %s", async (reason, failure) => {
    const event = await one({ event: "dropped", reason });
    expect(event?.failure).toBe(failure);
    expect(event).toMatchObject({ type: "dropped", reason });
  });

  it("opened by a machine says so", async () => {
    expect((await one({ event: "open", sg_machine_open: true }))?.machine).toBe(true);
    expect((await one({ event: "open", sg_machine_open: "true" }))?.machine).toBe(true);
    expect((await one({ event: "open", sg_machine_open: false }))?.machine).toBe(false);
    expect((await one({ event: "click", sg_machine_open: true }))?.machine).toBe(false);
  });

  it("of an unknown kind is kept under its name", async () => {
    expect(await one({ event: "cosmic_ray" })).toMatchObject({ type: "unknown", metadata: { event: "cosmic_ray" } });
    expect(await one({ event: "constructor" })).toMatchObject({ type: "unknown" });
  });

  it("survives an object that cannot become text", async () => {
    expect((await one({ event: "open", sg_machine_open: { toString: 1, valueOf: 1 } }))?.machine).toBe(false);
    const bounce = { event: "bounce", tls: { toString: 1, valueOf: 1 } };
    expect(await one(bounce)).toMatchObject({ type: "bounced" });
  });

  it("survives fields of the wrong type", async () => {
    const event = await one({ event: "bounce", email: 5, reason: {}, tls: "x", "smtp-id": [], sg_message_id: null });
    expect(event).toMatchObject({ type: "bounced", address: null, providerMessageId: null });
  });

  it("without sg_event_id has the same id at every redelivery and another one for another fact", async () => {
    const id = async (changes: Record<string, unknown>) =>
      (await one({ event: "click", sg_event_id: undefined, url: "https://a.example", ...changes }))?.providerEventId;
    const first = await id({});
    expect(first).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await id({ useragent: "other" })).toBe(first);
    const others = await Promise.all(
      [{ url: "https://b.example" }, { email: "b@example.com" }, { timestamp: 1_792_000_001 }, { event: "open" }].map(
        id,
      ),
    );
    expect(new Set([first, ...others]).size).toBe(5);
  });
});

describe("a batch", () => {
  it("of 1,000 with one bad event applies 999 and reports one", async () => {
    const events = Array.from({ length: 1_000 }, (_, at) => ({ ...base, event: "open", sg_event_id: `e${at}` }));
    for (const bad of [
      null,
      7,
      "x",
      [],
      {},
      { event: 5, timestamp: 1 },
      { event: "open" },
      { event: "open", timestamp: 12 },
      { event: "open", timestamp: { valueOf: 1, toString: 1 } },
    ]) {
      const parsed = await parse(events.with(417, bad as (typeof events)[number]));
      expect(parsed.events).toHaveLength(999);
      expect(parsed.problems).toHaveLength(1);
      expect(parsed.problems[0]?.index).toBe(417);
    }
  });

  it.each<[string, string, string]>([
    ["no JSON", "oops", "body: syntax"],
    ["an object", '{"event":"open"}', "body: expected an array of events"],
    ["a depth bomb", "[".repeat(5_000), "body: depth"],
    ["a polluting key", '[{"__proto__":{"event":"open"}}]', "body: forbidden_key"],
    ["too long", `["${"x".repeat(1_048_576)}"]`, "body: too_large"],
    ["empty", "", "body: syntax"],
    ["hundreds of thousands of nothings", `[${'"",'.repeat(300_000)}""]`, "body: more than 20000 events"],
  ])("that is %s is one problem", async (_name, body, reason) => {
    expect(await parse(Buffer.from(body))).toEqual({ events: [], inbound: [], problems: [{ index: -1, reason }] });
  });

  it("without a content type is still read", async () => {
    expect((await parse([{ ...base, event: "open" }], {})).events).toHaveLength(1);
  });

  it("never throws, whatever the bytes are, and keeps only what PostgreSQL takes", async () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc
        .array(
          fc.dictionary(
            fc.constantFrom("event", "timestamp", "email", "sg_event_id", "sg_message_id", "url", "reason", "type"),
            fc.oneof(fc.jsonValue(), fc.constantFrom("open", "bounce", "dropped", "\u0000", "\ud800", 1_792_000_000)),
          ),
        )
        .map((events) => Buffer.from(JSON.stringify(events))),
    );
    await fc.assert(
      fc.asyncProperty(hostile, async (body) => {
        const { events } = await parse(body);
        expect(JSON.stringify(events)).not.toMatch(/\\u0000|\\ud[89a-f]/i);
        for (const { at } of events) expect(at.getTime()).toBeLessThanOrEqual(receivedAt.getTime());
      }),
      { numRuns: runs(500, 2_000) },
    );
  });
});

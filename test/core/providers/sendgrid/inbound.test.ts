import { globSync, readFileSync } from "node:fs";
import fc from "fast-check";
import iconv from "iconv-lite";
import { describe, expect, it } from "vitest";
import { sendgrid } from "../../../../core/providers/sendgrid/index.ts";
import { runs } from "../../../support/runs.ts";

const fixtures = new URL("../../../fixtures/sendgrid/", import.meta.url);
const fixture = (name: string): Buffer => readFileSync(new URL(name, fixtures));
const receivedAt = new Date("2026-11-20T12:00:00Z");
const headers = { "content-type": "multipart/form-data; boundary=xYzZY" };
const parse = async (body: Uint8Array, given: Record<string, string> = headers) =>
  await sendgrid.parse({ url: "", headers: given, body }, receivedAt);

function form(fields: Readonly<Record<string, string | Uint8Array>>): Buffer {
  const parts = Object.entries(fields).flatMap(([name, value]) => [
    Buffer.from(`--xYzZY\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`),
    Buffer.from(value),
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...parts, Buffer.from("--xYzZY--\r\n")]);
}

const envelope = '{"to":["reply+abc@in.example.com"],"from":"bounce@mail.example.org"}';
const received = async (fields: Readonly<Record<string, string | Uint8Array>>) => {
  const { inbound, problems } = await parse(form(fields));
  expect(problems).toEqual([]);
  return inbound[0];
};

describe("the documented samples", () => {
  it("in default mode", async () => {
    const { events, inbound, problems } = await parse(fixture("inbound-parse.default.multipart.txt"));
    expect([events, problems]).toEqual([[], []]);
    expect(inbound).toHaveLength(1);
    expect(inbound[0]).toMatchObject({
      providerMessageId: expect.stringMatching(/^sha256:/),
      channel: "email",
      from: "test@example.com",
      to: "inbound@inbound.example.com",
      subject: "Inbound Parse Test Data",
      text: "Hello Twilio SendGrid!\r\n",
      headers: { "return-path": "<test@example.com>", "delivered-to": "inbound@inbound.example.com" },
      references: [],
      optOut: null,
      at: new Date("2016-08-11T01:10:13Z"),
    });
    expect(inbound[0]?.html).toContain("<strong>Hello Twilio SendGrid!");
  });

  it("in raw mode", async () => {
    const { inbound, problems } = await parse(fixture("inbound-parse.raw.multipart.txt"));
    expect(problems).toEqual([]);
    expect(inbound[0]).toMatchObject({
      from: "test@example.com",
      to: "inbound@inbound.inbound.com",
      subject: "Inbound Parse Test Raw Data",
      text: expect.stringContaining("Hello Twilio SendGrid!"),
      html: expect.stringContaining("<strong>Hello Twilio SendGrid!"),
    });
  });

  it("with a sender in the envelope that differs from the header", async () => {
    const fields = JSON.parse(fixture("inbound-parse.fields.json").toString()) as Record<string, string>;
    expect(await received(fields)).toMatchObject({
      providerMessageId: "<CAEPk3R+4Zr@mail.example.org>",
      from: "from+test@example.org",
      to: "test@inbound.example.com",
      subject: "Test subject",
      text: "Test body plain",
      html: "<div>Test body html</div>",
      headers: { "return-path": "<envelope-from@example.org>", cc: "cc@example.com" },
    });
  });

  it("as raw MIME with an encoded body", async () => {
    const fields = JSON.parse(fixture("inbound-parse.raw-mime.fields.json").toString()) as Record<string, string>;
    expect(await received(fields)).toMatchObject({
      providerMessageId: "<CAEPk3RKEx@mail.example.org>",
      text: expect.stringContaining("It's a body…"),
    });
  });
});

describe("the collected e-mails", () => {
  const root = new URL("../../../fixtures/email/", import.meta.url);
  const files = globSync("**/*.eml", { cwd: root });

  it("are there", () => {
    expect(files.length).toBeGreaterThan(7);
  });

  it.each(files)("%s comes through raw mode with sender, text and the headers that tell a reply", async (file) => {
    const email = readFileSync(new URL(file, root));
    const message = await received({ email, envelope });
    expect(message?.from).toMatch(/@/);
    expect(message?.to).toBe("reply+abc@in.example.com");
    expect(message?.text.trim()).not.toBe("");
    const told = /^(auto-submitted|precedence|in-reply-to|x-auto[a-z-]*):/gim;
    const names = [
      ...email
        .toString("latin1")
        .split(/\r?\n\r?\n/, 1)
        .join("")
        .matchAll(told),
    ].map(([, name]) => name);
    expect(Object.keys(message?.headers ?? {})).toEqual(
      expect.arrayContaining(names.map((name) => name?.toLowerCase())),
    );
  });
});

describe("a received e-mail", () => {
  it("names what it answers, nearest first and once each", async () => {
    const block = [
      "From: Ada <ada@example.com>",
      "Message-ID: <reply-1@example.com>",
      "In-Reply-To: <third@out.example>",
      "References: <first@out.example>",
      "\t<second@out.example> <third@out.example>",
      "Auto-Submitted: auto-replied",
      "X-Note: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
    ].join("\r\n");
    expect(await received({ headers: block, envelope, text: "Yes" })).toMatchObject({
      providerMessageId: "<reply-1@example.com>",
      references: ["<third@out.example>", "<second@out.example>", "<first@out.example>"],
      headers: { "auto-submitted": "auto-replied", "x-note": "Grüße" },
    });
  });

  it("is decoded field by field with the charset named for it", async () => {
    const message = await received({
      headers: "From: ada@example.com",
      envelope,
      charsets: '{"text":"shift_jis","html":"windows-1252","subject":"UTF-8"}',
      subject: "Grüße",
      text: iconv.encode("返信です", "shift_jis"),
      html: iconv.encode("<p>café €</p>", "windows-1252"),
    });
    expect(message).toMatchObject({ subject: "Grüße", text: "返信です", html: "<p>café €</p>" });
  });

  it("in an unknown charset is read as UTF-8", async () => {
    const message = await received({
      envelope,
      from: "ada@example.com",
      charsets: '{"text":"klingon"}',
      text: "naïve",
    });
    expect(message?.text).toBe("naïve");
  });

  it("with HTML only gets a text to classify", async () => {
    const message = await received({ envelope, from: "ada@example.com", html: "<p>Please <b>stop</b></p><br>Ada" });
    expect(message?.text).toContain("Please stop");
    expect(message?.text).not.toContain("<");
  });

  it("is routed by the envelope and not by the header", async () => {
    const message = await received({
      headers: "From: ada@example.com\r\nTo: list@elsewhere.example",
      envelope,
      text: "x",
    });
    expect(message?.to).toBe("reply+abc@in.example.com");
    expect(await received({ headers: "From: ada@example.com\r\nTo: List <list@elsewhere.example>" })).toMatchObject({
      to: "list@elsewhere.example",
    });
  });

  it("with an empty envelope sender keeps that mark of a bounce", async () => {
    const message = await received({
      headers: "From: Mailer <mailer-daemon@example.com>\r\nReturn-Path: <forged@example.com>",
      envelope: '{"to":["reply@in.example.com"],"from":""}',
      text: "Delivery failed",
    });
    expect(message).toMatchObject({ from: "mailer-daemon@example.com", headers: { "return-path": "<>" } });
  });

  it("without text, subject, date or valid envelope is still a message", async () => {
    expect(
      await received({ from: "Ada <ada@example.com>", to: "me@in.example.com", envelope: "broken" }),
    ).toMatchObject({
      from: "ada@example.com",
      to: "me@in.example.com",
      subject: null,
      text: "",
      html: null,
      at: null,
    });
  });

  it("from the future has no date of its own", async () => {
    const block = "From: ada@example.com\r\nDate: Wed, 10 Aug 2044 18:10:13 -0700";
    expect((await received({ headers: block, envelope }))?.at).toBeNull();
  });

  it("ignores attachments and a second field of the same name", async () => {
    const body = Buffer.concat([
      Buffer.from('--xYzZY\r\nContent-Disposition: form-data; name="text"; filename="a.txt"\r\n\r\nfirst\r\n'),
      form({ text: "second", from: "ada@example.com", envelope, attachment1: Buffer.alloc(5_000, 0xff) }),
    ]);
    expect((await parse(body)).inbound[0]?.text).toBe("first");
  });

  it("holds nothing that PostgreSQL refuses", async () => {
    const message = await received({ envelope, from: "ada@example.com", text: "a\0b", headers: "Subject: x\0y" });
    expect(JSON.stringify(message)).not.toContain("\\u0000");
  });
});

describe("an e-mail made to be slow to read", () => {
  const fill = (text: string, bytes = 1_000_000): string => text.repeat(Math.floor(bytes / text.length));
  const nested = "From: ada@example.com\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n";

  // Most took between 1 s and 30 s without the limits; each takes about 0.1 s with them.
  it.each<[string, Record<string, string>]>([
    ["a million lists in HTML", { html: fill("<ul><li>") }],
    ["a million tables in HTML", { html: fill("<table><tr><td>") }],
    ["as many tags as are still read as HTML", { html: fill("<ul><li>", 19_000) }],
    ["a million blank lines after the headers", { headers: fill("\n") }],
    ["a million blank lines in raw mode", { email: nested + fill("\n") }],
    ["messages in messages", { email: nested + fill("Content-Type: message/rfc822\r\n\r\n") }],
    ["a million addresses", { from: fill("a:"), headers: "" }],
  ])(
    "by %s is read or refused at once",
    async (_name, fields) => {
      const { inbound, problems } = await parse(form({ from: "ada@example.com", envelope, ...fields }));
      expect(inbound.length + problems.length).toBe(1);
    },
    3_000,
  );

  it("keeps an ordinary message with a large attachment whole", async () => {
    const attachment = `${"A".repeat(76)}\r\n`.repeat(8_000);
    const email = `${nested}\r\nHello\r\n--a\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n${attachment}\r\n--a\r\n\r\nBye\r\n--a--`;
    expect((await received({ email, envelope }))?.text).toMatch(/Hello.*Bye/s);
  });
});

describe("a broken form", () => {
  it.each<[string, Uint8Array, Record<string, string>]>([
    ["no boundary", form({ text: "x" }), { "content-type": "multipart/form-data" }],
    [
      "another boundary",
      form({ from: "a@example.com", envelope }),
      { "content-type": "multipart/form-data; boundary=no" },
    ],
    ["no body", new Uint8Array(), headers],
    ["no sender", form({ text: "x" }), headers],
    ["a cut body", form({ from: "ada@example.com", envelope, text: "hello" }).subarray(0, 150), headers],
  ])("with %s is one problem", async (_name, body, given) => {
    const parsed = await parse(body, given);
    expect(parsed).toMatchObject({ events: [], inbound: [], problems: [{ index: -1 }] });
  });

  it("never throws and never hangs, wherever bytes are cut, changed or inserted", async () => {
    const samples = [
      fixture("inbound-parse.default.multipart.txt"),
      fixture("inbound-parse.raw.multipart.txt"),
      form({ from: "ada@example.com", envelope, text: "hello" }),
    ];
    const mangled = fc
      .tuple(fc.constantFrom(...samples), fc.nat(1_500), fc.nat(60), fc.uint8Array({ maxLength: 20 }))
      .map(([sample, at, drop, insert]) => Buffer.concat([sample.subarray(0, at), insert, sample.subarray(at + drop)]));
    await fc.assert(
      fc.asyncProperty(fc.oneof(mangled, fc.uint8Array({ maxLength: 300 })), async (body) => {
        const { inbound, problems } = await parse(body);
        expect(inbound.length + problems.length).toBe(1);
        expect(JSON.stringify(inbound)).not.toMatch(/\\u0000|\\ud[89a-f]/i);
      }),
      { numRuns: runs(400, 1_500) },
    );
  });
});

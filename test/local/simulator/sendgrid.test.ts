import { createPublicKey, verify } from "node:crypto";
import { Busboy } from "@fastify/busboy";
import sendgrid from "@sendgrid/eventwebhook";
import PostalMime from "postal-mime";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mail, ourId, putBehaviour, type Received, type Rig, rig, sendMail } from "./support.ts";

let on: Rig;
beforeEach(async () => {
  on = await rig();
});
afterEach(() => on.stop());

const signatureHeader = "x-twilio-email-event-webhook-signature";
const timestampHeader = "x-twilio-email-event-webhook-timestamp";

/** Twice, by hand and with the vendor's verifier; neither knows the simulator. */
function isSigned({ headers, body }: Received, publicKey: string): boolean {
  const [signature = "", timestamp = ""] = [headers[signatureHeader], headers[timestampHeader]];
  const key = createPublicKey({ key: Buffer.from(publicKey, "base64"), format: "der", type: "spki" });
  const byHand = verify("sha256", Buffer.concat([Buffer.from(timestamp), body]), key, Buffer.from(signature, "base64"));
  const vendor = new sendgrid.EventWebhook();
  const byVendor = vendor.verifySignature(
    vendor.convertPublicKeyToECDSA(publicKey),
    body.toString("utf8"),
    signature,
    timestamp,
  );
  return byHand && byVendor;
}

interface SendgridEvent {
  readonly event: string;
  readonly timestamp: number;
  readonly sg_event_id: string;
  readonly sg_message_id?: string;
}

interface ParseFields {
  headers?: string;
  email?: string;
  envelope?: string;
  subject?: string;
  text?: string;
}

const eventsOf = (received: readonly Received[]): SendgridEvent[] =>
  received.filter(({ url }) => url.startsWith("/webhooks/sendgrid")).flatMap(({ body }) => JSON.parse(body.toString()));

/** Overrides for one address. */
const told = (to: string, ...script: object[]) => putBehaviour(on.simulator, { overrides: { [to]: script } });

describe("mail send", () => {
  test("answers 202 with an empty body and X-Message-Id, and logs the accept", async () => {
    const response = await sendMail(on.simulator, mail("Ada@Example.com"));
    expect([response.status, await response.text()]).toEqual([202, ""]);
    const messageId = response.headers.get("x-message-id");
    expect(messageId).toMatch(/^[\w-]{22}$/);
    const listed = await (await fetch(`${on.simulator.url}/accepted?provider=sendgrid`)).json();
    expect(listed).toEqual({
      data: [
        {
          provider: "sendgrid",
          messageId,
          ourMessageId: ourId("Ada@Example.com"),
          to: "ada@example.com",
          from: "ada@sender.example",
          subject: "Hello",
          at: "2026-03-02T10:00:00.000Z",
          ordinal: 1,
          bodySha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        },
      ],
    });
  });

  test("the same request twice is two messages with two ids: there is no idempotency key", async () => {
    const both = await Promise.all([
      sendMail(on.simulator, mail("a@example.com")),
      sendMail(on.simulator, mail("a@example.com")),
    ]);
    expect(new Set(both.map((response) => response.headers.get("x-message-id"))).size).toBe(2);
    expect(on.simulator.accepted().map((one) => one.ordinal)).toEqual([1, 2]);
  });

  test.each([
    ["no recipients", { personalizations: [] }, "personalizations"],
    ["no from", { from: undefined }, "from"],
    ["no subject", { subject: undefined }, "subject"],
    ["no content", { content: [] }, "content"],
    ["an empty part", { content: [{ type: "text/plain", value: "" }] }, "content.0.value"],
    [
      "text after HTML",
      {
        content: [
          { type: "text/html", value: "a" },
          { type: "text/plain", value: "a" },
        ],
      },
      "content",
    ],
    ["a malformed address", { personalizations: [{ to: [{ email: "nobody" }] }] }, "personalizations.0.to.0.email"],
    [
      "a recipient twice",
      { personalizations: [{ to: [{ email: "a@b.example" }, { email: "A@b.example" }] }] },
      "personalizations.0",
    ],
    ["a reserved header", { headers: { "Reply-To": "x@y.example" } }, "headers"],
  ])("refuses %s with SendGrid's error shape and takes nothing", async (_name, parts, field) => {
    const response = await sendMail(on.simulator, mail("a@example.com", parts));
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      errors: expect.arrayContaining([
        { message: expect.any(String), field, help: expect.stringContaining("sendgrid.com") },
      ]),
    });
    expect(on.simulator.accepted()).toEqual([]);
  });

  test("refuses an unknown key with 401, and what is not JSON with 400", async () => {
    expect((await sendMail(on.simulator, mail("a@example.com"), "SG.other")).status).toBe(401);
    expect((await sendMail(on.simulator, "{")).status).toBe(400);
    expect(on.simulator.accepted()).toEqual([]);
  });

  test("sandbox mode validates and sends nothing", async () => {
    const response = await sendMail(
      on.simulator,
      mail("a@example.com", { mail_settings: { sandbox_mode: { enable: true } } }),
    );
    expect(response.status).toBe(200);
    expect(on.simulator.accepted()).toEqual([]);
  });
});

describe("the Event Webhook", () => {
  test("is signed over its exact bytes, CRLFs included, with the published key", async () => {
    await sendMail(on.simulator, mail("ünï@example.com", { categories: ["grüße"] }));
    await on.run();
    const [first] = on.endpoint.received;
    if (first === undefined) throw new Error("no webhook came");
    expect(first.body.toString().endsWith("]\r\n")).toBe(true);
    expect(isSigned(first, on.simulator.publicKeys.sendgrid)).toBe(true);
    const trimmed = { ...first, body: first.body.subarray(0, -2) };
    expect(isSigned(trimmed, on.simulator.publicKeys.sendgrid)).toBe(false);
  });

  test("events carry custom arguments at top level, the suffixed id and their own time", async () => {
    await told("a@example.com", { kind: "processed", afterSeconds: 1 }, { kind: "delivered", afterSeconds: 5 });
    const response = await sendMail(on.simulator, mail("a@example.com"));
    await on.run();
    const events = eventsOf(on.endpoint.received);
    expect(events.map(({ event, timestamp }) => [event, timestamp])).toEqual([
      ["processed", 1772445601],
      ["delivered", 1772445605],
    ]);
    const id = response.headers.get("x-message-id") ?? "";
    for (const event of events) {
      expect(event).toMatchObject({
        email: "a@example.com",
        oe_mid: ourId("a@example.com"),
        "smtp-id": `<${id}@geopod-ismtpd-1>`,
      });
      expect(String(event.sg_message_id).split(".")[0]).toBe(id);
    }
    expect(new Set(events.map((event) => event.sg_event_id)).size).toBe(2);
  });

  test("tells hard, blocked and asynchronous bounces apart like SendGrid", async () => {
    await told(
      "a@example.com",
      { kind: "bounced_hard", afterSeconds: 1 },
      { kind: "bounced_blocked", afterSeconds: 2 },
      { kind: "bounced_async", afterSeconds: 3 },
    );
    await sendMail(on.simulator, mail("a@example.com"));
    await on.run();
    const [hard, blocked, late] = eventsOf(on.endpoint.received);
    expect(hard).toMatchObject({
      event: "bounce",
      type: "bounce",
      status: "5.1.1",
      bounce_classification: "Invalid Address",
    });
    expect(blocked).toMatchObject({ event: "bounce", type: "blocked" });
    expect(late).toMatchObject({ event: "bounce", type: "bounce" });
    expect(late).not.toHaveProperty("sg_message_id");
    expect(late).not.toHaveProperty("ip");
  });

  test("opens and clicks come as events when the message has no pixel and no tracked link", async () => {
    await told(
      "a@example.com",
      { kind: "opened_machine", afterSeconds: 1 },
      { kind: "opened", afterSeconds: 2 },
      { kind: "clicked", afterSeconds: 3 },
    );
    await sendMail(on.simulator, mail("a@example.com"));
    await on.run();
    expect(eventsOf(on.endpoint.received)).toMatchObject([
      { event: "open", sg_machine_open: true },
      { event: "open", sg_machine_open: false },
      { event: "click", url_offset: { index: 0, type: "html" } },
    ]);
  });

  test("a failed batch is sent again, with the same events, until it is taken", async () => {
    await told("a@example.com", { kind: "processed", afterSeconds: 1 });
    on.endpoint.answers = [500, 503, 200];
    await sendMail(on.simulator, mail("a@example.com"));
    await on.run();
    const ids = eventsOf(on.endpoint.received).map((event) => event.sg_event_id);
    expect([ids.length, new Set(ids).size]).toEqual([3, 1]);
    expect(on.endpoint.received.every((one) => isSigned(one, on.simulator.publicKeys.sendgrid))).toBe(true);
  });
});

describe("the recipient's mail client", () => {
  const html = (origin: string) =>
    `<p><a href="https://elsewhere.example/c/x">no</a> <a href="${origin}/c/tok-1?a=1&amp;b=2">yes</a><img src="${origin}/o/tok-2"></p>`;
  const content = (origin: string) => [
    { type: "text/plain", value: "Hello." },
    { type: "text/html", value: html(origin) },
  ];

  test("loads our pixel and follows our link with a real user agent, and nothing else", async () => {
    await told("a@example.com", { kind: "opened", afterSeconds: 2 }, { kind: "clicked", afterSeconds: 3 });
    await sendMail(on.simulator, mail("a@example.com", { content: content(on.endpoint.origin) }));
    await on.run();
    expect(on.endpoint.received.map(({ method, url }) => [method, url])).toEqual([
      ["GET", "/o/tok-2"],
      ["GET", "/c/tok-1?a=1&b=2"],
    ]);
    expect(on.endpoint.received[0]?.headers["user-agent"]).toMatch(/^Mozilla\/[45]\.0 \(/);
  });

  test("a privacy proxy loads the pixel without naming a client", async () => {
    await told("a@example.com", { kind: "opened_machine", afterSeconds: 2 });
    await sendMail(on.simulator, mail("a@example.com", { content: content(on.endpoint.origin) }));
    await on.run();
    expect(on.endpoint.received[0]?.headers["user-agent"]).toBe("Mozilla/5.0");
  });

  test.each(["a@example.com", "b@example.com", "c@example.com", "d@example.com"])(
    "%s unsubscribes with one click (RFC 8058) where the message offers it",
    async (to) => {
      await told(to, { kind: "unsubscribed", afterSeconds: 2 });
      const headers = {
        "List-Unsubscribe": `<mailto:u@sender.example>, <${on.endpoint.origin}/u/tok-3>`,
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
      };
      await sendMail(on.simulator, mail(to, { headers }));
      await on.run();
      const [post] = on.endpoint.received;
      expect([post?.method, post?.url, on.endpoint.received.length]).toEqual(["POST", "/u/tok-3", 1]);
      const type = post?.headers["content-type"] ?? "";
      const form = await new Response(post?.body.toString(), { headers: { "content-type": type } }).formData();
      expect(form.get("List-Unsubscribe")).toBe("One-Click");
    },
  );

  test("without one-click the provider reports the unsubscribe", async () => {
    await told("a@example.com", { kind: "unsubscribed", afterSeconds: 2 }, { kind: "complained", afterSeconds: 4 });
    await sendMail(
      on.simulator,
      mail("a@example.com", { headers: { "List-Unsubscribe": `<${on.endpoint.origin}/u/tok-3>` } }),
    );
    await on.run();
    expect(eventsOf(on.endpoint.received).map((one) => one.event)).toEqual(["unsubscribe", "spamreport"]);
  });
});

describe("Inbound Parse", () => {
  const fieldsOf = async ({ headers, body }: Received): Promise<ParseFields> => {
    const fields: ParseFields = {};
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const parser = new Busboy({
      headers: { "content-type": headers["content-type"] ?? "" },
      limits: { fieldSize: 1e6 },
    });
    parser.on("field", (name: string, value: string) => {
      Object.assign(fields, { [name]: value });
    });
    parser.on("finish", () => resolve());
    parser.on("error", reject);
    parser.end(body);
    await promise;
    return fields;
  };
  const replying = async (
    inboundMode: "default" | "raw",
    parts: Record<string, unknown>,
    kind = "replied",
    text = "Yes, please 👍",
  ) => {
    on.simulator.setEndpoints({ sendgrid: { webhookUrl: `${on.endpoint.origin}/parse`, inboundMode } });
    await told("ann@customer.example", { kind, afterSeconds: 60, text });
    const response = await sendMail(on.simulator, mail("ann@customer.example", parts));
    await on.run();
    const [received] = on.endpoint.received;
    if (received === undefined) throw new Error("no reply came");
    expect(isSigned(received, on.simulator.publicKeys.sendgrid)).toBe(true);
    return { id: response.headers.get("x-message-id"), fields: await fieldsOf(received) };
  };

  test("raw mode carries a whole MIME message that answers our Message-ID, from the recipient to our Reply-To", async () => {
    const { fields } = await replying("raw", {
      headers: { "Message-ID": "<omsg_1@sender.example>", References: "<first@sender.example>" },
      subject: "Grüße",
      personalizations: [{ to: [{ email: "ann@customer.example", name: "Änn" }] }],
    });
    expect(JSON.parse(fields.envelope ?? "")).toEqual({
      to: ["reply+1@in.sender.example"],
      from: "ann@customer.example",
    });
    const parsed = await PostalMime.parse(fields.email ?? "");
    expect(parsed).toMatchObject({
      from: { address: "ann@customer.example", name: "Änn" },
      to: [{ address: "reply+1@in.sender.example" }],
      subject: "Re: Grüße",
      inReplyTo: "<omsg_1@sender.example>",
      references: "<first@sender.example> <omsg_1@sender.example>",
      date: "2026-03-02T10:01:00.000Z",
    });
    expect(parsed.text).toMatch(/^Yes, please 👍\n\nOn .*wrote:\n> Hello there\./);
    expect(parsed.messageId).toMatch(/^<[0-9a-f]{32}@mail\.customer\.example>$/);
  });

  test("default mode takes it apart, and without a Message-ID of ours it answers the smtp-id", async () => {
    const { id, fields } = await replying("default", {});
    expect(Object.keys(fields)).toEqual([
      "headers",
      "dkim",
      "to",
      "html",
      "from",
      "text",
      "sender_ip",
      "envelope",
      "attachments",
      "subject",
      "charsets",
      "SPF",
    ]);
    expect(fields.headers).toContain(`\r\nIn-Reply-To: <${id}@geopod-ismtpd-1>\r\n`);
    expect(fields.text).toMatch(/^Yes, please 👍\r\n/);
    expect(fields.subject).toBe("Re: Hello");
  });

  test("an automatic reply says so (RFC 3834) and has no envelope sender", async () => {
    const { fields } = await replying("raw", {}, "autoreply", "I am away.");
    expect(JSON.parse(fields.envelope ?? "")).toMatchObject({ from: "" });
    const parsed = await PostalMime.parse(fields.email ?? "");
    expect(parsed.subject).toBe("Automatic reply: Hello");
    expect(parsed.headers).toContainEqual(expect.objectContaining({ key: "auto-submitted", value: "auto-replied" }));
  });

  test("a mail that says stop is an ordinary reply: only its text says it", async () => {
    const { fields } = await replying("raw", {}, "stop", "Please remove me from your list.");
    expect((await PostalMime.parse(fields.email ?? "")).text).toMatch(/^Please remove me from your list\./);
  });
});

test("it tells which domains it has authenticated, to whoever holds the key", async () => {
  const ask = async (path: string, key = "SG.test.key") => {
    const response = await fetch(`${on.simulator.url}${path}`, { headers: { authorization: `Bearer ${key}` } });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  await putBehaviour(on.simulator, { unprovenDomains: ["Pending.example"] });
  expect(await ask("/v3/whitelabel/domains?domain=acme.example")).toMatchObject({
    status: 200,
    body: [{ domain: "acme.example", valid: true }],
  });
  expect(await ask("/v3/whitelabel/domains?domain=pending.example")).toMatchObject({ body: [{ valid: false }] });
  expect(await ask("/v3/verified_senders")).toEqual({ status: 200, body: { results: [] } });
  expect((await fetch(`${on.simulator.url}/v3/verified_senders`)).status).toBe(401);
});

import { request } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { faultOf, Settings } from "../../../local/simulator/behaviour.ts";
import { accountSid, jsonOf, mail, putBehaviour, type Rig, rig, sendMail, sendSms } from "./support.ts";

let on: Rig;
beforeEach(async () => {
  on = await rig();
});
afterEach(() => on.stop());

interface Problem {
  readonly code: string;
  readonly fields: readonly { readonly path: string }[];
}

const sms = { To: "+12025550142", From: "+12025550100", Body: "Hello" };
const both = [
  ["sendgrid", () => sendMail(on.simulator, mail("a@example.com"))],
  ["twilio", () => sendSms(on.simulator, sms)],
] as const;

describe.each(both)("%s", (provider, send) => {
  const only = (errors: object, more: object = {}) => putBehaviour(on.simulator, { errors, ...more });
  const accepts = () => on.simulator.accepted().length;

  test.each([
    ["http400", 400],
    ["http401", 401],
    ["http500", 500],
    ["rateLimit429", 429],
  ])("%s refuses with %d and takes nothing", async (fault, status) => {
    await only({ [fault]: 1 });
    expect([(await send()).status, accepts()]).toEqual([status, 0]);
  });

  test("resetBeforeAccept breaks the connection and takes nothing", async () => {
    await only({ resetBeforeAccept: 1 });
    await expect(send()).rejects.toThrow();
    expect(accepts()).toBe(0);
  });

  test("timeoutAfterAccept takes the message and loses the answer", async () => {
    await only({ timeoutAfterAccept: 1 });
    await expect(send()).rejects.toThrow();
    expect(accepts()).toBe(1);
    expect(on.simulator.nextDueAt()).not.toBeNull();
  });

  test("http500AfterAccept takes the message and says it failed", async () => {
    await only({ http500AfterAccept: 1 });
    expect([(await send()).status, accepts()]).toEqual([500, 1]);
  });

  test("malformed2xx takes the message and names no id", async () => {
    await only({ malformed2xx: 1 });
    const response = await send();
    expect([response.ok, response.headers.get("x-message-id"), accepts()]).toEqual([true, null, 1]);
    expect(await response.text()).not.toContain("SM");
  });

  test("hang answers nothing and takes nothing, then hangs up", async () => {
    await only({ hang: 1 }, { hangSeconds: 0.05 });
    await expect(send()).rejects.toThrow();
    expect(accepts()).toBe(0);
  });

  test("latency comes before the answer", async () => {
    await putBehaviour(on.simulator, { latencyMs: { min: 60, max: 80 } });
    const before = performance.now();
    await send();
    expect(performance.now() - before).toBeGreaterThanOrEqual(59);
  });

  test("early brings the first webhook before the answer", async () => {
    await putBehaviour(on.simulator, { webhooks: { early: 1 } });
    const callback = { StatusCallback: `${on.endpoint.origin}/status` };
    await (provider === "twilio" ? sendSms(on.simulator, { ...sms, ...callback }) : send());
    const body = decodeURIComponent(on.endpoint.received[0]?.body.toString() ?? "");
    expect(body).toMatch(provider === "twilio" ? /MessageStatus=sent/ : /"event":"(processed|dropped)"/);
  });
});

test.each([
  ["documented", undefined, /^\d{10}$/],
  ["seconds", /^7$/, /^\d{10}$/],
  ["date", /GMT$/, /^\d{10}$/],
  ["zero", /^0$/, /^\d{10}$/],
  ["negative", /^-30$/, /^\d{10}$/],
  ["ten_years", /^315360000$/, /^\d{10}$/],
  ["garbage", /^soon$/, /^later$/],
  ["missing", undefined, undefined],
])("a 429 of variant %s says when to come back its own way", async (variant, retryAfter, reset) => {
  await putBehaviour(on.simulator, { errors: { rateLimit429: 1 }, rateLimitVariants: [variant] });
  const { headers } = await sendMail(on.simulator, mail("a@example.com"));
  for (const [name, expected] of [
    ["retry-after", retryAfter],
    ["x-ratelimit-reset", reset],
  ] as const) {
    if (expected === undefined) expect(headers.get(name)).toBeNull();
    else expect(headers.get(name)).toMatch(expected);
  }
});

test("faults come as often as told, and in the same order in every run", () => {
  const settings = Settings.parse({ seed: 7, errors: { http500: 0.1, timeoutAfterAccept: 0.05 } });
  const run = () => Array.from({ length: 10_000 }, (_, i) => faultOf(settings, "sendgrid", i + 1));
  const faults = run();
  expect(run()).toEqual(faults);
  const count = (fault: string) => faults.filter((one) => one === fault).length;
  expect(count("http500")).toBeGreaterThan(900);
  expect(count("http500")).toBeLessThan(1100);
  expect(count("timeoutAfterAccept")).toBeGreaterThan(410);
  expect(count("timeoutAfterAccept")).toBeLessThan(590);
});

test("putting the behaviour again starts the same sequence of faults", async () => {
  const settings = { seed: 3, errors: { http500: 0.5 } };
  const run = async () => {
    await putBehaviour(on.simulator, settings);
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) statuses.push((await sendMail(on.simulator, mail(`p${i}@example.com`))).status);
    return statuses;
  };
  const first = await run();
  expect(new Set(first)).toEqual(new Set([202, 500]));
  expect(await run()).toEqual(first);
});

describe("webhooks on their way", () => {
  const told = (webhooks: object, more: object = {}) =>
    putBehaviour(on.simulator, {
      overrides: {
        "@example.com": [
          { kind: "processed", afterSeconds: 1 },
          { kind: "delivered", afterSeconds: 2 },
        ],
      },
      webhooks,
      ...more,
    });
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) await sendMail(on.simulator, mail(`p${i}@example.com`));
    await on.run();
    return on.endpoint.received.map(
      ({ body }) => JSON.parse(body.toString()) as { sg_event_id: string; event: string; email: string }[],
    );
  };

  test("duplicates repeat the event id", async () => {
    await told({ duplicateRate: 1 });
    const events = (await send(5)).flat();
    expect(new Set(events.map((one) => one.sg_event_id)).size).toBe(10);
    expect(events.length).toBeGreaterThanOrEqual(20);
  });

  test("dropped ones never arrive", async () => {
    await told({ dropRate: 1 });
    expect(await send(5)).toEqual([]);
  });

  test("with webhooks off nothing arrives, though the messages are accepted", async () => {
    await told({}, { webhooksEnabled: false });
    expect(await send(2)).toEqual([]);
    expect(on.simulator.accepted().length).toBe(2);
  });

  test("reordering brings some deliveries before their acceptance, and loses none", async () => {
    await told({ reorder: 0.5 });
    const events = (await send(20)).flat();
    expect(new Set(events.map((one) => one.sg_event_id)).size).toBe(40);
    const at = (email: string, event: string) => events.findIndex((one) => one.email === email && one.event === event);
    const isSwapped = (_: unknown, i: number) =>
      at(`p${i}@example.com`, "delivered") < at(`p${i}@example.com`, "processed");
    expect(Array.from({ length: 20 }, (_, i) => i).filter(isSwapped).length).toBeGreaterThan(0);
  });

  test("a delay puts off the arrival, not the time of the event", async () => {
    await told({ delaySeconds: 3600 });
    await sendMail(on.simulator, mail("a@example.com"));
    expect(on.simulator.nextDueAt()).toEqual(new Date("2026-03-02T11:00:01Z"));
    await on.run();
    expect(JSON.parse(on.endpoint.received[0]?.body.toString() ?? "")).toMatchObject([{ timestamp: 1772445601 }]);
  });

  test("events that are due together share requests up to the batch size", async () => {
    await told({ batchSize: 4 });
    expect((await send(10)).map((batch) => batch.length)).toEqual([4, 4, 2, 4, 4, 2]);
  });
});

describe("the control panel", () => {
  test("shows what is set, filled with defaults", async () => {
    await putBehaviour(on.simulator, { seed: "x", rates: { open: 0.9 } });
    const settings = await (await fetch(`${on.simulator.url}/behaviour`)).json();
    expect(settings).toMatchObject({
      seed: "x",
      rates: { open: 0.9, deliver: 0.96 },
      webhooks: { batchSize: 100 },
      speed: 1,
    });
  });

  test.each([
    [{ rates: { open: 2 } }, "rates.open"],
    [{ errors: { http500: 0.6, hang: 0.6 } }, "errors"],
    [{ latencyMs: { min: 5, max: 1 } }, "latencyMs"],
    [{ webhooks: { duplicates: 1 } }, "webhooks"],
    [{ overrides: { "a@b.example": [{ kind: "exploded", afterSeconds: 1 }] } }, "overrides.a@b.example.0.kind"],
    ["not an object", ""],
  ])("refuses %j with problem details that name the field, and changes nothing", async (settings, path) => {
    const response = await putBehaviour(on.simulator, settings);
    expect([response.status, response.headers.get("content-type")]).toEqual([400, "application/problem+json"]);
    const { code, fields } = await jsonOf<Problem>(response);
    expect([code, fields[0]?.path]).toEqual(["behaviour.invalid", path]);
    expect(await (await fetch(`${on.simulator.url}/behaviour`)).json()).toMatchObject({ seed: "outrider" });
  });

  test("reset forgets accepts and opt-outs but keeps the signing key", async () => {
    await putBehaviour(on.simulator, { overrides: { [sms.To]: [{ kind: "stop", afterSeconds: 1 }] } });
    await sendSms(on.simulator, sms);
    await on.run();
    expect((await sendSms(on.simulator, sms)).status).toBe(400);
    await fetch(`${on.simulator.url}/reset`, { method: "POST" });
    expect(on.simulator.accepted()).toEqual([]);
    expect((await sendSms(on.simulator, sms)).status).toBe(201);
    expect(on.simulator.accepted()).toMatchObject([{ ordinal: 1 }]);
  });

  test("unknown routes and malformed flushes are problems, not crashes", async () => {
    expect((await fetch(`${on.simulator.url}/nowhere`)).status).toBe(404);
    const flush = await fetch(`${on.simulator.url}/flush`, { method: "POST", body: '{"upTo":"soon"}' });
    expect([flush.status, (await jsonOf<Problem>(flush)).code]).toEqual([400, "flush.invalid"]);
    expect((await fetch(`${on.simulator.url}/messages/none`)).status).toBe(404);
  });

  test("a body over 30 MB is answered by nginx, in HTML", async () => {
    const { statusCode, body } = await request(`${on.simulator.url}/v3/mail/send`, {
      method: "POST",
      headers: { authorization: "Bearer x" },
      body: Buffer.alloc(30 * 1024 * 1024 + 1, 0x20),
    });
    expect([statusCode, await body.text()]).toEqual([413, expect.stringContaining("nginx")]);
  });

  test("the pages show what was sent and escape it", async () => {
    const hostile = '<script>alert("x")</script>';
    const content = [
      { type: "text/plain", value: hostile },
      { type: "text/html", value: `<p>"${hostile}"</p>` },
    ];
    const sent = await sendMail(on.simulator, mail("a@example.com", { subject: hostile, content }));
    const accept = { headers: { accept: "text/html" } };
    for (const path of ["/", `/messages/${sent.headers.get("x-message-id")}`]) {
      const response = await fetch(on.simulator.url + path, accept);
      const page = await response.text();
      expect(page).toContain("&#60;script&#62;");
      expect(page).not.toContain("<script>");
      expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    }
  });

  test("a message can be read back by our id with its body and script", async () => {
    await sendMail(on.simulator, mail("a@example.com"));
    const message = await (await fetch(`${on.simulator.url}/messages/omsg_aexamplecom`)).json();
    expect(message).toMatchObject({
      to: "a@example.com",
      text: "Hello there.",
      html: "<p>Hello there.</p>",
      replyTo: "reply+1@in.sender.example",
    });
    expect(JSON.stringify(message)).not.toContain(accountSid);
    expect(JSON.stringify(message)).not.toContain("SG.");
  });
});

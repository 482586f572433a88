import { expect, test } from "vitest";
import {
  accountSid,
  authToken,
  jsonOf,
  mail,
  putBehaviour,
  type Received,
  type Rig,
  rig,
  sendMail,
  sendSms,
  start,
} from "./support.ts";

const sms = (on: Rig, to: string) => ({
  To: to,
  From: "+12025550100",
  Body: "Hi",
  StatusCallback: `${on.endpoint.origin}/status`,
});
const seen = (received: readonly Received[], origin: string) =>
  received.map(({ method, url, body }) => [method, url, body.toString().replaceAll(origin, "")]);

test("under a virtual clock nothing happens before it is due, and everything in due order", async () => {
  const on = await rig();
  await putBehaviour(on.simulator, {
    overrides: {
      "late@example.com": [{ kind: "delivered", afterSeconds: 30 }],
      "soon@example.com": [{ kind: "delivered", afterSeconds: 10 }],
      "+12025550142": [{ kind: "delivered", afterSeconds: 20 }],
    },
  });
  await sendMail(on.simulator, mail("late@example.com"));
  await sendSms(on.simulator, sms(on, "+12025550142"));
  await sendMail(on.simulator, mail("soon@example.com"));
  expect(on.simulator.nextDueAt()).toEqual(new Date(start.getTime() + 10_000));
  expect(await on.simulator.flush(new Date(start.getTime() + 9_999))).toBe(0);
  expect(await on.simulator.flush(new Date(start.getTime() + 60_000))).toBe(3);
  expect(on.endpoint.received.map(({ body }) => /soon|late|12025550142/.exec(body.toString())?.[0])).toEqual([
    "soon",
    "12025550142",
    "late",
  ]);
  expect(on.simulator.nextDueAt()).toBeNull();
  await on.stop();
});

test("the order in which messages arrive does not change the order of what follows", async () => {
  const people = Array.from({ length: 30 }, (_, i) => `p${i}@example.com`);
  const story = async (order: readonly string[]) => {
    const on = await rig();
    await putBehaviour(on.simulator, {
      seed: 11,
      rates: { reply: 0.3, unsubscribe: 0.2, stop: 0.2 },
      webhooks: { reorder: 0.2, duplicateRate: 0.2 },
    });
    for (const to of order) await sendMail(on.simulator, mail(to));
    await on.run();
    const kinds = on.endpoint.received.flatMap(({ url, body }) =>
      url === "/parse"
        ? [`reply ${/^From: .*$/m.exec(body.toString())?.[0]}`]
        : (JSON.parse(body.toString()) as { event: string; email: string }[]).map(
            ({ event, email }) => `${event} ${email}`,
          ),
    );
    await on.stop();
    return kinds;
  };
  const forward = await story(people);
  expect(forward.length).toBeGreaterThan(90);
  expect(await story(people.toReversed())).toEqual(forward);
});

test("a flush takes along what its own webhooks bring about", async () => {
  const on = await rig();
  await putBehaviour(on.simulator, { overrides: { "@example.com": [{ kind: "delivered", afterSeconds: 10 }] } });
  on.endpoint.answers = [500];
  await sendMail(on.simulator, mail("a@example.com"));
  expect(await on.simulator.flush(new Date(start.getTime() + 3600_000))).toBe(2);
  expect(seen(on.endpoint.received, on.endpoint.origin).length).toBe(2);
  await on.stop();
});

test("an endpoint that is down for good is given up after a day of tries", async () => {
  const on = await rig();
  await putBehaviour(on.simulator, { overrides: { "@example.com": [{ kind: "delivered", afterSeconds: 10 }] } });
  on.endpoint.answers = Array.from({ length: 100 }, () => 503);
  await sendMail(on.simulator, mail("a@example.com"));
  await on.run();
  expect(on.endpoint.received.length).toBe(12);
  const last = Number(on.endpoint.received.at(-1)?.headers["x-twilio-email-event-webhook-timestamp"]);
  const hours = (last - start.getTime() / 1000) / 3600;
  expect(hours).toBeGreaterThan(20);
  expect(hours).toBeLessThan(26);
  await on.stop();
});

test("another process can drive the clock over HTTP", async () => {
  const on = await rig();
  await putBehaviour(on.simulator, { overrides: { "@example.com": [{ kind: "delivered", afterSeconds: 10 }] } });
  await sendMail(on.simulator, mail("a@example.com"));
  const next = await jsonOf<{ nextDueAt: string; pending: number }>(fetch(`${on.simulator.url}/next`));
  expect(next).toMatchObject({ nextDueAt: "2026-03-02T10:00:10.000Z", pending: 1 });
  const body = JSON.stringify({ upTo: next.nextDueAt });
  const flushed = await fetch(`${on.simulator.url}/flush`, { method: "POST", body });
  expect(await flushed.json()).toEqual({ reactions: 1, nextDueAt: null });
  expect(on.endpoint.received.length).toBe(1);
  await on.stop();
});

test("under the real clock reactions come by themselves, as much faster as told", async () => {
  const on = await rig({ clock: "real" });
  await putBehaviour(on.simulator, {
    speed: 36_000,
    overrides: {
      "@example.com": [
        { kind: "processed", afterSeconds: 1 },
        { kind: "delivered", afterSeconds: 3600 },
      ],
    },
  });
  await sendMail(on.simulator, mail("a@example.com"));
  await expect.poll(() => on.endpoint.received.length, { timeout: 10_000, interval: 10 }).toBe(2);
  const times = on.endpoint.received.map(({ body }) => JSON.parse(body.toString())[0].timestamp as number);
  for (const time of times) expect(Math.abs(time - Date.now() / 1000)).toBeLessThan(20);
  await on.stop();
});

test("two accounts of each provider hear only of their own messages", async () => {
  const on = await rig();
  const other = `AC${"b".repeat(32)}`;
  const hook = (path: string) => `${on.endpoint.origin}/${path}`;
  on.simulator.setEndpoints({
    sendgrid: [
      { webhookUrl: hook("one"), apiKey: "SG.one" },
      { webhookUrl: hook("two"), apiKey: "SG.two" },
    ],
    twilio: [
      { webhookUrl: hook("three"), accountSid, authToken },
      { webhookUrl: hook("four"), accountSid: other, authToken: "other" },
    ],
  });
  await putBehaviour(on.simulator, {
    overrides: {
      "@example.com": [{ kind: "delivered", afterSeconds: 1 }],
      "+12025550142": [{ kind: "replied", afterSeconds: 1, text: "Hi" }],
    },
  });
  await sendMail(on.simulator, mail("a@example.com"), "SG.two");
  await sendMail(on.simulator, mail("b@example.com"), "SG.one");
  await sendSms(on.simulator, sms(on, "+12025550142"), other, "other");
  await on.run();
  const heard = on.endpoint.received.map(
    ({ url, body }) => `${url} ${/[ab]@example|12025550142/.exec(body.toString())?.[0]}`,
  );
  expect(heard.toSorted()).toEqual(["/four 12025550142", "/one b@example", "/two a@example"]);
  await on.stop();
});

test("a port in use is an error that names it, and leaves the directory usable", async () => {
  const on = await rig();
  const port = Number(new URL(on.simulator.url).port);
  await expect(rig({ port })).rejects.toMatchObject({ code: "EADDRINUSE", port });
  await on.stop();
});

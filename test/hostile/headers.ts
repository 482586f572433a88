/**
 * Line breaks, and what looks like them, in everything that a tenant or a lead can write, followed to the wire. Invariant: whatever stands in a
 * name, a subject or a setting, the provider gets one request with the fields that an honest one has, each on one line.
 */
import { createApiKey } from "../../core/tenancy/index.ts";
import { createApi } from "../../functions/api.ts";
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import { newTenant } from "../support/tenant.ts";
import { collector, type Ran } from "./collector.ts";
import { type Caught, startRecorder } from "./recorder.ts";
import type { Rig } from "./rig.ts";
import { judge, lineEnd, shown } from "./wire.ts";

/** What may end a line somewhere between us and the recipient, in one coat or another. */
export const breaks: Readonly<Record<string, string>> = {
  CRLF: "\r\n",
  LF: "\n",
  CR: "\r",
  "CRLF and a fold": "\r\n ",
  NUL: "\0",
  "vertical tab": "\v",
  "form feed": "\f",
  NEL: "\u0085",
  "line separator": "\u2028",
  "paragraph separator": "\u2029",
  "letters whose last byte is CR and LF": "\u560d\u560a",
  "percent encoded": "%0d%0a",
  "encoded word": "=?utf-8?Q?=0D=0A?=",
  "escaped for JSON": "\\r\\n",
  "escaped for HTML": "&#13;&#10;",
  "end of a JSON text": '"},"bcc":[{"email":"evil@example.com"}],"x":{"y":"',
  "end of a form field": "&To=%2B12125559999&MediaUrl=https://evil.example/",
  "end of an address": '" <evil@example.com>, "',
  "half a surrogate": "\ud83d",
  "end of a text": "\u0004",
};
const inject = (between: string): string =>
  `Ada${between}Bcc: evil@example.com${between}X-Evil: 1${between}${between}evil`;

const plain = { fromEmail: "ada@sender.example", fromName: "Ada" };
/** All that a template can say of who is written to and who writes. */
const merged =
  "{{ first_name }} {{ last_name }} {{ company_name }} {{ nickname }} {{ campaign.name }} {{ sender.name }}";

/** @param every of n of the breaks */
export async function runHeaders(rig: Rig, every: number, done: (count: number) => void): Promise<Ran> {
  const collected = collector("header injection", done);
  const recorder = await startRecorder();
  const api = createApi({ ...rig.host, allowApiBaseUrl: true });
  try {
    for (const [name, between] of Object.entries(breaks).filter((_, n) => n % every === 0)) {
      const first = recorder.caught.length;
      await outreach({ ...rig, api }, recorder.url, name, between, collected);
      const requests = recorder.caught.slice(first);
      for (const request of requests) {
        collected.saw(`provider answered ${request.status}`);
        for (const problem of await judge(request)) collected.complain(name, `${problem}: ${shown(request)}`);
      }
      // Nothing on the wire would prove nothing. (What is rendered too long for a subject or a text is held.)
      for (const place of ["/v3/mail/send", "/2010-04-01/Accounts/"])
        if (requests.filter(({ url }) => url.startsWith(place)).length < 4)
          collected.complain(name, `hardly a request to ${place}`);
      await followLinks(rig, requests, (problem) => collected.complain(name, problem));
    }
  } finally {
    await recorder.stop();
  }
  return collected.result();
}

type Collected = ReturnType<typeof collector>;

/** A tenant that writes the break wherever it can, and people whose records hold it. */
async function outreach(rig: Rig, url: string, name: string, between: string, { complain, saw }: Collected) {
  const bad = inject(between);
  const tenant = await newTenant(rig.database, { name: bad.replaceAll("\0", "").toWellFormed() });
  const { apiKey } = await createApiKey(tenant, { name: "headers", scopes: ["*"] });
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await rig.api.request(path, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as Record<string, unknown> & { readonly id: string };
    if (response.status >= 500) complain(name, `${method} ${path} was answered ${response.status}`);
    return { taken: response.status < 300, answer };
  };
  /** Writes the first that is not refused. */
  const first = async (method: string, path: string, bodies: readonly object[]) => {
    for (const [n, body] of bodies.entries()) {
      const { taken, answer } = await call(method, path, body);
      saw(taken ? "written as it was" : "refused at the door");
      if (taken) return answer;
      if (n === bodies.length - 1) throw new Error(`${name}: ${method} ${path}: ${JSON.stringify(answer)}`);
    }
    throw new Error("nothing to write");
  };

  const mail = { channel: "email", provider: "sendgrid" };
  const sendgrid = { apiKey: "SG.x", apiBaseUrl: url };
  await first("POST", "/v1/channels", [
    { ...mail, name: "a", credentials: { ...sendgrid, apiKey: `SG.x${between}X-Evil:1` } },
    { ...mail, name: "a", credentials: sendgrid, settings: { inboundDomain: `r.example${between}` } },
    { ...mail, name: bad, credentials: sendgrid },
    { ...mail, name: "a", credentials: sendgrid },
  ]);
  const texts = { channel: "sms", provider: "twilio" };
  const twilio = { accountSid: "AC1", authTokens: ["t"], apiBaseUrl: url };
  const settings = { from: "+12025550100" };
  await first("POST", "/v1/channels", [
    { ...texts, name: "b", settings, credentials: { ...twilio, accountSid: `AC1${between}X-Evil:1` } },
    { ...texts, name: "b", settings, credentials: { ...twilio, authTokens: [`t${between}X-Evil:1`] } },
    { ...texts, name: "b", settings: { from: `+12025550100${between}` }, credentials: twilio },
    { ...texts, name: "b", settings, credentials: { ...twilio, messagingServiceSid: `MG1${between}x` } },
    { ...texts, name: bad, settings, credentials: twilio },
    { ...texts, name: "b", settings, credentials: twilio },
  ]);
  await first("PATCH", "/v1/tenant/settings", [{ companyName: bad }, { companyName: "Acme" }]);
  await first("PATCH", "/v1/tenant/settings", [
    { postalAddress: bad },
    { postalAddress: "1 Main Street, Springfield, IL" },
  ]);
  await first("PATCH", "/v1/tenant/settings", [
    { requireSmsConsent: false, defaultCountry: "US", timeZone: "America/New_York" },
  ]);
  const identities = [
    { ...plain, fromName: bad },
    { ...plain, fromEmail: "eve@sender.example", replyTo: `eve${between}@sender.example` },
    { ...plain, fromEmail: `ada${between}@sender.example` },
    { ...plain, fromEmail: `ada@sender.example${between}Bcc:evil@example.com` },
    { ...plain, fromEmail: "ip@sender.example", ipPool: bad },
    { ...plain, fromEmail: "plain@sender.example" },
  ];
  const senders: string[] = [];
  for (const identity of identities) {
    const { taken, answer } = await call("POST", "/v1/senders", identity);
    saw(taken ? "written as it was" : "refused at the door");
    if (!taken) continue;
    senders.push(answer.id);
    await first("POST", `/v1/senders/${answer.id}/verify`, [{ attested: true }]);
  }

  const people = [
    ...Array.from({ length: 8 }, (_, n) => ({ email: `grace${n}@example.com`, phone: `+1212555012${n}` })),
    { email: `kim${between}@example.com`, phone: `+1212555${between}0128` },
    { email: `lin@example.com${between}Bcc: evil@example.com`, phone: `+12125550129${between}To: +12125559999` },
  ];
  const records = {
    first_name: bad,
    last_name: bad,
    company_name: bad,
    nickname: bad,
    title: bad,
    city: bad,
    state: "NY",
    country: "US",
  };
  const rows = people.map((one) => ({ ...one, ...records }));
  await first("POST", "/v1/intake/loads", [{ source: "headers", promote: true, rows }]);
  const body = { name: "headers", text: merged, html: `<p>${merged}</p>` };
  const made = await first("POST", "/v1/templates", [
    { ...body, subject: `${bad} ${merged}` },
    { ...body, subject: merged },
  ]);
  const { id: templateId } = made["template"] as { readonly id: string };
  const send = (id: string, more: object) => ({ start: id, nodes: [{ id, type: "send", ...more }] });
  const link =
    '<a href="https://example.com/{{ first_name | url_encode }}">a</a> <a href="https://example.com/?q={{ first_name }}">b</a>';
  const content = { text: merged, html: `<p>${merged} ${link}</p>` };
  // Every sender that was taken sends.
  const mails = senders.map((senderId, n) =>
    send(`mail${n}`, { channel: "email", senderId, content: { ...content, subject: `${bad} ${merged}` } }),
  );
  const plans = [
    ...mails,
    send("template", { channel: "email", templateId }),
    send("text", { channel: "sms", content: { text: `${bad} {{ first_name }} {{ nickname }} {{ campaign.name }}` } }),
  ];
  const { answer: known } = await call("GET", "/v1/contacts?limit=100");
  const ids = (known["data"] as readonly { readonly id: string }[]).map(({ id }) => id);
  for (const [n, plan] of plans.entries()) {
    // One walks through one campaign of a channel at a time.
    const contactIds = n === plans.length - 1 ? ids : ids.filter((_, at) => at % (plans.length - 1) === n);
    const tame = JSON.parse(JSON.stringify(plan).replaceAll(JSON.stringify(bad).slice(1, -1), ""));
    const { id } = await first("POST", "/v1/campaigns", [
      { name: bad, plan: { name: bad, ...plan } },
      { name: "headers", plan: { name: bad, ...plan } },
      { name: "headers", plan: tame },
    ]);
    await first("POST", `/v1/campaigns/${id}/enroll`, [{ audience: { contactIds } }]);
    await first("POST", `/v1/campaigns/${id}/activate`, [{}]);
  }
  for (let round = 0; round < 3; round++) {
    rig.queue.drain();
    await rig.consumers.actions(sqsEvent([bell(tenant.tenantId)]), fakeInvocation());
    await rig.consumers.send(sqsEvent([bell(tenant.tenantId)]), fakeInvocation());
  }
  const { answer: messages } = await call("GET", "/v1/messages?limit=100");
  for (const one of messages["data"] as readonly Record<string, unknown>[]) {
    saw(`message ${one["status"]}`);
    const isEnd = ["sent", "failed", "suppressed", "held"].includes(String(one["status"]));
    if (!isEnd) complain(name, `a message is ${one["status"]}: ${one["detail"]}`);
    if (one["status"] !== "sent" && !one["detail"]) complain(name, "a message did not leave, and nothing says why");
  }
}

/** The links of what was sent lead where the message said, in one Location. */
async function followLinks(rig: Rig, requests: readonly Caught[], complain: (problem: string) => void): Promise<void> {
  for (const { url, body } of requests) {
    if (url !== "/v3/mail/send") continue;
    const html = body.toString("utf8");
    for (const [, path = ""] of html.matchAll(/https:\/\/in\.example\.test(\/c\/[\w.-]+)/g)) {
      const response = await rig.tracking.request(path);
      const location = response.headers.get("location") ?? "";
      if (response.status !== 302 || !location.startsWith("https://example.com/") || lineEnd.test(location))
        complain(`a link was answered ${response.status} ${JSON.stringify(location)}`);
      if (response.headers.get("x-evil") !== null || response.headers.get("set-cookie") !== null)
        complain("a link sets headers");
    }
  }
}

/**
 * Honest signed requests, and what counts as a forgery of one. Invariant: what a provider's scheme calls the same statement is worked out
 * here without the code under test; everything else that is accepted is a forgery.
 *
 * Some equalities belong to the schemes and no verifier can tell them apart. ECDSA: (r, n − s) proves the same bytes as (r, s). Twilio:
 * the order of parameters is not signed, nor is where a name ends and its value begins; a value repeated under one name counts once; how the
 * address's query is escaped is not signed either, because Twilio's own back ends escape it in two ways.
 * None of them changes what an honest request says about itself, and archive and event keys let each statement act once.
 */
import { createHash, createHmac, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { parse as parseQuery } from "node:querystring";
import type { Credentials, WebhookRequest } from "../../core/ports/sender.ts";
import { verify as verifySendgrid } from "../../core/providers/sendgrid/verify.ts";
import { verify as verifyTwilio } from "../../core/providers/twilio/verify.ts";

const now = new Date("2026-03-02T16:00:00Z");
export const timestamp = String(now.getTime() / 1000);

/** P-256 keys from fixed scalars, so that a run repeats. */
function keyOf(scalar: number) {
  const der = Buffer.concat([
    Buffer.from("30310201010420", "hex"),
    createHash("sha256").update(`hostile ${scalar}`).digest(),
    Buffer.from("a00a06082a8648ce3d030107", "hex"),
  ]);
  const privateKey = createPrivateKey({ key: der, format: "der", type: "sec1" });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" }).toString("base64");
  return { privateKey, spki };
}

export interface Base {
  readonly name: string;
  readonly provider: "sendgrid" | "twilio";
  readonly credentials: Credentials;
  readonly request: WebhookRequest;
}

export const headerNames = {
  signature: "x-twilio-email-event-webhook-signature",
  timestamp: "x-twilio-email-event-webhook-timestamp",
  twilio: "x-twilio-signature",
} as const;

function sendgridBase(name: string, body: Uint8Array, contentType: string, scalar: number): Base {
  const { privateKey, spki } = keyOf(scalar);
  const signature = sign("sha256", Buffer.concat([Buffer.from(timestamp), body]), privateKey).toString("base64");
  return {
    name,
    provider: "sendgrid",
    credentials: { apiKey: "SG.x", eventWebhookPublicKeys: [keyOf(99).spki, spki] },
    request: {
      url: "https://in.example.test/webhooks/sendgrid/chc_1",
      headers: { "content-type": contentType, [headerNames.signature]: signature, [headerNames.timestamp]: timestamp },
      body,
    },
  };
}

const accountSid = "AC00000000000000000000000000000001";
const token = "0123456789abcdef0123456789abcdef";
const hmac = (key: string, text: string): string => createHmac("sha1", key).update(text, "utf8").digest("base64");

/** What Twilio signs: the address, then every name with its distinct values in order. */
function statement(url: string, body: Uint8Array): string {
  if (url !== "" && new URL(url).searchParams.has("bodySHA256")) return url;
  const parameters = parseQuery(Buffer.from(body).toString("utf8"), "&", "=", { maxKeys: 0 });
  return Object.keys(parameters)
    .sort()
    .reduce((text, name) => {
      const given = parameters[name];
      const values = [...new Set(Array.isArray(given) ? given : [given ?? ""])].sort();
      return text + values.map((value) => name + value).join("");
    }, url);
}

function twilioBase(name: string, url: string, body: Uint8Array): Base {
  return {
    name,
    provider: "twilio",
    credentials: { accountSid, authTokens: ["ffffffffffffffffffffffffffffffff", token] },
    request: {
      url,
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        [headerNames.twilio]: hmac(token, statement(url, body)),
      },
      body,
    },
  };
}

const events = [
  {
    email: "grace@example.com",
    timestamp: Number(timestamp),
    event: "bounce",
    sg_event_id: "ev-1",
    sg_message_id: "sg-1.recvd",
    reason: "550 5.1.1 unknown",
    type: "bounce",
    status: "5.1.1",
  },
  {
    email: "kim@example.com",
    timestamp: Number(timestamp),
    event: "spamreport",
    sg_event_id: "ev-2",
    sg_message_id: "sg-2.recvd",
  },
];
const form = (fields: Readonly<Record<string, string>>) => Buffer.from(new URLSearchParams(fields).toString());
const jsonBody = Buffer.from(JSON.stringify({ AccountSid: accountSid, MessageSid: "SM1", MessageStatus: "delivered" }));
const bodyHash = createHash("sha256").update(jsonBody).digest("hex");
const callback = "https://in.example.test/webhooks/twilio/chc_2?mid=omsg_01J00000000000000000000000";

/** Honest requests; every attack starts from one. */
export const bases: readonly Base[] = [
  sendgridBase("SendGrid events", Buffer.from(`${JSON.stringify(events)}\r\n`), "application/json", 1),
  sendgridBase(
    "SendGrid events, not UTF-8",
    Buffer.from([0x5b, 0xff, 0x00, 0xfe, 0xc3, 0x28, 0x5d]),
    "application/json",
    2,
  ),
  sendgridBase("SendGrid, digits first", Buffer.from("1234567890"), "application/json", 3),
  sendgridBase(
    "SendGrid inbound",
    Buffer.from('--b\r\nContent-Disposition: form-data; name="from"\r\n\r\ngrace@example.com\r\n--b--\r\n'),
    "multipart/form-data; boundary=b",
    4,
  ),
  twilioBase(
    "Twilio status",
    callback,
    form({
      AccountSid: accountSid,
      MessageSid: "SM0123456789abcdef0123456789abcdef",
      MessageStatus: "delivered",
      To: "+12125550123",
    }),
  ),
  twilioBase(
    "Twilio inbound",
    "https://in.example.test/webhooks/twilio/chc_2",
    form({
      AccountSid: accountSid,
      Body: "Grüße, stop & go = 100 %",
      From: "+12125550123",
      MessageSid: "SM1",
      NumMedia: "0",
      SmsStatus: "received",
      To: "+12025550100",
    }),
  ),
  twilioBase("Twilio JSON", `https://in.example.test/webhooks/twilio/chc_2?bodySHA256=${bodyHash}`, jsonBody),
];

export const isAccepted = (
  { provider, credentials }: Pick<Base, "provider" | "credentials">,
  request: WebhookRequest,
): boolean => (provider === "sendgrid" ? verifySendgrid : verifyTwilio)(credentials, request, now).valid;

/** One changed request. */
export interface Attack {
  readonly kind: string;
  readonly request: WebhookRequest;
}

export const withBody = (request: WebhookRequest, body: Uint8Array): WebhookRequest => ({ ...request, body });
export const withHeader = (request: WebhookRequest, name: string, value: string): WebhookRequest => ({
  ...request,
  headers: { ...request.headers, [name]: value },
});
export const withUrl = (request: WebhookRequest, url: string): WebhookRequest => ({ ...request, url });
export const withoutHeader = (request: WebhookRequest, name: string): WebhookRequest => ({
  ...request,
  headers: Object.fromEntries(Object.entries(request.headers).filter(([key]) => key !== name)),
});

export function flipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
export const flippedText = (text: string, bit: number): string =>
  flipped(Buffer.from(text, "latin1"), bit).toString("latin1");

export const signatureHeader = ({ provider }: Base): string =>
  provider === "sendgrid" ? headerNames.signature : headerNames.twilio;
export const signatureOf = (base: Base): string => base.request.headers[signatureHeader(base)] ?? "";

/** An address with its query unescaped. */
function meant(url: string): string {
  const at = url.indexOf("?");
  return at < 0 ? url : JSON.stringify([url.slice(0, at), parseQuery(url.slice(at + 1))]);
}

/** Whether a changed request says, by its provider's scheme, exactly what the honest one said. */
export function isSameStatement(base: Base, { url, headers, body }: WebhookRequest): boolean {
  if (base.provider === "twilio") {
    if (headers[headerNames.twilio] !== signatureOf(base)) return false;
    const sameAddress = meant(url) === meant(base.request.url);
    if (new URL(base.request.url).searchParams.has("bodySHA256"))
      return sameAddress && Buffer.from(body).equals(base.request.body);
    return (
      statement(url, body) === statement(base.request.url, base.request.body) ||
      (sameAddress && statement("", body) === statement("", base.request.body))
    );
  }
  return (
    headers[headerNames.signature] === signatureOf(base) &&
    headers[headerNames.timestamp] === timestamp &&
    Buffer.from(body).equals(base.request.body)
  );
}

export interface Tally {
  tried: number;
  /** The same statement in another spelling; nothing a verifier could refuse. */
  same: number;
  readonly forged: string[];
  readonly byKind: Record<string, number>;
}
export const newTally = (): Tally => ({ tried: 0, same: 0, forged: [], byKind: {} });

/** Tries one attack. A verifier that throws has failed, whatever it would have said. */
export function tryOne(base: Base, attack: Attack, tally: Tally): void {
  if (isSameStatement(base, attack.request)) {
    tally.same++;
    return;
  }
  tally.tried++;
  const kind = `${base.name}: ${attack.kind.split(",")[0]}`;
  tally.byKind[kind] = (tally.byKind[kind] ?? 0) + 1;
  let accepted: unknown;
  try {
    accepted = isAccepted(base, attack.request);
  } catch (error) {
    accepted = `threw ${error instanceof Error ? error.message : String(error)}`;
  }
  if (accepted !== false && tally.forged.length < 100) {
    const { url, headers, body } = attack.request;
    tally.forged.push(
      `${kind} (${accepted}): ${url} ${JSON.stringify(headers)} ${Buffer.from(body).toString("latin1").slice(0, 400)}`,
    );
  }
}

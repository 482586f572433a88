/**
 * Signed requests, changed in every way that a stranger could change them. Invariant: what a provider's scheme calls the same statement is
 * worked out here without the code under test; everything else that is accepted is a forgery.
 *
 * Three equalities belong to the schemes and no verifier can tell them apart. ECDSA: (r, n − s) proves the same bytes as (r, s). Twilio:
 * the order of parameters is not signed, nor is where a name ends and its value begins; a value repeated under one name counts once.
 * None of them changes what an honest request says about itself, and archive and event keys let each statement act once.
 */
import { createHash, createHmac, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { parse as parseQuery } from "node:querystring";
import type { Credentials, WebhookRequest } from "../../core/ports/sender.ts";
import { verify as verifySendgrid } from "../../core/providers/sendgrid/verify.ts";
import { verify as verifyTwilio } from "../../core/providers/twilio/verify.ts";
import type { Random } from "../long/report.ts";

const now = new Date("2026-03-02T16:00:00Z");
const timestamp = String(now.getTime() / 1000);

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

const headerNames = {
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
  if (new URL(url).searchParams.has("bodySHA256")) return url;
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

const withBody = (request: WebhookRequest, body: Uint8Array): WebhookRequest => ({ ...request, body });
const withHeader = (request: WebhookRequest, name: string, value: string): WebhookRequest => ({
  ...request,
  headers: { ...request.headers, [name]: value },
});
const withUrl = (request: WebhookRequest, url: string): WebhookRequest => ({ ...request, url });
const withoutHeader = (request: WebhookRequest, name: string): WebhookRequest => ({
  ...request,
  headers: Object.fromEntries(Object.entries(request.headers).filter(([key]) => key !== name)),
});

function flipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
const flippedText = (text: string, bit: number): string => flipped(Buffer.from(text, "latin1"), bit).toString("latin1");

const signatureHeader = ({ provider }: Base): string =>
  provider === "sendgrid" ? headerNames.signature : headerNames.twilio;
const signatureOf = (base: Base): string => base.request.headers[signatureHeader(base)] ?? "";

/** Every single bit of signature (as bytes and as text), timestamp, body and URL. */
export function* everyBit(base: Base): Generator<Attack> {
  const { request } = base;
  const header = signatureHeader(base);
  const signature = signatureOf(base);
  const bytes = Buffer.from(signature, "base64");
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    yield { kind: "signature bit", request: withHeader(request, header, flipped(bytes, bit).toString("base64")) };
  }
  for (let bit = 0; bit < signature.length * 8; bit++) {
    yield { kind: "signature text bit", request: withHeader(request, header, flippedText(signature, bit)) };
  }
  for (let bit = 0; bit < request.body.length * 8; bit++) {
    yield { kind: "body bit", request: withBody(request, flipped(request.body, bit)) };
  }
  if (base.provider === "sendgrid") {
    for (let bit = 0; bit < timestamp.length * 8; bit++) {
      yield { kind: "timestamp bit", request: withHeader(request, headerNames.timestamp, flippedText(timestamp, bit)) };
    }
  } else {
    // The scheme and host are ours, whatever the request says.
    const from = request.url.indexOf("/webhooks");
    for (let bit = from * 8; bit < request.url.length * 8; bit++) {
      const url = flippedText(request.url, bit);
      if (URL.canParse(url)) yield { kind: "url bit", request: withUrl(request, url) };
    }
  }
}

/** Spellings of one signature that a careless decoder would take for it, and things that are none. */
export function* spellings(base: Base): Generator<Attack> {
  const { request } = base;
  const header = signatureHeader(base);
  const signature = signatureOf(base);
  const bare = signature.replaceAll("=", "");
  const bytes = Buffer.from(signature, "base64");
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const texts: Record<string, readonly string[]> = {
    padding: [bare, `${bare}=`, `${bare}==`, `${bare}===`, `${signature}=`, `=${signature}`, `${signature}====`].filter(
      (text) => text !== signature,
    ),
    whitespace: [
      ` ${signature}`,
      `${signature} `,
      `${signature}\n`,
      `${signature}\t`,
      signature.replace(/.{20}/, "$&\n"),
      signature.replace(/.{10}/, "$& "),
      `\u00a0${signature}`,
    ],
    alphabet: [
      bytes.toString("base64url"),
      signature.replaceAll("+", "-"),
      signature.replaceAll("/", "_"),
      bytes.toString("hex"),
      bytes.toString("latin1"),
      encodeURIComponent(signature),
    ].filter((text) => text !== signature),
    case: [
      signature.toUpperCase(),
      signature.toLowerCase(),
      signature.replaceAll(/[a-z]/g, (letter) => letter.toUpperCase()),
    ].filter((text) => text !== signature),
    "trailing bits": [...last]
      .map((letter) => `${bare.slice(0, -1)}${letter}${signature.slice(bare.length)}`)
      .filter((text) => text !== signature),
    repeated: [
      `${signature}, ${signature}`,
      `${signature},${signature}`,
      `${signature};${signature}`,
      `${signature}${signature}`,
      `, ${signature}`,
      `${signature}, `,
    ],
    quoted: [`"${signature}"`, `'${signature}'`, `sha1=${signature}`, `v1,${signature}`, `Bearer ${signature}`],
    nothing: ["", " ", "null", "undefined", "AAAA", "0", "true", "{}", "[]", "MAYCAQACAQA=", "MAYCAQECAQE="],
    truncated: Array.from({ length: bare.length }, (_, length) => signature.slice(0, length)),
    cut: Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length).toString("base64")),
    lengthened: [
      Buffer.concat([bytes, Buffer.alloc(1)]),
      Buffer.concat([Buffer.alloc(1), bytes]),
      Buffer.concat([bytes, bytes]),
      Buffer.concat([bytes, Buffer.from("3006", "hex")]),
    ].map((one) => one.toString("base64")),
    huge: ["A".repeat(100_000), `${signature}${"A".repeat(1_000_000)}`],
  };
  for (const [kind, list] of Object.entries(texts))
    for (const text of list) yield { kind: `signature ${kind}`, request: withHeader(request, header, text) };
  yield { kind: "signature missing", request: withoutHeader(request, header) };
  for (const [name, value] of Object.entries({
    [header.toUpperCase()]: signature,
    [`${header} `]: signature,
    [`x-${header}`]: signature,
    signature,
  })) {
    yield {
      kind: "signature under another name",
      request: {
        ...withoutHeader(request, header),
        headers: { ...withoutHeader(request, header).headers, [name]: value },
      },
    };
  }
  if (base.provider === "sendgrid") {
    yield* derSpellings(base);
    yield* times(base);
  }
  for (const other of bases) {
    if (other.name === base.name || other.provider !== base.provider) continue;
    yield { kind: "another request's signature", request: withHeader(request, header, signatureOf(other)) };
    yield { kind: "another request's body", request: withBody(request, other.request.body) };
    if (base.provider === "twilio")
      yield { kind: "another request's address", request: withUrl(request, other.request.url) };
  }
}

/** The order of P-256. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const asNumber = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString("hex") || "0"}`);

function readDer(bytes: Uint8Array): { readonly r: bigint; readonly s: bigint } {
  const rLength = bytes[3] ?? 0;
  return { r: asNumber(bytes.subarray(4, 4 + rLength)), s: asNumber(bytes.subarray(6 + rLength)) };
}

function integer(value: bigint, zeros = 0): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex");
  const positive = (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes;
  const padded = Buffer.concat([Buffer.alloc(zeros), positive]);
  return Buffer.concat([Buffer.from([0x02, padded.length]), padded]);
}
const sequence = (...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([0x30, content.length]), content]);
};

/** The other signature that ECDSA has for the same bytes: valid, and nothing a verifier of an unnormalised scheme may refuse. */
export function otherSignature(base: Base): WebhookRequest {
  const { r, s } = readDer(Buffer.from(signatureOf(base), "base64"));
  return withHeader(base.request, headerNames.signature, sequence(integer(r), integer(order - s)).toString("base64"));
}

function* derSpellings(base: Base): Generator<Attack> {
  const bytes = Buffer.from(signatureOf(base), "base64");
  const { r, s } = readDer(bytes);
  const content = bytes.subarray(2);
  const raw = (value: bigint) => Buffer.from(value.toString(16).padStart(64, "0"), "hex");
  const numbers: readonly (readonly [bigint, bigint])[] = [
    [0n, s],
    [r, 0n],
    [0n, 0n],
    [1n, 1n],
    [order, s],
    [r, order],
    [r + order, s],
    [r, s + order],
    [s, r],
    [r, s + 1n],
    [r + 1n, s],
    [order - r, s],
    [order - r, order - s],
    [r, r],
    [s, s],
    [order - 1n, order - 1n],
  ];
  const forms: Buffer[] = [
    ...numbers.map(([a, b]) => sequence(integer(a), integer(b))),
    sequence(integer(r, 1), integer(s)),
    sequence(integer(r), integer(s, 1)),
    // Lengths in the long form, an indefinite length, a wrong tag, bytes behind the end, a third number.
    Buffer.concat([Buffer.from([0x30, 0x81, content.length]), content]),
    Buffer.concat([Buffer.from([0x30, 0x82, 0, content.length]), content]),
    Buffer.concat([Buffer.from([0x30, 0x80]), content, Buffer.alloc(2)]),
    Buffer.concat([Buffer.from([0x31, content.length]), content]),
    Buffer.concat([bytes, Buffer.from([0])]),
    sequence(integer(r), integer(s), integer(1n)),
    sequence(integer(r)),
    sequence(sequence(integer(r), integer(s))),
    Buffer.concat([raw(r), raw(s)]),
    Buffer.concat([Buffer.from([4]), raw(r), raw(s)]),
  ];
  for (const der of forms)
    yield {
      kind: "signature in another encoding",
      request: withHeader(base.request, headerNames.signature, der.toString("base64")),
    };
}

function* times(base: Base): Generator<Attack> {
  const { request } = base;
  const given = (value: string): Attack => ({
    kind: "timestamp",
    request: withHeader(request, headerNames.timestamp, value),
  });
  for (const text of [
    `0${timestamp}`,
    `${timestamp}.0`,
    `+${timestamp}`,
    ` ${timestamp}`,
    `${timestamp} `,
    `${timestamp}\n`,
    `${timestamp}e0`,
    `0x${Number(timestamp).toString(16)}`,
    "",
    "NaN",
    "Infinity",
    "-1",
    "0",
    `${timestamp}000`,
    "1e9",
    timestamp.replace("1", "１"),
    `${timestamp}, ${timestamp}`,
    "9".repeat(1_000),
  ])
    yield given(text);
  for (let shift = -50; shift <= 50; shift++) if (shift !== 0) yield given(String(Number(timestamp) + shift));
  yield { kind: "timestamp missing", request: withoutHeader(request, headerNames.timestamp) };
  // Nothing separates time and body: digits moved between the two are the same signed bytes. Their age gives them away.
  const body = Buffer.from(request.body);
  for (let digits = 1; digits <= 4; digits++) {
    const moved = body.subarray(0, digits).toString("latin1");
    if (/^\d+$/.test(moved))
      yield {
        kind: "timestamp boundary",
        request: withBody(withHeader(request, headerNames.timestamp, timestamp + moved), body.subarray(digits)),
      };
    const shorter = timestamp.slice(0, -digits);
    yield {
      kind: "timestamp boundary",
      request: withBody(
        withHeader(request, headerNames.timestamp, shorter),
        Buffer.concat([Buffer.from(timestamp.slice(-digits)), body]),
      ),
    };
  }
}

const junk = [" ", "\n", "\0", "\ufeff", "&", "=", "%", "+", ",", "[", "}", '"'];

/** A random change: several bits, bytes moved, doubled, dropped or put in, fields permuted, in one part or in two. */
export function randomChange(base: Base, random: Random): Attack {
  const first = oneChange(base, base.request, random);
  if (!random.chance(0.2)) return first;
  const second = oneChange(base, first.request, random);
  return { kind: `${first.kind}, ${second.kind}`, request: second.request };
}

function oneChange(base: Base, request: WebhookRequest, random: Random): Attack {
  const header = signatureHeader(base);
  switch (random.below(base.provider === "sendgrid" ? 7 : 8)) {
    case 0: {
      const bytes = Buffer.from(signatureOf(base), "base64");
      let changed: Buffer = bytes;
      for (let n = 1 + random.below(8); n > 0; n--) changed = flipped(changed, random.below(bytes.length * 8));
      return { kind: "signature bits", request: withHeader(request, header, changed.toString("base64")) };
    }
    case 1: {
      const bytes = Buffer.from(
        Array.from({ length: Buffer.from(signatureOf(base), "base64").length }, () => random.below(256)),
      );
      return { kind: "signature invented", request: withHeader(request, header, bytes.toString("base64")) };
    }
    case 2: {
      let changed: Buffer = Buffer.from(request.body);
      for (let n = 2 + random.below(8); n > 0 && changed.length > 0; n--)
        changed = flipped(changed, random.below(changed.length * 8));
      return { kind: "body bits", request: withBody(request, changed) };
    }
    case 3: {
      const text = Buffer.from(request.body);
      const at = random.below(text.length + 1);
      return {
        kind: "body put in",
        request: withBody(
          request,
          Buffer.concat([text.subarray(0, at), Buffer.from(random.pick(junk)), text.subarray(at)]),
        ),
      };
    }
    case 4: {
      const text = Buffer.from(request.body);
      const [a, b] = [random.below(text.length + 1), random.below(text.length + 1)].toSorted((x, y) => x - y);
      return {
        kind: "body cut out",
        request: withBody(request, Buffer.concat([text.subarray(0, a), text.subarray(b)])),
      };
    }
    case 5: {
      const parts = Buffer.from(request.body)
        .toString("latin1")
        .split(/(?=[&,{])/);
      const [a, b] = [random.below(parts.length), random.below(parts.length)];
      [parts[a], parts[b]] = [parts[b] ?? "", parts[a] ?? ""];
      if (random.chance(0.3)) parts.splice(a, 0, parts[b] ?? "");
      return { kind: "body parts moved", request: withBody(request, Buffer.from(parts.join(""), "latin1")) };
    }
    case 6: {
      if (base.provider === "sendgrid") {
        const shift = (random.below(2) * 2 - 1) * (1 + random.below(100_000));
        return {
          kind: "timestamp shifted",
          request: withHeader(request, headerNames.timestamp, String(Number(timestamp) + shift)),
        };
      }
      const at = request.url.indexOf("/webhooks") + random.below(request.url.length - request.url.indexOf("/webhooks"));
      const url = `${request.url.slice(0, at)}${random.pick(["a", "%61", "/", "?x=1", "&x=1", "//", "%2F", ";", "%00", "é"])}${request.url.slice(at + random.below(2))}`;
      return {
        kind: "url changed",
        request: URL.canParse(url) ? withUrl(request, url) : withHeader(request, header, ""),
      };
    }
    default: {
      const fields = Buffer.from(request.body).toString("latin1").split("&");
      const at = random.below(fields.length);
      const extra = random.pick([
        "Body=STOP",
        "AccountSid=AC2",
        "MessageSid=SM9",
        "__proto__=x",
        "constructor=y",
        "To=%2B1",
        "Body",
        "=x",
        "toString=1",
      ]);
      fields.splice(at, random.below(2), extra);
      return { kind: "field put in", request: withBody(request, Buffer.from(fields.join("&"), "latin1")) };
    }
  }
}

/** Whether a changed request says, by its provider's scheme, exactly what the honest one said. */
export function isSameStatement(base: Base, { url, headers, body }: WebhookRequest): boolean {
  if (base.provider === "twilio") {
    if (headers[headerNames.twilio] !== signatureOf(base)) return false;
    if (new URL(base.request.url).searchParams.has("bodySHA256"))
      return url === base.request.url && Buffer.from(body).equals(base.request.body);
    return statement(url, body) === statement(base.request.url, base.request.body);
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

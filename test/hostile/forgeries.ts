/**
 * Every single bit of a signed request, and every other spelling of its signature and its time. Invariant: the same base gives the same
 * attacks in the same order.
 */
import type { WebhookRequest } from "../../core/ports/sender.ts";
import {
  type Attack,
  type Base,
  bases,
  flipped,
  flippedText,
  headerNames,
  signatureHeader,
  signatureOf,
  timestamp,
  withBody,
  withHeader,
  withoutHeader,
  withUrl,
} from "./signatures.ts";

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

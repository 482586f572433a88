/**
 * Proof that a webhook is SendGrid's: ECDSA P-256 with SHA-256 over timestamp ‖ raw body. Invariant: `valid` is said only for
 * exactly the bytes that were signed, and nothing a stranger sends makes this throw.
 *
 * `node:crypto` with cached keys instead of the vendor's verifier: that one turns the body into text first, which breaks
 * signatures over bytes that are not UTF-8, and is about 60 times slower.
 */
import { createPublicKey, type KeyObject, verify as verifySignature } from "node:crypto";
import type { Credentials, Verification, WebhookRequest } from "../../ports/sender.ts";
import { SendgridCredentials } from "./credentials.ts";

/** SendGrid retries for 24 h and does not document whether a retry is signed anew; `sg_event_id` stops replays. */
const maxAgeSeconds = 26 * 3600;
const maxAheadSeconds = 600;

const invalid = (reason: string): Verification => ({ valid: false, reason });

/** Received e-mails come as forms, batches of events as JSON. */
export const isMultipart = (headers: Readonly<Record<string, string>>): boolean =>
  /^\s*multipart\/form-data\b/i.test(headers["content-type"] ?? "");

export function verify(credentials: Credentials, request: WebhookRequest, now: Date): Verification {
  const parsed = SendgridCredentials.safeParse(credentials);
  if (!parsed.success) return invalid("credentials");
  const signature = decodeBase64(request.headers["x-twilio-email-event-webhook-signature"]);
  const timestamp = request.headers["x-twilio-email-event-webhook-timestamp"] ?? "";
  if (signature === null || !/^\d{1,11}$/.test(timestamp)) return invalid("missing or malformed signature headers");
  const age = now.getTime() / 1000 - Number(timestamp);
  if (age > maxAgeSeconds || age < -maxAheadSeconds) return invalid("stale timestamp");
  const { eventWebhookPublicKeys, inboundPublicKeys } = parsed.data;
  const keys = isMultipart(request.headers) ? (inboundPublicKeys ?? eventWebhookPublicKeys) : eventWebhookPublicKeys;
  const signed = Buffer.concat([Buffer.from(timestamp, "latin1"), request.body]);
  return keys.some((key) => matches(key, signed, signature)) ? { valid: true } : invalid("signature");
}

function matches(publicKey: string, signed: Uint8Array, signature: Uint8Array): boolean {
  const key = keyOf(publicKey);
  try {
    return key !== null && verifySignature("sha256", signed, key, signature);
  } catch {
    return false;
  }
}

/** Only the canonical spelling: base64 has several texts for the same bytes, and one signature should be one text. */
function decodeBase64(text: string | undefined): Buffer | null {
  if (text === undefined || text === "") return null;
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : null;
}

/** Importing a key costs more than checking a signature. Bounded, because tenants come and go in a long-lived process. */
const keys = new Map<string, KeyObject | null>();
const maxCachedKeys = 1_000;

function keyOf(publicKey: string): KeyObject | null {
  const cached = keys.get(publicKey);
  if (cached !== undefined) return cached;
  const oldest = keys.keys().next();
  if (keys.size >= maxCachedKeys && !oldest.done) keys.delete(oldest.value);
  const key = importKey(publicKey);
  keys.set(publicKey, key);
  return key;
}

function importKey(publicKey: string): KeyObject | null {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey, "base64"), format: "der", type: "spki" });
    return key.asymmetricKeyDetails?.namedCurve === "prime256v1" ? key : null;
  } catch {
    return null;
  }
}

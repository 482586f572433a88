/**
 * Proof that a webhook is Twilio's and this tenant's: HMAC-SHA1 with the account's token over URL and parameters. Invariant:
 * `valid` is said only when the configured URL, the parameters and the account are what Twilio signed, and nothing a stranger
 * sends makes this throw. There is no timestamp in this scheme: replays end at the unique event id.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { validateRequest } from "twilio/lib/webhooks/webhooks.js";
import type { Credentials, Verification, WebhookRequest } from "../../ports/sender.ts";
import { TwilioCredentials } from "./credentials.ts";
import { bodyHashOf, maxBodyBytes, type Parameters, readForm, readJsonBody } from "./form.ts";

const invalid = (reason: string): Verification => ({ valid: false, reason });

export function verify(credentials: Credentials, request: WebhookRequest, _now: Date): Verification {
  const parsed = TwilioCredentials.safeParse(credentials);
  if (!parsed.success) return invalid("credentials");
  const { accountSid, authTokens } = parsed.data;
  const signature = request.headers["x-twilio-signature"];
  if (!signature) return invalid("missing signature");
  if (request.body.byteLength > maxBodyBytes) return invalid("too large");
  // `#rc=…` tells Twilio how to retry and is never sent.
  const [url = ""] = request.url.split("#", 1);
  const bodyHash = bodyHashOf(url);
  const parameters = bodyHash === null ? readForm(request.body) : readJsonBody(request.body);
  const signed = bodyHash === null ? signedForm(parameters) : {};
  // Every token is tried, whichever matches: the time taken tells nobody which of the two is active.
  const matches = authTokens.map((token) => matchesToken(token, signature, url, signed));
  if (!matches.includes(true)) return invalid("signature");
  if (bodyHash !== null && !hashMatches(request.body, bodyHash)) return invalid("body hash");
  const accounts = parameters.get("AccountSid") ?? [];
  // The shortest real callback names no account; one that names another account was sent to the wrong tenant.
  return accounts.every((account) => account === accountSid) ? { valid: true } : invalid("account");
}

/** The vendor's verifier tries the URL with and without the port, and the query as Twilio's older back ends encode it. */
function matchesToken(
  token: string,
  signature: string,
  url: string,
  signed: Record<string, string | string[]>,
): boolean {
  try {
    return validateRequest(token, signature, url, signed);
  } catch {
    return false;
  }
}

/** The vendor's shape: one value as text, several as an array. Without a prototype, because strangers choose the names. */
function signedForm(parameters: Parameters): Record<string, string | string[]> {
  const signed: Record<string, string | string[]> = Object.create(null);
  for (const [name, values] of parameters) {
    const [first = "", ...more] = values;
    signed[name] = more.length === 0 ? first : [...values];
  }
  return signed;
}

function hashMatches(body: Uint8Array, expected: string): boolean {
  if (!/^[0-9a-f]{64}$/.test(expected)) return false;
  return timingSafeEqual(createHash("sha256").update(body).digest(), Buffer.from(expected, "hex"));
}

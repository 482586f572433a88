/** The parameters of a Twilio webhook, read the same way for checking the signature and for using them. */
import { parseJson } from "../../kernel/json.ts";
import type { WebhookRequest } from "../../ports/sender.ts";

/**
 * Twilio's bodies are a few KiB. The limit comes before the signature is checked, because a form of a million blank parameters
 * costs seconds to read.
 */
export const maxBodyBytes = 65_536;

/** Signed parameters: every name once, with all its values in order. */
export type Parameters = ReadonlyMap<string, readonly string[]>;

/** Invalid UTF-8 becomes U+FFFD, as in the vendor's verifier; a byte order mark stays, because it was signed. */
export function readForm(body: Uint8Array): Parameters {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8");
  const parameters = new Map<string, string[]>();
  // The leading "&" keeps URLSearchParams from taking a first "?" for the start of a query.
  for (const [name, value] of new URLSearchParams(`&${text}`)) {
    const values = parameters.get(name);
    if (values === undefined) parameters.set(name, [value]);
    else values.push(value);
  }
  return parameters;
}

/** A JSON body's text and number members, under the names a form would use. */
export function readJsonBody(body: Uint8Array): Parameters {
  const json = parseJson(body);
  const parameters = new Map<string, string[]>();
  if (!json.ok || typeof json.value !== "object" || json.value === null) return parameters;
  for (const [name, value] of Object.entries(json.value)) {
    if (typeof value === "string" || typeof value === "number") parameters.set(name, [String(value)]);
  }
  return parameters;
}

/** The signed parameters of a request, in whichever form it carries them. */
export const readParameters = ({ body, url }: Pick<WebhookRequest, "body" | "url">): Parameters =>
  bodyHashOf(url) === null ? readForm(body) : readJsonBody(body);

/** Inbound messages carry `SmsStatus=received` and never `MessageStatus`; very old ones neither. */
export function isInbound(parameters: Parameters): boolean {
  const legacyStatus = first(parameters, "SmsStatus")?.toLowerCase();
  return (
    first(parameters, "MessageStatus") === undefined && (legacyStatus === undefined || legacyStatus === "received")
  );
}

/** The first value of a parameter; blank means absent. */
export const first = (parameters: Parameters, name: string): string | undefined =>
  parameters.get(name)?.[0] || undefined;

/** Twilio marks a JSON body by carrying its hash in the signed URL; the content type is not signed and decides nothing. */
export function bodyHashOf(url: string): string | null {
  return URL.canParse(url) ? new URL(url).searchParams.get("bodySHA256") : null;
}

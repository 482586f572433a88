/**
 * One message to `POST /v3/mail/send`. SendGrid has no idempotency key, so the invariant is: only an answer that proves refusal
 * is `rejected` or `deferred`; every doubt, including each 5xx, is `ambiguous`.
 *
 * There is no `lookup`: the Email Activity API is a paid add-on that indexes late, so its "absent" proves nothing.
 */
import * as z from "zod";
import { retryAfterSeconds } from "../../kernel/backoff.ts";
import { parseJson, storableText } from "../../kernel/json.ts";
import { lineEnd } from "../../kernel/line.ts";
import type { Credentials, OutgoingMessage, SendOutcome } from "../../ports/sender.ts";
import { call, type HttpResult } from "../http.ts";
import { SendgridCredentials } from "./credentials.ts";
import { messageIdArgument } from "./message-id.ts";

export async function send(
  credentials: Credentials,
  message: OutgoingMessage,
  timeoutMs: number,
  now: Date,
): Promise<SendOutcome> {
  const parsed = SendgridCredentials.safeParse(credentials);
  if (!parsed.success) return rejected("account", "credentials", "The SendGrid credentials are incomplete.");
  if (message.channel !== "email") return rejected("request", "channel", `SendGrid cannot send ${message.channel}.`);
  const unsafe = unsafeHeader(message);
  if (unsafe !== null) return rejected("request", "header", unsafe);
  const { apiKey, apiBaseUrl } = parsed.data;
  const result = await call({
    method: "POST",
    url: `${apiBaseUrl.replace(/\/+$/, "")}/v3/mail/send`,
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify(mailOf(message)),
    timeoutMs,
  });
  return outcomeOf(result, now);
}

/** The wire form. Tracking is off because Outrider rewrites links and adds its pixel itself, and two trackers would compete. */
function mailOf(message: OutgoingMessage): unknown {
  const content = [
    { type: "text/plain", value: message.text },
    ...(message.html === undefined ? [] : [{ type: "text/html", value: message.html }]),
  ].filter(({ value }) => value !== "");
  const { address, name, ipPool } = message.from;
  return {
    personalizations: [{ to: [{ email: message.to }], custom_args: { [messageIdArgument]: message.messageId } }],
    from: { email: address, ...(name ? { name } : {}) },
    ...(message.replyTo ? { reply_to: { email: message.replyTo } } : {}),
    subject: message.subject ?? "",
    content,
    ...(Object.keys(message.headers).length > 0 ? { headers: message.headers } : {}),
    ...(ipPool ? { ip_pool_name: ipPool } : {}),
    tracking_settings: {
      click_tracking: { enable: false, enable_text: false },
      open_tracking: { enable: false },
      subscription_tracking: { enable: false },
      ganalytics: { enable: false },
    },
  };
}

/** A line break in anything that becomes a header would let its author write further headers. */
function unsafeHeader(message: OutgoingMessage): string | null {
  const values: Record<string, string | undefined> = {
    ...message.headers,
    to: message.to,
    from: message.from.address,
    "from name": message.from.name,
    "reply-to": message.replyTo,
    subject: message.subject,
  };
  for (const [name, value] of Object.entries(values)) {
    if (lineEnd.test(value ?? "")) return `The header ${JSON.stringify(name)} holds a line break.`;
  }
  for (const name of Object.keys(message.headers)) {
    // RFC 5322 field names: printable ASCII without the colon.
    if (!/^[\x21-\x39\x3b-\x7e]+$/.test(name)) return `${JSON.stringify(name)} is no header name.`;
  }
  return null;
}

function outcomeOf(result: HttpResult, now: Date): SendOutcome {
  if (result.kind === "not_sent") {
    return { kind: "deferred", code: "not_sent", reason: result.reason, retryAfterSeconds: null };
  }
  if (result.kind === "unknown") return { kind: "ambiguous", reason: result.reason };
  const { status, headers } = result;
  const code = String(status);
  if (status === 200 || status === 202) {
    return { kind: "accepted", providerMessageId: status === 202 ? headers["x-message-id"] || null : null };
  }
  // 408 is a doubt, too: the server may have read everything.
  if (status < 400 || status === 408 || status >= 500) return { kind: "ambiguous", reason: `HTTP ${status}` };
  const reason = reasonOf(result.body) ?? `HTTP ${status}`;
  if (status === 429) return { kind: "deferred", code, reason, retryAfterSeconds: waitSeconds(headers, now) };
  // 404 and 405 mean that this is not SendGrid's API: a wrong base URL, the channel's fault rather than the message's.
  return rejected([401, 403, 404, 405].includes(status) ? "account" : "request", code, reason);
}

/** SendGrid states an absolute Unix second in `X-RateLimit-Reset`; gateways before it use `Retry-After`. 1 s … 1 h. */
function waitSeconds(headers: Readonly<Record<string, string>>, now: Date): number | null {
  const reset = headers["x-ratelimit-reset"]?.trim() ?? "";
  const untilReset = /^\d{1,12}$/.test(reset) ? String(Number(reset) - now.getTime() / 1000) : undefined;
  return retryAfterSeconds(headers["retry-after"], now) ?? retryAfterSeconds(untilReset, now);
}

const ErrorBody = z.object({ errors: z.array(z.object({ message: z.string(), field: z.string().nullish() })).min(1) });

/** The first error SendGrid names; null for bodies that are not its own, such as the HTML page of a 413. */
function reasonOf(body: Uint8Array): string | null {
  const json = parseJson(body);
  const parsed = ErrorBody.safeParse(json.ok ? json.value : undefined);
  const first = parsed.data?.errors[0];
  if (first === undefined) return null;
  return storableText(`${first.field ? `${first.field}: ` : ""}${first.message}`, 500);
}

const rejected = (failure: "request" | "account", code: string, reason: string): SendOutcome => ({
  kind: "rejected",
  failure,
  code,
  reason,
});

/**
 * SendGrid's Event Webhook: the events as it writes them, and its signature.
 * The signature covers the exact bytes, CRLFs included, so a batch is serialised once.
 */
import { createHash, createSign, type KeyObject } from "node:crypto";
import type { WebhookRequest } from "./outbox.ts";
import { pick, uniform } from "./random.ts";
import type { Reaction } from "./script.ts";
import type { Message } from "./state.ts";

const browsers: readonly [string, ...string[]] = [
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
  "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; .NET4.0C; Microsoft Outlook 16.0)",
];
/** What Apple's Mail Privacy Protection says when it loads pictures without a reader: nothing more than this. */
export const machineUserAgent = "Mozilla/5.0";

/** The mail client of a person: always the same one for the same address. */
export const userAgentOf = (address: string): string => pick(browsers, uniform(address, "client"));

/** The smtp-id: the message's own Message-ID if the sender set one. */
export const smtpIdOf = ({ accept, headers }: Message): string =>
  headers["message-id"] ?? `<${accept.messageId}@geopod-ismtpd-1>`;

const blocks: readonly [readonly [string, string, string], ...(readonly [string, string, string])[]] = [
  ["5.2.2", "552 5.2.2 The email account that you tried to reach is over quota", "Mailbox Unavailable"],
  ["4.3.2", "451 4.3.2 Please try again later", "Technical"],
  ["5.0.0", "550 The message was not accepted by the remote server", "Unclassified"],
];

/** What every event has; the rest depends on its kind. */
export interface SendgridEvent {
  readonly email: string;
  readonly event: string;
  /** Seconds. */
  readonly timestamp: number;
  readonly [field: string]: unknown;
}

/** Reactions that SendGrid reports; replies come through Inbound Parse instead. */
export type Reported = Exclude<Reaction, { kind: "replied" | "stop" | "autoreply" | "undelivered" }>;

/**
 * One event as SendGrid writes it.
 * @param index place of the reaction in the message's script: makes `sg_event_id` the same in every copy and every run.
 * @param url the link of a click.
 */
export function eventOf(message: Message, reaction: Reported, index: number, at: Date, url: string): SendgridEvent {
  const { accept, customArgs, categories } = message;
  const hash = createHash("sha256").update(`${accept.messageId}|${accept.to}|${index}|${reaction.kind}`).digest();
  const common = {
    ...(categories.length > 0 && { category: categories.length === 1 ? categories[0] : categories }),
    email: accept.to,
    timestamp: Math.floor(at.getTime() / 1000),
    "smtp-id": smtpIdOf(message),
    sg_event_id: hash.toString("base64url"),
  };
  const suffix = hash.toString("hex");
  const base = {
    // A reserved name wins over a custom argument of the same name.
    ...customArgs,
    ...common,
    sg_message_id: `${accept.messageId}.recvd-${suffix.slice(0, 10)}-${suffix.slice(10, 15)}-1-${suffix.slice(16, 24).toUpperCase()}-${Number.parseInt(suffix.slice(0, 2), 16)}.0`,
  };
  const mailHost = `149.72.${hash[0]}.${hash[1]}`;
  const reader = { ip: `203.0.113.${hash[2]}`, useragent: userAgentOf(accept.to) };
  switch (reaction.kind) {
    case "processed":
      return { ...base, event: "processed", send_at: 0 };
    case "delivered":
      return { ...base, event: "delivered", response: "250 2.0.0 OK", ip: mailHost, tls: 1 };
    case "deferred":
      return { ...base, event: "deferred", response: reaction.reason, attempt: "1", ip: mailHost, tls: 0 };
    case "bounced_hard":
      return {
        ...base,
        event: "bounce",
        type: "bounce",
        bounce_classification: "Invalid Address",
        reason: "550 5.1.1 The email account that you tried to reach does not exist.",
        status: "5.1.1",
        ip: mailHost,
        tls: 1,
      };
    case "bounced_blocked": {
      const [status, reason, classification] = pick(blocks, (hash[3] ?? 0) / 256);
      return {
        ...base,
        event: "bounce",
        type: "blocked",
        bounce_classification: classification,
        reason,
        status,
        ip: mailHost,
        tls: 1,
      };
    }
    case "bounced_async":
      // No sg_message_id and no ip; custom arguments are not always there either, so half of these come without.
      return {
        ...((hash[4] ?? 0) % 2 === 0 && customArgs),
        ...common,
        event: "bounce",
        type: "bounce",
        reason: "550 5.1.1 mailbox does not exist",
        status: "5.1.1",
      };
    case "dropped":
      return { ...base, event: "dropped", reason: reaction.reason, status: "5.0.0" };
    case "opened":
      return { ...base, event: "open", ...reader, sg_content_type: "html", sg_machine_open: false };
    case "opened_machine":
      return {
        ...base,
        event: "open",
        ...reader,
        useragent: machineUserAgent,
        sg_content_type: "html",
        sg_machine_open: true,
      };
    case "clicked":
      return { ...base, event: "click", ...reader, url, url_offset: { index: 0, type: "html" } };
    case "complained":
      return { ...base, event: "spamreport" };
    case "unsubscribed":
      return { ...base, event: "unsubscribe" };
  }
}

/** Headers that prove the bytes: base64 DER ECDSA P-256/SHA-256 over the timestamp and the body. */
export function signedHeaders(key: KeyObject, body: Uint8Array, now: Date): Record<string, string> {
  const timestamp = String(Math.floor(now.getTime() / 1000));
  return {
    "x-twilio-email-event-webhook-signature": createSign("sha256").update(timestamp).update(body).sign(key, "base64"),
    "x-twilio-email-event-webhook-timestamp": timestamp,
  };
}

/** CRLF after each event and at the very end, like the real thing. */
export function eventBatch(url: string, key: KeyObject, events: readonly SendgridEvent[], now: Date): WebhookRequest {
  const body = Buffer.from(`[${events.map((event) => JSON.stringify(event)).join(",\r\n")}]\r\n`);
  const headers = {
    "content-type": "application/json",
    "user-agent": "SendGrid Event API",
    ...signedHeaders(key, body, now),
  };
  return { method: "POST", url, headers, body };
}

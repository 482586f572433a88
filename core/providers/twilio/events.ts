/**
 * Status callbacks and inbound messages in our words. Invariant: an address is normalised only when it is a telephone number;
 * WhatsApp may show a business-scoped id instead, and guessing a number from it could reach a stranger.
 */
import { normalizePhone } from "../../kernel/address.ts";
import { idOf } from "../../kernel/id.ts";
import { storableText } from "../../kernel/json.ts";
import type { Channel, EventType } from "../../kernel/vocabulary.ts";
import type { ParsedDelivery, ProviderEvent, ProviderInbound, WebhookRequest } from "../../ports/sender.ts";
import { verdictOf } from "./errors.ts";
import { first, isInbound, maxBodyBytes, readParameters } from "./form.ts";
import { messageIdParameter } from "./message-id.ts";

const types: Readonly<Record<string, EventType>> = {
  accepted: "queued",
  scheduled: "queued",
  queued: "queued",
  sending: "sent",
  sent: "sent",
  delivered: "delivered",
  undelivered: "failed",
  failed: "failed",
  read: "opened",
  canceled: "dropped",
};

/** Reads one parameter, cut to `maxLength` and safe to store; blank means absent. */
type Read = (name: string, maxLength?: number) => string | undefined;

export function parse(request: Pick<WebhookRequest, "body" | "url">, receivedAt: Date): ParsedDelivery {
  if (request.body.byteLength > maxBodyBytes) return problem("form: too large");
  const parameters = readParameters(request);
  const read: Read = (name, maxLength) => {
    const value = first(parameters, name);
    return value === undefined ? undefined : storableText(value, maxLength);
  };
  const sid = read("MessageSid", 200) ?? read("SmsSid", 200) ?? read("SmsMessageSid", 200);
  if (sid === undefined) return problem("form: no MessageSid");
  if (isInbound(parameters)) {
    const inbound = readInbound(read, sid);
    return inbound === null
      ? problem("form: neither a status nor a message")
      : { events: [], inbound: [inbound], problems: [] };
  }
  const status = (read("MessageStatus", 50) ?? read("SmsStatus", 50) ?? "").toLowerCase();
  const event = readStatus(read, sid, status, ownIdOf(request.url), receivedAt);
  return { events: [event], inbound: [], problems: [] };
}

const problem = (reason: string): ParsedDelivery => ({ events: [], inbound: [], problems: [{ index: -1, reason }] });

const MessageId = idOf("message");

function ownIdOf(url: string): string | null {
  const given = URL.canParse(url) ? new URL(url).searchParams.get(messageIdParameter) : null;
  return MessageId.safeParse(given).data ?? null;
}

function readStatus(
  read: Read,
  sid: string,
  status: string,
  messageId: string | null,
  receivedAt: Date,
): ProviderEvent {
  const type = Object.hasOwn(types, status) ? (types[status] ?? "unknown") : "unknown";
  const code = read("ErrorCode", 50);
  const verdict =
    type === "failed" && code !== undefined && /^\d{1,6}$/.test(code) ? verdictOf(Number(code)) : undefined;
  const reason = read("ErrorMessage", 1_000);
  const to = read("To");
  return {
    providerEventId: `${sid}:${status}`,
    type,
    at: doneAt(read("RawDlrDoneDate"), receivedAt),
    messageId,
    providerMessageId: sid,
    channel: channelOf(read),
    address: to === undefined ? null : addressOf(to),
    machine: false,
    // A phone that was off: counted as a strike, like a full mailbox.
    ...(verdict === "soft" ? { bounce: "soft" as const } : {}),
    ...(verdict === undefined || verdict === "soft" || verdict === "later" ? {} : { failure: verdict }),
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    metadata: metadataOf(read, status),
  };
}

/**
 * The carrier's done date, `YYMMDDhhmm`. It names no time zone and Twilio says that carriers differ, so it is believed only where
 * reading it as UTC makes sense: shortly before the callback came.
 */
function doneAt(raw: string | undefined, receivedAt: Date): Date {
  const match = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(raw ?? "");
  if (match === null) return receivedAt;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0] = match.slice(1).map(Number);
  const at = Date.UTC(2000 + year, month - 1, day, hour, minute);
  const age = receivedAt.getTime() - at;
  return age >= 0 && age <= 14 * 60_000 ? new Date(at) : receivedAt;
}

function readInbound(read: Read, sid: string): ProviderInbound | null {
  const from = read("From");
  const to = read("To") ?? read("MessagingServiceSid");
  if (from === undefined || to === undefined) return null;
  return {
    providerMessageId: sid,
    channel: channelOf(read),
    from: addressOf(from),
    to: addressOf(to),
    subject: null,
    // A quick reply is what its button said. Media alone comes without a body.
    text: read("ButtonText") ?? read("Body") ?? "",
    html: null,
    headers: {},
    references: [],
    optOut: optOutOf(read("OptOutType")),
    at: null,
  };
}

/** Advanced Opt-Out: Twilio has matched the tenant's own words and has already answered. */
function optOutOf(type: string | undefined): ProviderInbound["optOut"] {
  const word = type?.toLowerCase();
  return word === "stop" || word === "start" || word === "help" ? word : null;
}

/** The prefix is missing in some real WhatsApp callbacks; these parameters never come with SMS. */
function channelOf(read: Read): Channel {
  const addresses = [read("From"), read("To")];
  if (addresses.some((address) => address?.startsWith("whatsapp:"))) return "whatsapp";
  if (addresses.some((address) => address?.startsWith("messenger:"))) return "messenger";
  const whatsapp = read("ChannelPrefix")?.toLowerCase() === "whatsapp" || read("WaId") !== undefined;
  return whatsapp ? "whatsapp" : "sms";
}

function addressOf(raw: string): string {
  const bare = raw.trim().replace(/^[a-z]+:/, "");
  const number = /^\+?[\d\s().-]{5,25}$/.test(bare) ? normalizePhone(bare) : null;
  return number ?? storableText(bare, 320);
}

const kept = [
  "From",
  "MessagingServiceSid",
  "RawDlrDoneDate",
  "EventType",
  "ChannelStatusMessage",
  "ChannelStatusCode",
  "NumSegments",
] as const;

function metadataOf(read: Read, status: string): Record<string, unknown> {
  const entries = kept.map((name) => [name, read(name, 500)] as const);
  return { status, ...Object.fromEntries(entries.filter(([, value]) => value !== undefined)) };
}

/**
 * The Event Webhook's batches in our words. Invariant: a batch never fails as a whole because of one event: what cannot be read
 * is a problem with its index, what is unknown keeps its name and becomes `unknown`.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { normalizeEmail } from "../../kernel/address.ts";
import { idOf } from "../../kernel/id.ts";
import { parseJson, storableText } from "../../kernel/json.ts";
import type { EventType } from "../../kernel/vocabulary.ts";
import type { FailureClass, ParsedDelivery, ProviderEvent } from "../../ports/sender.ts";
import { messageIdArgument } from "./message-id.ts";

/** A field that is nice to have: when it is not what it should be, the event is still worth keeping. */
const optional = <T extends z.ZodType>(schema: T) => schema.optional().catch(undefined);
const text = optional(z.string().max(4_000));
const number = optional(z.coerce.number());

const common = {
  // A number; text in older documentation. What coerces to nonsense is out of range below.
  timestamp: z.coerce.number(),
  email: text,
  "smtp-id": text,
  sg_event_id: text,
  sg_message_id: text,
  [messageIdArgument]: text,
  ip: text,
  useragent: text,
  reason: text,
  response: text,
  status: text,
  url: text,
};

const kind = <K extends string, S extends z.ZodRawShape>(event: K, fields: S) =>
  z.object({ event: z.literal(event), ...common, ...fields });

const Known = z.discriminatedUnion("event", [
  kind("processed", { pool: optional(z.object({ name: z.string(), id: z.number() })) }),
  kind("deferred", { attempt: number }),
  kind("delivered", { tls: number }),
  kind("bounce", { type: text, bounce_classification: text, tls: number }),
  kind("dropped", {}),
  kind("open", { sg_machine_open: z.unknown().optional(), sg_content_type: text }),
  kind("click", { url_offset: optional(z.object({ index: z.number(), type: z.string() })) }),
  kind("spamreport", {}),
  kind("unsubscribe", {}),
  kind("group_unsubscribe", { asm_group_id: number }),
  kind("group_resubscribe", { asm_group_id: number }),
]);
type Known = z.infer<typeof Known>;
const Unknown = z.object({ event: z.string().max(200), ...common });
type Unknown = z.infer<typeof Unknown>;

const types: Record<Known["event"], EventType> = {
  processed: "queued",
  deferred: "deferred",
  delivered: "delivered",
  bounce: "bounced",
  dropped: "dropped",
  open: "opened",
  click: "clicked",
  spamreport: "complained",
  unsubscribe: "unsubscribed",
  group_unsubscribe: "unsubscribed",
  group_resubscribe: "resubscribed",
};

/** By SendGrid's own words in `reason`. */
const dropClasses: readonly (readonly [RegExp, FailureClass])[] = [
  [/^(unsubscribed|spam reporting) address/i, "suppress"],
  [/^(bounced address|invalid$|invalid (address|email))/i, "recipient"],
  [/^spam content/i, "content"],
  [/package quota/i, "account"],
  [/^invalid smtpapi header/i, "request"],
];

/** Classifications that accuse our content or reputation, or a network, not the address: never a reason to suppress it. */
const notTheAddress = new Map<string, FailureClass | null>([
  ["content", "content"],
  ["reputation", "account"],
  ["frequency or volume too high", "account"],
  ["technical", null],
]);

/** More than fit into the largest body that is taken. A third of a million of empty strings would take seconds to refuse one by one. */
const maxEvents = 20_000;

/** Reads a whole batch. `receivedAt` bounds timestamps: nothing has happened after it was reported. */
export function parseEvents(body: Uint8Array, receivedAt: Date): ParsedDelivery {
  const json = parseJson(body);
  if (!json.ok) return { events: [], inbound: [], problems: [{ index: -1, reason: `body: ${json.reason}` }] };
  if (!Array.isArray(json.value)) {
    return { events: [], inbound: [], problems: [{ index: -1, reason: "body: expected an array of events" }] };
  }
  if (json.value.length > maxEvents) {
    return { events: [], inbound: [], problems: [{ index: -1, reason: `body: more than ${maxEvents} events` }] };
  }
  const events: ProviderEvent[] = [];
  const problems: { index: number; reason: string }[] = [];
  json.value.forEach((raw: unknown, index) => {
    const parsed = readEvent(raw);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      problems.push({ index, reason: `${issue?.path.join(".") || "event"}: ${issue?.message ?? "unreadable"}` });
      return;
    }
    const event = normalize(parsed.data, receivedAt);
    if (event === null) problems.push({ index, reason: "timestamp: out of range" });
    else events.push(event);
  });
  return { events, inbound: [], problems };
}

function readEvent(raw: unknown): z.ZodSafeParseResult<Known | Unknown> {
  const name = typeof raw === "object" && raw !== null && "event" in raw ? raw.event : undefined;
  if (typeof name !== "string") return Unknown.safeParse(raw);
  // Older documentation shows capitalised event names.
  const event = name.toLowerCase();
  const candidate = event === name ? raw : { ...(raw as object), event };
  return Object.hasOwn(types, event) ? Known.safeParse(candidate) : Unknown.safeParse(candidate);
}

const isKnown = (event: Known | Unknown): event is Known => Object.hasOwn(types, event.event);
const MessageId = idOf("message");
/** SendGrid began in 2009; whatever claims to be older has a broken clock. */
const earliest = Date.UTC(2009, 0);

function normalize(event: Known | Unknown, receivedAt: Date): ProviderEvent | null {
  // One documented sample has milliseconds where all others have seconds.
  const milliseconds = event.timestamp > 1e11 ? event.timestamp : event.timestamp * 1000;
  if (!(milliseconds >= earliest)) return null;
  const ownId = MessageId.safeParse(event[messageIdArgument]);
  return {
    providerEventId: eventIdOf(event),
    type: isKnown(event) ? types[event.event] : "unknown",
    at: new Date(Math.min(milliseconds, receivedAt.getTime())),
    messageId: ownId.success ? ownId.data : null,
    providerMessageId: providerIdOf(event),
    channel: "email",
    address: event.email === undefined ? null : normalizeEmail(event.email),
    machine:
      isKnown(event) && event.event === "open" && (event.sg_machine_open === true || event.sg_machine_open === "true"),
    ...(isKnown(event) ? consequencesOf(event) : {}),
    ...(event.status ? { code: event.status } : {}),
    ...(event.reason || event.response ? { reason: storableText(event.reason || event.response || "", 1_000) } : {}),
    ...(event.url ? { url: event.url } : {}),
    metadata: metadataOf(event),
  };
}

function consequencesOf(event: Known): Pick<ProviderEvent, "bounce" | "failure"> {
  if (event.event === "dropped") {
    const found = dropClasses.find(([phrase]) => phrase.test(event.reason ?? ""));
    return found === undefined ? {} : { failure: found[1] };
  }
  if (event.event !== "bounce") return {};
  const accused = notTheAddress.get(event.bounce_classification?.toLowerCase() ?? "");
  if (accused !== undefined) return { bounce: "soft", ...(accused === null ? {} : { failure: accused }) };
  // "blocked" is not on SendGrid's own bounce list and may be tried later.
  return event.type?.toLowerCase() === "blocked" ? { bounce: "soft" } : { bounce: "hard", failure: "recipient" };
}

/**
 * The `X-Message-Id` of the send. `sg_message_id` has the names of SendGrid's own machines appended (`.filter…`, `.recvd…`); the id
 * before them may hold dots itself. Late bounces come without it, but SendGrid builds the `smtp-id` of its own machines from it.
 */
function providerIdOf(event: Known | Unknown): string | null {
  const { sg_message_id: long, "smtp-id": smtpId } = event;
  const id =
    long === undefined
      ? /^<([^<>@\s]+)@[^<>@\s]*ismtpd[^<>@\s]*>$/.exec(smtpId ?? "")?.[1]
      : (/^(.+?)\.(?:filter|recv)/.exec(long)?.[1] ?? long.split(".", 1)[0]);
  return id?.slice(0, 200) || null;
}

/** `sg_event_id` is the same over retries. Old samples lack it: then the fact itself is the key. */
function eventIdOf(event: Known | Unknown): string {
  if (event.sg_event_id && event.sg_event_id.length <= 200) return event.sg_event_id;
  const origin = event.sg_event_id || event.sg_message_id || event["smtp-id"] || "";
  const fact = [origin, event.event, event.timestamp, event.email ?? "", event.url ?? ""];
  return `sha256:${createHash("sha256").update(JSON.stringify(fact)).digest("hex")}`;
}

const elsewhere = new Set([
  messageIdArgument,
  "timestamp",
  "email",
  "sg_event_id",
  "reason",
  "response",
  "status",
  "url",
  "sg_machine_open",
]);

/** What has no field of its own in `ProviderEvent`. */
function metadataOf(event: Known | Unknown): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(event).filter(([name, value]) => !elsewhere.has(name) && value !== undefined),
  );
}

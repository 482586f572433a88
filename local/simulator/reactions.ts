/**
 * From the script of an accepted message to things to do: which webhook, pixel, link or mail each reaction is.
 *
 * Opens, clicks and unsubscribes go the way a real recipient's do, through the pixel, the link and the List-Unsubscribe
 * URL in the message; only when the message has none does the provider report them.
 */
import { createHash } from "node:crypto";
import { Parser } from "htmlparser2";
import { type Settings, transportOf } from "./behaviour.ts";
import { type Endpoints, isReachable, sendgridEndpoint, twilioEndpoint } from "./endpoints.ts";
import { inboundParse, replyTo } from "./mail.ts";
import type { Job, Outbox, Pending, WebhookRequest } from "./outbox.ts";
import { pick, uniform } from "./random.ts";
import type { Behaviour, Reaction } from "./script.ts";
import {
  eventBatch,
  eventOf,
  machineUserAgent,
  type SendgridEvent,
  signedHeaders,
  userAgentOf,
} from "./sendgrid-events.ts";
import type { Message, State } from "./state.ts";
import { inboundFields, signedForm, statusFields } from "./twilio.ts";

export interface Stage {
  readonly state: State;
  readonly outbox: Outbox;
  readonly settings: () => Settings;
  readonly endpoints: () => Endpoints;
  /** Virtual seconds per second of the clock in use. */
  readonly speed: () => number;
}

/**
 * When each reaction of a script happens. On a grid coarser than a second, people react at least one step after what came before:
 * a person who opens in the second of delivery would pass for a machine.
 */
export function dueTimes(
  acceptedMs: number,
  script: Behaviour,
  { speed, gridSeconds }: { readonly speed: number; readonly gridSeconds: number },
): number[] {
  const step = gridSeconds * 1000;
  let previous = 0;
  return script.map(({ kind, afterSeconds }) => {
    const exact = acceptedMs + (afterSeconds * 1000) / speed;
    if (gridSeconds === 1) return exact;
    const isHuman = kind === "opened" || kind === "clicked" || kind === "replied";
    previous = Math.max(Math.ceil(exact / step) * step, isHuman ? previous + step : previous);
    return previous;
  });
}

/** Puts everything the message's recipient will do into the outbox. @returns the first webhook, not yet added, when it must overtake the answer. */
export function schedule(stage: Stage, message: Message): Pending | null {
  const settings = stage.settings();
  const { accept, script } = message;
  const name = `${accept.to}|${accept.provider}|${String(accept.ordinal).padStart(6, "0")}`;
  const acceptedMs = Date.parse(accept.at);
  const speed = stage.speed();
  const due = dueTimes(acceptedMs, script, { speed, gridSeconds: settings.gridSeconds });
  const isEarly = uniform(settings.seed, name, "early") < settings.webhooks.early;
  let early: Pending | null = null;
  for (const [index, reaction] of script.entries()) {
    const dueMs = due[index] ?? acceptedMs;
    const job = jobOf(stage, message, reaction, index, new Date(dueMs));
    if (accept.provider === "twilio" && reaction.kind === "stop") {
      const run = (now: Date) => stage.state.optOut(accept.from, accept.to, now);
      stage.outbox.add({ dueMs, name: `${name}|${index}|`, attempt: 0, job: { kind: "effect", run } });
    }
    if (job === null) continue;
    const pending: Pending = { dueMs, name: `${name}|${String(index).padStart(3, "0")}`, attempt: 0, job };
    if (job.kind === "request" && job.retry === "never") {
      stage.outbox.add(pending);
      continue;
    }
    if (isEarly && early === null) {
      early = pending;
      continue;
    }
    const transport = transportOf(settings, pending.name);
    if (transport.dropped) continue;
    const arrivesMs = dueMs + (transport.lateSeconds * 1000) / speed;
    stage.outbox.add({ ...pending, dueMs: arrivesMs });
    for (const [copy, seconds] of transport.copies.entries()) {
      stage.outbox.add({ ...pending, dueMs: arrivesMs + (seconds * 1000) / speed, name: `${pending.name}|${copy}` });
    }
  }
  return early;
}

/** One signed Event Webhook request, or null when the account has no endpoint. */
export function batchOf(
  stage: Stage,
  account: string,
  events: readonly SendgridEvent[],
  now: Date,
): WebhookRequest | null {
  const endpoint = sendgridEndpoint(stage.endpoints(), account);
  const [first] = events;
  if (endpoint === undefined || first === undefined) return null;
  const { seed, webhooks } = stage.settings();
  // By what an event says, not by its ids: those depend on the order of arrival.
  const draw = (event: SendgridEvent, what: string) => uniform(seed, event.email, event.event, event.timestamp, what);
  const shuffled =
    draw(first, "shuffle") < webhooks.reorder ? events.toSorted((a, b) => draw(a, "order") - draw(b, "order")) : events;
  return eventBatch(endpoint.webhookUrl, stage.state.signingKey, shuffled, now);
}

function jobOf(stage: Stage, message: Message, reaction: Reaction, index: number, at: Date): Job | null {
  return message.accept.provider === "twilio"
    ? twilioJob(stage, message, reaction, index, at)
    : sendgridJob(stage, message, reaction, index, at);
}

function twilioJob(stage: Stage, message: Message, reaction: Reaction, index: number, at: Date): Job | null {
  const post = (target: "status" | "inbound", fields: Record<string, string>): Job => ({
    kind: "request",
    retry: "twilio",
    prepare: (_now, attempt) => {
      const endpoint = twilioEndpoint(stage.endpoints(), message.account);
      if (endpoint === undefined) return null;
      const inbound = endpoint.numbers[message.accept.from] ?? endpoint.webhookUrl;
      const url = target === "inbound" ? inbound : message.callbackUrl;
      return url === null ? null : signedForm(endpoint.authToken, url, fields, attempt > 0);
    },
  });
  switch (reaction.kind) {
    case "processed":
      return post("status", statusFields(message, "sent", at, null));
    case "delivered":
      return post("status", statusFields(message, "delivered", at, null));
    case "undelivered":
      return post("status", statusFields(message, "undelivered", at, reaction.code));
    case "replied":
    case "autoreply":
      return post("inbound", inboundFields(message, reaction.text, index, false));
    case "stop":
      return post("inbound", inboundFields(message, reaction.text, index, true));
    default:
      return null;
  }
}

function sendgridJob(stage: Stage, message: Message, reaction: Reaction, index: number, at: Date): Job | null {
  const links = trackedLinks(stage.endpoints(), message);
  const visit = (url: string, userAgent: string): Job => ({
    kind: "request",
    retry: "never",
    prepare: () => ({ method: "GET", url, headers: { "user-agent": userAgent, accept: "*/*" }, body: null }),
  });
  const { to, ordinal } = message.accept;
  const draw = uniform(stage.settings().seed, to, ordinal, "which link");
  switch (reaction.kind) {
    case "opened":
    case "opened_machine":
      if (links.pixel === null) break;
      return visit(links.pixel, reaction.kind === "opened" ? userAgentOf(to) : machineUserAgent);
    case "clicked": {
      const [first, ...others] = links.clicks;
      if (first === undefined) break;
      return visit(pick([first, ...others], draw), userAgentOf(to));
    }
    case "unsubscribed": {
      const url = oneClickUrl(stage.endpoints(), message);
      if (url === null) break;
      return { kind: "request", retry: "never", prepare: () => oneClick(url, draw < 0.5) };
    }
    case "replied":
    case "stop":
    case "autoreply":
      return inboundJob(stage, message, reaction.text, at, reaction.kind === "autoreply");
    case "undelivered":
      return null;
  }
  const url = links.anyLink ?? "https://example.com/";
  return { kind: "event", account: message.account, event: () => eventOf(message, reaction, index, at, url) };
}

function inboundJob(stage: Stage, message: Message, text: string, at: Date, automatic: boolean): Job {
  const mail = { ...replyTo(message, text, at, automatic), attachment: attachmentOf(stage, message) };
  return {
    kind: "request",
    retry: "sendgrid",
    prepare: (now) => {
      const endpoint = sendgridEndpoint(stage.endpoints(), message.account);
      if (endpoint === undefined) return null;
      const mixed = uniform(stage.settings().seed, message.accept.to, "inbound mode") < 0.5 ? "raw" : "default";
      const { contentType, body } = inboundParse(mail, endpoint.inboundMode === "mixed" ? mixed : endpoint.inboundMode);
      const headers = {
        "content-type": contentType,
        "user-agent": "Sendlib/1.0",
        ...signedHeaders(stage.state.signingKey, body, now),
      };
      return { method: "POST", url: endpoint.inboundUrl ?? endpoint.webhookUrl, headers, body };
    },
  };
}

/** The same bytes for the same recipient in every run. */
function attachmentOf(stage: Stage, { accept: { to } }: Message): Buffer | undefined {
  const { seed, attachments } = stage.settings();
  if (uniform(seed, to, "attachment") >= attachments.share) return undefined;
  return createHash("shake256", { outputLength: attachments.bytes }).update(`${seed}|${to}`).digest();
}

interface Links {
  /** Our open pixel, `…/o/{token}`. */
  readonly pixel: string | null;
  /** Our tracked links, `…/c/{token}`. */
  readonly clicks: readonly string[];
  readonly anyLink: string | null;
}

const linksOf = new WeakMap<Message, Links>();

/** Reads the HTML once per message, and only when a reaction needs it. */
function trackedLinks(endpoints: Endpoints, message: Message): Links {
  const known = linksOf.get(message);
  if (known !== undefined) return known;
  const pictures: string[] = [];
  const anchors: string[] = [];
  const wants = message.script.some(({ kind }) => kind === "opened" || kind === "opened_machine" || kind === "clicked");
  if (wants && message.html !== null) {
    const parser = new Parser({
      onopentag(name, { src, href }) {
        if (name === "img" && src) pictures.push(src);
        if (name === "a" && href) anchors.push(href);
      },
    });
    parser.end(message.html);
  }
  const leadsTo = (letter: string) => (link: string) =>
    isReachable(endpoints, link) && new RegExp(`/${letter}/[^/]+$`).test(new URL(link).pathname);
  const links: Links = {
    pixel: pictures.find(leadsTo("o")) ?? null,
    clicks: anchors.filter(leadsTo("c")),
    anyLink: anchors.find((link) => /^https?:/.test(link)) ?? null,
  };
  linksOf.set(message, links);
  return links;
}

/** The HTTP URL of List-Unsubscribe, if the message offers one-click (RFC 8058). */
function oneClickUrl(endpoints: Endpoints, { headers }: Message): string | null {
  if (headers["list-unsubscribe-post"]?.trim() !== "List-Unsubscribe=One-Click") return null;
  const offered = [...(headers["list-unsubscribe"] ?? "").matchAll(/<([^>]+)>/g)].map((match) => match[1] ?? "");
  return offered.find((url) => isReachable(endpoints, url)) ?? null;
}

function oneClick(url: string, asMultipart: boolean): WebhookRequest {
  if (!asMultipart) {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return { method: "POST", url, headers, body: "List-Unsubscribe=One-Click" };
  }
  const boundary = "-FormBoundary7MA4YWxkTrZu0gW";
  const field = 'Content-Disposition: form-data; name="List-Unsubscribe"';
  return {
    method: "POST",
    url,
    headers: { "content-type": `multipart/form-data; boundary=${boundary}` },
    body: `--${boundary}\r\n${field}\r\n\r\nOne-Click\r\n--${boundary}--\r\n`,
  };
}

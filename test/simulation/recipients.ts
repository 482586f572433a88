/**
 * People and providers after a message was accepted: what happens to it, what is said about it, and the requests by which we hear of it.
 *
 * Invariant: what a recipient does depends on the seed and on the message, never on what the system does with the news.
 */
import { createHash, type KeyObject } from "node:crypto";
import { inboundParse, type Mail } from "../../local/simulator/mail.ts";
import { signedHeaders } from "../../local/simulator/sendgrid-events.ts";
import { signedForm } from "../../local/simulator/twilio.ts";
import { publicUrl, type SimTenant } from "./base.ts";
import type { Rng } from "./rng.ts";

export interface Accept {
  readonly step: number;
  readonly at: number;
  readonly tenant: SimTenant;
  readonly messageId: string;
  readonly channel: "email" | "sms";
  readonly to: string;
  readonly providerMessageId: string;
  readonly text: string;
  /** Paths of our own links in it. */
  readonly links: { readonly open?: string; readonly click?: string; readonly unsubscribe?: string };
}

/** What everybody would agree on afterwards, as far as one reaction says it. */
export type FactKind =
  | "sent"
  | "delivered"
  | "failed"
  | "bounced"
  | "complained"
  | "opened"
  | "clicked"
  | "replied"
  | "unsubscribed"
  | "machine"
  | "none";

export interface WebRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Reaction {
  readonly at: number;
  readonly what: string;
  readonly fact: FactKind;
  readonly optOut: boolean;
  readonly hardBounce: boolean;
  readonly target: "webhooks" | "tracking";
  /** Whether it is delivered late, again and again, or out of order. */
  /** Told again so much later, byte by byte or with other news in another batch. */
  readonly copies: readonly { readonly after: number; readonly make: (now: number) => WebRequest }[];
  readonly make: (now: number) => WebRequest;
}

const browser =
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";
const idOf = (text: string): string => createHash("sha256").update(text).digest("base64url");

export function sendgridPost(tenant: SimTenant, key: KeyObject, events: readonly unknown[], now: number): WebRequest {
  const body = Buffer.from(`[${events.map((event) => JSON.stringify(event)).join(",\r\n")}]\r\n`);
  return {
    method: "POST",
    path: `/webhooks/sendgrid/${tenant.emailAccount}`,
    headers: { "content-type": "application/json", ...signedHeaders(key, body, new Date(now)) },
    body,
  };
}

export function inboundPost(tenant: SimTenant, key: KeyObject, mail: Mail, now: number): WebRequest {
  const { contentType, body } = inboundParse(mail, "default");
  return {
    method: "POST",
    path: `/webhooks/sendgrid/${tenant.emailAccount}`,
    headers: { "content-type": contentType, ...signedHeaders(key, body, new Date(now)) },
    body,
  };
}

export function twilioPost(tenant: SimTenant, fields: Readonly<Record<string, string>>, query = ""): WebRequest {
  const path = `/webhooks/twilio/${tenant.smsAccount}${query}`;
  const { headers, body } = signedForm(
    tenant.authToken,
    `${publicUrl}${path}`,
    { AccountSid: tenant.accountSid, ...fields },
    false,
  );
  return { method: "POST", path, headers: headers as Record<string, string>, body: Buffer.from(body as string) };
}

const get = (path: string, agent: string): WebRequest => ({
  method: "GET",
  path,
  headers: { "user-agent": agent, accept: "*/*" },
  body: Buffer.alloc(0),
});

const minute = 60_000;
const hour = 60 * minute;

/** @param faults false: every request arrives once and soon. @param sick more messages than not are never heard of */
export function reactionsTo(
  accept: Accept,
  key: KeyObject,
  rng: Rng,
  hit: (fault: string) => void,
  { faults, sick }: { readonly faults: boolean; readonly sick: boolean },
): Reaction[] {
  const { tenant, messageId, to, channel, at } = accept;
  const reactions: Reaction[] = [];
  // Nothing is ever heard of some messages: no webhook resolves what became of the call.
  if (faults && rng.chance(sick ? 0.5 : 0.12)) {
    hit("no webhook ever");
    return reactions;
  }
  const react = (
    what: string,
    fact: FactKind,
    after: number,
    make: (now: number) => WebRequest,
    more: {
      readonly optOut?: boolean;
      readonly hardBounce?: boolean;
      readonly target?: "tracking";
      readonly elsewhere?: ((now: number) => WebRequest) | undefined;
    } = {},
  ) => {
    const copies: { after: number; make: (now: number) => WebRequest }[] = [];
    const target = more.target ?? "webhooks";
    if (faults && target === "webhooks" && rng.chance(0.12)) {
      const n = rng.int(1, 3);
      for (let copy = 0; copy < n; copy++) copies.push({ after: rng.int(0, 3 * hour), make });
      hit("webhook doubled");
    }
    if (faults && more.elsewhere && rng.chance(0.15)) {
      copies.push({ after: rng.int(minute, 3 * hour), make: more.elsewhere });
      hit("fact told again in another batch");
    }
    let late = 0;
    if (faults && target === "webhooks" && rng.chance(0.1)) {
      late = rng.int(minute, 9 * hour);
      hit("webhook late and out of order");
    }
    reactions.push({
      at: at + after + late,
      what,
      fact,
      optOut: more.optOut ?? false,
      hardBounce: more.hardBounce ?? false,
      target,
      copies,
      make,
    });
  };
  if (channel === "email") {
    const event = (kind: string, after: number, fields: Readonly<Record<string, unknown>> = {}) => ({
      email: to,
      event: kind,
      timestamp: Math.floor((at + after) / 1000),
      sg_event_id: idOf(`${messageId} ${kind} ${after}`),
      sg_message_id: `${accept.providerMessageId}.recvd-1`,
      outrider_message_id: messageId,
      ...fields,
    });
    const post = (kind: string, after: number, fields?: Readonly<Record<string, unknown>>) => (now: number) =>
      sendgridPost(tenant, key, [event(kind, after, fields)], now);
    /** The same fact with another one before it. */
    const elsewhere = (kind: string, after: number, fields?: Readonly<Record<string, unknown>>) => (now: number) =>
      sendgridPost(tenant, key, [event("processed", 1_000), event(kind, after, fields)], now);
    const bounce = {
      type: "bounce",
      status: "5.1.1",
      reason: "550 5.1.1 The email account does not exist.",
      bounce_classification: "Invalid Address",
    };
    const fate = rng.weighted({
      silent: 26,
      opened: 18,
      clicked: 10,
      machine: 10,
      replied: 10,
      unsubscribed: 7,
      complained: 7,
      bounced: 9,
      dropped: 2,
      soft: 4,
    });
    const early = faults && rng.chance(0.1);
    if (early) hit("webhook before the answer");
    if (rng.chance(0.3))
      react("says that it was processed", "sent", early ? 5 : 1_500, post("processed", early ? 5 : 1_500));
    if (fate === "bounced") {
      react("bounces for good", "bounced", 3_000, post("bounce", 3_000, bounce), {
        hardBounce: true,
        elsewhere: elsewhere("bounce", 3_000, bounce),
      });
      if (rng.chance(0.3)) react("is said to be delivered all the same", "delivered", 2_000, post("delivered", 2_000));
      return reactions;
    }
    if (fate === "dropped") {
      react("is dropped", "failed", 2_500, post("dropped", 2_500, { reason: "Spam Content" }));
      return reactions;
    }
    const arrived = early ? 10 : rng.int(2_000, 20_000);
    const said = { response: "250 OK", tls: 1 };
    react("is delivered", "delivered", arrived, post("delivered", arrived, said), {
      elsewhere: elsewhere("delivered", arrived, said),
    });
    const later = rng.int(5 * minute, 10 * hour);
    const { open, click, unsubscribe } = accept.links;
    if (rng.chance(0.3) && unsubscribe) {
      react(
        "has its links opened by a scanner",
        "none",
        later - minute,
        () => get(unsubscribe, "Barracuda Sentinel (EE)"),
        { target: "tracking" },
      );
    }
    if (fate === "machine") {
      react(
        "is loaded by a machine",
        "machine",
        later,
        post("open", later, { sg_machine_open: true, useragent: "Mozilla/5.0" }),
      );
    }
    if (fate === "opened" || fate === "clicked") {
      if (open && rng.chance(0.5))
        react("is opened", "opened", later, () => get(open, browser), { target: "tracking" });
      else react("is opened", "opened", later, post("open", later, { sg_machine_open: false, useragent: browser }));
    }
    if (fate === "clicked") {
      if (click && rng.chance(0.6))
        react("is clicked", "clicked", later + minute, () => get(click, browser), { target: "tracking" });
      else
        react(
          "is clicked",
          "clicked",
          later + minute,
          post("click", later + minute, { url: "https://www.outrider.example/guide", useragent: browser }),
        );
    }
    if (fate === "replied") {
      const mail: Mail = {
        from: `<${to}>`,
        to: `reply+${messageId.toLowerCase()}@reply.simulation.example`,
        envelopeFrom: to,
        subject: "Re: Hello",
        text: "Thanks, tell me more about the price.",
        html: "<p>Thanks, tell me more about the price.</p>",
        headers: [
          ["From", `<${to}>`],
          ["Message-ID", `<${idOf(`${messageId} reply`).slice(0, 30)}@people.example>`],
          ["In-Reply-To", `<${messageId}@simulation.example>`],
        ],
      };
      react("is answered", "replied", later, (now) => inboundPost(tenant, key, mail, now));
    }
    if (fate === "unsubscribed" && unsubscribe) {
      const body = Buffer.from("List-Unsubscribe=One-Click");
      const headers = { "content-type": "application/x-www-form-urlencoded", "user-agent": browser };
      react(
        "is unsubscribed from",
        "unsubscribed",
        later,
        () => ({ method: "POST", path: unsubscribe, headers, body }),
        { target: "tracking", optOut: true },
      );
    }
    if (fate === "complained")
      react("is reported as spam", "complained", later, post("spamreport", later), {
        optOut: true,
        elsewhere: elsewhere("spamreport", later),
      });
    if (fate === "soft") {
      react(
        "bounces late",
        "bounced",
        later,
        post("bounce", later, {
          ...bounce,
          type: "blocked",
          status: "4.2.2",
          bounce_classification: "Mailbox Unavailable",
          reason: "452 4.2.2 mailbox full",
        }),
      );
    }
    return reactions;
  }
  const sid = accept.providerMessageId;
  const status =
    (name: string, more: Readonly<Record<string, string>> = {}) =>
    () =>
      twilioPost(
        tenant,
        { MessageSid: sid, MessageStatus: name, From: "+12025550100", To: to, ...more },
        `?m=${messageId}`,
      );
  const fate = rng.weighted({ silent: 45, stop: 20, replied: 15, undelivered: 10, no: 10 });
  if (rng.chance(0.4)) react("says that it was sent", "sent", faults && rng.chance(0.2) ? 5 : 1_000, status("sent"));
  if (fate === "undelivered") {
    react("is not delivered", "failed", 4_000, status("undelivered", { ErrorCode: "30003" }));
    return reactions;
  }
  react("is delivered", "delivered", rng.int(1_500, 9_000), status("delivered"));
  const later = rng.int(minute, 8 * hour);
  const answer =
    (text: string, more: Readonly<Record<string, string>> = {}) =>
    () =>
      twilioPost(tenant, {
        MessageSid: `SM${idOf(`${messageId} ${text}`).slice(0, 20)}`,
        SmsStatus: "received",
        From: to,
        To: "+12025550100",
        Body: text,
        ...more,
      });
  if (fate === "stop")
    react(
      "is answered with STOP",
      "unsubscribed",
      later,
      answer("STOP", rng.chance(0.5) ? { OptOutType: "STOP" } : {}),
      { optOut: true },
    );
  if (fate === "no")
    react("is answered with words that mean stop", "unsubscribed", later, answer("please stop texting me"), {
      optOut: true,
    });
  if (fate === "replied") react("is answered", "replied", later, answer("Sounds good, call me tomorrow"));
  return reactions;
}

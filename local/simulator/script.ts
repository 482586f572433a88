/**
 * The engagement script: what one recipient does with one message, and when.
 *
 * Pure and independent of call order: a campaign simulation that asks before anything is sent and the provider simulator
 * that asks at accept time get the same answer. Each decision is its own named draw, so changing one rate moves only
 * the people it concerns.
 */
import * as z from "zod";
import { longTail, pick, share, uniform } from "./random.ts";

const rate = z.number().min(0).max(1);

/** Shares of accepted messages (delivery outcomes) and of delivered ones (everything else). Defaults: cold outreach. */
export const Rates = z
  .strictObject({
    /** Delivery outcomes exclude each other; what they leave over is silence after acceptance. */
    deliver: rate.default(0.96),
    hardBounce: rate.default(0.015),
    blocked: rate.default(0.01),
    /** Delivered, then bounced hours later by a notice that carries no message id. */
    asyncBounce: rate.default(0.005),
    dropped: rate.default(0.005),
    /** SMS only, in place of the four above. */
    undelivered: rate.default(0.03),
    /** The first attempt is put off; the outcome comes later. */
    deferred: rate.default(0.03),
    open: rate.default(0.45),
    /** Of the opens: made by a privacy proxy, without a person. */
    machineOpen: rate.default(0.3),
    /** Of the delivered; only people who opened click. */
    click: rate.default(0.08),
    /** At most one of the next four per message. `unsubscribe` and `complaint` are e-mail only. */
    reply: rate.default(0.04),
    complaint: rate.default(0.001),
    unsubscribe: rate.default(0.008),
    stop: rate.default(0.01),
    autoreply: rate.default(0.02),
  })
  .refine((r) => r.deliver + r.hardBounce + r.blocked + r.asyncBounce + r.dropped <= 1 + 1e-9, {
    path: ["deliver"],
    error: "deliver + hardBounce + blocked + asyncBounce + dropped must not exceed 1",
  })
  .refine((r) => r.deliver + r.undelivered <= 1 + 1e-9, {
    path: ["undelivered"],
    error: "deliver + undelivered must not exceed 1",
  })
  .refine((r) => r.reply + r.complaint + r.unsubscribe + r.stop <= 1 + 1e-9, {
    path: ["reply"],
    error: "reply + complaint + unsubscribe + stop must not exceed 1",
  });
export type Rates = z.infer<typeof Rates>;

/** The rates of `Rates` with nothing given. */
export const defaultRates: Rates = Rates.parse({});

const afterSeconds = z.number().min(0).max(7_776_000, { error: "must be within 90 days" });
const plainKinds = [
  "processed",
  "delivered",
  "bounced_hard",
  "bounced_blocked",
  "bounced_async",
  "opened",
  "opened_machine",
  "clicked",
  "complained",
  "unsubscribed",
] as const;

/** One thing that happens to a message, counted from its acceptance. `processed` is `sent` for SMS. */
export const Reaction = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.enum(plainKinds), afterSeconds }),
  z.strictObject({
    kind: z.literal("deferred"),
    afterSeconds,
    reason: z.string().default("451 4.7.1 try again later"),
  }),
  z.strictObject({ kind: z.literal("dropped"), afterSeconds, reason: z.string().default("Bounced Address") }),
  z.strictObject({ kind: z.literal("undelivered"), afterSeconds, code: z.number().int().default(30003) }),
  z.strictObject({ kind: z.literal("replied"), afterSeconds, text: z.string().min(1) }),
  z.strictObject({ kind: z.literal("stop"), afterSeconds, text: z.string().min(1).default("STOP") }),
  z.strictObject({ kind: z.literal("autoreply"), afterSeconds, text: z.string().min(1) }),
]);
export type Reaction = z.infer<typeof Reaction>;
export type ReactionKind = Reaction["kind"];

/** Ordered by time; empty when nothing is ever heard again. */
export type Behaviour = readonly Reaction[];

/** Fixed behaviour for an address (`bounce@example.com`, `+12025550100`) or a whole domain (`@bounce.example`). */
export type Overrides = Readonly<Record<string, Behaviour>>;

export interface ScriptKey {
  /** Normalised address. */
  readonly address: string;
  readonly channel: "email" | "sms";
  /** 1 for the first accepted message to that address on that channel. */
  readonly ordinal: number;
}

const replies: readonly [string, ...string[]] = [
  "Thanks for reaching out. Could you send me the pricing?",
  "Interesting. Can we talk on Thursday afternoon?",
  "I am not the right person for this, please write to our operations lead.",
  "We already work with someone on this, but keep me posted next year.",
  "Sounds good 👍 what do you need from us?",
  "Who else in our industry uses this?",
];
const emailOptOuts: readonly [string, ...string[]] = [
  "Please remove me from your list.",
  "Unsubscribe",
  "Stop emailing me.",
  "Take me off this list, thanks.",
];
const smsOptOuts: readonly [string, ...string[]] = ["STOP", "Stop", "stop", "UNSUBSCRIBE", "Cancel"];
const autoreplyText =
  "I am out of the office until Monday with limited access to e-mail and will get back to you then.";
const deferrals: readonly [string, ...string[]] = [
  "451 4.7.1 Greylisted, please try again later",
  "Email was deferred due to the following reason(s): [IPs were throttled by recipient server]",
];
const drops: readonly [string, ...string[]] = ["Bounced Address", "Invalid", "Unsubscribed Address"];
/** Handset off, unknown destination, landline, filtered by the carrier. */
const carrierErrors: readonly [number, ...number[]] = [30003, 30005, 30006, 30007];

const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

/** What the recipient named by `key` does. Same arguments, same answer, in any process and any order. */
export function behaviourOf(seed: string | number, rates: Rates, key: ScriptKey, overrides: Overrides = {}): Behaviour {
  const fixed = overrides[key.address] ?? overrides[key.address.slice(key.address.lastIndexOf("@"))];
  const draw = (name: string) => uniform(seed, key.channel, key.address, key.ordinal, name);
  const script = fixed ?? (key.channel === "email" ? emailScript(rates, draw) : smsScript(rates, draw));
  return script.toSorted((a, b) => a.afterSeconds - b.afterSeconds);
}

type Draw = (name: string) => number;

function emailScript(rates: Rates, draw: Draw): Reaction[] {
  const outcomes = [
    ["delivered", rates.deliver],
    ["bounced_hard", rates.hardBounce],
    ["bounced_blocked", rates.blocked],
    ["bounced_async", rates.asyncBounce],
    ["dropped", rates.dropped],
  ] as const;
  const outcome = share(outcomes, draw("outcome"));
  if (outcome === "dropped") return [{ afterSeconds: 1, kind: "dropped", reason: pick(drops, draw("drop")) }];
  const script: Reaction[] = [{ afterSeconds: 1, kind: "processed" }];
  if (outcome === null) return script;

  let at = 1 + longTail(1, 30, draw("transit"));
  if (draw("deferred") < rates.deferred) {
    script.push({ afterSeconds: at, kind: "deferred", reason: pick(deferrals, draw("deferral")) });
    at += longTail(5 * minute, hour, draw("retry"));
  }
  if (outcome !== "delivered" && outcome !== "bounced_async") {
    script.push({ afterSeconds: at, kind: outcome });
    return script;
  }
  script.push({ afterSeconds: at, kind: "delivered" });
  if (outcome === "bounced_async") {
    script.push({ afterSeconds: at + longTail(hour, 12 * hour, draw("async")), kind: "bounced_async" });
    return script;
  }
  script.push(...reading(rates, draw, at));
  return script;
}

/** What follows a delivery: opens, clicks, and at most one decision of the person. */
function reading(rates: Rates, draw: Draw, deliveredAt: number): Reaction[] {
  const script: Reaction[] = [];
  let readAt = deliveredAt + longTail(2 * minute, 2 * day, draw("read"));
  if (draw("open") < rates.open) {
    if (draw("machine") < rates.machineOpen) {
      script.push({ afterSeconds: deliveredAt + longTail(2, 10 * minute, draw("proxy")), kind: "opened_machine" });
    } else {
      script.push({ afterSeconds: readAt, kind: "opened" });
      readAt += longTail(5, 5 * minute, draw("think"));
      const peopleWhoOpen = rates.open * (1 - rates.machineOpen);
      if (draw("click") < rates.click / peopleWhoOpen) script.push({ afterSeconds: readAt, kind: "clicked" });
    }
  }
  if (draw("autoreply") < rates.autoreply) {
    script.push({
      afterSeconds: deliveredAt + longTail(1, minute, draw("responder")),
      kind: "autoreply",
      text: autoreplyText,
    });
  }
  const decisions = [
    ["replied", rates.reply],
    ["complained", rates.complaint],
    ["unsubscribed", rates.unsubscribe],
    ["stop", rates.stop],
  ] as const;
  const decision = share(decisions, draw("decision"));
  const decidedAt = readAt + longTail(minute, day, draw("write"));
  if (decision === "replied")
    script.push({ afterSeconds: decidedAt, kind: decision, text: pick(replies, draw("text")) });
  else if (decision === "stop")
    script.push({ afterSeconds: decidedAt, kind: decision, text: pick(emailOptOuts, draw("text")) });
  else if (decision !== null) script.push({ afterSeconds: decidedAt, kind: decision });
  return script;
}

function smsScript(rates: Rates, draw: Draw): Reaction[] {
  const outcome = share(
    [
      ["delivered", rates.deliver],
      ["undelivered", rates.undelivered],
    ] as const,
    draw("outcome"),
  );
  const script: Reaction[] = [{ afterSeconds: 1, kind: "processed" }];
  const at = 1 + longTail(1, 20, draw("transit"));
  if (outcome === null) return script;
  if (outcome === "undelivered") {
    script.push({ afterSeconds: at, kind: "undelivered", code: pick(carrierErrors, draw("carrier")) });
    return script;
  }
  script.push({ afterSeconds: at, kind: "delivered" });
  const decision = share(
    [
      ["replied", rates.reply],
      ["stop", rates.stop],
    ] as const,
    draw("decision"),
  );
  const decidedAt = at + longTail(20, 6 * hour, draw("write"));
  if (decision === "replied")
    script.push({ afterSeconds: decidedAt, kind: decision, text: pick(replies, draw("text")) });
  if (decision === "stop")
    script.push({ afterSeconds: decidedAt, kind: decision, text: pick(smsOptOuts, draw("text")) });
  return script;
}

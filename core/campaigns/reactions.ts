/**
 * What recipients do with messages, for simulations: a closed list of reactions, what each one leads to, and a small model that draws them
 * by given rates. Pure: a draw depends on the seed and on who got which message, never on the order of asking.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { Channel, SuppressionReason } from "../kernel/index.ts";
import type { MessageFact } from "./vocabulary.ts";

export const reactionKinds = [
  "processed",
  "deferred",
  "delivered",
  "opened",
  "opened_machine",
  "clicked",
  "replied",
  "autoreply",
  "complained",
  "unsubscribed",
  "stop",
  "bounced_hard",
  "bounced_blocked",
  "bounced_async",
  "dropped",
  "undelivered",
] as const;
export type ReactionKind = (typeof reactionKinds)[number];

export interface Reaction {
  /** Counted from the acceptance of the message. */
  readonly afterSeconds: number;
  readonly kind: ReactionKind;
  /** The carrier's code of an undelivered text. */
  readonly code?: number;
}

/** One accepted message, as the model is asked about it. */
export interface ReactionKey {
  readonly contactId: string;
  readonly address: string;
  readonly channel: Channel;
  /** 1 for the first message of this simulation to that address on that channel. */
  readonly ordinal: number;
  readonly nodeId: string;
  readonly sentAt: Date;
}
export type ReactionModel = (key: ReactionKey) => readonly Reaction[];

export interface Consequence {
  /** What the engine hears. */
  readonly event?: MessageFact;
  readonly machine?: true;
  /** The message was accepted and then lost. */
  readonly failure?: string;
  /** The address is closed; after a hard bounce it is also marked as dead. */
  readonly suppress?: SuppressionReason;
}

/** As the webhook path treats the same facts: a no suppresses at once; a temporary refusal is a bounce of this message only. */
const consequences: Readonly<Record<ReactionKind, Consequence>> = {
  processed: {},
  deferred: {},
  autoreply: {},
  delivered: { event: "delivered" },
  opened: { event: "opened" },
  opened_machine: { event: "opened", machine: true },
  clicked: { event: "clicked" },
  replied: { event: "replied" },
  complained: { event: "complained", suppress: "complaint" },
  unsubscribed: { event: "unsubscribed", suppress: "unsubscribed" },
  stop: { event: "unsubscribed", suppress: "stop" },
  bounced_hard: { event: "bounced", suppress: "hard_bounce" },
  bounced_async: { event: "bounced", suppress: "hard_bounce" },
  bounced_blocked: { event: "bounced" },
  dropped: { failure: "dropped", suppress: "hard_bounce" },
  undelivered: { failure: "undelivered" },
};

/** Carriers' words for "this number will never take a text": unknown destination, landline. */
const deadNumbers = new Set([30005, 30006]);

export const consequenceOf = ({ kind, code }: Reaction): Consequence =>
  code !== undefined && deadNumbers.has(code) ? { ...consequences[kind], suppress: "hard_bounce" } : consequences[kind];

/** What walks to an address hear when it is closed for this reason. */
export const factOf: Readonly<Partial<Record<SuppressionReason, MessageFact>>> = {
  unsubscribed: "unsubscribed",
  stop: "unsubscribed",
  complaint: "complained",
  hard_bounce: "bounced",
};

/** Nobody reads this soon after delivery: an open or click in that time counts as a machine's, as it does where webhooks are applied. */
export const prefetchWindowMs = 2_000;

const rate = z.number().min(0).max(1);

/**
 * Shares of accepted messages. Delivery or hard bounce exclude each other; opens, clicks and at most one decision (reply, unsubscribe,
 * complaint) follow delivery. A rate of 0, the default, is "never".
 */
export const ReactionRates = z.strictObject({
  seed: z.union([z.string().max(100), z.number()]).default(0),
  hardBounce: rate.default(0),
  open: rate.default(0),
  click: rate.default(0),
  reply: rate.default(0),
  unsubscribe: rate.default(0),
  complaint: rate.default(0),
});
export type ReactionRates = z.output<typeof ReactionRates>;

/** Nobody reacts: what a campaign sends to silence. */
export const silence: ReactionModel = () => [];

const minute = 60;
const hour = 60 * minute;

/** The model behind given rates: delivered within a minute, read within a day, decided within another. Texts are never opened. */
export function ratesModel(rates: ReactionRates): ReactionModel {
  return ({ address, channel, ordinal }) => {
    const digest = createHash("sha256").update(`${rates.seed}\n${channel}\n${address}\n${ordinal}`).digest();
    // Eight independent draws of 32 bits.
    const draw = (index: number): number => digest.readUInt32BE(index * 4) / 2 ** 32;
    const arrives = 1 + Math.floor(draw(0) * minute);
    if (channel === "email" && draw(1) < rates.hardBounce) return [{ afterSeconds: arrives, kind: "bounced_hard" }];
    const reactions: Reaction[] = [{ afterSeconds: arrives, kind: "delivered" }];
    let at = arrives + minute + Math.floor(draw(2) * 24 * hour);
    const opens = channel !== "sms" && draw(3) < rates.open;
    if (opens) reactions.push({ afterSeconds: at, kind: "opened" });
    if (draw(4) < (channel === "sms" ? rates.click : rates.click / Math.max(rates.open, rates.click, 1e-9))) {
      if (opens || channel === "sms") reactions.push({ afterSeconds: at + 30, kind: "clicked" });
    }
    at += minute + Math.floor(draw(5) * 24 * hour);
    const decision = draw(6);
    if (decision < rates.reply) reactions.push({ afterSeconds: at, kind: "replied" });
    else if (decision < rates.reply + rates.unsubscribe) {
      reactions.push({ afterSeconds: at, kind: channel === "sms" ? "stop" : "unsubscribed" });
    } else if (channel === "email" && decision < rates.reply + rates.unsubscribe + rates.complaint) {
      reactions.push({ afterSeconds: at, kind: "complained" });
    }
    return reactions;
  };
}

/**
 * The words of a plan: which channels can send, which events a send node may wait for, and which of them make sense where.
 * Closed lists only; the plan schema, the validator and the engine read the same ones.
 */
import * as z from "zod";
import type { Channel } from "../kernel/index.ts";

/** A node's name inside its plan: stable across versions, shown in reports. */
export const NodeId = z.string({ error: "expected a node id" }).regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, {
  error: "expected a node id of 1 to 64 letters, digits, - or _, beginning with a letter or digit",
});
/** A node as a walk remembers it; after the @ the plan it was a node of, when its name has gone to another one since. */
export const WalkNodeId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(@[0-9a-f]{8})?$/);

/** Channels with a provider. `call` and `linkedin` are done by people: a task node. */
export const sendChannels = [
  "email",
  "sms",
  "whatsapp",
  "messenger",
  "instagram",
] as const satisfies readonly Channel[];
export type SendChannel = (typeof sendChannels)[number];

export const exitEvents = ["replied", "bounced", "complained", "unsubscribed", "converted"] as const;
export type ExitEvent = (typeof exitEvents)[number];

/** Facts about a message, strongest first: when two happened at the same instant, the stronger decides. */
export const messageEvents = [
  "complained",
  "unsubscribed",
  "replied",
  "bounced",
  "clicked",
  "opened",
  "delivered",
] as const;
export type MessageFact = (typeof messageEvents)[number];

export const timerEvents = ["no_open", "no_click", "no_reply"] as const;
export type TimerEvent = (typeof timerEvents)[number];

export const transitionEvents = [...messageEvents, "failed", ...timerEvents] as const;
export type TransitionEvent = (typeof transitionEvents)[number];

export const isTimer = (on: string): on is TimerEvent => (timerEvents as readonly string[]).includes(on);

/** What each timer waits not to happen, and how long unless the plan says otherwise. */
export const timers = {
  no_open: { fact: "opened", after: "PT72H" },
  no_click: { fact: "clicked", after: "PT24H" },
  no_reply: { fact: "replied", after: "PT72H" },
} as const satisfies Record<TimerEvent, { fact: MessageFact; after: string }>;

const always = ["delivered", "clicked", "replied", "unsubscribed", "failed", "no_click", "no_reply"] as const;
const withReceipts = [...always, "opened", "no_open"] as const;

/** Transitions that can ever fire on a channel: a text message reports no opens, only e-mail bounces or is reported as spam. */
export const transitionsOn: Record<SendChannel, readonly TransitionEvent[]> = {
  email: transitionEvents,
  sms: always,
  whatsapp: withReceipts,
  messenger: withReceipts,
  instagram: withReceipts,
};

/** What else must have happened: a click proves that the message was opened, and any reaction that it arrived. */
export function implied(event: MessageFact, channel: SendChannel | undefined): readonly MessageFact[] {
  switch (event) {
    case "clicked":
      return channel === "sms" ? ["delivered"] : ["opened", "delivered"];
    case "opened":
    case "replied":
      return ["delivered"];
    default:
      return [];
  }
}

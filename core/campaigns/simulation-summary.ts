/** A simulation in numbers: what is sent when, what is held for how long and why, what it costs. Pure; the numbers add up to the sends. */
import { createHash } from "node:crypto";
import { DateTime } from "luxon";
import type { Simulated, SimulatedSend } from "./simulation-input.ts";

/** US dollars per e-mail, and per segment of a text message. Other channels are priced by their providers per conversation: 0 here. */
export interface Prices {
  readonly email: number;
  readonly sms: number;
}
export const defaultPrices: Prices = { email: 0.0008, sms: 0.0079 };

export interface NodeFunnel {
  readonly queued: number;
  readonly sent: number;
  /** Messages that came to another end, by its reason. */
  readonly ended: Readonly<Record<string, number>>;
  /** Messages that a rule held at least once. A message may be held by several. */
  readonly held: Readonly<Record<string, number>>;
  readonly variants: Readonly<Record<string, number>>;
}

export interface SimulationSummary {
  readonly enrolled: number;
  /** Of an audience that is not enrolled yet: who would be left out, and why. */
  readonly leftOut: Readonly<Record<string, number>>;
  readonly messages: number;
  readonly sent: number;
  readonly byVerdict: Readonly<Record<string, number>>;
  readonly byChannel: Readonly<Record<string, number>>;
  /** Messages that a rule held at least once, and for how long in all. */
  readonly held: Readonly<Record<string, { readonly messages: number; readonly seconds: number }>>;
  readonly nodes: Readonly<Record<string, NodeFunnel>>;
  readonly enrollments: Readonly<Record<string, number>>;
  readonly exitReasons: Readonly<Record<string, number>>;
  /** Sends per hour (`2027-03-01T09`) and per day (`2027-03-01`) on the clocks of `timeZone`. */
  readonly perHour: Readonly<Record<string, number>>;
  readonly perDay: Readonly<Record<string, number>>;
  readonly timeZone: string;
  readonly firstSendAt: string | null;
  readonly lastSendAt: string | null;
  readonly endedAt: string;
  readonly cost: {
    readonly currency: "USD";
    readonly emails: number;
    readonly smsSegments: number;
    readonly total: number;
  };
}

const count = (counts: Record<string, number>, key: string, by = 1): void => {
  counts[key] = (counts[key] ?? 0) + by;
};

interface Funnel {
  queued: number;
  sent: number;
  readonly ended: Record<string, number>;
  readonly held: Record<string, number>;
  readonly variants: Record<string, number>;
}

export function summarize(
  { sends, enrollments, endedAt }: Simulated,
  {
    timeZone,
    prices,
    leftOut,
  }: { readonly timeZone: string; readonly prices: Prices; readonly leftOut: Readonly<Record<string, number>> },
): SimulationSummary {
  const byVerdict: Record<string, number> = {};
  const byChannel: Record<string, number> = {};
  const held: Record<string, { readonly messages: number; readonly seconds: number }> = {};
  const nodes: Record<string, Funnel> = {};
  const perHour: Record<string, number> = {};
  const perDay: Record<string, number> = {};
  const hours = new Map<number, string>();
  let emails = 0;
  let smsSegments = 0;
  for (const send of sends) {
    const node = nodes[send.nodeId] ?? { queued: 0, sent: 0, ended: {}, held: {}, variants: {} };
    nodes[send.nodeId] = node;
    node.queued++;
    count(byVerdict, send.verdict);
    for (const [reason, seconds] of heldSeconds(send)) {
      const before = held[reason] ?? { messages: 0, seconds: 0 };
      held[reason] = { messages: before.messages + 1, seconds: before.seconds + seconds };
      count(node.held, reason);
    }
    if (send.verdict !== "sent" || send.at === null) {
      count(node.ended, send.verdict);
      continue;
    }
    node.sent++;
    if (send.variantId !== null) count(node.variants, send.variantId);
    count(byChannel, send.channel);
    if (send.channel === "email") emails++;
    if (send.channel === "sms") smsSegments += send.segments ?? 1;
    // Zones differ from UTC by whole quarters of an hour: one formatting per quarter is enough.
    const quarter = Math.floor(send.at.getTime() / 900_000);
    let hour = hours.get(quarter);
    if (hour === undefined) {
      hour = DateTime.fromMillis(quarter * 900_000, { zone: timeZone }).toFormat("yyyy-MM-dd'T'HH");
      hours.set(quarter, hour);
    }
    count(perHour, hour);
    count(perDay, hour.slice(0, 10));
  }
  const statuses: Record<string, number> = {};
  const exitReasons: Record<string, number> = {};
  for (const { status, exitReason } of enrollments) {
    count(statuses, status);
    if (exitReason !== null) count(exitReasons, exitReason);
  }
  const instants = sends.flatMap(({ at, verdict }) => (verdict === "sent" && at !== null ? [at.getTime()] : []));
  const bound = (pick: (a: number, b: number) => number): string | null =>
    instants.length === 0 ? null : new Date(instants.reduce((a, b) => pick(a, b))).toISOString();
  return {
    enrolled: enrollments.length,
    leftOut,
    messages: sends.length,
    sent: byVerdict["sent"] ?? 0,
    byVerdict,
    byChannel,
    held,
    nodes,
    enrollments: statuses,
    exitReasons,
    perHour: sorted(perHour),
    perDay: sorted(perDay),
    timeZone,
    firstSendAt: bound(Math.min),
    lastSendAt: bound(Math.max),
    endedAt: endedAt.toISOString(),
    cost: {
      currency: "USD",
      emails,
      smsSegments,
      total: Math.round((emails * prices.email + smsSegments * prices.sms) * 10_000) / 10_000,
    },
  };
}

const sorted = (counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** Seconds per reason; each reason once. */
function heldSeconds({ held }: SimulatedSend): Map<string, number> {
  const seconds = new Map<string, number>();
  for (const { reason, from, until } of held) {
    seconds.set(reason, (seconds.get(reason) ?? 0) + (until.getTime() - from.getTime()) / 1000);
  }
  return seconds;
}

/** SHA-256 (hex) over one JSON line per message, in the order of their ends: contact, node, variant, channel, address, instant, verdict. */
export function sendsHash(sends: readonly SimulatedSend[]): string {
  const hash = createHash("sha256");
  for (const { contactId, nodeId, variantId, channel, address, at, verdict } of sends) {
    hash.update(`${JSON.stringify([contactId, nodeId, variantId, channel, address, at, verdict])}\n`);
  }
  return hash.digest("hex");
}

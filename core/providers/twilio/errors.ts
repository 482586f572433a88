/**
 * What Twilio's error codes mean for us. One table for both places they appear: the answer to a send, and `ErrorCode` of a status
 * webhook. Invariant: a code that is not listed never suppresses an address and never pauses a channel.
 */
import type { FailureClass } from "../../ports/sender.ts";

/** `later`: nothing is wrong with the message. `soft`: the address failed this once; only repetition says something about it. */
export type TwilioVerdict = FailureClass | "later" | "soft";

const table: readonly (readonly [TwilioVerdict, readonly number[]])[] = [
  [
    "later",
    [
      20429, // too many requests at once
      20500,
      20503,
      21611, // the sender's queue is full
      21730, // maintenance
      30001, // queue overflow
      30008, // unknown error
      30017, // carrier congestion
      30022, // 10DLC throughput exceeded
      30610, // quiet hours
      63018, // WhatsApp rate limit
    ],
  ],
  // Opted out at Twilio, blocked by WhatsApp, or a known litigator: stop at once.
  ["suppress", [21610, 63014, 63033, 30640]],
  // Not a number, not a mobile, unknown to its carrier, or not on WhatsApp.
  ["recipient", [21211, 21214, 21217, 21612, 21614, 21635, 30005, 30006, 63003, 63024]],
  ["soft", [30003]], // handset off or out of reach
  // Filtered by a carrier or by policy, or a body that cannot be sent.
  ["content", [21602, 21617, 30004, 30007, 30450, 63013, 63032]],
  ["request", [21604, 63016]], // 63016: outside WhatsApp's 24 h window, needs a template
  // Credentials, permissions, senders (21212: our own number is invalid) and registrations: every further message would fail alike.
  ["account", [20003, 20005, 21212, 21408, 21603, 21606, 21608, 21659, 21660, 21703, 21704, 30002, 30034, 63007]],
];

const verdicts = new Map(table.flatMap(([verdict, codes]) => codes.map((code) => [code, verdict] as const)));

export const verdictOf = (code: number): TwilioVerdict | undefined => verdicts.get(code);

/** 30610: the recipient's quiet hours last longer than any back-off; the send gate looks at them again when it is due. */
export const quietHoursCode = 30_610;

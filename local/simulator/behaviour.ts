/**
 * The simulator's one control panel: how recipients behave, how the API fails, what happens to webhooks on their way.
 * Every decision is drawn by seed and the number of the request it concerns, so a run with the same settings repeats.
 */
import * as z from "zod";
import { pick, share, uniform } from "./random.ts";
import { Rates, Reaction } from "./script.ts";

const rate = z.number().min(0).max(1);
const count = z.number().int().min(0);

/** Headers of a 429, from what the providers send to what a proxy may make of it. `documented`: SendGrid's absolute reset, no Retry-After. */
export const rateLimitVariants = [
  "documented",
  "seconds",
  "date",
  "zero",
  "negative",
  "ten_years",
  "garbage",
  "missing",
] as const;
export type RateLimitVariant = (typeof rateLimitVariants)[number];

/** Ways a request fails, at most one each. The first six refuse the message; `*AfterAccept` and `malformed2xx` keep it. */
export const faults = [
  "http400",
  "http401",
  "http500",
  "rateLimit429",
  "resetBeforeAccept",
  "hang",
  "http500AfterAccept",
  "timeoutAfterAccept",
  "malformed2xx",
] as const;
export type Fault = (typeof faults)[number];

const Errors = z
  .strictObject({
    http400: rate.default(0),
    /** Credentials revoked. */
    http401: rate.default(0),
    http500: rate.default(0),
    rateLimit429: rate.default(0),
    /** The connection is closed before the message is taken. */
    resetBeforeAccept: rate.default(0),
    /** No answer for `hangSeconds`, and the message is not taken. */
    hang: rate.default(0),
    http500AfterAccept: rate.default(0),
    /** Taken, then the connection is closed without an answer: the response is lost. */
    timeoutAfterAccept: rate.default(0),
    /** Taken, answered 2xx, but without a usable message id. */
    malformed2xx: rate.default(0),
  })
  .refine((errors) => Object.values(errors).reduce((sum, part) => sum + part, 0) <= 1 + 1e-9, {
    error: "the error rates together must not exceed 1",
  });

const Webhooks = z.strictObject({
  /** Share of events that arrive two to four times, with the same event id. */
  duplicateRate: rate.default(0),
  /** Share of events that arrive minutes to hours late, after later ones; also shuffles inside batches. */
  reorder: rate.default(0),
  /** Every webhook waits this much longer. Virtual seconds. */
  delaySeconds: z.number().min(0).default(0),
  /** Share of messages whose first webhook arrives before the send is answered. */
  early: rate.default(0),
  /** Share of webhooks that never arrive. */
  dropRate: rate.default(0),
  /** Most SendGrid events in one request. */
  batchSize: z.number().int().min(1).max(10_000).default(100),
});

export const Settings = z.strictObject({
  seed: z.union([z.string(), z.number()]).default("outrider"),
  rates: Rates.prefault({}),
  overrides: z.record(z.string(), z.array(Reaction)).default({}),
  /** Real milliseconds before an answer. */
  latencyMs: z
    .strictObject({ min: count, max: count })
    .refine((range) => range.min <= range.max, { error: "min must not exceed max" })
    .default({ min: 0, max: 0 }),
  errors: Errors.prefault({}),
  hangSeconds: z.number().min(0).max(600).default(120),
  rateLimitVariants: z.array(z.enum(rateLimitVariants)).min(1).default(["documented"]),
  webhooks: Webhooks.prefault({}),
  /** Share of answers by mail that bring a file, and its size: bytes that no compression makes smaller. */
  attachments: z
    .strictObject({ share: rate.default(0), bytes: z.number().int().min(1).max(5_000_000).default(200_000) })
    .prefault({}),
  /** False: reactions that fall due are lost, as if the provider had no webhook configured. */
  webhooksEnabled: z.boolean().default(true),
  /** Sender domains that SendGrid has not authenticated; it has all others. */
  unprovenDomains: z.array(z.string().toLowerCase()).default([]),
  /** Virtual seconds per real second for reactions. Only with the real clock. */
  speed: z.number().min(0.001).max(10_000_000).default(1),
  /** Reactions wait for the next multiple of this (counted from 1970), so that a virtual clock has fewer instants to stop at. */
  gridSeconds: z.number().int().min(1).max(86_400).default(1),
});
export type Settings = z.infer<typeof Settings>;
export type SettingsInput = z.input<typeof Settings>;

/** What befalls the nth request to a provider (from 1, counted since the settings were last put). */
export function faultOf(settings: Settings, provider: string, nth: number): Fault | null {
  return share(
    faults.map((fault) => [fault, settings.errors[fault]] as const),
    uniform(settings.seed, provider, nth, "fault"),
  );
}

/** Real milliseconds before the nth answer. */
export function latencyOf(settings: Settings, provider: string, nth: number): number {
  const { min, max } = settings.latencyMs;
  return min + uniform(settings.seed, provider, nth, "latency") * (max - min);
}

/** The headers of the nth answer if it is a 429. */
export function rateLimitHeaders(settings: Settings, provider: string, nth: number, now: Date): Record<string, string> {
  const variants = settings.rateLimitVariants;
  const variant = pick(
    [variants[0] ?? "documented", ...variants.slice(1)],
    uniform(settings.seed, provider, nth, "429"),
  );
  const epochSeconds = Math.ceil(now.getTime() / 1000);
  const both = (retryAfter: string, reset: string) => ({ "retry-after": retryAfter, "x-ratelimit-reset": reset });
  const tenYears = 10 * 365 * 86_400;
  switch (variant) {
    case "documented":
      return provider === "sendgrid"
        ? { "x-ratelimit-limit": "600", "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(epochSeconds + 5) }
        : {};
    case "seconds":
      return both("7", String(epochSeconds + 7));
    case "date":
      return both(new Date((epochSeconds + 30) * 1000).toUTCString(), String(epochSeconds + 30));
    case "zero":
      return both("0", String(epochSeconds));
    case "negative":
      return both("-30", String(epochSeconds - 30));
    case "ten_years":
      return both(String(tenYears), String(epochSeconds + tenYears));
    case "garbage":
      return both("soon", "later");
    case "missing":
      return {};
  }
}

/** What the network does to one webhook. `copies` = further arrivals of the same bytes. */
export interface Transport {
  readonly dropped: boolean;
  readonly lateSeconds: number;
  /** Seconds after the first arrival. */
  readonly copies: readonly number[];
}

/** @param name unique per webhook, the same in every run. */
export function transportOf(settings: Settings, name: string): Transport {
  const { duplicateRate, reorder, delaySeconds, dropRate } = settings.webhooks;
  const draw = (what: string) => uniform(settings.seed, "webhook", name, what);
  const shuffled = draw("reorder") < reorder ? Math.round(60 + draw("late") * 6 * 3600) : 0;
  const copies =
    draw("duplicate") < duplicateRate
      ? Array.from({ length: 1 + Math.floor(draw("copies") * 3) }, (_, i) => Math.round(draw(`copy ${i}`) * 3600))
      : [];
  return { dropped: draw("drop") < dropRate, lateSeconds: delaySeconds + shuffled, copies };
}

/**
 * Calling-time rules as dated data. Invariant: a decision can name the row that made it and where the row comes from; the most restrictive
 * row wins, because all rows that apply must allow the instant.
 *
 * `source` names the anchor (D-nn) of the compliance table that the rows were taken from. Rows marked "secondary" were read in law-firm or
 * vendor summaries, not in the statute: have counsel confirm them before relying on them.
 */
import type { Channel } from "../kernel/index.ts";

/** Stored with every decision. Raise it with every change of a row below. */
export const RULESET_VERSION = "2026-11-21.1";

/** What the law tells apart: texts (SMS, WhatsApp), voice calls, e-mail, and messages inside a platform. */
export type ChannelClass = "text" | "voice" | "email" | "social";

const classes: Readonly<Record<Channel, ChannelClass>> = {
  sms: "text",
  whatsapp: "text",
  call: "voice",
  email: "email",
  messenger: "social",
  instagram: "social",
  linkedin: "social",
};
export const channelClass = (channel: Channel): ChannelClass => classes[channel];

/** ISO weekday: 1 Monday … 7 Sunday. */
export type Weekday = 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** At most `count` messages to one address in any rolling `windowSeconds`. */
export interface Cap {
  readonly count: number;
  readonly windowSeconds: number;
}

/**
 * Sending is open on the days in `dow` from `start` (inclusive) to `end` (exclusive), `HH:mm`, in the recipient's local time; on days of a
 * jurisdiction that none of its rows names it is closed. `level: "legal"` binds always, `"strict"` unless the tenant relaxed to the law.
 */
export interface Rule {
  readonly id: string;
  readonly jurisdiction: string;
  readonly classes: readonly ChannelClass[];
  readonly level: "legal" | "strict";
  readonly dow: readonly Weekday[];
  readonly start: string;
  readonly end: string;
  readonly closedOnHolidays?: boolean;
  readonly cap?: Cap;
  readonly source: string;
  /** Calendar dates, inclusive from, exclusive to. */
  readonly effectiveFrom: string;
  readonly effectiveTo?: string;
}

const everyDay: readonly Weekday[] = [1, 2, 3, 4, 5, 6, 7];
const weekdays: readonly Weekday[] = [1, 2, 3, 4, 5];
const mondayToSaturday: readonly Weekday[] = [1, 2, 3, 4, 5, 6];
const sunday: readonly Weekday[] = [7];
const phone: readonly ChannelClass[] = ["text", "voice"];

export const CAP_3_PER_DAY: Cap = { count: 3, windowSeconds: 86_400 };

function row(
  jurisdiction: string,
  dow: readonly Weekday[],
  start: string,
  end: string,
  source: string,
  effectiveFrom: string,
  more: Partial<Pick<Rule, "level" | "cap" | "closedOnHolidays">> = {},
): Rule {
  const level = more.level ?? "legal";
  const days = dow.length === 7 ? "daily" : dow.join("");
  const id = `${jurisdiction}/${level}/${days}/${start}-${end}`;
  return { id, jurisdiction, classes: phone, level, dow, start, end, source, effectiveFrom, ...more };
}

const states2025 = "D-10, secondary, read 2025-11-01";
const since = "2000-01-01";

/** A state that limits only some days leaves the others to the federal row: `federalDays` repeats that row under the state's name. */
const federalDays = (jurisdiction: string, dow: readonly Weekday[], source: string): Rule =>
  row(jurisdiction, dow, "08:00", "21:00", `${source}; other days as 47 CFR 64.1200(c)(1)`, since);

export const rules: readonly Rule[] = [
  row("US", everyDay, "08:00", "21:00", "D-01: 47 CFR 64.1200(c)(1), called party's location", since),
  row("US", mondayToSaturday, "09:00", "20:00", "D-11: engine default", since, { level: "strict", cap: CAP_3_PER_DAY }),
  row("US", sunday, "12:00", "20:00", "D-11: engine default", since, { level: "strict", cap: CAP_3_PER_DAY }),
  row("*", everyDay, "09:00", "20:00", "engine default where no table of ours applies", since, { level: "strict" }),

  row("US-FL", everyDay, "08:00", "20:00", "D-03: Fla. Stat. 501.616(6)", "2021-07-01", { cap: CAP_3_PER_DAY }),
  row("US-OK", everyDay, "08:00", "20:00", "D-04: OTSA, secondary", "2022-11-01", { cap: CAP_3_PER_DAY }),
  row("US-MD", everyDay, "08:00", "20:00", "D-05: SB 90, secondary", "2024-01-01", { cap: CAP_3_PER_DAY }),
  row("US-WA", everyDay, "08:00", "20:00", "D-06: RCW 19.158.040, 80.36.390", since),
  row("US-TX", mondayToSaturday, "09:00", "21:00", "D-07: SB 140, secondary", "2025-09-01"),
  row("US-TX", sunday, "12:00", "21:00", "D-07: SB 140, secondary", "2025-09-01"),
  row("US-VA", everyDay, "08:00", "21:00", "D-08: SB 1339, secondary", "2026-01-01"),
  row("US-CT", everyDay, "09:00", "20:00", "D-09, secondary", since),

  row("US-AL", mondayToSaturday, "08:00", "20:00", states2025, since, { closedOnHolidays: true }),
  row("US-LA", mondayToSaturday, "08:00", "20:00", states2025, since, { closedOnHolidays: true }),
  row("US-MS", mondayToSaturday, "08:00", "20:00", states2025, since),
  row("US-MA", everyDay, "08:00", "20:00", states2025, since),
  row("US-NV", everyDay, "09:00", "20:00", states2025, since),
  row("US-NM", everyDay, "09:00", "21:00", states2025, since),
  row("US-MI", everyDay, "09:00", "21:00", states2025, since),
  row("US-MN", everyDay, "09:00", "21:00", states2025, since),
  row("US-KY", everyDay, "10:00", "21:00", states2025, since),
  row("US-RI", everyDay, "09:00", "18:00", `${states2025}; holidays D-11`, since, { closedOnHolidays: true }),
  federalDays("US-PA", [...weekdays, 7], states2025),
  row("US-PA", [6], "08:00", "12:00", states2025, since),
];

/**
 * For a number that is American but could be anywhere there: the strict rows in all four zones, and 12:00–20:00 where nearly everybody lives
 * (D-11). On weekdays that is 15:00–20:00 in New York.
 */
export const unknownUsZones: Readonly<Record<string, { readonly start: string; readonly end: string } | null>> = {
  "America/New_York": { start: "12:00", end: "20:00" },
  "America/Los_Angeles": { start: "12:00", end: "20:00" },
  "America/Anchorage": null,
  "Pacific/Honolulu": null,
};

/** Whether a tenant keeps our stricter windows or relaxes to the rows of law. There is no third choice. */
export type Strictness = "strict" | "legal";

/** The instant from which a dated row counts: the start of that day anywhere on Earth is near enough, and earlier is stricter. */
export const effectiveAt = (date: string): number => Date.parse(`${date}T00:00:00Z`);

/** Distinct instants at which any row starts or ends, ascending: between two of them the rule set is constant. */
export const ruleBoundaries: readonly number[] = [
  ...new Set(
    rules.flatMap((rule) => [
      effectiveAt(rule.effectiveFrom),
      ...(rule.effectiveTo ? [effectiveAt(rule.effectiveTo)] : []),
    ]),
  ),
].toSorted((a, b) => a - b);

/**
 * The rows that bind a marketing message. E-mail and platform messages have none: no calling-time law names them. A state row counts for each
 * candidate state; `*` counts when a candidate country is not the United States, or none is known.
 */
export function rulesFor(
  where: { readonly states: readonly string[]; readonly countries: readonly string[] },
  of: ChannelClass,
  strictness: Strictness,
  at: number,
): readonly Rule[] {
  const american = where.countries.includes("US");
  const foreign = where.countries.some((country) => country !== "US");
  return rules.filter(
    (rule) =>
      rule.classes.includes(of) &&
      // `*` has no row of law to relax to, so it stays on.
      (rule.level === "legal" || strictness === "strict" || rule.jurisdiction === "*") &&
      (rule.jurisdiction === "US"
        ? american
        : rule.jurisdiction === "*"
          ? foreign || !american
          : where.states.includes(rule.jurisdiction)) &&
      effectiveAt(rule.effectiveFrom) <= at &&
      (rule.effectiveTo === undefined || at < effectiveAt(rule.effectiveTo)),
  );
}

/** The tightest cap that binds: the engine's under "strict", a state's own under "legal", or none. */
export function capFor(
  where: { readonly states: readonly string[]; readonly countries: readonly string[] },
  of: ChannelClass,
  strictness: Strictness,
  at: number,
): Cap | null {
  const caps = rulesFor(where, of, strictness, at).flatMap((rule) => (rule.cap ? [rule.cap] : []));
  return caps.toSorted((a, b) => a.count - b.count || b.windowSeconds - a.windowSeconds)[0] ?? null;
}

const dayMs = 86_400_000;

/** US federal holidays (5 U.S.C. 6103), with the Friday or Monday on which a weekend one is observed, as days since 1970-01-01. */
function federalHolidays(year: number): readonly number[] {
  const day = (month: number, date: number) => Date.UTC(year, month - 1, date) / dayMs;
  /** Day 0 (1970-01-01) was a Thursday. */
  const weekday = (epochDay: number) => ((epochDay + 3) % 7) + 1;
  const nth = (month: number, dow: number, n: number) => {
    const first = day(month, 1);
    return first + ((dow - weekday(first) + 7) % 7) + (n - 1) * 7;
  };
  const lastMondayOfMay = day(5, 31) - (weekday(day(5, 31)) - 1);
  const fixed = [day(1, 1), day(6, 19), day(7, 4), day(11, 11), day(12, 25), Date.UTC(year + 1, 0, 1) / dayMs].flatMap(
    (date) => (weekday(date) === 6 ? [date - 1, date] : weekday(date) === 7 ? [date, date + 1] : [date]),
  );
  return [...fixed, nth(1, 1, 3), nth(2, 1, 3), lastMondayOfMay, nth(9, 1, 1), nth(10, 1, 2), nth(11, 4, 4)];
}

const holidaysByYear = new Map<number, ReadonlySet<number>>();
/** `epochDay`: local calendar date as days since 1970-01-01. */
export function isUsHoliday(epochDay: number): boolean {
  const year = new Date(epochDay * dayMs).getUTCFullYear();
  let days = holidaysByYear.get(year);
  if (!days) {
    days = new Set(federalHolidays(year));
    holidaysByYear.set(year, days);
  }
  return days.has(epochDay);
}

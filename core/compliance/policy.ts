/**
 * Quiet hours and frequency caps as pure decisions. Invariant: an instant is allowed only when every candidate zone, under every rule that
 * applies there, is open for at least the coming minute; the decision is about the instant, so a clock change can neither open nor repeat a
 * window. The live gate, the simulation and the explanation all call these functions.
 */
import type { Channel } from "../kernel/index.ts";
import { isUsZone } from "./places.ts";
import {
  type Cap,
  channelClass,
  RULESET_VERSION,
  type Rule,
  ruleBoundaries,
  rulesFor,
  type Strictness,
  unknownUsZones,
  type Weekday,
} from "./rules.ts";
import {
  alwaysOpen,
  intersect,
  isOpenForAMinute,
  nextOpen,
  openWeek,
  quietWeek,
  union,
  type Week,
} from "./schedule.ts";
import { clockOf, dayMs, type ZoneClock } from "./walltime.ts";
import type { ZoneEvidence } from "./zones.ts";

/** No sending between `start` and `end` (`HH:mm`, over midnight when `start` ≥ `end`), on `days` (default all; the day on which it starts). */
export interface QuietHours {
  readonly start: string;
  readonly end: string;
  readonly days?: readonly Weekday[] | undefined;
}

/** Sending only between `start` and `end` on `days`; in `zone` if given, else in every zone of the recipient. */
export interface SendWindow {
  readonly start: string;
  readonly end: string;
  readonly days?: readonly Weekday[] | undefined;
  readonly zone?: string | undefined;
}

export interface QuietFacts {
  readonly channel: Channel;
  /** Law binds marketing; tenant, plan and node hours bind both. */
  readonly purpose: "marketing" | "transactional";
  readonly where: Pick<ZoneEvidence, "zones" | "states" | "countries">;
  /** Default "strict". */
  readonly strictness?: Strictness | undefined;
  readonly tenantQuietHours?: QuietHours | undefined;
  readonly planQuietHours?: QuietHours | undefined;
  readonly nodeWindow?: SendWindow | undefined;
  /** Where to read tenant, plan and node hours when the recipient's zone is unknown. Used only where no law speaks (e-mail, transactional). */
  readonly fallbackZone?: string | undefined;
}

export type QuietVerdict =
  | { readonly allowed: true; readonly zones: readonly string[]; readonly rulesetVersion: string }
  | {
      readonly allowed: false;
      readonly reason: "quiet_hours" | "tz_unknown";
      /** When it opens; null when unknown (`tz_unknown`) or not within the search horizon. */
      readonly until: Date | null;
      /** The first rule that said no: an id of `rules.ts`, `tenant_quiet_hours`, `plan_quiet_hours`, `node_window` or `zone_evidence`. */
      readonly rule: string;
      /** The zone in which it said no. */
      readonly zone: string | null;
      readonly zones: readonly string[];
      readonly rulesetVersion: string;
    };

/** A window that does not open within this many days is treated as never opening (F-78: the hold expires by its own deadline). */
export const SEARCH_DAYS = 14;

const everyDay: readonly Weekday[] = [1, 2, 3, 4, 5, 6, 7];

interface Named {
  readonly rule: string;
  readonly week: Week;
}

/** All that applies in one zone, intersected for speed and listed for the explanation. */
interface Place {
  readonly zone: string;
  readonly clock: ZoneClock;
  readonly week: Week;
  readonly parts: readonly Named[];
}

/** `places: []` means that nothing restricts; null that the zone is unknown and must be known. */
interface Compiled {
  readonly places: readonly Place[] | null;
  readonly zones: readonly string[];
}

const intersectAll = (parts: readonly Named[]): Week =>
  parts.reduce((week, part) => intersect(week, part.week), alwaysOpen);

function compile(facts: QuietFacts, at: number): Compiled {
  const { where } = facts;
  const lawful =
    facts.purpose === "marketing" ? rulesFor(where, channelClass(facts.channel), facts.strictness ?? "strict", at) : [];
  const own = ownParts(facts);
  const floating = [...lawParts(lawful), ...own];
  const places = new Map<string, Named[]>();
  const put = (zone: string, parts: readonly Named[]) => places.set(zone, [...(places.get(zone) ?? []), ...parts]);

  const unplacedAmerican = lawful.length > 0 && where.countries.includes("US") && !where.zones.some(isUsZone);
  if (where.zones.length === 0 && !unplacedAmerican && lawful.length > 0) return { places: null, zones: [] };
  const zones =
    where.zones.length > 0 || facts.fallbackZone === undefined || lawful.length > 0
      ? where.zones
      : [facts.fallbackZone];
  if (zones.length === 0 && !unplacedAmerican && own.length > 0) return { places: null, zones: [] };

  if (floating.length > 0) for (const zone of zones) put(zone, floating);
  if (unplacedAmerican) {
    for (const [zone, hours] of Object.entries(unknownUsZones)) {
      put(zone, [
        ...floating,
        ...(hours ? [{ rule: "US/unknown-zone", week: openWeek(everyDay, hours.start, hours.end) }] : []),
      ]);
    }
  }
  if (facts.nodeWindow?.zone !== undefined) put(facts.nodeWindow.zone, [nodePart(facts.nodeWindow)]);
  return {
    places: [...places].map(([zone, parts]) => ({ zone, clock: clockOf(zone), week: intersectAll(parts), parts })),
    zones: [...new Set([...zones, ...places.keys()])],
  };
}

/** The rows of one jurisdiction and level together say its week; different jurisdictions must all be open. */
function lawParts(rules: readonly Rule[]): readonly Named[] {
  const groups = Map.groupBy(rules, (rule) => `${rule.jurisdiction}/${rule.level}`);
  return [...groups].map(([key, rows]) => ({
    rule: rows.length === 1 ? (rows[0]?.id ?? key) : key,
    week: union(rows.map((rule) => openWeek(rule.dow, rule.start, rule.end, rule.closedOnHolidays ?? false))),
  }));
}

const nodePart = (window: SendWindow): Named => ({
  rule: "node_window",
  week: openWeek(window.days ?? everyDay, window.start, window.end),
});

function ownParts(facts: QuietFacts): readonly Named[] {
  const parts: Named[] = [];
  const quiet = (rule: string, hours: QuietHours | undefined) => {
    if (hours) parts.push({ rule, week: quietWeek(hours.days ?? everyDay, hours.start, hours.end) });
  };
  quiet("tenant_quiet_hours", facts.tenantQuietHours);
  quiet("plan_quiet_hours", facts.planQuietHours);
  if (facts.nodeWindow && facts.nodeWindow.zone === undefined) parts.push(nodePart(facts.nodeWindow));
  return parts;
}

/** A campaign's contacts share a few dozen combinations, so compiling is paid once per combination. */
const compiled = new Map<string, Compiled>();
const maxCompiled = 10_000;

const hoursKey = (hours: QuietHours | SendWindow | undefined): string =>
  hours === undefined ? "" : `${hours.start}~${hours.end}~${hours.days === undefined ? "" : hours.days.join("")}`;

function compiledFor(facts: QuietFacts, at: number): Compiled {
  const { where } = facts;
  const key =
    `${facts.channel}|${facts.purpose}|${facts.strictness ?? ""}|${where.zones.join()}|${where.states.join()}|${where.countries.join()}|` +
    `${hoursKey(facts.tenantQuietHours)}|${hoursKey(facts.planQuietHours)}|${hoursKey(facts.nodeWindow)}|${facts.nodeWindow?.zone ?? ""}|` +
    `${facts.fallbackZone ?? ""}|${ruleEpoch(at)}`;
  let entry = compiled.get(key);
  if (!entry) {
    entry = compile(facts, at);
    if (compiled.size >= maxCompiled) compiled.clear();
    compiled.set(key, entry);
  }
  return entry;
}

/** Index of the stretch between two rule boundaries that holds the instant. */
function ruleEpoch(at: number): number {
  let epoch = ruleBoundaries.length;
  while (epoch > 0 && (ruleBoundaries[epoch - 1] ?? 0) > at) epoch--;
  return epoch;
}

/**
 * May a message go out at this instant? `until` of a refusal is `nextAllowed(facts, instant)`. Throws RangeError for a malformed `HH:mm` or
 * an unknown zone in the facts: both are validated where they enter the system.
 */
export function allowedAt(facts: QuietFacts, instant: Date): QuietVerdict {
  const at = instant.getTime();
  const { places, zones } = compiledFor(facts, at);
  const common = { zones, rulesetVersion: RULESET_VERSION } as const;
  if (places === null)
    return { allowed: false, reason: "tz_unknown", until: null, rule: "zone_evidence", zone: null, ...common };
  for (const place of places) {
    if (isOpenForAMinute(place.week, place.clock, at)) continue;
    const culprit = place.parts.find((part) => !isOpenForAMinute(part.week, place.clock, at));
    const until = nextAllowed(facts, instant);
    return {
      allowed: false,
      reason: "quiet_hours",
      until,
      rule: culprit?.rule ?? "combined_hours",
      zone: place.zone,
      ...common,
    };
  }
  return { allowed: true, ...common };
}

/**
 * The earliest instant ≥ `from` at which `allowedAt` says yes, or null when there is none within `horizonDays` (default 14) or the zone is
 * unknown. Idempotent: the answer is its own next allowed instant.
 */
export function nextAllowed(facts: QuietFacts, from: Date, opts: { readonly horizonDays?: number } = {}): Date | null {
  const limit = from.getTime() + (opts.horizonDays ?? SEARCH_DAYS) * dayMs;
  let at = from.getTime();
  while (at <= limit) {
    const { places } = compiledFor(facts, at);
    if (places === null) return null;
    const boundary = ruleBoundaries[ruleEpoch(at)] ?? Number.POSITIVE_INFINITY;
    const found = nextInAll(places, at, Math.min(limit, boundary - 1));
    if (found !== null) return new Date(found);
    if (boundary > limit) return null;
    at = boundary;
  }
  return null;
}

/** Leapfrog: each place's next open instant is a lower bound for all, until nobody moves it any more. */
function nextInAll(places: readonly Place[], from: number, limit: number): number | null {
  let at = from;
  for (let agreed = 0, turn = 0; agreed < places.length; turn++) {
    const place = places[turn % places.length];
    if (!place) break;
    const next = nextOpen(place.week, place.clock, at, limit);
    if (next === null) return null;
    agreed = next === at ? agreed + 1 : 1;
    at = next;
  }
  return at;
}

/**
 * Rolling cap over the instants at which this address was sent to (in any order; ambiguous attempts count as sent). The window is half open:
 * a message sent exactly `windowSeconds` ago no longer counts. `until` is when enough of them will have left it.
 */
export function frequencyCap(
  sentAts: readonly Date[],
  cap: number,
  windowSeconds: number,
  now: Date,
): { readonly allowed: true } | { readonly allowed: false; readonly until: Date | null } {
  if (cap <= 0) return { allowed: false, until: null };
  const windowMs = windowSeconds * 1_000;
  const inWindow = sentAts
    .map((sent) => sent.getTime())
    .filter((sent) => sent > now.getTime() - windowMs)
    .toSorted((a, b) => b - a);
  const blocking = inWindow[cap - 1];
  return blocking === undefined ? { allowed: true } : { allowed: false, until: new Date(blocking + windowMs) };
}

/** `frequencyCap` for a cap from the rules; no cap allows everything. */
export const withinCap = (sentAts: readonly Date[], cap: Cap | null, now: Date): ReturnType<typeof frequencyCap> =>
  cap === null ? { allowed: true } : frequencyCap(sentAts, cap.count, cap.windowSeconds, now);

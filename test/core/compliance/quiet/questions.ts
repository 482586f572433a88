/**
 * Questions about quiet hours: what the engine is asked, and the same spelled out by hand for the statement in SQL. Invariant: nothing here
 * calls the engine to find out what applies.
 */
import { type QuietFacts, rules, type Weekday } from "../../../../core/compliance/index.ts";
import type { Random } from "../../../long/report.ts";
import type { Place, Question, Transition, Window } from "./statement.ts";

export interface Asked {
  readonly facts: QuietFacts;
  readonly at: number;
}

const minutes = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
const everyDay = [1, 2, 3, 4, 5, 6, 7] as const;
const following = (day: number): number => (day % 7) + 1;
const preceding = (day: number): number => ((day + 5) % 7) + 1;

/** Zones under the American flag: the zone table of the IANA database, then its old names for them; others of those begin with `US/`. */
const americanZones = new Set(
  `America/New_York America/Detroit America/Kentucky/Louisville America/Kentucky/Monticello America/Indiana/Indianapolis
America/Indiana/Vincennes America/Indiana/Winamac America/Indiana/Marengo America/Indiana/Petersburg America/Indiana/Vevay
America/Indiana/Tell_City America/Indiana/Knox America/Chicago America/Menominee America/North_Dakota/Center
America/North_Dakota/New_Salem America/North_Dakota/Beulah America/Denver America/Boise America/Phoenix America/Los_Angeles
America/Anchorage America/Juneau America/Sitka America/Metlakatla America/Yakutat America/Nome America/Adak Pacific/Honolulu
America/Puerto_Rico America/St_Thomas Pacific/Guam Pacific/Saipan Pacific/Pago_Pago America/Atka America/Shiprock Navajo
America/Indianapolis America/Fort_Wayne America/Knox_IN America/Louisville Pacific/Samoa EST5EDT CST6CDT MST7MDT
PST8PDT`.split(/\s+/),
);

/** 47 CFR 64.1200 and the states' rows that hold at the instant, one group per jurisdiction and level. */
function law({ where, strictness }: QuietFacts, at: number): Window[] {
  const american = where.countries.includes("US");
  const elsewhere = !american || where.countries.length > 1;
  return rules.flatMap((rule) => {
    const here =
      rule.jurisdiction === "US"
        ? american
        : rule.jurisdiction === "*"
          ? elsewhere
          : where.states.includes(rule.jurisdiction);
    const relaxed = strictness === "legal" && rule.level === "strict" && rule.jurisdiction !== "*";
    const dated =
      at >= Date.parse(rule.effectiveFrom) && (rule.effectiveTo === undefined || at < Date.parse(rule.effectiveTo));
    if (!here || relaxed || !dated) return [];
    return [
      {
        g: `${rule.jurisdiction} ${rule.level}`,
        days: rule.dow,
        start: minutes(rule.start),
        end: minutes(rule.end),
        holidays: rule.closedOnHolidays ?? false,
      },
    ];
  });
}

/** Closed from `start` on the named days until `end`, on the next day when the hours run over midnight: what is left, day by day. */
function outside(g: string, hours: NonNullable<QuietFacts["tenantQuietHours"]>): Window[] {
  const [start, end] = [minutes(hours.start), minutes(hours.end)];
  if (start === end) return [];
  const named = new Set<number>(hours.days ?? everyDay);
  return everyDay.flatMap((day): Window[] => {
    const closed: [number, number][] = [];
    if (start < end) {
      if (named.has(day)) closed.push([start, end]);
    } else {
      if (named.has(day)) closed.push([start, 1440]);
      if (named.has(preceding(day))) closed.push([0, end]);
    }
    const edges = [0, ...closed.flat(), 1440].toSorted((a, b) => a - b);
    const open: Window[] = [];
    for (let n = 0; n + 1 < edges.length; n++) {
      const [from = 0, to = 0] = [edges[n], edges[n + 1]];
      const middle = (from + to) / 2;
      if (from < to && !closed.some(([a, b]) => middle > a && middle < b))
        open.push({ g, days: [day], start: from, end: to });
    }
    // A day without an opening must still be asked about.
    return open.length > 0 ? open : [{ g, days: [day], start: 0, end: 0 }];
  });
}

function inside(g: string, window: NonNullable<QuietFacts["nodeWindow"]>): Window[] {
  const [start, end] = [minutes(window.start), minutes(window.end)];
  const days = window.days ?? everyDay;
  if (start < end) return [{ g, days, start, end }];
  return [
    { g, days, start, end: 1440 },
    { g, days: days.map(following), start: 0, end },
  ];
}

/** The question that the facts amount to. */
export function spelledOut({ facts, at }: Asked): Question {
  const { where } = facts;
  const lawful =
    facts.purpose === "marketing" && (facts.channel === "sms" || facts.channel === "whatsapp") ? law(facts, at) : [];
  const windows: Window[] = [...lawful];
  if (facts.tenantQuietHours) windows.push(...outside("tenant", facts.tenantQuietHours));
  if (facts.planQuietHours) windows.push(...outside("plan", facts.planQuietHours));
  if (facts.nodeWindow && facts.nodeWindow.zone === undefined) windows.push(...inside("node", facts.nodeWindow));
  const places: Place[] = where.zones.map((zone) => ({ zone, windows }));
  const placed = where.zones.some((zone) => americanZones.has(zone) || zone.startsWith("US/"));
  if (lawful.length > 0 && where.countries.includes("US") && !placed) {
    const midday: Window = { g: "midday", days: everyDay, start: 720, end: 1200 };
    places.push(
      { zone: "America/New_York", windows: [...windows, midday] },
      { zone: "America/Los_Angeles", windows: [...windows, midday] },
      { zone: "America/Anchorage", windows },
      { zone: "Pacific/Honolulu", windows },
    );
  }
  if (facts.nodeWindow?.zone !== undefined)
    places.push({ zone: facts.nodeWindow.zone, windows: inside("node", facts.nodeWindow) });
  return { places, at };
}

export const states = [...new Set(rules.map((rule) => rule.jurisdiction))].filter((name) => name.startsWith("US-"));
/** Without a row of their own. */
const otherStates = ["US-NY", "US-CA", "US-AZ", "US-HI", "US-AK"];

const clockTime = (random: Random): string => {
  const at = random.chance(0.8) ? random.below(48) * 30 : random.below(1_440);
  return `${String(Math.floor(at / 60)).padStart(2, "0")}:${String(at % 60).padStart(2, "0")}`;
};
const someDays = (random: Random): readonly Weekday[] | undefined => {
  if (random.chance(0.5)) return undefined;
  const days = everyDay.filter(() => random.chance(0.6));
  return days.length > 0 ? days : [1];
};

const from2024 = Date.UTC(2024, 0, 2);
const until2031 = Date.UTC(2031, 0, 1);

/** One of a few instants in which rounding could go wrong, or any. */
function instant(random: Random): number {
  const any = from2024 + Math.floor(random.next() * (until2031 - from2024));
  const kind = random.below(4);
  if (kind === 0) return any;
  const edge = Math.floor(any / 1_800_000) * 1_800_000;
  if (kind === 1) return edge;
  if (kind === 2) return edge + random.pick([-60_001, -60_000, -59_999, -1, 1, 59_999]);
  return Math.floor(any / 60_000) * 60_000;
}

/** A random (zones, states, rules, instant). */
export function draw(random: Random, zones: readonly string[]): Asked {
  const count = random.pick([1, 1, 1, 2, 3]);
  const picked = Array.from({ length: count }, () =>
    random.chance(0.4) ? random.pick([...americanZones]) : random.pick(zones),
  );
  const american = random.chance(0.75);
  const named =
    american && random.chance(0.7) ? [random.chance(0.85) ? random.pick(states) : random.pick(otherStates)] : [];
  if (named.length > 0 && random.chance(0.25)) named.push(random.pick(states));
  const channel = random.pick(["sms", "sms", "sms", "whatsapp", "email"] as const);
  const quiet = () => ({ start: clockTime(random), end: clockTime(random), days: someDays(random) });
  const facts: QuietFacts = {
    channel,
    purpose: random.chance(0.9) ? "marketing" : "transactional",
    strictness: random.pick(["strict", "legal", undefined]),
    where: {
      zones: [...new Set(picked)].toSorted(),
      states: [...new Set(named)].toSorted(),
      countries: american ? (random.chance(0.2) ? ["DE", "US"] : ["US"]) : ["DE"],
    },
    tenantQuietHours: random.chance(0.4) ? quiet() : undefined,
    planQuietHours: random.chance(0.2) ? quiet() : undefined,
    nodeWindow: random.chance(0.3)
      ? { ...quiet(), zone: random.chance(0.3) ? random.pick(zones) : undefined }
      : undefined,
  };
  return { facts, at: instant(random) };
}

/** Every minute around one change of a zone's clock, with own hours that begin and end inside what the change skips or repeats. */
export function aroundChange({ zone, at, before, after }: Transition, minutesAround: number): Asked[] {
  const local = (offset: number) => new Date(at + offset * 1000);
  const clock = (date: Date, shift: number) => new Date(date.getTime() + shift * 60_000).toISOString().slice(11, 16);
  const [early, late] = [local(Math.min(before, after)), local(Math.max(before, after))];
  // From the middle of what is skipped or repeated until half an hour behind it.
  const middle = Math.floor((late.getTime() - early.getTime()) / 120_000);
  const where = { zones: [zone], states: [], countries: ["ZZ"] };
  const hours = { start: clock(early, middle), end: clock(late, 30) };
  const quiet: QuietFacts = { channel: "email", purpose: "marketing", where, tenantQuietHours: hours };
  const open: QuietFacts = {
    channel: "email",
    purpose: "marketing",
    where,
    nodeWindow: { start: clock(early, -30), end: clock(late, -middle) },
  };
  const out: Asked[] = [];
  for (let minute = -minutesAround; minute <= minutesAround; minute++) {
    out.push({ facts: minute % 2 === 0 ? quiet : open, at: at + minute * 60_000 });
    // Both, where it matters most.
    if (Math.abs(minute) <= 5) out.push({ facts: minute % 2 === 0 ? open : quiet, at: at + minute * 60_000 - 1 });
  }
  return out;
}

/**
 * Wall time without a library call per question: the UTC offset of a zone at an instant, from a cache of one entry per zone and UTC day.
 * Invariant: every answer is about an instant. A wall-clock reading that does not exist or exists twice never enters a decision.
 */
import { IANAZone } from "luxon";

export const minuteMs = 60_000;
export const dayMs = 86_400_000;

/** `before` holds from the start of the UTC day until `change`, `after` from then on. Without a transition `change` is the next day's start. */
interface DayOffsets {
  readonly before: number;
  readonly after: number;
  readonly change: number;
}

const maxCachedDays = 20_000;

/** One zone and its cached days. Look-ups are the hot path of every gate decision. */
export class ZoneClock {
  readonly name: string;
  readonly #zone: IANAZone;
  readonly #days = new Map<number, DayOffsets>();

  constructor(name: string) {
    this.name = name;
    this.#zone = IANAZone.create(name);
    if (!this.#zone.isValid) throw new RangeError(`unknown time zone ${name}`);
  }

  /** Milliseconds to add to `instant` to read the wall clock as if it were UTC. */
  offset(instant: number): number {
    const entry = this.#entry(instant);
    return instant < entry.change ? entry.before : entry.after;
  }

  /** The next instant after `instant` at which the offset may differ: a transition or the end of the UTC day. */
  steadyUntil(instant: number): number {
    const entry = this.#entry(instant);
    return instant < entry.change ? entry.change : (Math.floor(instant / dayMs) + 1) * dayMs;
  }

  #entry(instant: number): DayOffsets {
    const day = Math.floor(instant / dayMs);
    const cached = this.#days.get(day);
    if (cached) return cached;
    const entry = this.#measure(day);
    if (this.#days.size >= maxCachedDays) this.#days.clear();
    this.#days.set(day, entry);
    return entry;
  }

  /** No zone has moved its clock twice in one UTC day, so equal ends mean a steady day; otherwise bisect to the second. */
  #measure(day: number): DayOffsets {
    const start = day * dayMs;
    const end = start + dayMs;
    const at = (instant: number) => Math.round(this.#zone.offset(instant) * minuteMs);
    const before = at(start);
    const after = at(end - 1_000);
    if (before === after) return { before, after, change: end };
    let low = start;
    let high = end - 1_000;
    while (high - low > 1_000) {
      const middle = Math.floor((low + high) / 2_000) * 1_000;
      if (at(middle) === before) low = middle;
      else high = middle;
    }
    return { before, after, change: high };
  }
}

const clocks = new Map<string, ZoneClock>();
/** Throws RangeError for a name that is not an IANA zone. */
export function clockOf(zone: string): ZoneClock {
  let clock = clocks.get(zone);
  if (!clock) {
    clock = new ZoneClock(zone);
    clocks.set(zone, clock);
  }
  return clock;
}

/**
 * The instant of a planned wall time (F-60, F-61). A time inside a spring gap is the first instant after the gap; a time that occurs twice is
 * its first occurrence. `minute` counts from local midnight and may be 1440 (the end of the day).
 */
export function instantOf(zone: string, date: { year: number; month: number; day: number }, minute: number): Date {
  const clock = clockOf(zone);
  const wall = Date.UTC(date.year, date.month - 1, date.day) + minute * minuteMs;
  // Offsets within a day of the reading cover both sides of any transition near it; the larger offset gives the earlier instant.
  const offsets = [...new Set([clock.offset(wall - dayMs), clock.offset(wall + dayMs), clock.offset(wall)])].toSorted(
    (a, b) => b - a,
  );
  for (const offset of offsets) {
    if (clock.offset(wall - offset) === offset) return new Date(wall - offset);
  }
  // In a gap: the transition is the first change of offset after the earlier reading.
  let at = wall - (offsets[0] ?? 0);
  const before = clock.offset(at);
  while (clock.offset(at) === before) at = clock.steadyUntil(at);
  return new Date(at);
}

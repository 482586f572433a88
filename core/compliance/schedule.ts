/**
 * Weekly opening hours in wall time, and the instants at which they are open. Invariant: an instant is open only if the whole minute from it
 * on is open, so that a claim always has time to reach its provider (F-74).
 */
import { isUsHoliday, type Weekday } from "./rules.ts";
import { dayMs, minuteMs, type ZoneClock } from "./walltime.ts";

/** Minutes from local midnight; `end` exclusive, at most 1440. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Open spans per weekday (index 0 = Monday), sorted and disjoint. */
export interface Week {
  readonly days: readonly (readonly Span[])[];
  readonly closedOnHolidays: boolean;
}

const wholeDay: readonly Span[] = [{ start: 0, end: 1440 }];
export const alwaysOpen: Week = { days: Array.from({ length: 7 }, () => wholeDay), closedOnHolidays: false };
const neverOpen: Week = { days: Array.from({ length: 7 }, () => []), closedOnHolidays: false };

/** `HH:mm` → minutes; `24:00` is the end of the day, which `00:00` cannot say. Throws RangeError otherwise. */
export function minutesOf(time: string): number {
  const match = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(time);
  if (match) return Number(match[1]) * 60 + Number(match[2]);
  if (time === "24:00") return 1440;
  throw new RangeError(`not a time of day (HH:mm): ${time}`);
}

/** Open on `days` between the two times; with `start` ≥ `end` it runs over midnight into the following day. */
export function openWeek(days: readonly Weekday[], start: string, end: string, closedOnHolidays = false): Week {
  const from = minutesOf(start);
  const to = minutesOf(end);
  const spans: Span[][] = Array.from({ length: 7 }, () => []);
  for (const day of days) {
    const today = spans[day - 1];
    const tomorrow = spans[day % 7];
    if (from < to) today?.push({ start: from, end: to });
    else {
      if (from < 1440) today?.push({ start: from, end: 1440 });
      if (to > 0) tomorrow?.push({ start: 0, end: to });
    }
  }
  return { days: spans.map(merge), closedOnHolidays };
}

/** Closed on `days` between the two times (over midnight likewise), open at all others. Equal times close nothing. */
export function quietWeek(days: readonly Weekday[], start: string, end: string): Week {
  if (minutesOf(start) === minutesOf(end)) return alwaysOpen;
  return { days: openWeek(days, start, end).days.map(complement), closedOnHolidays: false };
}

function merge(spans: readonly Span[]): readonly Span[] {
  const out: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start)) {
    const last = out.at(-1);
    if (last && span.start <= last.end) out[out.length - 1] = { start: last.start, end: Math.max(last.end, span.end) };
    else out.push(span);
  }
  return out;
}

function complement(spans: readonly Span[]): readonly Span[] {
  const out: Span[] = [];
  let from = 0;
  for (const span of spans) {
    if (span.start > from) out.push({ start: from, end: span.start });
    from = span.end;
  }
  if (from < 1440) out.push({ start: from, end: 1440 });
  return out;
}

/** Open only where both are. */
export function intersect(a: Week, b: Week): Week {
  const days = a.days.map((spans, day) => {
    const out: Span[] = [];
    for (const left of spans) {
      for (const right of b.days[day] ?? []) {
        const start = Math.max(left.start, right.start);
        const end = Math.min(left.end, right.end);
        if (start < end) out.push({ start, end });
      }
    }
    return out;
  });
  return { days, closedOnHolidays: a.closedOnHolidays || b.closedOnHolidays };
}

/** Open where either is: rows of one jurisdiction for different days. Holidays close the whole when any row says so. */
export function union(weeks: readonly Week[]): Week {
  return {
    days: neverOpen.days.map((_, day) => merge(weeks.flatMap((week) => [...(week.days[day] ?? [])]))),
    closedOnHolidays: weeks.some((week) => week.closedOnHolidays),
  };
}

const none: readonly Span[] = [];
function spansOn(week: Week, epochDay: number): readonly Span[] {
  if (week.closedOnHolidays && isUsHoliday(epochDay)) return none;
  // Day 0 (1970-01-01) was a Thursday, index 3.
  return week.days[(((epochDay + 3) % 7) + 7) % 7] ?? none;
}

/** Whether the wall clock of this zone reads an open time at this instant. */
export function isOpen(week: Week, clock: ZoneClock, instant: number): boolean {
  const local = instant + clock.offset(instant);
  const day = Math.floor(local / dayMs);
  const minute = Math.floor((local - day * dayMs) / minuteMs);
  for (const span of spansOn(week, day)) if (minute >= span.start && minute < span.end) return true;
  return false;
}

/** Windows, gaps between them and transitions are whole minutes, so both ends of the coming minute tell for all of it. */
export function isOpenForAMinute(week: Week, clock: ZoneClock, instant: number): boolean {
  return isOpen(week, clock, instant) && isOpen(week, clock, instant + minuteMs - 1);
}

/** The earliest instant ≥ `from` that is open for a minute, or null if there is none up to `limit`. */
export function nextOpen(week: Week, clock: ZoneClock, from: number, limit: number): number | null {
  let at = from;
  while (at <= limit) {
    if (isOpenForAMinute(week, clock, at)) return at;
    // Walk the stretch of constant offset that holds `at`; a transition or its end starts the look-up afresh.
    const steady = clock.steadyUntil(at);
    const local = at + clock.offset(at);
    const day = Math.floor(local / dayMs);
    const sinceMidnight = local - day * dayMs;
    let next = at - sinceMidnight + dayMs;
    for (const span of spansOn(week, day)) {
      if (span.start * minuteMs > sinceMidnight) {
        next = at - sinceMidnight + span.start * minuteMs;
        break;
      }
      // Inside a span, yet not open for a minute: it is about to end, here or by a transition.
      if (span.end * minuteMs > sinceMidnight) {
        next = at - sinceMidnight + span.end * minuteMs;
        break;
      }
    }
    at = Math.min(next, steady);
  }
  return null;
}

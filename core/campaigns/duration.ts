/**
 * Durations and wall-clock arithmetic of plans. Every instant is a function of (instant, duration, zone): a day is a calendar day in
 * the plan's zone, an hour is an hour. A wall time that daylight saving skips becomes the first instant after the gap; one that occurs
 * twice means its first occurrence.
 */
import { DateTime, Duration, IANAZone } from "luxon";
import * as z from "zod";

/** Shorter loops would spin; the floor also makes every cycle with a wait progress. */
export const minDuration = "PT1M";
/** Longer than any campaign; keeps a typo (`P400M`) from scheduling work for the next century. */
export const maxDuration = "P400D";

const pattern = /^P(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?$/;
const floorMs = Duration.fromISO(minDuration).toMillis();
const ceilingMs = Duration.fromISO(maxDuration).toMillis();

const withinBounds = (text: string): boolean => {
  const ms = Duration.fromISO(text).toMillis();
  return ms >= floorMs && ms <= ceilingMs;
};

/** An ISO 8601 duration of whole units between one minute and 400 days, kept as written: `P3D` and `PT72H` differ across a clock change. */
export const IsoDuration = z
  .string({ error: "expected an ISO 8601 duration such as PT72H or P3D" })
  .max(40, { error: "expected an ISO 8601 duration such as PT72H or P3D" })
  .refine((text) => pattern.test(text), { error: "expected an ISO 8601 duration such as PT72H or P3D", abort: true })
  .refine(withinBounds, { error: "expected a duration between PT1M and P400D" });

/** The first instant at which `offset` differs from the one at `low`; `high` must lie after that change. */
function offsetChange(zone: IANAZone, low: number, high: number): number {
  const before = zone.offset(low);
  let left = low;
  let right = high;
  while (right - left > 1) {
    const middle = Math.floor((left + right) / 2);
    if (zone.offset(middle) === before) left = middle;
    else right = middle;
  }
  return right;
}

/** A day each way covers every gap on record, including the date line moves that skipped whole days. */
const gapSearchMs = 26 * 3_600_000;

/** The instant at which the clocks of `zone` show `wall` (its fields are read, its zone is not). */
export function resolveWall(wall: DateTime, zone: string): DateTime {
  const local = wall.setZone(zone, { keepLocalTime: true });
  const shows = local.hour === wall.hour && local.minute === wall.minute && local.day === wall.day;
  if (shows) {
    const [first = local] = local.getPossibleOffsets().toSorted((a, b) => a.toMillis() - b.toMillis());
    return first;
  }
  const ms = local.toMillis();
  return DateTime.fromMillis(offsetChange(IANAZone.create(zone), ms - gapSearchMs, ms + gapSearchMs), { zone });
}

/** `at` plus an ISO duration: first the calendar part on the clocks of `zone` (31 January + P1M is the last of February), then hours, minutes and seconds. */
export function addDuration(at: Date, duration: string, zone: string): Date {
  const { years, months, weeks, days, hours, minutes, seconds } = Duration.fromISO(duration);
  const start = DateTime.fromJSDate(at, { zone });
  const moved =
    years + months + weeks + days === 0
      ? start
      : resolveWall(start.setZone("utc", { keepLocalTime: true }).plus({ years, months, weeks, days }), zone);
  return moved.plus({ hours, minutes, seconds }).toJSDate();
}

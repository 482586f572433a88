/**
 * Sending windows of a node's `schedule`. Judged on the recipient's clocks: an opening that daylight saving skips is the first instant
 * after the gap, and an hour that occurs twice belongs to the window both times.
 */
import { DateTime } from "luxon";
import { resolveWall } from "./duration.ts";
import type { Schedule } from "./plan.ts";

const names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

const minutesOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3, 5));

const isDay = (schedule: Schedule, day: DateTime): boolean =>
  schedule.days.some((name) => names.indexOf(name) === day.weekday - 1);

/** May a message leave at this instant? The window includes `from` and excludes `to`. */
export function isOpen(schedule: Schedule, zone: string, at: Date): boolean {
  const local = DateTime.fromJSDate(at, { zone });
  const minute = local.hour * 60 + local.minute;
  return isDay(schedule, local) && minute >= minutesOf(schedule.from) && minute < minutesOf(schedule.to);
}

/** The first instant not before `at` at which the window is open: `at` itself when it is. `null` only when none opens within two weeks. */
export function nextOpening(schedule: Schedule, zone: string, at: Date): Date | null {
  if (isOpen(schedule, zone, at)) return at;
  const from = minutesOf(schedule.from);
  const today = DateTime.fromJSDate(at, { zone });
  for (let ahead = 0; ahead <= 14; ahead++) {
    const day = DateTime.utc(today.year, today.month, today.day).plus({ days: ahead });
    const opening = resolveWall(day.plus({ minutes: from }), zone).toJSDate();
    if (opening >= at && isOpen(schedule, zone, opening)) return opening;
  }
  return null;
}

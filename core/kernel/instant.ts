/**
 * Instants as callers give them. Invariant: what passes is an instant that its sender wrote and PostgreSQL can store; nothing else is taken
 * for one, neither a null (which JavaScript reads as 1970) nor the 30th of February (which it reads as March).
 */
import * as z from "zod";

const Written = z.union([z.iso.datetime({ offset: true }), z.iso.date()]);

/** ISO 8601 with its offset, or a day, which begins in UTC; inside the engine also a Date. Years 1 to 9999. */
export const Instant = z.preprocess(
  (given) => (typeof given === "string" && Written.safeParse(given).success ? new Date(given) : given),
  z
    .date("expected an instant such as 2026-03-02T16:00:00Z")
    .min(new Date("0001-01-01T00:00:00Z"), "expected an instant of the years 1 to 9999")
    .max(new Date("9999-12-31T23:59:59.999Z"), "expected an instant of the years 1 to 9999"),
);

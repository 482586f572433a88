/**
 * How often a test repeats itself. `npm test` repeats enough to notice a fault on the day it is made; `npm run test:long`
 * (OUTRIDER_LONG=1) as often as the promise deserves. Invariant: only numbers differ, never what is asserted.
 */
const isLong = process.env["OUTRIDER_LONG"] === "1";

export const runs = (short: number, long: number): number => (isLong ? long : short);

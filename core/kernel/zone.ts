/** Time zones as people may name them: for plans, tenants and whatever else keeps a calendar. */
import { IANAZone } from "luxon";
import * as z from "zod";

const expected = "expected an IANA time zone such as America/New_York";

/** An IANA zone name; offsets such as `+02:00` are refused because they know no daylight saving. */
export const TimeZone = z
  .string({ error: expected })
  .refine((name) => name.length <= 64 && IANAZone.isValidZone(name) && !/^[+-]\d/.test(name), { error: expected });

/**
 * Compliance: when a person may be contacted. The parts here are pure; the gate of `messages` calls them with facts it read under the address
 * lock. Invariant: evidence and rules only ever narrow what is allowed.
 */
export {
  allowedAt,
  frequencyCap,
  nextAllowed,
  type QuietFacts,
  type QuietHours,
  type QuietVerdict,
  SEARCH_DAYS,
  type SendWindow,
  withinCap,
} from "./policy.ts";
export {
  CAP_3_PER_DAY,
  type Cap,
  type ChannelClass,
  capFor,
  channelClass,
  isUsHoliday,
  RULESET_VERSION,
  type Rule,
  rules,
  rulesFor,
  type Strictness,
  type Weekday,
} from "./rules.ts";
export { instantOf } from "./walltime.ts";
export { type Evidence, type ZoneEvidence, type ZoneFacts, zoneEvidence } from "./zones.ts";

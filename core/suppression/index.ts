/**
 * Suppression: who must not be contacted, and why.
 *
 * Invariant: a suppression committed before a message is claimed always wins, because both hold the lock of the address
 * (`lockAddresses`). Rows are released, never deleted: "why did we stop?" is an audit question for ten years and more.
 */
export { type Added, add, addMany, Entry, maxEntries, type Stopped } from "./add.ts";
export {
  asOf,
  type Check,
  check,
  checkMany,
  checkTargets,
  type Hit,
  list,
  type Suppression,
  saidSince,
} from "./check.ts";
export { consentBases, getConsent, grantConsent, listConsents, revokeConsent } from "./consents.ts";
export { addDnc, checkDnc, type DncAdded, type DncEntry, listDnc, removeDnc } from "./dnc.ts";
export { lift, liftByRecipient, type RecipientLift } from "./lift.ts";
export { lockAddresses, type Target } from "./locks.ts";
export { dncChannels, dncCovers, isRecipientsOwn, operatorMayLift, suppressionKey } from "./policy.ts";

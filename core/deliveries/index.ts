/**
 * Deliveries: what providers tell us, from the archived bytes to everything that follows. Invariant: each fact takes effect once, in one
 * transaction with all that follows from it, in whatever order and number of copies it arrives.
 */
export { type ApplyReport, applyDeliveries, applyNow, type DeliveryDeps, type Fate } from "./apply.ts";
export { Archive, type ArchiveOptions, type Kept, type NewDelivery } from "./archive.ts";
export {
  announceMs,
  type IntakeDeps,
  maxBodyBytes,
  maxInlineBytes,
  maxMultipartBytes,
  type WebhookCall,
  WebhookIntake,
} from "./intake.ts";
export { linkTarget, type OwnEvent, type OwnReport, recordOwnEvents } from "./own.ts";
export { getDelivery, listDeliveries } from "./read.ts";
export { Replay, type ReplayReport, replayDeliveries } from "./replay.ts";
export { type DrainReport, drainSpill } from "./spill.ts";

/**
 * Fault points: named places where a crash would hurt most. Compiled in, so that what is tested is what runs; a composition root may arm
 * one (the local host does, from FAULT_POINT), and deployed functions never do.
 *
 * A name ending in -ing lies inside a transaction or before an effect, one ending in -ed right behind it.
 */
export const faultPoints = [
  // A bell: received, answered by the handler, taken off its queue. Work: committed and not rung for yet, rung for.
  "bells.received",
  "bells.answered",
  "bells.deleted",
  "work.committed",
  "work.rung",
  // First transaction of a send: addresses locked, gate and limits passed, attempt written; then committed.
  "send.locked",
  "send.allowed",
  "send.claiming",
  "send.claimed",
  // The call of one message: about to begin, answered. All calls of the batch: answered. Second transaction: written, committed.
  "send.calling",
  "send.accepted",
  "send.answered",
  "send.storing",
  "send.stored",
  // Leases that ran out, committed; an ambiguous send being settled.
  "reconcile.expired",
  "reconcile.settling",
  // A webhook: signature good and nothing stored, a large body before and after it is in object storage, row committed and not answered.
  "delivery.verified",
  "delivery.uploading",
  "delivery.uploaded",
  "delivery.archived",
  // Archived deliveries: claimed, read, in effect but not committed, committed.
  "delivery.claimed",
  "delivery.parsed",
  "delivery.applying",
  "delivery.applied",
  // A no: address locked, written but not committed.
  "suppression.locked",
  "suppression.adding",
  // Due actions: taken, and in effect, both before the commit.
  "action.taking",
  "action.applying",
  "campaign.moving",
  "campaign.starting",
  "enrollment.entering",
  "enrollment.migrating",
  "sweep.found",
  "sweep.rung",
  "maintain.tenant",
  // An import: claimed, a chunk written and not counted, a chunk committed.
  "import.claimed",
  "import.ingesting",
  "import.chunk",
  // One migration of the schema: done and not committed.
  "schema.migrating",
] as const;
export type FaultPoint = (typeof faultPoints)[number];

interface Armed {
  remaining: number;
  readonly act: () => void;
}

const armed = new Map<FaultPoint, Armed>();

/** At the `nth` time the point is reached, `act` runs: normally the end of the process. Several points may be armed. */
export function armFault(point: FaultPoint, nth: number, act: () => void): void {
  armed.set(point, { remaining: nth, act });
}

/** Marks a fault point. Costs a comparison when nothing is armed. */
export function reach(point: FaultPoint): void {
  if (armed.size === 0) return;
  const fault = armed.get(point);
  if (fault === undefined) return;
  fault.remaining--;
  if (fault.remaining === 0) fault.act();
}

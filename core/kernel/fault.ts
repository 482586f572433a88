/**
 * Fault points: named places where a crash would hurt most. Compiled in, so that what is tested is what runs; a composition root may arm
 * one (the local host does, from FAULT_POINT), and deployed functions never do.
 */
export const faultPoints = [
  "send.claimed",
  "send.accepted",
  "send.stored",
  "delivery.archived",
  "delivery.parsed",
  "sweep.rung",
  "import.chunk",
] as const;
export type FaultPoint = (typeof faultPoints)[number];

interface Armed {
  readonly point: FaultPoint;
  remaining: number;
  readonly act: () => void;
}

let armed: Armed | undefined;

/** At the `nth` time the point is reached, `act` runs: normally the end of the process. */
export function armFault(point: FaultPoint, nth: number, act: () => void): void {
  armed = { point, remaining: nth, act };
}

/** Marks a fault point. Costs a comparison when nothing is armed. */
export function reach(point: FaultPoint): void {
  if (armed?.point !== point) return;
  armed.remaining--;
  if (armed.remaining === 0) armed.act();
}

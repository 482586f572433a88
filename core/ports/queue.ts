/** The way to wake a worker. What is rung is defined by the kernel, because every commit may ring. */
import type { Bell } from "../kernel/bell.ts";

export { type Bell, type BellKind, bellKinds, maxBellIds } from "../kernel/bell.ts";

export interface Queue {
  /** Rings every bell or throws. Callers ring after their commit and may ignore a failure: the sweep rings again. */
  ring(bells: readonly Bell[]): Promise<void>;
}

/**
 * What a batch of events asks for, netted out before anything is written: a timer set and cancelled by the same batch was never set.
 * Pure. Invariant: writing the net result once leaves the same rows as writing every effect in its order.
 */
import type { UpdateSet } from "./plan.ts";
import type { Effect, EnrollmentState } from "./state.ts";

export interface Scheduled {
  readonly action: "node" | "timeout";
  readonly nodeId: string;
  readonly watch: string | null;
  readonly runAt: Date;
}

/** The net effects of one enrollment. */
export class Net {
  readonly enrollmentId: string;
  state: EnrollmentState;
  /** By action, node and watch; the last one wins. */
  readonly schedules = new Map<string, Scheduled>();
  readonly cancelTimeoutsOf = new Set<string>();
  cancelAll = false;
  readonly sends: { nodeId: string; variantId: string | null }[] = [];
  readonly updates: UpdateSet[] = [];
  readonly tasks: Extract<Effect, { type: "task" }>[] = [];
  readonly transitions: Extract<Effect, { type: "transition" }>[] = [];
  changed = false;

  constructor(enrollmentId: string, state: EnrollmentState) {
    this.enrollmentId = enrollmentId;
    this.state = state;
  }

  add(state: EnrollmentState, effects: readonly Effect[]): void {
    if (state !== this.state) this.changed = true;
    this.state = state;
    for (const effect of effects) this.#take(effect);
  }

  #take(effect: Effect): void {
    switch (effect.type) {
      case "send":
        this.sends.push({ nodeId: effect.nodeId, variantId: effect.variantId });
        return;
      case "schedule": {
        const watch = effect.action === "timeout" ? effect.on : null;
        this.schedules.set(`${effect.action}:${effect.nodeId}:${watch ?? ""}`, {
          action: effect.action,
          nodeId: effect.nodeId,
          watch,
          runAt: new Date(effect.runAt),
        });
        return;
      }
      case "cancel":
        if (effect.what === "timeouts") {
          for (const [key, one] of this.schedules) if (one.nodeId === effect.nodeId) this.schedules.delete(key);
          this.cancelTimeoutsOf.add(effect.nodeId);
          return;
        }
        this.schedules.clear();
        this.#forgetSends();
        this.cancelAll = true;
        return;
      case "update":
        this.updates.push(effect.set);
        return;
      case "task":
        this.tasks.push(effect);
        return;
      case "transition":
        this.transitions.push(effect);
    }
  }

  /** A message planned and cancelled by the same batch was never planned: nobody who reads the state looks for it. */
  #forgetSends(): void {
    const forgotten = new Set(this.sends.splice(0).map(({ nodeId }) => nodeId));
    if (forgotten.size === 0) return;
    const sends = Object.fromEntries(Object.entries(this.state.sends).filter(([nodeId]) => !forgotten.has(nodeId)));
    this.state = { ...this.state, sends };
  }
}

/** The idempotency key of a scheduled action: one row per enrollment, action, node and watch, reused when the walk comes back. */
export const actionKey = (enrollmentId: string, { action, nodeId, watch }: Omit<Scheduled, "runAt">): string =>
  `${enrollmentId}:${action}:${nodeId}:${watch ?? ""}`;

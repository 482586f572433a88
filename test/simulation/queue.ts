/**
 * A model of SQS as AWS describes it: at least once, in no order, late, sometimes more than once at the same time; a message that was
 * received and not deleted comes back after its visibility timeout, and goes to the dead letter queue after too many receives.
 */

import type { Bell, BellKind } from "../../core/ports/queue.ts";
import { queues, visibilitySeconds } from "../../functions/topology.ts";
import type { Rng } from "./rng.ts";

export interface Held {
  readonly id: string;
  readonly body: string;
  readonly kind: BellKind;
  receives: number;
  visibleAt: number;
  deleted: boolean;
}

export type QueueFault = "lost" | "doubled" | "late" | "none";

export class QueueModel {
  readonly #messages: Held[] = [];
  readonly #rng: Rng;
  readonly #hit: (fault: string) => void;
  #sent = 0;
  dead = 0;

  constructor(rng: Rng, hit: (fault: string) => void) {
    this.#rng = rng;
    this.#hit = hit;
  }

  send({ kind, tenantId, ids }: Bell, now: number, faults: boolean): void {
    const body = JSON.stringify({ v: 1, tenantId, ids });
    const fault = faults ? this.#rng.weighted({ none: 80, lost: 7, doubled: 8, late: 5 }) : "none";
    if (fault !== "none") this.#hit(`bell ${fault}`);
    if (fault === "lost") return;
    const delay = fault === "late" ? this.#rng.int(30_000, 1_800_000) : this.#rng.int(1, 400);
    for (let copy = 0; copy < (fault === "doubled" ? 2 : 1); copy++) {
      this.#sent++;
      this.#messages.push({
        id: `m${this.#sent}`,
        body,
        kind,
        receives: 0,
        visibleAt: now + delay + (copy === 0 ? 0 : this.#rng.int(0, 200)),
        deleted: false,
      });
    }
  }

  /** When there is something to receive, at the earliest; infinity when there is nothing. */
  nextAt(): number {
    return this.#messages.reduce((first, one) => Math.min(first, one.visibleAt), Number.POSITIVE_INFINITY);
  }

  /** Takes a batch of one queue's visible messages, in any order, and hides it. */
  receive(now: number): { readonly kind: BellKind; readonly batch: readonly Held[] } | null {
    const visible = this.#messages.filter((one) => one.visibleAt <= now);
    if (visible.length === 0) return null;
    const { kind } = this.#rng.pick(visible);
    const spec = queues[kind];
    const mine = visible.filter((one) => one.kind === kind);
    const batch: Held[] = [];
    const size = this.#rng.chance(0.7) ? spec.batch : this.#rng.int(1, spec.batch);
    while (batch.length < size && mine.length > 0) batch.push(...mine.splice(this.#rng.int(0, mine.length - 1), 1));
    for (const one of batch) {
      one.receives++;
      one.visibleAt = now + visibilitySeconds(spec) * 1_000;
      if (one.receives > 1) this.#hit("bell received again");
      if (one.receives > spec.maxReceives) {
        this.dead++;
        this.#drop(one);
      }
    }
    const alive = batch.filter((one) => !one.deleted);
    return alive.length === 0 ? this.receive(now) : { kind, batch: alive };
  }

  delete(messages: readonly Held[]): void {
    for (const one of messages) this.#drop(one);
  }

  /** What is hidden comes back at once: the world is over, and nobody is working on it. */
  clear(): void {
    this.#messages.length = 0;
  }

  #drop(message: Held): void {
    message.deleted = true;
    const at = this.#messages.indexOf(message);
    if (at >= 0) this.#messages.splice(at, 1);
  }
}

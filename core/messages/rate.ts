/**
 * Rate limits as reservations. A limit counts in fixed windows (`window_seconds` long, aligned to 1970-01-01); a message needs room in
 * one window of every limit that applies to it, at the same instant. What has no room now reserves its place in the first windows that
 * have, and wakes when they open: nothing is tried twice, and nothing starves.
 *
 * Invariant: the sum of reservations in a window never exceeds its limit. The allocation is pure; the command that calls it has locked
 * the limits and writes the usage back.
 */
export interface Limit {
  readonly id: string;
  readonly maxCount: number;
  readonly windowSeconds: number;
}

/** One limit as it applies to one message; `key` tells apart what a limit counts separately (each recipient domain, each sender). */
export interface Applied {
  readonly limit: Limit;
  readonly key: string;
}

/** Reservations per limit, key and start of window. */
export class Usage {
  readonly #used = new Map<string, number>();
  readonly #changed = new Set<string>();
  /** Per limit and key: from which window on every one was found full, and the first with room, so that a long backlog is not searched again. */
  readonly #searched = new Map<string, { readonly from: number; readonly free: number }>();

  static #name = (applied: Applied, start: number): string => `${applied.limit.id}\u001f${applied.key}\u001f${start}`;

  load(limitId: string, key: string, windowStart: Date, used: number): void {
    this.#used.set(`${limitId}\u001f${key}\u001f${windowStart.getTime()}`, used);
  }

  used(applied: Applied, start: number): number {
    return this.#used.get(Usage.#name(applied, start)) ?? 0;
  }

  take(applied: Applied, start: number): void {
    const name = Usage.#name(applied, start);
    this.#used.set(name, (this.#used.get(name) ?? 0) + 1);
    this.#changed.add(name);
  }

  /** The first window at or after `at` with room. */
  nextFree(applied: Applied, at: number): number {
    const { limit, key } = applied;
    const length = limit.windowSeconds * 1000;
    const memo = `${limit.id}\u001f${key}`;
    const from = Math.floor(at / length) * length;
    const known = this.#searched.get(memo);
    const isKnown = known !== undefined && from >= known.from && from <= known.free;
    let start = isKnown ? known.free : from;
    while (this.used(applied, start) >= limit.maxCount) start += length;
    this.#searched.set(memo, { from: isKnown ? known.from : from, free: start });
    return start;
  }

  /** What was taken since it was loaded, for one set-based write. */
  changes(): { limitId: string; key: string; windowStart: Date; used: number }[] {
    return [...this.#changed].map((name) => {
      const [limitId = "", key = "", start = "0"] = name.split("\u001f");
      return { limitId, key, windowStart: new Date(Number(start)), used: this.#used.get(name) ?? 0 };
    });
  }
}

/**
 * Reserves one place in every limit.
 * @returns the instant from which the message may leave: `now`, or the start of the first window that has room in all of them;
 *   null when that is not before `deadline` (nothing is reserved then).
 */
export function reserve(usage: Usage, applied: readonly Applied[], now: Date, deadline: Date): Date | null {
  let at = now.getTime();
  for (;;) {
    // Each limit pushes the instant on until nobody moves it any more.
    const next = applied.reduce((latest, one) => Math.max(latest, usage.nextFree(one, latest)), at);
    if (next === at) break;
    at = next;
    if (at >= deadline.getTime()) return null;
  }
  for (const one of applied) {
    const length = one.limit.windowSeconds * 1000;
    usage.take(one, Math.floor(at / length) * length);
  }
  return new Date(at);
}

/** Is a place reserved for `slot` still good at `now`? It is while the shortest window it was reserved in lasts. */
export function holdsSlot(slot: Date | null, applied: readonly Applied[], now: Date): boolean {
  if (slot === null || applied.length === 0) return slot !== null;
  return applied.every(({ limit }) => {
    const length = limit.windowSeconds * 1000;
    return Math.floor(slot.getTime() / length) === Math.floor(now.getTime() / length);
  });
}

/**
 * Rate limits as places in line. A limit counts in fixed windows (`window_seconds` long, aligned to 1970-01-01); a message needs room in
 * one window of every limit that applies to it, at the same instant. What has no room now gets a place in the first windows that have, and
 * wakes when they open: nothing is tried in vain, and nothing starves.
 *
 * A place is kept (`reserved`) until its message comes for it, and taken (`used`) when it does. Whoever had a place and could not come (an
 * outage, quiet hours) is older than those who wait: they take a place before what is merely kept, and the one whose place that was does
 * the same when its turn comes. So after an outage everything moves back together, in order, at the rated rate.
 *
 * Invariant: what is taken in a window never exceeds its limit. All of this is pure; the command that calls it has locked the limits and
 * writes the changes back.
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

/** One message's share of one window, as it is stored with the message. */
export interface Place {
  readonly limit: string;
  readonly key: string;
  /** When the window begins and ends, in milliseconds since 1970. */
  readonly from: number;
  readonly until: number;
}

/** A message's turn: when it comes, and what is kept for it. */
export interface Turn {
  readonly slot: Date;
  readonly places: readonly Place[];
  /** Taken ahead of its time, by a message that had missed an earlier turn. */
  readonly taken: boolean;
}

interface Count {
  used: number;
  reserved: number;
}

const windowOf = ({ limit, key }: Applied, at: number): Place => {
  const length = limit.windowSeconds * 1000;
  const from = Math.floor(at / length) * length;
  return { limit: limit.id, key, from, until: from + length };
};

/** What is taken and kept, per limit, key and window. */
export class Usage {
  readonly #counts = new Map<string, Count>();
  readonly #changes = new Map<string, Place & Count>();
  /** Per limit, key and kind of search: from which window on every one was found full, and the first with room, so that a long backlog is not searched again. */
  readonly #searched = new Map<string, { readonly from: number; readonly free: number }>();

  static #name = (limit: string, key: string, from: number): string => `${limit}\u001f${key}\u001f${from}`;

  load(limitId: string, key: string, windowStart: Date, used: number, reserved: number): void {
    this.#counts.set(Usage.#name(limitId, key, windowStart.getTime()), { used, reserved });
  }

  count(limitId: string, key: string, from: number): Readonly<Count> {
    return this.#counts.get(Usage.#name(limitId, key, from)) ?? { used: 0, reserved: 0 };
  }

  change(place: Place, what: keyof Count, by: 1 | -1): void {
    const name = Usage.#name(place.limit, place.key, place.from);
    const count = this.#counts.get(name) ?? { used: 0, reserved: 0 };
    // A place that was kept under a limit changed since may be gone already.
    if (count[what] + by < 0) return;
    this.#counts.set(name, { ...count, [what]: count[what] + by });
    const change = this.#changes.get(name) ?? { ...place, used: 0, reserved: 0 };
    this.#changes.set(name, { ...change, [what]: change[what] + by });
    if (by < 0)
      for (const kind of ["kept", "taken"]) this.#searched.delete(`${place.limit}\u001f${place.key}\u001f${kind}`);
  }

  /** The first window at or after `at` with room. @param past over what is only kept for others */
  nextFree(applied: Applied, at: number, past: boolean): number {
    const { limit, key } = applied;
    const length = limit.windowSeconds * 1000;
    const memo = `${limit.id}\u001f${key}\u001f${past ? "taken" : "kept"}`;
    const from = Math.floor(at / length) * length;
    const known = this.#searched.get(memo);
    const isKnown = known !== undefined && from >= known.from && from <= known.free;
    let start = isKnown ? known.free : from;
    for (;;) {
      const { used, reserved } = this.count(limit.id, key, start);
      if (used + (past ? 0 : reserved) < limit.maxCount) break;
      start += length;
    }
    this.#searched.set(memo, { from: isKnown ? known.from : from, free: start });
    return start;
  }

  /** What changed since it was loaded, as differences, in one order everywhere; for one set-based write. */
  changes(): { limitId: string; key: string; windowStart: Date; used: number; reserved: number }[] {
    return [...this.#changes.entries()]
      .filter(([, { used, reserved }]) => used !== 0 || reserved !== 0)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { limit, key, from, used, reserved }]) => ({
        limitId: limit,
        key,
        windowStart: new Date(from),
        used,
        reserved,
      }));
  }
}

/** Gives back what is kept for a message that will not come for it; what has passed is past. */
export function giveBack(usage: Usage, turn: Pick<Turn, "places" | "taken"> | null, now: Date): void {
  for (const place of turn?.places ?? []) {
    if (place.until > now.getTime()) usage.change(place, turn?.taken ? "used" : "reserved", -1);
  }
}

/**
 * Gives a message its turn.
 * @param turn the one it had, whose time has come (or nothing is kept for it any more); null: it comes for the first time
 * @returns `slot` is `now` for what may leave, or the start of the first windows that have room; null when that is not before `deadline`
 *   (nothing is kept then)
 */
export function takeTurn(
  usage: Usage,
  applied: readonly Applied[],
  turn: Turn | null,
  now: Date,
  deadline: Date,
): Turn | null {
  if (turn !== null && turn.slot > now && turn.places.length > 0) return turn;
  giveBack(usage, turn, now);
  const isLate = turn !== null;
  let at = now.getTime();
  for (;;) {
    // Each limit pushes the instant on until nobody moves it any more.
    const next = applied.reduce((latest, one) => Math.max(latest, usage.nextFree(one, latest, isLate)), at);
    if (next === at) break;
    at = next;
    if (at >= deadline.getTime()) return null;
  }
  const places = applied.map((one) => windowOf(one, at));
  const taken = isLate || at === now.getTime();
  for (const place of places) usage.change(place, taken ? "used" : "reserved", 1);
  return { slot: new Date(at), places, taken };
}

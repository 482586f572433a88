/**
 * What comes next: a binary heap by instant, then by order of creation, as the live system takes its work (`order by run_at, id`).
 * Invariant: two entries never compare equal, so the order in which they were pushed cannot show.
 */
export interface Timed {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ordinal: number;
}

const before = (a: Timed, b: Timed): boolean => a.at < b.at || (a.at === b.at && a.ordinal < b.ordinal);

export class Heap<T extends Timed> {
  readonly #entries: T[] = [];

  get size(): number {
    return this.#entries.length;
  }

  peek(): T | undefined {
    return this.#entries[0];
  }

  push(entry: T): void {
    const entries = this.#entries;
    let child = entries.length;
    entries.push(entry);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      const above = entries[parent];
      if (above === undefined || !before(entry, above)) break;
      entries[child] = above;
      child = parent;
    }
    entries[child] = entry;
  }

  pop(): T | undefined {
    const entries = this.#entries;
    const [first] = entries;
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return first;
    let parent = 0;
    for (;;) {
      const left = entries[2 * parent + 1];
      const right = entries[2 * parent + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && before(right, left);
      const least = isRight ? right : left;
      if (!before(least, last)) break;
      entries[parent] = least;
      parent = 2 * parent + (isRight ? 2 : 1);
    }
    entries[parent] = last;
    return first;
  }
}

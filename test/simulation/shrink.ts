/**
 * Makes a failing world smaller: leaves away events and whole families of faults for as long as the same checker still fails.
 * Invariant: what it returns has been played and does fail.
 */

import type { Outcome } from "./parts.ts";
import { type FaultFamily, faultFamilies, type Script } from "./script.ts";

export interface Shrunk {
  readonly script: Script;
  readonly outcome: Outcome;
  readonly played: number;
}

/** @param limit how many worlds may be played for it */
export async function shrink(
  script: Script,
  outcome: Outcome,
  play: (script: Script) => Promise<Outcome>,
  limit = 80,
): Promise<Shrunk> {
  let best = { script, outcome };
  let played = 0;
  const attempt = async (smaller: Script): Promise<boolean> => {
    if (played >= limit) return false;
    played++;
    const found = await play(smaller);
    if (found.violation?.checker !== outcome.violation?.checker) return false;
    best = { script: smaller, outcome: found };
    return true;
  };
  for (const family of faultFamilies) {
    await attempt({
      ...best.script,
      faults: { ...best.script.faults, [family]: false } as Record<FaultFamily, boolean>,
    });
  }
  // Halves first, then quarters, then one event after the other.
  for (let size = Math.ceil(best.script.events.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < best.script.events.length; ) {
      const events = best.script.events.filter((_, n) => n < from || n >= from + size);
      if (!(await attempt({ ...best.script, events }))) from += size;
    }
  }
  return { ...best, played };
}

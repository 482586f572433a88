/** One thread of the forging of signatures. */
import { serve } from "../long/pool.ts";
import { generator } from "../long/report.ts";
import { everyBit, spellings } from "./forgeries.ts";
import { randomChange } from "./random-forgeries.ts";
import { bases, newTally, type Tally, tryOne } from "./signatures.ts";

export interface Job {
  readonly base: number;
  /** That many random forgeries; 0: every bit and every spelling. */
  readonly random: number;
  readonly seed: number;
}

serve<null, Job, Tally>(async () => ({
  async run({ base: index, random: count, seed }) {
    const base = bases[index];
    if (!base) throw new Error(`no base ${index}`);
    const tally = newTally();
    if (count === 0) {
      for (const attack of everyBit(base)) tryOne(base, attack, tally);
      for (const attack of spellings(base)) tryOne(base, attack, tally);
    }
    const random = generator(seed);
    // A change that says the same is no forgery, so it does not count as one.
    while (tally.tried < count) tryOne(base, randomChange(base, random), tally);
    return tally;
  },
  close: async () => {},
}));

/** One thread of the forging of signatures. */
import { serve } from "../long/pool.ts";
import { generator } from "../long/report.ts";
import { bases, everyBit, newTally, randomChange, spellings, type Tally, tryOne } from "./signatures.ts";

export interface Job {
  readonly base: number;
  /** Every bit and every spelling, or that many random changes. */
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
    for (let n = 0; n < count; n++) tryOne(base, randomChange(base, random), tally);
    return tally;
  },
  close: async () => {},
}));

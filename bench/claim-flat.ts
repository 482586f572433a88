/**
 * `claim-flat`: sweep and claims of a table that a year has filled, against the same code on a small one; and `claim-flat-after`, when
 * most of what was due has been claimed without a break. Vacuum works as it is set up for this table.
 */
import { Bells, fillProduct } from "./claim-work.ts";
import { interleave, type Rig, rate } from "./rig.ts";

const workers = 4;

export async function claimFlatLines(rig: Rig): Promise<void> {
  const perRound = rig.quick ? 2_000 : 10_000;
  const small = { pending: rig.rounds * perRound + (rig.quick ? 5_000 : 50_000) };
  const large = rig.quick ? { pending: 100_000, completed: 200_000 } : { pending: 1_000_000, completed: 4_000_000 };
  const beforeAfter = rig.quick ? 60_000 : 800_000;
  const other: Rig = { ...rig, ...(await rig.another()) };
  const bells = {
    small: new Bells(other, await fillProduct(other, small)),
    large: new Bells(rig, await fillProduct(rig, large)),
  };
  const claiming = (which: keyof typeof bells, count = perRound) => rate(() => bells[which].claim(count, workers));
  // Connections and caches: a table that was just filled is in memory, one that was not used for a while is not.
  await claiming("small", 1_000);
  await claiming("large", 1_000);
  const fresh = await interleave(rig, "claim-flat", { large: () => claiming("large"), small: () => claiming("small") });
  rig.line({ name: "claim-flat", value: fresh.large, unit: "rows/s", baseline: fresh.small });

  const claimed = (rig.rounds + 1) * perRound;
  const whole = await claiming("large", beforeAfter - claimed);
  rig.note(`    ${beforeAfter} without a break: ${whole.toFixed(0)} rows/s`);
  const after = await interleave(rig, "claim-flat after", { large: () => claiming("large") });
  rig.line({ name: "claim-flat-after", value: after.large, unit: "rows/s", baseline: fresh.large });
}

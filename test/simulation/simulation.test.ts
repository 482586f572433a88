/** Worlds of faults, played by the real engine: 200 of them hold every invariant, meet every kind of fault, and repeat to the last bit. */
import { expect, inject, it } from "vitest";
import { runs } from "../support/runs.ts";
import type { Outcome } from "./parts.ts";
import { openPlayer, playAll } from "./players.ts";
import { Coverage, story } from "./report.ts";
import { writeScript } from "./script.ts";
import { shrink } from "./shrink.ts";

const seeds = Array.from({ length: runs(200, 1_000) }, (_, n) => String(n + 1));

it("every seed keeps every invariant, meets its share of faults, and plays the same again", {
  timeout: 3_600_000,
}, async () => {
  const server = inject("testServer");
  const [first, second] = await Promise.all([openPlayer(server), openPlayer(server)]);
  try {
    expect(first.fences).toEqual([]);
    const outcomes = new Map<string, Outcome>();
    const coverage = new Coverage();
    await playAll([first, second], seeds.map(writeScript), (outcome) => {
      outcomes.set(outcome.seed, outcome);
      coverage.add(outcome);
    });
    const [failed] = [...outcomes.values()].filter((one) => one.violation);
    const told =
      failed && story(failed, await shrink(writeScript(failed.seed), failed, (script) => first.play(script), 40));
    expect(told, told).toBeUndefined();
    expect(coverage.blank()).toEqual([]);
    for (const seed of seeds.filter((_, n) => n % 100 === 50)) {
      expect((await second.play(writeScript(seed))).hash).toBe(outcomes.get(seed)?.hash);
    }
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
});

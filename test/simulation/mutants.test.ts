/** The checkers bite: defects planted on purpose are seen within a few worlds. All of them: `npm run mutants`. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, inject, it } from "vitest";
import { kill, plant } from "./kill.ts";
import { mutants } from "./mutants.ts";

const root = path.resolve(import.meta.dirname, "../..");
/** One for each way of planting and of being seen. */
const few = ["pause-ignored", "no-row-level-security", "wrong-tenant"];

describe("mutants", () => {
  it.each(mutants.filter((mutant) => few.includes(mutant.name)))(
    "$name is seen within ten worlds",
    { timeout: 600_000 },
    async (mutant) => {
      const { checker } = await kill(inject("testServer"), mutant, { from: 1, seeds: 10 });
      expect(checker).not.toBeNull();
    },
  );

  it("all change something: every anchor occurs exactly once", () => {
    for (const mutant of mutants) {
      if ("sql" in mutant) continue;
      const source = readFileSync(path.join(root, mutant.file), "utf8");
      expect(plant(source, mutant.anchor, mutant.instead, mutant.file)).not.toBe(source);
    }
    expect(mutants.length).toBeGreaterThanOrEqual(25);
  });

  it("are refused when their anchor is gone or ambiguous", () => {
    expect(() => plant("a", "b", "c", "x.ts")).toThrow("occurs 0 times");
    expect(() => plant("bb", "b", "c", "x.ts")).toThrow("occurs 2 times");
  });
});

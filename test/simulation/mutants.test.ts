/** The checkers bite: defects planted on purpose are seen within a few worlds. All of them: `npm run mutants`. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, inject, it } from "vitest";
import { kill, plant } from "./kill.ts";
import { editsOf, mutants } from "./mutants.ts";

const root = path.resolve(import.meta.dirname, "../..");
/** One for each way of planting and of being seen. */
const few = ["no-consent", "no-row-level-security", "wrong-tenant"];

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
      for (const edit of editsOf(mutant)) {
        const source = readFileSync(path.join(root, edit.file), "utf8");
        expect(plant(source, edit)).not.toBe(source);
      }
    }
    expect(mutants.length).toBeGreaterThanOrEqual(25);
  });

  it("are refused when their anchor is gone or ambiguous", () => {
    const edit = { file: "x.ts", anchor: "b", instead: "c" };
    expect(() => plant("a", edit)).toThrow("occurs 0 times");
    expect(() => plant("bb", edit)).toThrow("occurs 2 times");
  });
});

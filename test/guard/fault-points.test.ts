/** A fault point that no code reaches would be armed by the crash rig for ever, and prove nothing. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { faultPoints } from "../../core/kernel/fault.ts";

const root = path.resolve(import.meta.dirname, "../..");
const sources = globSync("{core,functions,local}/**/*.ts", { cwd: root, exclude: ["**/node_modules/**"] }).map((file) =>
  readFileSync(path.join(root, file), "utf8"),
);

const unreached = (points: readonly string[]): string[] =>
  points.filter((point) => !sources.some((source) => source.includes(`reach("${point}")`)));

test("every fault point is reached by some code", () => {
  expect(unreached(faultPoints)).toEqual([]);
});

describe("planted violations are found", () => {
  test("a point that no code reaches", () => {
    expect(unreached([...faultPoints, "moon.landing"])).toEqual(["moon.landing"]);
  });
});

import { expect, test } from "vitest";
import { segmentsOf } from "../../../core/messages/index.ts";

test.each([
  ["", "gsm7", 1],
  ["a".repeat(160), "gsm7", 1],
  ["a".repeat(161), "gsm7", 2],
  ["a".repeat(306), "gsm7", 2],
  ["a".repeat(307), "gsm7", 3],
  ["€".repeat(80), "gsm7", 1],
  ["€".repeat(81), "gsm7", 2],
  // An escaped character does not fit the last place of a segment: it goes to the next one whole.
  [`${"a".repeat(152)}€${"a".repeat(152)}`, "gsm7", 3],
  ["ß".repeat(160), "gsm7", 1],
  ["ç".repeat(70), "ucs2", 1],
  ["ç".repeat(71), "ucs2", 2],
  ["👍".repeat(35), "ucs2", 1],
  ["👍".repeat(36), "ucs2", 2],
  [`${"ç".repeat(66)}👍${"ç".repeat(66)}`, "ucs2", 3],
] as const)("%j is %s in %i segments", (text, encoding, count) => {
  expect(segmentsOf(text)).toEqual({ encoding, count });
});

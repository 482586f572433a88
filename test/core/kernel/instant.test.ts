import fc from "fast-check";
import { expect, test } from "vitest";
import * as z from "zod";
import { parseInput } from "../../../core/kernel/command.ts";
import { Instant } from "../../../core/kernel/instant.ts";

const parse = (value: unknown) => Instant.safeParse(value);

test.each([
  ["2026-03-02T16:00:00Z", "2026-03-02T16:00:00.000Z"],
  ["2026-03-02T16:00:00.123+02:00", "2026-03-02T14:00:00.123Z"],
  ["2026-03-02", "2026-03-02T00:00:00.000Z"],
  ["2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"],
  [new Date(0), "1970-01-01T00:00:00.000Z"],
])("%s is an instant", (given, instant) => expect(parse(given).data?.toISOString()).toBe(instant));

test.each([
  [null],
  [0],
  [1_772_467_200_000],
  [true],
  [[]],
  [["2026-03-02T16:00:00Z"]],
  [{}],
  [""],
  ["2026"],
  ["March 2, 2026"],
  // Whose clock?
  ["2026-03-02T16:00:00"],
  ["2026-02-30T00:00:00Z"],
  ["2025-02-29"],
  ["2026-03-02T24:61:00Z"],
  ["0000-01-01T00:00:00Z"],
  ["-271821-04-20T00:00:00.000Z"],
  ["+275760-09-13T00:00:00.000Z"],
  [new Date(Number.NaN)],
])("%j is none", (given) => expect(parse(given).success).toBe(false));

test("every Date of the years that PostgreSQL and callers know passes unchanged, whether as text or not", () => {
  const [min, max] = [new Date("0001-01-01T00:00:00Z"), new Date("9999-12-31T23:59:59.999Z")];
  fc.assert(
    fc.property(fc.date({ min, max, noInvalidDate: true }), (at) => {
      expect(parse(at).data).toEqual(at);
      expect(parse(at.toISOString()).data).toEqual(at);
    }),
  );
});

test("a refusal says what is expected, and the document what to write", () => {
  const schema = z.object({ at: Instant });
  expect(() => parseInput(schema, { at: null })).toThrow("at: expected an instant such as 2026-03-02T16:00:00Z");
  expect(() => parseInput(schema, { at: "-271821-04-20T00:00:00.000Z" })).toThrow("at: expected an instant such as");
  expect(() => parseInput(schema, { at: new Date(-8e15) })).toThrow("at: expected an instant of the years 1 to 9999");
});

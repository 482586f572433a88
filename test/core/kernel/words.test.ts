/** What people are told about input that does not fit: a known name for every slip, and no expression of ours. */
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { type DomainError, nearest, parseInput } from "../../../core/kernel/index.ts";

describe("the nearest known name", () => {
  const known = ["channel", "delayHours", "first_name", "last_name", "id", "to", "on"];
  test.each([
    ["chanel", "channel"],
    ["chnanel", "channel"],
    ["Channel", "channel"],
    ["delay_hours", "delayHours"],
    ["fist_name", "first_name"],
    ["firstName", "first_name"],
    ["lsat_name", "last_name"],
    ["colour", undefined],
    ["ot", undefined],
    ["", undefined],
    ["c".repeat(100_000), undefined],
  ])("of %.20s is %s", (given, meant) => {
    expect(nearest(given, known)).toBe(meant);
  });
});

test("a refusal names each unknown field at its own path and each wrong value with those accepted", () => {
  const Input = z.strictObject({
    channel: z.enum(["email", "sms"]),
    steps: z.array(z.strictObject({ delayHours: z.int() })),
  });
  const given = { channel: "emial", steps: [{ delayHours: 1, delayHour: 2, colour: "red" }] };
  let refused: DomainError | undefined;
  try {
    parseInput(Input, given);
  } catch (error) {
    refused = error as DomainError;
  }
  expect(refused?.message).toBe("channel: expected one of email, sms (did you mean email?)");
  expect(refused?.fields).toEqual([
    { path: "channel", value: "emial", message: "expected one of email, sms (did you mean email?)" },
    { path: "steps[0].delayHour", value: 2, message: "unknown field; did you mean delayHours?" },
    {
      path: "steps[0].colour",
      value: "red",
      message: "unknown field; remove it or correct its name, known here: delayHours",
    },
  ]);
});

/** docs/plans.md says what the compiler takes: its examples compile, and no word of the language is missing from it. */
import { readFileSync } from "node:fs";
import { Duration } from "luxon";
import { expect, test } from "vitest";
import * as z from "zod";
import { compilePlan, DaySteps, HourSteps } from "../../../core/campaigns/compile.ts";
import { Condition, conditionEvents } from "../../../core/campaigns/condition.ts";
import { maxNodes, maxSmsCharacters, Plan } from "../../../core/campaigns/plan.ts";
import { exitEvents, sendChannels, timers, transitionEvents } from "../../../core/campaigns/vocabulary.ts";

const text = readFileSync(new URL("../../../docs/plans.md", import.meta.url), "utf8");
const examples = [...text.matchAll(/```json\n(.*?)```/gs)].map(([, source = ""]) => JSON.parse(source) as object);
/** Words in backticks and in examples. */
const told = new Set(
  [...text.replaceAll(/```.*?```/gs, "").matchAll(/`[^`\n]+`/g)]
    .map(([code]) => code)
    .concat(examples.map((example) => JSON.stringify(example)))
    .flatMap((code) => code.split(/[^\w]+/)),
);

test("every example compiles without a warning, or is a condition", () => {
  expect(examples.length).toBeGreaterThanOrEqual(4);
  for (const example of examples) {
    if ("op" in example) Condition.parse(example);
    else expect(compilePlan(example)).toMatchObject({ ok: true, warnings: [] });
  }
});

/** Names of fields and members of lists that stand anywhere in a schema, `status` as well as `mon`. */
function* wordsOf(schema: unknown): Generator<string> {
  if (typeof schema !== "object" || schema === null) return;
  const { properties, enum: members, const: only, ...rest } = schema as Record<string, unknown>;
  if (typeof properties === "object" && properties !== null) {
    yield* Object.keys(properties);
    for (const inner of Object.values(properties)) yield* wordsOf(inner);
  }
  for (const word of [only, ...(Array.isArray(members) ? members : [])]) if (typeof word === "string") yield word;
  for (const inner of Object.values(rest)) yield* wordsOf(inner);
}

/** Days in between are said by an ellipsis; a time is no word. */
const elsewhere = new Set<string>(["mon", "fri", "sat", "sun", "24:00"]);

test.each([
  ["the graph", Plan],
  ["steps in hours", HourSteps],
  ["steps in days", DaySteps],
])("every field and every word of %s is told", (_name, schema) => {
  const words = [...wordsOf(z.toJSONSchema(schema, { io: "input" }))];
  expect(words.length).toBeGreaterThan(20);
  expect(words.filter((word) => !told.has(word) && !elsewhere.has(word))).toEqual([]);
});

test("events, channels and limits are those of the engine", () => {
  const words = [...transitionEvents, ...exitEvents, ...conditionEvents, ...sendChannels];
  expect(words.filter((word) => !told.has(word))).toEqual([]);
  const hours = Object.values(timers).map(({ after }) => Duration.fromISO(after).as("hours"));
  expect(text).toContain(`by default ${hours.join(", ")} hours`);
  expect(text).toContain(`1 to ${maxNodes} nodes`);
  expect(text).toContain(`at most ${maxSmsCharacters.toLocaleString("en-US")} characters`);
});

/** Quiet hours against PostgreSQL: two implementations of time that share no code must not disagree once. */
import fc from "fast-check";
import type { Kysely } from "kysely";
import { describe, expect, test } from "vitest";
import { allowedAt, nextAllowed, type QuietFacts, rules, type Weekday } from "../../../core/compliance/index.ts";
import { testDatabase } from "../../support/database.ts";
import { runs } from "../../support/runs.ts";
import { type OracleQuestion, type OracleSpan, oracle } from "./oracle.ts";

const database = await testDatabase({ empty: true });
const db = database.owner as unknown as Kysely<unknown>;

const minutes = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
const days = [1, 2, 3, 4, 5, 6, 7] as const;

/** The spans that the facts of these tests amount to, spelled out by hand rather than through the engine. */
function spansOf(facts: QuietFacts): OracleSpan[] {
  const out: OracleSpan[] = [];
  if (facts.purpose === "marketing" && facts.channel === "sms") {
    const jurisdictions = [...facts.where.states, ...(facts.where.countries.includes("US") ? ["US"] : [])];
    for (const rule of rules) {
      if (!jurisdictions.includes(rule.jurisdiction) || (rule.level === "strict" && facts.strictness === "legal"))
        continue;
      for (const dow of rule.dow)
        out.push({
          group: `${rule.jurisdiction}/${rule.level}`,
          dow,
          start: minutes(rule.start),
          end: minutes(rule.end),
        });
    }
  }
  const quiet = facts.tenantQuietHours;
  if (quiet && quiet.start !== quiet.end) {
    for (const dow of days) {
      const [from, to] = [minutes(quiet.start), minutes(quiet.end)];
      if (from < to) {
        out.push({ group: "quiet", dow, start: 0, end: from }, { group: "quiet", dow, start: to, end: 1440 });
      } else out.push({ group: "quiet", dow, start: to, end: from });
    }
  }
  const node = facts.nodeWindow;
  if (node)
    for (const dow of node.days ?? days)
      out.push({ group: "node", dow, start: minutes(node.start), end: minutes(node.end) });
  return out.filter((span) => span.start < span.end || span.group === "node");
}

async function disagreements(asked: readonly { facts: QuietFacts; at: number }[]): Promise<string[]> {
  const questions: OracleQuestion[] = asked.map(({ facts, at }) => ({
    zones: facts.where.zones,
    spans: spansOf(facts),
    at,
  }));
  const answers = await oracle(db, questions);
  expect(answers).toHaveLength(asked.length);
  return asked.flatMap(({ facts, at }, n) => {
    const ours = allowedAt(facts, new Date(at)).allowed;
    return ours === answers[n] ? [] : [`${JSON.stringify(facts)} at ${new Date(at).toISOString()}: ours ${ours}`];
  });
}

const usZones = [
  "America/New_York",
  "America/Chicago",
  "America/Denver",
  "America/Phoenix",
  "America/Los_Angeles",
  "America/Anchorage",
  "Pacific/Honolulu",
];
const otherZones = [
  "Europe/London",
  "Europe/Berlin",
  "Australia/Lord_Howe",
  "Pacific/Chatham",
  "Asia/Kathmandu",
  "Africa/Cairo",
  "America/St_Johns",
  "Pacific/Apia",
];
/** States whose rows have no holidays: those days are tested by table, not by this oracle. */
const states = ["US-FL", "US-TX", "US-WA", "US-CT", "US-MS", "US-KY", "US-PA", "US-NM", "US-VA"];

const clock = fc
  .integer({ min: 0, max: 47 })
  .map((half) => `${String(half >> 1).padStart(2, "0")}:${half % 2 ? "30" : "00"}`);
const facts: fc.Arbitrary<QuietFacts> = fc
  .record({
    zones: fc.uniqueArray(fc.constantFrom(...usZones, ...otherZones), { minLength: 1, maxLength: 3 }),
    states: fc.uniqueArray(fc.constantFrom(...states), { maxLength: 2 }),
    channel: fc.constantFrom("sms" as const, "email" as const),
    strictness: fc.constantFrom("strict" as const, "legal" as const),
    quiet: fc.option(fc.record({ start: clock, end: clock }), { nil: undefined }),
    node: fc.option(
      fc
        .record({ days: fc.uniqueArray(fc.constantFrom<Weekday>(...days), { minLength: 1 }), start: clock, end: clock })
        .filter((w) => w.start < w.end),
      { nil: undefined },
    ),
  })
  .map(({ zones, quiet, node, ...rest }) => ({
    purpose: "marketing",
    channel: rest.channel,
    strictness: rest.strictness,
    // An American zone among them keeps the special rule for unplaced American numbers out of what the oracle has to know.
    where: {
      zones: [...new Set([...zones, "America/New_York"])].toSorted(),
      states: rest.states.toSorted(),
      countries: ["US"],
    },
    tenantQuietHours: quiet,
    nodeWindow: node,
  }));

const from2026 = Date.UTC(2026, 0, 2);
const instant = fc.integer({ min: from2026, max: Date.UTC(2030, 11, 31) });

describe("quiet hours agree with PostgreSQL", () => {
  test("at random combinations of zones, states, own hours and instants", async () => {
    const asked = fc.sample(fc.record({ facts, at: instant }), { numRuns: runs(1_500, 6_000), seed: 20261121 });
    expect(await disagreements(asked)).toEqual([]);
  });

  test("at the edges of windows, to the millisecond", async () => {
    const edge = fc.record({
      facts,
      at: instant.map((at) => Math.floor(at / 1_800_000) * 1_800_000),
      shift: fc.constantFrom(-60_001, -60_000, -59_999, -1, 0, 1),
    });
    const asked = fc
      .sample(edge, { numRuns: runs(1_500, 6_000), seed: 7 })
      .map(({ facts, at, shift }) => ({ facts, at: at + shift }));
    expect(await disagreements(asked)).toEqual([]);
  });

  test.each([...usZones, ...otherZones, "America/Sao_Paulo"])(
    "in every minute around every clock change of %s",
    async (zone) => {
      const offset = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
      const read = (at: number) => offset.formatToParts(at).find((part) => part.type === "timeZoneName")?.value;
      const asked: { facts: QuietFacts; at: number }[] = [];
      const where = { zones: [zone], states: [], countries: ["ZZ"] };
      for (let day = Date.UTC(2026, 0, 1); day < Date.UTC(runs(2027, 2029), 0, 1); day += 86_400_000) {
        if (read(day) === read(day + 86_400_000)) continue;
        // An hour's quiet that begins and ends inside typical gaps and repeats, and a window that does.
        for (let at = day - 5_400_000; at < day + 86_400_000 + 5_400_000; at += 60_000) {
          asked.push({
            facts: {
              channel: "email",
              purpose: "marketing",
              where,
              tenantQuietHours: { start: "01:30", end: "02:30" },
            },
            at,
          });
        }
      }
      expect(await disagreements(asked)).toEqual([]);
    },
  );

  test("the next allowed instant is open, is the first open one on the minute, and is its own answer", async () => {
    const asked = fc.sample(fc.record({ facts, at: instant }), { numRuns: runs(225, 900), seed: 99 });
    const found = asked.flatMap(({ facts, at }) => {
      const next = nextAllowed(facts, new Date(at));
      if (next === null) return [];
      expect(nextAllowed(facts, next)).toEqual(next);
      return [{ facts, at, next: next.getTime() }];
    });
    expect(found.length).toBeGreaterThan(asked.length / 4.5);
    const answers = await oracle(
      db,
      found.map(({ facts, next }) => ({ zones: facts.where.zones, spans: spansOf(facts), at: next })),
    );
    expect(answers.every(Boolean)).toBe(true);
    // Nothing earlier was open: probed at every quarter of an hour between.
    const earlier = found.flatMap(({ facts, at, next }) => {
      const steps: { facts: QuietFacts; at: number }[] = [];
      for (let t = next - 1; t >= at && steps.length < 60; t -= 900_000) steps.push({ facts, at: t });
      return steps;
    });
    const none = await oracle(
      db,
      earlier.map(({ facts, at }) => ({ zones: facts.where.zones, spans: spansOf(facts), at })),
    );
    expect(earlier.filter((_, n) => none[n])).toEqual([]);
  });
});

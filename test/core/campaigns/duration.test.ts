import fc from "fast-check";
import { DateTime } from "luxon";
import { describe, expect, test } from "vitest";
import { evaluate } from "../../../core/campaigns/condition.ts";
import { addDuration, IsoDuration } from "../../../core/campaigns/duration.ts";
import { Schedule } from "../../../core/campaigns/plan.ts";
import { isOpen, nextOpening } from "../../../core/campaigns/schedule.ts";

describe("adding a duration", () => {
  test.each([
    [
      "a calendar day across the spring change is 23 hours",
      "2026-03-07T12:00-05:00",
      "P1D",
      "America/New_York",
      "2026-03-08T12:00-04:00",
    ],
    [
      "24 hours across the spring change are 24 hours",
      "2026-03-07T12:00-05:00",
      "PT24H",
      "America/New_York",
      "2026-03-08T13:00-04:00",
    ],
    [
      "a skipped wall time is the first instant after the gap",
      "2026-03-07T02:30-05:00",
      "P1D",
      "America/New_York",
      "2026-03-08T03:00-04:00",
    ],
    [
      "a repeated wall time is its first occurrence",
      "2026-10-31T01:30-04:00",
      "P1D",
      "America/New_York",
      "2026-11-01T01:30-04:00",
    ],
    [
      "a half-hour gap ends half an hour later",
      "2026-10-03T02:10+10:30",
      "P1D",
      "Australia/Lord_Howe",
      "2026-10-04T02:30+11:00",
    ],
    [
      "a day that a country skipped ends when the next begins",
      "2011-12-29T12:00-10:00",
      "P1D",
      "Pacific/Apia",
      "2011-12-31T00:00+14:00",
    ],
    ["31 January plus a month is the last of February", "2026-01-31T09:00Z", "P1M", "UTC", "2026-02-28T09:00Z"],
    ["31 January plus a month in a leap year", "2028-01-31T09:00Z", "P1M", "UTC", "2028-02-29T09:00Z"],
    ["29 February plus a year", "2028-02-29T09:00Z", "P1Y", "UTC", "2029-02-28T09:00Z"],
    ["beyond 2038", "2038-01-19T03:14:07Z", "P1M", "UTC", "2038-02-19T03:14:07Z"],
    ["calendar first, then hours", "2026-03-07T01:00-05:00", "P1DT2H", "America/New_York", "2026-03-08T04:00-04:00"],
  ])("%s", (_, at, duration, zone, expected) => {
    expect(addDuration(new Date(at), duration, zone).toISOString()).toBe(new Date(expected).toISOString());
  });

  test("always leads forward, and to the same place every time", () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date("2000-01-01"), max: new Date("2060-01-01"), noInvalidDate: true }),
        fc.constantFrom("PT1M", "PT72H", "P1D", "P3D", "P1W", "P1M", "P13M", "P1DT1H"),
        fc.constantFrom(
          "UTC",
          "America/New_York",
          "Europe/Dublin",
          "Australia/Lord_Howe",
          "Pacific/Apia",
          "Africa/Casablanca",
          "Asia/Kathmandu",
        ),
        (at, duration, zone) => {
          const result = addDuration(at, duration, zone);
          expect(result.getTime()).toBeGreaterThan(at.getTime());
          expect(addDuration(at, duration, zone)).toEqual(result);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("never lands on a wall time that the zone's clocks do not show", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 24 * 60 }), (minutes) => {
        const at = DateTime.fromISO("2026-03-07T00:00", { zone: "America/New_York" }).plus({ minutes });
        const result = DateTime.fromJSDate(addDuration(at.toJSDate(), "P1D", "America/New_York"), {
          zone: "America/New_York",
        });
        const isSkipped = at.hour === 2;
        expect(result.toFormat("HH:mm")).toBe(isSkipped ? "03:00" : at.toFormat("HH:mm"));
      }),
    );
  });
});

test.each(["PT1M", "P400D", "P1Y", "P1M", "P2W", "P1DT12H", "PT1H30M"])("%s is a duration", (text) => {
  expect(IsoDuration.safeParse(text).success).toBe(true);
});
test.each([
  "",
  "P",
  "PT",
  "P1",
  "1D",
  "-P1D",
  "P-1D",
  "PT1.5H",
  "PT59S",
  "P401D",
  "P1H",
  "p1d",
  "P9999999999999Y",
  60,
  null,
])("%j is not a duration", (text) => {
  expect(IsoDuration.safeParse(text).success).toBe(false);
});

describe("the window of a node's schedule", () => {
  const office = Schedule.parse({ days: ["fri", "mon", "mon"], from: "09:00", to: "17:00" });
  const zone = "America/New_York";

  test.each([
    ["open: now", "2026-03-02T14:00Z", "2026-03-02T14:00Z"],
    ["before opening: today's opening", "2026-03-02T10:00Z", "2026-03-02T14:00Z"],
    ["at closing: the next named day", "2026-03-02T22:00Z", "2026-03-06T14:00Z"],
    ["across the clock change: nine by the new clock", "2026-03-07T20:00Z", "2026-03-09T13:00Z"],
  ])("%s", (_, at, expected) => {
    expect(nextOpening(office, zone, new Date(at))).toEqual(new Date(expected));
  });

  test("days are kept in week order, once each", () => {
    expect(office.days).toEqual(["mon", "fri"]);
  });

  test("an opening inside the spring gap is the first instant after it", () => {
    const early = Schedule.parse({ from: "02:30", to: "05:00" });
    expect(nextOpening(early, zone, new Date("2026-03-08T06:00Z"))).toEqual(new Date("2026-03-08T07:00Z"));
  });

  test("nextOpening is open, not before now, and no earlier minute is open", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 14 * 24 * 60 }), (minutes) => {
        const at = new Date(Date.UTC(2026, 2, 1) + minutes * 60_000);
        const opening = nextOpening(office, zone, at);
        expect(opening).not.toBeNull();
        if (!opening) return;
        expect(isOpen(office, zone, opening)).toBe(true);
        for (let ms = at.getTime(); ms < opening.getTime(); ms += 15 * 60_000)
          expect(isOpen(office, zone, new Date(ms))).toBe(false);
      }),
    );
  });

  test("a window that only exists inside a gap on its single day falls to the week after", () => {
    const gone = Schedule.parse({ days: ["sun"], from: "02:00", to: "02:30" });
    expect(nextOpening(gone, zone, new Date("2026-03-08T05:00Z"))).toEqual(new Date("2026-03-15T06:00Z"));
  });
});

describe("conditions", () => {
  const facts = {
    happened: (event: string, node: string | undefined) =>
      event === "opened" && (node === undefined || node === "intro"),
    fields: {
      "lead.status": "hot",
      "lead.lead_score": 40,
      "lead.tags": ["VIP", "new"],
      "contact.title": "",
      "lead.city": null,
    },
  };
  test.each([
    [{ op: "happened", event: "opened" }, true],
    [{ op: "happened", event: "opened", node: "bump" }, false],
    [{ op: "happened", event: "clicked" }, false],
    [{ op: "eq", field: "lead.status", value: "hot" }, true],
    [{ op: "eq", field: "lead.city", value: null }, true],
    [{ op: "eq", field: "lead.unknown", value: "x" }, false],
    [{ op: "ne", field: "lead.unknown", value: "x" }, true],
    [{ op: "in", field: "lead.status", values: ["new", "hot"] }, true],
    [{ op: "in", field: "lead.status", values: ["new"] }, false],
    [{ op: "exists", field: "lead.status" }, true],
    [{ op: "exists", field: "contact.title" }, false],
    [{ op: "exists", field: "lead.city" }, false],
    [{ op: "gt", field: "lead.lead_score", value: 39 }, true],
    [{ op: "gt", field: "lead.lead_score", value: "39" }, false],
    [{ op: "lt", field: "lead.lead_score", value: 40 }, false],
    [{ op: "lt", field: "lead.status", value: "i" }, true],
    [{ op: "gt", field: "lead.unknown", value: 0 }, false],
    [{ op: "lt", field: "lead.unknown", value: 0 }, false],
    [{ op: "contains", field: "lead.status", value: "HO" }, true],
    [{ op: "contains", field: "lead.tags", value: "vip" }, true],
    [{ op: "contains", field: "lead.tags", value: "vi" }, false],
    [{ op: "contains", field: "lead.lead_score", value: "4" }, false],
    [
      {
        op: "and",
        of: [
          { op: "exists", field: "lead.status" },
          { op: "exists", field: "lead.city" },
        ],
      },
      false,
    ],
    [
      {
        op: "or",
        of: [
          { op: "exists", field: "lead.status" },
          { op: "exists", field: "lead.city" },
        ],
      },
      true,
    ],
    [{ op: "not", of: { op: "exists", field: "lead.city" } }, true],
  ] as const)("%j is %s", (condition, expected) => {
    expect(evaluate(structuredClone(condition) as Parameters<typeof evaluate>[0], facts)).toBe(expected);
  });
});

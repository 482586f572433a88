import fc from "fast-check";
import { DateTime } from "luxon";
import { describe, expect, test } from "vitest";
import {
  allowedAt,
  capFor,
  frequencyCap,
  instantOf,
  isUsHoliday,
  nextAllowed,
  type QuietFacts,
  RULESET_VERSION,
  rules,
  withinCap,
  zoneEvidence,
} from "../../../core/compliance/index.ts";

const wall = (text: string, zone: string): Date => DateTime.fromISO(text, { zone }).toJSDate();
const sms = (where: QuietFacts["where"], more: Partial<QuietFacts> = {}): QuietFacts => ({
  channel: "sms",
  purpose: "marketing",
  where,
  ...more,
});
const newYork = { zones: ["America/New_York"], states: ["US-NY"], countries: ["US"] };
const inState = (state: string, zone: string) => ({ zones: [zone], states: [state], countries: ["US"] });

/** First and last minute of opening on a day of the week of 2026-11-09 (no holiday but Wednesday 11), read minute by minute. */
function hours(facts: QuietFacts, date: string, zone: string): string {
  const start = DateTime.fromISO(date, { zone });
  const open: number[] = [];
  for (let minute = 0; minute < 1440; minute++)
    if (allowedAt(facts, start.plus({ minutes: minute }).toJSDate()).allowed) open.push(minute);
  const text = (minute: number) =>
    `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
  const first = open[0];
  return first === undefined ? "closed" : `${text(first)}-${text((open.at(-1) ?? 0) + 1)}`;
}

describe("the strict default for American marketing texts", () => {
  test.each([
    ["Monday", "2026-11-09", "09:00-20:00"],
    ["Saturday", "2026-11-14", "09:00-20:00"],
    ["Sunday", "2026-11-15", "12:00-20:00"],
  ])("on %s", (_, date, expected) => {
    expect(hours(sms(newYork), date, "America/New_York")).toBe(expected);
    expect(hours(sms(newYork, { channel: "call" }), date, "America/New_York")).toBe(expected);
  });

  test("relaxing goes to the law and no further", () => {
    expect(hours(sms(newYork, { strictness: "legal" }), "2026-11-15", "America/New_York")).toBe("08:00-21:00");
  });

  test("every candidate zone must be open", () => {
    const both = { zones: ["America/Los_Angeles", "America/New_York"], states: [], countries: ["US"] };
    expect(hours(sms(both), "2026-11-09", "America/New_York")).toBe("12:00-20:00");
    const refused = allowedAt(sms(both), wall("2026-11-09T11:59", "America/New_York"));
    expect(refused).toMatchObject({
      allowed: false,
      reason: "quiet_hours",
      zone: "America/Los_Angeles",
      rule: "US/strict",
    });
  });

  test("an American number that could be anywhere waits for the afternoon in New York", () => {
    const tollFree = zoneEvidence({ phone: "+18005550123" });
    expect(tollFree.known).toBe(false);
    expect(hours(sms(tollFree), "2026-11-09", "America/New_York")).toBe("15:00-20:00");
    // Sunday opens at noon in Honolulu too: 17:00 in New York in winter.
    expect(hours(sms(tollFree), "2026-11-15", "America/New_York")).toBe("17:00-20:00");
  });

  test("an American with only a foreign number counts as unplaced: her afternoon in New York is night in Berlin", () => {
    const where = zoneEvidence({ country: "US", phone: "+4930123456" });
    expect(where).toMatchObject({ zones: ["Europe/Berlin"], known: true });
    expect(nextAllowed(sms(where), wall("2026-11-09T12:00", "America/New_York"))).toBeNull();
    expect(allowedAt(sms(where), wall("2026-11-09T10:00", "America/New_York"))).toMatchObject({
      zone: "America/New_York",
    });
  });
});

describe("rows of law, each on its own days", () => {
  test.each([
    ["US-FL", "2026-11-09", "08:00-20:00"],
    ["US-OK", "2026-11-09", "08:00-20:00"],
    ["US-MD", "2026-11-09", "08:00-20:00"],
    ["US-WA", "2026-11-09", "08:00-20:00"],
    ["US-TX", "2026-11-09", "09:00-21:00"],
    ["US-TX", "2026-11-15", "12:00-21:00"],
    ["US-VA", "2026-11-09", "08:00-21:00"],
    ["US-CT", "2026-11-09", "09:00-20:00"],
    ["US-AL", "2026-11-09", "08:00-20:00"],
    ["US-AL", "2026-11-15", "closed"],
    ["US-AL", "2026-11-26", "closed"],
    ["US-LA", "2026-11-15", "closed"],
    ["US-LA", "2026-12-25", "closed"],
    ["US-MS", "2026-11-15", "closed"],
    ["US-MS", "2026-11-26", "08:00-20:00"],
    ["US-MA", "2026-11-09", "08:00-20:00"],
    ["US-NV", "2026-11-09", "09:00-20:00"],
    ["US-NM", "2026-11-09", "09:00-21:00"],
    ["US-MI", "2026-11-09", "09:00-21:00"],
    ["US-MN", "2026-11-09", "09:00-21:00"],
    ["US-KY", "2026-11-09", "10:00-21:00"],
    ["US-RI", "2026-11-09", "09:00-18:00"],
    ["US-RI", "2026-11-26", "closed"],
    ["US-PA", "2026-11-14", "08:00-12:00"],
    ["US-PA", "2026-11-15", "08:00-21:00"],
    ["US-OH", "2026-11-09", "08:00-21:00"],
  ])("%s on %s is open %s", (state, date, expected) => {
    expect(hours(sms(inState(state, "America/Chicago"), { strictness: "legal" }), date, "America/Chicago")).toBe(
      expected,
    );
  });

  test("every jurisdiction with a row is in the table above or is the default", () => {
    expect([...new Set(rules.map((rule) => rule.jurisdiction))].toSorted()).toEqual([
      "*",
      "US",
      "US-AL",
      "US-CT",
      "US-FL",
      "US-KY",
      "US-LA",
      "US-MA",
      "US-MD",
      "US-MI",
      "US-MN",
      "US-MS",
      "US-NM",
      "US-NV",
      "US-OK",
      "US-PA",
      "US-RI",
      "US-TX",
      "US-VA",
      "US-WA",
    ]);
  });

  test("the strict default and a stricter state both bind", () => {
    expect(hours(sms(inState("US-KY", "America/Chicago")), "2026-11-09", "America/Chicago")).toBe("10:00-20:00");
    expect(hours(sms(inState("US-RI", "America/New_York")), "2026-11-15", "America/New_York")).toBe("12:00-18:00");
  });

  test("a row does not bind before its date: Texas of August 2025", () => {
    const texas = sms(inState("US-TX", "America/Chicago"), { strictness: "legal" });
    expect(hours(texas, "2025-08-24", "America/Chicago")).toBe("08:00-21:00");
    expect(hours(texas, "2025-09-07", "America/Chicago")).toBe("12:00-21:00");
    // Sunday the 31st, 08:30: in force the next day, so the search does not carry the new rows back.
    expect(nextAllowed(texas, wall("2025-08-31T06:00", "America/Chicago"))).toEqual(
      wall("2025-08-31T08:00", "America/Chicago"),
    );
    expect(nextAllowed(texas, wall("2025-08-31T21:00", "America/Chicago"))).toEqual(
      wall("2025-09-01T09:00", "America/Chicago"),
    );
  });

  test("elsewhere the engine's own hours hold, and relaxing changes nothing because there is no table to relax to", () => {
    const berlin = zoneEvidence({ phone: "+493012345678" });
    for (const strictness of ["strict", "legal"] as const)
      expect(hours(sms(berlin, { strictness }), "2026-11-15", "Europe/Berlin")).toBe("09:00-20:00");
  });
});

describe("holidays", () => {
  test.each([
    "2026-01-01",
    "2026-01-19",
    "2026-02-16",
    "2026-05-25",
    "2026-06-19",
    "2026-07-03",
    "2026-07-04",
    "2026-09-07",
    "2026-10-12",
    "2026-11-11",
    "2026-11-26",
    "2026-12-25",
    "2027-12-31",
    "2028-01-01",
    "2023-01-02",
  ])("%s is one", (date) => {
    expect(isUsHoliday(Date.parse(date) / 86_400_000)).toBe(true);
  });
  test.each(["2026-11-27", "2026-12-24", "2026-05-18", "2026-07-02", "2026-11-25"])("%s is none", (date) => {
    expect(isUsHoliday(Date.parse(date) / 86_400_000)).toBe(false);
  });
  test("there are eleven, and observed days besides", () => {
    for (let year = 2024; year <= 2035; year++) {
      let count = 0;
      for (let day = Date.UTC(year, 0, 1) / 86_400_000; day < Date.UTC(year + 1, 0, 1) / 86_400_000; day++)
        if (isUsHoliday(day)) count++;
      expect(count).toBeGreaterThanOrEqual(11);
      expect(count).toBeLessThanOrEqual(15);
    }
  });
});

describe("e-mail", () => {
  const email = (more: Partial<QuietFacts> = {}): QuietFacts => ({
    channel: "email",
    purpose: "marketing",
    where: newYork,
    ...more,
  });
  test("no law closes an hour", () => expect(hours(email(), "2026-11-15", "America/New_York")).toBe("00:00-24:00"));
  test("plan and tenant hours both close", () => {
    const facts = email({
      tenantQuietHours: { start: "21:00", end: "08:00" },
      planQuietHours: { start: "18:00", end: "09:30" },
    });
    expect(hours(facts, "2026-11-09", "America/New_York")).toBe("09:30-18:00");
  });
  test("unknown zone: open without own hours, the fallback zone's with them, held without a fallback", () => {
    const nowhere = { zones: [], states: [], countries: [] };
    const at = wall("2026-11-09T07:00", "America/New_York");
    const quiet = { start: "20:00", end: "08:00" };
    expect(allowedAt(email({ where: nowhere }), at).allowed).toBe(true);
    expect(
      allowedAt(email({ where: nowhere, tenantQuietHours: quiet, fallbackZone: "America/New_York" }), at),
    ).toMatchObject({
      allowed: false,
      reason: "quiet_hours",
      rule: "tenant_quiet_hours",
      until: wall("2026-11-09T08:00", "America/New_York"),
    });
    expect(allowedAt(email({ where: nowhere, tenantQuietHours: quiet }), at)).toMatchObject({
      allowed: false,
      reason: "tz_unknown",
      until: null,
    });
  });
});

describe("marketing texts without any evidence", () => {
  const nowhere = sms({ zones: [], states: [], countries: [] }, { fallbackZone: "America/New_York" });
  test("are held, whatever the fallback zone", () => {
    expect(allowedAt(nowhere, wall("2026-11-09T15:00", "America/New_York"))).toEqual({
      allowed: false,
      reason: "tz_unknown",
      until: null,
      rule: "zone_evidence",
      zone: null,
      zones: [],
      rulesetVersion: RULESET_VERSION,
    });
    expect(nextAllowed(nowhere, wall("2026-11-09T15:00", "America/New_York"))).toBeNull();
  });
  test("transactional ones are not", () => {
    expect(
      allowedAt({ ...nowhere, purpose: "transactional" }, wall("2026-11-09T03:00", "America/New_York")).allowed,
    ).toBe(true);
  });
});

describe("clock changes", () => {
  const at = (start: string, end: string): QuietFacts => ({
    channel: "email",
    purpose: "marketing",
    where: newYork,
    nodeWindow: { start, end },
  });
  test("a window that opens inside the spring gap opens at its end", () => {
    expect(nextAllowed(at("02:30", "04:00"), wall("2027-03-14T00:00", "America/New_York"))?.toISOString()).toBe(
      "2027-03-14T07:00:00.000Z",
    );
  });
  test("a window that lies inside the gap does not open that day", () => {
    expect(nextAllowed(at("02:10", "02:50"), wall("2027-03-14T00:00", "America/New_York"))?.toISOString()).toBe(
      "2027-03-15T06:10:00.000Z",
    );
  });
  test("an hour that occurs twice is open twice, and only while the wall clock says so", () => {
    const facts = at("01:00", "01:30");
    for (const [utc, open] of [
      ["05:00", true],
      ["05:29", true],
      ["05:30", false],
      ["05:59", false],
      ["06:00", true],
      ["06:30", false],
    ] as const) {
      expect([utc, allowedAt(facts, new Date(`2026-11-01T${utc}:00Z`)).allowed]).toEqual([utc, open]);
    }
  });
  test("a planned wall time in the gap is the first instant after it, one that repeats is the first", () => {
    expect(instantOf("America/New_York", { year: 2027, month: 3, day: 14 }, 150).toISOString()).toBe(
      "2027-03-14T07:00:00.000Z",
    );
    expect(instantOf("America/New_York", { year: 2026, month: 11, day: 1 }, 90).toISOString()).toBe(
      "2026-11-01T05:30:00.000Z",
    );
    expect(instantOf("Australia/Lord_Howe", { year: 2026, month: 10, day: 4 }, 135).toISOString()).toBe(
      "2026-10-03T15:30:00.000Z",
    );
    expect(instantOf("Africa/Cairo", { year: 2026, month: 4, day: 24 }, 0).toISOString()).toBe(
      "2026-04-23T22:00:00.000Z",
    );
  });
  test("an ordinary wall time is what luxon says", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Chatham"),
        fc.integer({ min: 0, max: 1500 }),
        fc.integer({ min: 0, max: 1439 }),
        (zone, day, minute) => {
          const date = DateTime.fromISO("2026-01-01", { zone: "utc" }).plus({ days: day });
          const theirs = DateTime.fromObject(
            { year: date.year, month: date.month, day: date.day, hour: Math.floor(minute / 60), minute: minute % 60 },
            { zone },
          );
          if (theirs.hour * 60 + theirs.minute !== minute || theirs.getPossibleOffsets().length > 1) return;
          expect(instantOf(zone, date, minute).getTime()).toBe(theirs.toMillis());
        },
      ),
      { numRuns: 2_000 },
    );
  });
  test("midnight is hour 0, never 24", () => {
    expect(hours(at("00:00", "00:30"), "2026-11-10", "America/New_York")).toBe("00:00-00:30");
    expect(hours(at("23:30", "24:00"), "2026-11-10", "America/New_York")).toBe("23:30-24:00");
    // Over midnight on chosen days: Monday night runs into Tuesday.
    const night: QuietFacts = { ...at("22:00", "02:00"), nodeWindow: { start: "22:00", end: "02:00", days: [1] } };
    expect(hours(night, "2026-11-09", "America/New_York")).toBe("22:00-24:00");
    expect(hours(night, "2026-11-10", "America/New_York")).toBe("00:00-02:00");
    expect(hours(night, "2026-11-11", "America/New_York")).toBe("closed");
  });
});

describe("a claim needs a minute", () => {
  test("the last minute of a window is open at its start and at no later millisecond", () => {
    const close = wall("2026-11-09T20:00", "America/New_York").getTime();
    expect(allowedAt(sms(newYork), new Date(close - 60_000)).allowed).toBe(true);
    expect(allowedAt(sms(newYork), new Date(close - 59_999))).toMatchObject({
      allowed: false,
      until: wall("2026-11-10T09:00", "America/New_York"),
    });
  });
  test("zones whose windows never overlap give no instant, and the search ends", () => {
    const where = { zones: ["America/New_York", "Asia/Shanghai"], states: [], countries: ["US", "ZZ"] };
    expect(nextAllowed(sms(where), wall("2026-11-09T00:00", "America/New_York"))).toBeNull();
    expect(allowedAt(sms(where), wall("2026-11-09T12:00", "America/New_York"))).toMatchObject({
      allowed: false,
      reason: "quiet_hours",
      until: null,
    });
  });
  test("a closed calendar ends the search within the horizon", () => {
    const facts: QuietFacts = {
      channel: "email",
      purpose: "marketing",
      where: newYork,
      nodeWindow: { start: "09:00", end: "10:00", days: [] },
    };
    expect(nextAllowed(facts, new Date("2026-11-09T00:00:00Z"))).toBeNull();
  });
  test("a node window in its own zone is read there", () => {
    const facts: QuietFacts = {
      channel: "email",
      purpose: "marketing",
      where: newYork,
      nodeWindow: { start: "09:00", end: "10:00", zone: "Europe/London" },
    };
    expect(hours(facts, "2026-11-09", "Europe/London")).toBe("09:00-10:00");
  });
});

describe("search properties", () => {
  const anyFacts = fc.record({
    state: fc.constantFrom("FL", "TX", "AL", "HI", "KY", "OR"),
    phone: fc.constantFrom("+12125550123", "+18085550123", "+18005550123", "+15415550123"),
    legal: fc.boolean(),
  });
  test("later questions never get earlier answers, and a yes now is an answer of now", () => {
    fc.assert(
      fc.property(
        anyFacts,
        fc.date({ min: new Date("2026-01-02"), max: new Date("2030-01-01"), noInvalidDate: true }),
        fc.nat(86_400_000 * 3),
        (f, from, later) => {
          const facts = sms(zoneEvidence({ state: f.state, phone: f.phone }), {
            strictness: f.legal ? "legal" : "strict",
          });
          const first = nextAllowed(facts, from);
          const second = nextAllowed(facts, new Date(from.getTime() + later));
          if (first && second) expect(second.getTime()).toBeGreaterThanOrEqual(first.getTime());
          if (first) expect(allowedAt(facts, first).allowed).toBe(true);
          expect(allowedAt(facts, from).allowed).toBe(first?.getTime() === from.getTime());
        },
      ),
      { numRuns: 2_000 },
    );
  });
  test("deciding 200,000 times takes a second or two: contacts share compiled windows", () => {
    const where = ["FL", "TX", "NY"].map((state) => zoneEvidence({ state, phone: "+12125550123" }));
    const base = Date.UTC(2026, 10, 9, 18);
    const started = performance.now();
    for (let n = 0; n < 200_000; n++) allowedAt(sms(where[n % 3] ?? newYork), new Date(base + n * 10));
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe("frequency cap", () => {
  const now = new Date("2026-11-09T12:00:00Z");
  const ago = (hours: number) => new Date(now.getTime() - hours * 3_600_000);
  test("the fourth within 24 hours waits until the first of three has left", () => {
    expect(frequencyCap([ago(1), ago(23), ago(5)], 3, 86_400, now)).toEqual({
      allowed: false,
      until: new Date(ago(23).getTime() + 86_400_000),
    });
    expect(frequencyCap([ago(1), ago(5)], 3, 86_400, now)).toEqual({ allowed: true });
    expect(frequencyCap([ago(1), ago(5), ago(24)], 3, 86_400, now)).toEqual({ allowed: true });
  });
  test("over the cap already: enough must leave, not one", () => {
    expect(frequencyCap([ago(1), ago(2), ago(3), ago(4), ago(5)], 3, 86_400, now)).toEqual({
      allowed: false,
      until: new Date(ago(3).getTime() + 86_400_000),
    });
  });
  test("at `until` the next is allowed, a millisecond before it is not", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(86_400_000 * 2), { maxLength: 12 }), fc.integer({ min: 1, max: 5 }), (back, cap) => {
        const sent = back.map((ms) => new Date(now.getTime() - ms));
        const verdict = frequencyCap(sent, cap, 86_400, now);
        if (verdict.allowed || !verdict.until) return;
        expect(frequencyCap(sent, cap, 86_400, verdict.until).allowed).toBe(true);
        expect(frequencyCap(sent, cap, 86_400, new Date(verdict.until.getTime() - 1)).allowed).toBe(false);
      }),
    );
  });
  test("a cap of nothing never opens; no cap never closes", () => {
    expect(frequencyCap([], 0, 86_400, now)).toEqual({ allowed: false, until: null });
    expect(withinCap([now, now, now, now], null, now)).toEqual({ allowed: true });
  });
  test("3 per day binds American texts; relaxed, only where a state says so; e-mail has none", () => {
    const at = now.getTime();
    expect(capFor(newYork, "text", "strict", at)).toEqual({ count: 3, windowSeconds: 86_400 });
    expect(capFor(newYork, "text", "legal", at)).toBeNull();
    expect(capFor(inState("US-FL", "America/New_York"), "voice", "legal", at)).toEqual({
      count: 3,
      windowSeconds: 86_400,
    });
    expect(capFor(newYork, "email", "strict", at)).toBeNull();
  });
});

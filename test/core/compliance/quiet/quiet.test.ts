/** The short version of `npm run quiet-hours`: every zone, every state's rows, holidays included, and the clock changes of a few zones. */
import type { Kysely } from "kysely";
import { beforeAll, expect, test } from "vitest";
import { generator } from "../../../long/report.ts";
import { testDatabase } from "../../../support/database.ts";
import { runs } from "../../../support/runs.ts";
import { compare } from "./compare.ts";
import { aroundChange, draw } from "./questions.ts";
import { ask, prepare, serverZones, transitions } from "./statement.ts";

const database = await testDatabase({ empty: true });
const db = database.owner as unknown as Kysely<unknown>;
beforeAll(() => prepare(db));

test("random zones, states, rules and instants are answered as PostgreSQL answers them", async () => {
  const zones = await serverZones(db);
  const random = generator(20_261_121);
  const asked = Array.from({ length: runs(6_000, 40_000) }, () => draw(random, zones));
  const { disagreements, aside } = await compare(db, asked);
  expect(disagreements).toEqual([]);
  // Where the time zone data of process and server differ nothing can be compared; that must stay the exception.
  expect(Object.values(aside).reduce((sum, n) => sum + n, 0)).toBeLessThan(asked.length / 100);
}, 120_000);

test.each([
  "America/New_York",
  "Europe/Dublin",
  "Australia/Lord_Howe",
  "Africa/Cairo",
  "America/Santiago",
  "Antarctica/Troll",
  "Asia/Gaza",
])(
  "every minute around each clock change of %s until 2030 is answered alike",
  async (zone) => {
    const changes = await transitions(db, zone, 2024, runs(2026, 2031));
    expect(changes.length).toBeGreaterThanOrEqual(4);
    const { disagreements } = await compare(
      db,
      changes.flatMap((change) => aroundChange(change, runs(20, 90))),
    );
    expect(disagreements).toEqual([]);
  },
  120_000,
);

test("a wrong hour, a forgotten holiday and a forgotten zone are all seen", async () => {
  const christmas = Date.UTC(2026, 11, 25, 18);
  const windows = [{ g: "x", days: [1, 2, 3, 4, 5, 6, 7], start: 480, end: 1200, holidays: true }];
  const open = (at: number, holidays: boolean, zone = "America/Chicago") =>
    ask(db, [{ places: [{ zone, windows: windows.map((window) => ({ ...window, holidays })) }], at }]);
  expect(await open(christmas, true)).toEqual([false]);
  expect(await open(christmas, false)).toEqual([true]);
  expect(await open(christmas, false, "Asia/Tokyo")).toEqual([false]);
  // Monday the third of July 2028 is a working day, Friday the third of July 2026 the day on which a Saturday's holiday is observed.
  expect(await open(Date.UTC(2028, 6, 3, 18), true)).toEqual([true]);
  expect(await open(Date.UTC(2026, 6, 3, 18), true)).toEqual([false]);
});

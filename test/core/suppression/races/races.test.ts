/** The short version of `npm run races`: every kind of no against the engine's own claim, and the harness's eyes tested on a naive one. */
import { beforeAll, expect, test } from "vitest";
import { generator } from "../../../long/report.ts";
import { testDatabase } from "../../../support/database.ts";
import { runs } from "../../../support/runs.ts";
import { setClock } from "../../../support/tenant.ts";
import { contest, type KindName, kinds } from "./contest.ts";

const database = await testDatabase({ max: 16 });
/** Monday, 11:00 in New York. */
beforeAll(() => setClock(database, new Date("2026-03-02T16:00:00Z")));

test.each(Object.keys(kinds) as KindName[])(
  "%s: no claim follows it",
  async (kind) => {
    for (const claim of ["real", "minimal"] as const) {
      const given = { kind, claim, groups: runs(25, 300), largestGroup: 4, lanes: 6 };
      const { races, claimed, behind, told } = await contest(database, generator(20_261_121), given);
      expect({ behind, told }).toEqual({ behind: 0, told: 0 });
      // Both ends happened, or it was no race.
      expect(claimed).toBeGreaterThan(0);
      expect(claimed).toBeLessThanOrEqual(races);
    }
  },
  120_000,
);

test("a claim that asks without the lock is caught", async () => {
  const given = { kind: "a sister's do not call", claim: "naive", groups: 150, largestGroup: 3, lanes: 8 } as const;
  const { behind, told } = await contest(database, generator(7), given);
  expect(behind + told).toBeGreaterThan(0);
}, 120_000);

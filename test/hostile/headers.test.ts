/** The short version of the header part of `npm run hostile`. */
import { beforeAll, expect, test } from "vitest";
import { testDatabase } from "../support/database.ts";
import { runs } from "../support/runs.ts";
import { runHeaders } from "./headers.ts";
import { hostileRig, type Rig } from "./rig.ts";

const database = await testDatabase();
let rig: Rig;
beforeAll(async () => {
  rig = await hostileRig(database);
});

test("whatever stands in names, subjects and settings, a provider gets the fields of an honest request, each on one line", async () => {
  const { findings, outcomes } = await runHeaders(rig, runs(2, 1), () => {});
  expect(findings).toEqual([]);
  expect(outcomes["written as it was"]).toBeGreaterThan(0);
  expect(outcomes["refused at the door"]).toBeGreaterThan(0);
  expect(outcomes["message sent"]).toBeGreaterThan(100);
}, 120_000);

/**
 * The corpus through every ingress: nothing crashes, nothing is accepted that must not be, nothing that was acknowledged is lost, and what
 * is set aside is shown and can be repeated. `npm run hostile` sends every field of every endpoint as well.
 */
import { beforeAll, describe, expect, test, vi } from "vitest";
import { testDatabase } from "../support/database.ts";
import { runs } from "../support/runs.ts";
import { runBells } from "./bell-runs.ts";
import { lists, runCursors, tamperCursors } from "./cursors.ts";
import { runEvents } from "./event-runs.ts";
import { runImports } from "./import-runs.ts";
import { hostileRig, type Rig } from "./rig.ts";
import { runScanners } from "./scanners.ts";
import { tamper } from "./tokens.ts";
import { runTracking } from "./tracking-runs.ts";
import { runWebhooks } from "./webhook-runs.ts";
import { hostileWebhooks } from "./webhooks.ts";

const database = await testDatabase();
let rig: Rig;
beforeAll(async () => {
  rig = await hostileRig(database);
});
const quiet = () => {};
/** The most memory this process has had, MB: files that ran in it before count, too. */
const highest = () => process.resourceUsage().maxRSS / 1024;
const before = highest();
/** What honest work of this size takes, several times over. */
const maxMegabytes = 1_500;

describe("webhooks", () => {
  const all = hostileWebhooks();
  const ingresses = [...new Set(all.map(({ ingress }) => ingress))];

  test("there are more than two hundred of them, each under its own name", () => {
    expect(all.length).toBeGreaterThan(200);
    for (const ingress of ingresses) {
      const names = all.filter((one) => one.ingress === ingress).map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  test.each(ingresses)(
    "by way of %s are refused, read or set aside, and never lost",
    async (ingress) => {
      // One in three now, all of them in the long run; which ones does not change from run to run.
      const some = all.filter((one) => one.ingress === ingress).filter((_, n) => n % runs(3, 1) === 0);
      const ran = await runWebhooks(rig, some, quiet);
      expect(ran.flatMap(({ findings }) => findings)).toEqual([]);
    },
    120_000,
  );
});

test("events that API Gateway shapes oddly are answered", async () => {
  // The adapter tells the console of each body that is not the base64 it claims to be.
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  expect((await runEvents(rig, quiet)).findings).toEqual([]);
  told.mockRestore();
}, 60_000);

test("bells that nobody rang are parked, and their honest neighbours answered", async () => {
  expect((await runBells(rig, quiet)).findings).toEqual([]);
}, 120_000);

test("strangers at tracking links get a page and change nothing", async () => {
  expect((await runTracking(rig, quiet)).findings).toEqual([]);
}, 60_000);

test("files of every kind end as completed or failed, with a reason", async () => {
  expect((await runImports(rig, runs(5, 1), quiet)).findings).toEqual([]);
}, 120_000);

test("link scanners unsubscribe nobody, move no plan on, and are flagged", async () => {
  const { findings, outcomes } = await runScanners(rig, runs(600, 10_000), quiet);
  expect(findings).toEqual([]);
  expect(outcomes["machine events kept"]).toBeGreaterThan(0);
}, 120_000);

test("a changed link is no link", () => {
  const { tried, accepted } = tamper(20_261_121, runs(5_000, 100_000));
  expect(accepted).toEqual([]);
  expect(tried).toBeGreaterThan(50_000);
});

test("a changed cursor is no cursor, in any list", async () => {
  const { tried, accepted } = tamperCursors(20_261_121, runs(5_000, 100_000), lists.slice(0, runs(2, lists.length)));
  expect(accepted).toEqual([]);
  expect(tried).toBeGreaterThan(5_000);
  const { findings, requests } = await runCursors(rig, runs(100, 5), quiet);
  expect(findings).toEqual([]);
  expect(requests).toBeGreaterThan(lists.length * 15);
}, 60_000);

test("all of it fits into bounded memory", () => {
  expect(highest() - before).toBeLessThan(maxMegabytes);
});

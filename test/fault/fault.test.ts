/**
 * A short run of the crash rig: workers are killed, PostgreSQL is restarted under them, bells are lost, providers lose their answers, and
 * still nothing is lost and nothing is accepted twice. The long run: `npm run fault`.
 */
import { rmSync } from "node:fs";
import { expect, test } from "vitest";
import { runFault } from "./rig.ts";

test("a system that is killed again and again loses nothing and sends nothing twice", {
  timeout: 600_000,
}, async () => {
  const report = await runFault(
    {
      messages: 250,
      killEveryMs: 2_000,
      restartDbEveryMs: 5_000,
      seed: 7,
      workers: 2,
      keep: false,
      limitMs: 8_000,
    },
    { onStage: () => {}, onProgress: () => {} },
  );
  const found = [...report.verdicts, ...report.invariants].filter(({ violations }) => violations > 0);
  expect(found, report.directory).toEqual([]);
  expect(report.ok).toBe(true);
  expect(report.accepted).toBeGreaterThan(0);
  expect(report.killed.atRandom).toBeGreaterThan(0);
  expect(report.restarts.n).toBeGreaterThan(0);
  expect(report.gateway.acknowledged).toBeGreaterThan(0);
  rmSync(report.directory, { recursive: true, force: true });
});

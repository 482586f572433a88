import { expect, test, vi } from "vitest";
import { startScheduler } from "../../local/scheduler.ts";

test("a schedule runs at once, then again, and never overlaps itself", async () => {
  let running = 0;
  let most = 0;
  let runs = 0;
  const scheduler = startScheduler(
    [
      {
        name: "sweep",
        everySeconds: 0.001,
        async run() {
          running += 1;
          most = Math.max(most, running);
          await new Promise((resolve) => setTimeout(resolve, 5));
          running -= 1;
          runs += 1;
        },
      },
    ],
    () => {},
  );
  await vi.waitFor(() => expect(runs).toBeGreaterThan(3), 10_000);
  await scheduler.stop(1_000);
  const after = runs;
  expect(running).toBe(0);
  expect(most).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 15));
  expect(runs).toBe(after);
});

test("a failed run is reported and the next one comes as usual", async () => {
  const errors: unknown[] = [];
  let runs = 0;
  const run = () => {
    runs += 1;
    return Promise.reject(new Error(`run ${runs}`));
  };
  const scheduler = startScheduler([{ name: "sweep", everySeconds: 0.001, run }], (error) => errors.push(error));
  await vi.waitFor(() => expect(errors.length).toBeGreaterThan(1), 10_000);
  await scheduler.stop(1_000);
});

test("stopping waits for what runs, but not for ever", async () => {
  const scheduler = startScheduler([{ name: "stuck", everySeconds: 1, run: () => new Promise(() => {}) }], () => {});
  const began = performance.now();
  await scheduler.stop(30);
  expect(performance.now() - began).toBeLessThan(5_000);
});

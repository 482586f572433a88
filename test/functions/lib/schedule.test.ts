import { expect, test } from "vitest";
import { parseSigningKeys } from "../../../functions/lib/runtime.ts";
import { scheduled } from "../../../functions/lib/schedule.ts";
import { fakeHost, fakeInvocation } from "./fake.ts";

test("a run is one log line with its counts, and its duration", async () => {
  const { host, lines } = fakeHost();
  let left = 50_000;
  const handler = scheduled(host, "sweep", async ({ correlationId, remainingMs }) => {
    expect(correlationId).toMatch(/^corr_/);
    left -= 120;
    expect(remainingMs()).toBe(49_880);
    return { rung: 3 };
  });
  await handler(
    {},
    fakeInvocation(() => left),
  );
  expect(lines).toMatchObject([
    { event: "schedule.ran", schedule: "sweep", count: 3, milliseconds: 120, counts: '{"rung":3}' },
    { ScheduleDuration: 120, schedule: "sweep" },
  ]);
});

test("a run that found nothing to do writes no line beside its duration", async () => {
  const { host, lines } = fakeHost();
  await scheduled(host, "sweep", async () => ({ rung: 0 }))({}, fakeInvocation());
  expect(lines).toHaveLength(1);
});

test("a failed run is logged and thrown, so that the scheduler's retry and dead letter queue see it", async () => {
  const { host, lines } = fakeHost();
  const handler = scheduled(host, "sweep", () => Promise.reject(new Error("no database")));
  await expect(handler({}, fakeInvocation())).rejects.toThrow("no database");
  expect(lines).toMatchObject([{ event: "schedule.failed", level: "error" }]);
});

test("signing keys are read newest first, and short or missing ones are refused", () => {
  const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const keys = parseSigningKeys(`${one.toString("base64")}, ${two.toString("base64")}`);
  expect(keys.map((key) => key[0])).toEqual([1, 2]);
  for (const bad of ["", "abc", `${one.toString("base64")},`])
    expect(() => parseSigningKeys(bad)).toThrow(/at least 32 bytes/);
});

/** One topology drives the deployment and the local host: it names what exists, and its numbers fit AWS's rules. */
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { bellKinds } from "../../core/ports/queue.ts";
import * as topology from "../../functions/topology.ts";

const functions = path.resolve(import.meta.dirname, "../../functions");

interface Topology {
  readonly http: Readonly<Record<string, topology.HttpSpec>>;
  readonly queues: Readonly<Record<string, topology.QueueSpec>>;
  readonly schedules: Readonly<Record<string, topology.ScheduleSpec>>;
  readonly visibilitySeconds: (queue: topology.QueueSpec) => number;
}

/** API Gateway gives up after this; Lambda's own limit is 15 minutes. */
const gatewaySeconds = 30;
const lambdaSeconds = 900;

const periodSeconds = (rate: string): number => {
  const [, count = "0", unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(rate) ?? [];
  return Number(count) * ({ minute: 60, hour: 3_600, day: 86_400 }[unit ?? ""] ?? 0);
};

/** What is wrong with a topology, one line each. */
function problems({ http, queues, schedules, visibilitySeconds }: Topology): string[] {
  const found: string[] = [];
  const specs = Object.entries({ ...http, ...queues, ...schedules });
  const check = (kept: boolean, problem: string) => void (kept || found.push(problem));

  for (const kind of bellKinds) check(kind in queues, `bell ${kind} has no queue`);
  for (const [name, queue] of Object.entries(queues)) {
    check((bellKinds as readonly string[]).includes(name), `queue ${name} has no bell`);
    check(visibilitySeconds(queue) >= 6 * queue.timeoutSeconds + queue.windowSeconds, `queue ${name}: visibility`);
    check(visibilitySeconds(queue) <= 43_200, `queue ${name}: visibility over 12 hours`);
    check(queue.maxReceives >= 5, `queue ${name}: maxReceives`);
    check(queue.batch >= 1 && queue.batch <= 10, `queue ${name}: batch`);
    check(queue.maxConcurrency >= 2, `queue ${name}: maxConcurrency`);
  }
  for (const [name, schedule] of Object.entries(schedules)) {
    check(schedule.timeoutSeconds < periodSeconds(schedule.rate), `schedule ${name} can overlap itself`);
    check(schedule.localSeconds <= periodSeconds(schedule.rate), `schedule ${name} is slower here than in AWS`);
  }
  for (const [name, spec] of Object.entries(http)) {
    check(spec.timeoutSeconds < gatewaySeconds, `http ${name} outlives its gateway`);
    check(spec.routes.length > 0, `http ${name} has no route`);
  }
  const routes = Object.values(http).flatMap((spec) => spec.routes);
  check(new Set(routes).size === routes.length, "a route is served twice");
  for (const [name, spec] of specs) {
    check(spec.timeoutSeconds <= lambdaSeconds, `${name}: timeout`);
    check(existsSync(path.join(functions, `${spec.file}.ts`)), `${name}: there is no functions/${spec.file}.ts`);
    for (const queue of spec.rings) check(queue in queues, `${name} rings ${queue}, which does not exist`);
  }
  const files = specs.map(([, { file }]) => file);
  check(new Set(files).size === files.length, "two triggers share a file");
  return found;
}

test("the topology is sound", () => {
  expect(problems(topology)).toEqual([]);
});

describe.each([
  ...Object.values(topology.http),
  ...Object.values(topology.queues),
  ...Object.values(topology.schedules),
])("functions/$file", ({ file }) => {
  test("exports what AWS calls and what the local host calls", async () => {
    const source: unknown = await import(path.join(functions, `${file}.ts`));
    expect(source).toMatchObject({ handler: expect.any(Function), define: expect.any(Function) });
  });
});

describe("a planted fault is found", () => {
  const { http, queues, schedules, visibilitySeconds } = topology;
  const sound = { http, queues, schedules, visibilitySeconds };
  const { deliveries: _without, ...fewer } = queues;
  test.each<[string, Topology, RegExp]>([
    ["a bell without a queue", { ...sound, queues: fewer }, /bell deliveries has no queue/],
    ["a short visibility timeout", { ...sound, visibilitySeconds: (queue) => queue.timeoutSeconds }, /visibility/],
    [
      "one delivery",
      { ...sound, queues: { ...queues, send: { ...queues.send, maxReceives: 1 } } },
      /send: maxReceives/,
    ],
    [
      "a batch SQS does not give",
      { ...sound, queues: { ...queues, send: { ...queues.send, batch: 11 } } },
      /send: batch/,
    ],
    [
      "a file that does not exist",
      { ...sound, http: { ...http, api: { ...http.api, file: "apis" } } },
      /no functions\/apis/,
    ],
    ["a file used twice", { ...sound, http: { ...http, api: { ...http.api, file: "webhooks" } } }, /share a file/],
    [
      "a request that outlives the gateway",
      { ...sound, http: { ...http, api: { ...http.api, timeoutSeconds: 30 } } },
      /outlives/,
    ],
    [
      "a route served twice",
      { ...sound, http: { ...http, tracking: { ...http.tracking, routes: http.api.routes } } },
      /served twice/,
    ],
    [
      "a schedule that overlaps itself",
      { ...sound, schedules: { ...schedules, sweep: { ...schedules.sweep, timeoutSeconds: 60 } } },
      /sweep can overlap/,
    ],
  ])("%s", (_what, planted, problem) => {
    expect(problems(planted).some((line) => problem.test(line))).toBe(true);
  });
});

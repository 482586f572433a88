/** Places under rate limits: never more than a window has, given back by whoever does not come, and after an outage the oldest first. */
import fc from "fast-check";
import { sql } from "kysely";
import { describe, expect, it, test } from "vitest";
import { activate, createCampaign, enroll, runActions, stopEnrollment } from "../../../core/campaigns/index.ts";
import { type Applied, deliver, giveBack, type Turn, takeTurn, Usage } from "../../../core/messages/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { putRateLimit } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { setClock } from "../../support/tenant.ts";

const minute = 60_000;
const perMinute = (maxCount: number): Applied => ({ limit: { id: "srl_1", maxCount, windowSeconds: 60 }, key: "" });
const far = new Date(1_000 * minute);
const at = (minutes: number) => new Date(minutes * minute);

describe("turns", () => {
  const applied = [perMinute(2)];

  it("come in the order of asking, as many in a window as it has places", () => {
    const usage = new Usage();
    const turns = Array.from({ length: 5 }, () => takeTurn(usage, applied, null, at(0), far));
    expect(turns.map((turn) => turn?.slot)).toEqual([at(0), at(0), at(1), at(1), at(2)]);
  });

  it("that are missed come before those that wait, and move them back in order", () => {
    const usage = new Usage();
    const turns = Array.from({ length: 10 }, () => takeTurn(usage, applied, null, at(0), far));
    // Nobody worked in minutes 1 to 3: the third to eighth message come late, in order, together with whose turn it is.
    const waiting = turns.slice(2).map((turn, n) => ({ n, turn }));
    const left: [number, Date][] = [];
    for (let now = 4; waiting.length > 0 && now < 20; now++) {
      const due = waiting.filter(({ turn }) => turn !== null && turn.slot <= at(now));
      for (const one of due) {
        one.turn = takeTurn(usage, applied, one.turn, at(now), far);
        if (one.turn && one.turn.slot <= at(now)) {
          left.push([one.n, at(now)]);
          waiting.splice(waiting.indexOf(one), 1);
        }
      }
    }
    expect(left).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((n) => [n, at(4 + Math.floor(n / 2))]));
  });

  it("never exceed a limit, and everybody who stays gets one, whatever is missed or given up", () => {
    const step = fc.record({
      minutes: fc.integer({ min: 0, max: 4 }),
      arriving: fc.integer({ min: 0, max: 6 }),
      leaving: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), (steps, maxCount) => {
        const limits = [perMinute(maxCount), { limit: { id: "srl_2", maxCount: 4, windowSeconds: 180 }, key: "" }];
        const usage = new Usage();
        const sent = new Map<string, number>();
        let now = 0;
        let waiting: { turn: Turn | null }[] = [];
        const settle = () => {
          for (const one of waiting.filter(({ turn }) => turn === null || turn.slot <= at(now))) {
            one.turn = takeTurn(usage, limits, one.turn, at(now), far);
            if (one.turn === null || one.turn.slot > at(now)) continue;
            waiting = waiting.filter((other) => other !== one);
            for (const { limit } of limits) {
              const window = `${limit.id} ${Math.floor((now * 60) / limit.windowSeconds)}`;
              const count = (sent.get(window) ?? 0) + 1;
              sent.set(window, count);
              expect(count).toBeLessThanOrEqual(limit.maxCount);
            }
          }
        };
        for (const { minutes, arriving, leaving } of steps) {
          now += minutes;
          for (const one of waiting.splice(0, leaving)) giveBack(usage, one.turn, at(now));
          waiting.push(...Array.from({ length: arriving }, () => ({ turn: null })));
          settle();
        }
        // Everybody who stays is sent in the end.
        for (let left = 0; left < 400 && waiting.length > 0; left++) {
          now++;
          settle();
        }
        expect(waiting).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

const database = await testDatabase();
const monday = new Date("2026-03-02T16:00:00Z");

async function limited(count: number): Promise<ReadyTenant> {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  await putRateLimit(tenant, { scope: "tenant", channel: "email", maxCount: 2, windowSeconds: 3_600 });
  await queue(tenant, count, "p");
  return tenant;
}

async function queue(tenant: ReadyTenant, count: number, prefix: string): Promise<void> {
  const contactIds: string[] = [];
  for (let n = 0; n < count; n++)
    contactIds.push(await person(database, tenant, { email: `${prefix}${n}@example.com` }));
  const content = { subject: "Hi", text: "Hello" };
  const plan = { start: "a", nodes: [{ id: "a", type: "send", channel: "email", content, expiresAfter: "P3D" }] };
  const { id } = await createCampaign(tenant, { name: prefix, plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  while ((await runActions(tenant, [])) > 0);
}

const held = async (tenant: ReadyTenant) => {
  const { rows } = await sql<{ id: string; enrollment: string; to: string; run_at: Date }>`
    select id, contact_campaign_id as enrollment, to_address as to, run_at from outbound_messages
    where tenant_id = ${tenant.tenantId} and status = 'held' order by run_at, id`.execute(database.owner);
  return rows;
};
const later = (hours: number) => new Date(monday.getTime() + hours * 3_600_000);

test("the place of a message that will never go is given to the next one", async () => {
  const tenant = await limited(8);
  await pump(tenant);
  const [stopped, suppressed] = await held(tenant);
  expect([stopped?.run_at, suppressed?.run_at]).toEqual([later(1), later(1)]);
  await stopEnrollment(tenant, { id: stopped?.enrollment ?? "" });
  await suppression.add(tenant, {
    channel: "email",
    address: suppressed?.to ?? "",
    reason: "manual",
    source: "test",
  });
  await queue(tenant, 3, "q");
  await pump(tenant);
  expect((await held(tenant)).map((one) => one.run_at)).toEqual([1, 1, 2, 2, 3, 3, 4].map(later));
});

test("after an outage the missed messages go first, at the rated rate", async () => {
  const tenant = await limited(10);
  await pump(tenant);
  const order = (await held(tenant)).map((one) => one.to);
  for (let hour = 4; hour < 10; hour++) {
    await setClock(database, later(hour));
    await pump(tenant);
    expect(tenant.email.accepted.length).toBeLessThanOrEqual(2 * (hour - 2));
  }
  expect(tenant.email.accepted.slice(2).map((one) => one.to)).toEqual(order);
  const { rows } = await sql<{ used: number; reserved: number }>`
    select used, reserved from send_rate_windows where tenant_id = ${tenant.tenantId} and window_start >= ${later(4)} order by window_start`.execute(
    database.owner,
  );
  expect(rows.every((row) => row.used <= 2)).toBe(true);
});

test("a place is lost to nobody when eight workers ask at once", async () => {
  const tenant = await limited(12);
  for (let hour = 0; hour < 6; hour++) {
    await setClock(database, later(hour));
    await Promise.all(Array.from({ length: 8 }, () => deliver(tenant, tenant.deps, [], () => 60_000)));
    expect(tenant.email.accepted).toHaveLength(2 * (hour + 1));
  }
});

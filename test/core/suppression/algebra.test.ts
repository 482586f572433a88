/** Properties: whatever happens in whatever order, the stored state is the fold of what was said. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { channels, type SuppressionReason, suppressionReasons } from "../../../core/kernel/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();
const target = { channel: "sms", address: "+12025550123" } as const;

type Event =
  | { readonly kind: "no"; readonly reason: SuppressionReason }
  | { readonly kind: "START" }
  | { readonly kind: "operator" };

const events: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("no" as const), reason: fc.constantFrom(...suppressionReasons) }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "START" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "operator" as const }) },
);

/** The rules, said once more without a database: the set of reasons in force, in the order they came. */
function fold(state: readonly SuppressionReason[], event: Event): readonly SuppressionReason[] {
  if (event.kind === "no") return state.includes(event.reason) ? state : [...state, event.reason];
  if (event.kind === "START") {
    return state.filter((reason) => reason !== "stop" && reason !== "unsubscribed" && reason !== "complaint");
  }
  return state.every((reason) => ["hard_bounce", "provider", "manual"].includes(reason)) ? [] : state;
}

test("the fold of all events is the current view", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(events, { maxLength: 12 }), async (history) => {
      const tenant = await newTenant(database);
      let expected: readonly SuppressionReason[] = [];
      for (const event of history) {
        expected = fold(expected, event);
        if (event.kind === "no") await suppression.add(tenant, { ...target, reason: event.reason, source: "test" });
        else if (event.kind === "START") await suppression.liftByRecipient(tenant, { ...target, source: "test" });
        else {
          const [active] = (await suppression.list(tenant, { ...target, active: true })).data;
          if (active) await suppression.lift(tenant, { id: active.id, note: "x" }).catch(() => {});
        }
      }
      const answer = await suppression.check(tenant, target);
      const [first] = expected;
      if (first === undefined) expect(answer).toEqual({ allowed: true });
      else expect(answer).toMatchObject({ allowed: false, hit: { reason: first } });
      const rows = (await suppression.list(tenant, target)).data;
      expect(rows.filter(({ releasedAt }) => releasedAt === null)).toHaveLength(expected.length > 0 ? 1 : 0);
    }),
    { numRuns: 40 },
  );
});

test("a bulk import never lifts: what was suppressed before is suppressed after", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...suppressionReasons),
      fc.array(fc.record({ reason: fc.constantFrom(...suppressionReasons), digit: fc.integer({ min: 0, max: 4 }) }), {
        minLength: 1,
        maxLength: 20,
      }),
      async (reason, rows) => {
        const tenant = await newTenant(database);
        const before = await suppression.add(tenant, {
          channel: "sms",
          address: "+12025550100",
          reason,
          source: "test",
        });
        await suppression.addMany(tenant, {
          entries: rows.map((row) => ({
            channel: "sms",
            address: `+1202555010${row.digit}`,
            reason: row.reason,
            source: "import",
          })),
        });
        expect(await suppression.check(tenant, { channel: "sms", address: "+12025550100" })).toMatchObject({
          allowed: false,
          hit: { id: before.added[0]?.id, reason },
        });
      },
    ),
    { numRuns: 20 },
  );
});

test("canonical forms are fixed points", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...channels),
      fc.oneof(fc.emailAddress(), fc.string(), fc.constantFrom("(202) 555-0123", "+a@a.aa", "+a+b@a.aa", "a.+b@a.aa")),
      (channel, text) => {
        const key = suppression.suppressionKey(channel, text);
        if (key !== null) expect(suppression.suppressionKey(channel, key)).toBe(key);
      },
    ),
  );
});

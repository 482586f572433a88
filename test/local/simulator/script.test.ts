import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Behaviour,
  behaviourOf,
  defaultRates,
  Rates,
  type ReactionKind,
} from "../../../local/simulator/script.ts";

const people = 20_000;
const emails = Array.from({ length: people }, (_, i) =>
  behaviourOf("seed", defaultRates, { address: `p${i}@example.com`, channel: "email", ordinal: 1 }),
);
const texts = Array.from({ length: people }, (_, i) =>
  behaviourOf("seed", defaultRates, { address: `+1202555${String(i).padStart(5, "0")}`, channel: "sms", ordinal: 1 }),
);
const shareOf = (scripts: readonly Behaviour[], kind: ReactionKind) =>
  scripts.filter((script) => script.some((one) => one.kind === kind)).length / scripts.length;
const has = (script: Behaviour, kind: ReactionKind) => script.some((one) => one.kind === kind);

/** Four standard deviations of a share: a fixed seed either keeps to it or the draw is biased. */
const near = (expected: number) => 4 * Math.sqrt((expected * (1 - expected)) / people);

const { deliver, asyncBounce, open, machineOpen, click } = defaultRates;
const expectedEmail: readonly (readonly [ReactionKind, number])[] = [
  ["delivered", deliver + asyncBounce],
  ["bounced_hard", defaultRates.hardBounce],
  ["bounced_blocked", defaultRates.blocked],
  ["bounced_async", asyncBounce],
  ["dropped", defaultRates.dropped],
  ["opened", deliver * open * (1 - machineOpen)],
  ["opened_machine", deliver * open * machineOpen],
  ["clicked", deliver * click],
  ["replied", deliver * defaultRates.reply],
  ["complained", deliver * defaultRates.complaint],
  ["unsubscribed", deliver * defaultRates.unsubscribe],
  ["stop", deliver * defaultRates.stop],
  ["autoreply", deliver * defaultRates.autoreply],
];

describe("the engagement script", () => {
  test.each(expectedEmail)("e-mail: %s happens as often as the rates say (%d)", (kind, expected) => {
    expect(Math.abs(shareOf(emails, kind) - expected)).toBeLessThan(near(expected));
  });

  test.each([
    ["delivered", deliver],
    ["undelivered", defaultRates.undelivered],
    ["replied", deliver * defaultRates.reply],
    ["stop", deliver * defaultRates.stop],
  ] as const)("SMS: %s happens as often as the rates say (%d)", (kind, expected) => {
    expect(Math.abs(shareOf(texts, kind) - expected)).toBeLessThan(near(expected));
  });

  const rate = fc.double({ min: 0, max: 0.2, noNaN: true });
  const rates = fc
    .record({
      deliver: rate,
      hardBounce: rate,
      blocked: rate,
      asyncBounce: rate,
      dropped: rate,
      undelivered: rate,
      open: rate,
      machineOpen: rate,
      click: rate,
      reply: rate,
      complaint: rate,
      unsubscribe: rate,
      stop: rate,
      autoreply: rate,
      deferred: rate,
    })
    .map((given) => Rates.parse(given));
  const key = fc.record({
    address: fc.emailAddress(),
    channel: fc.constantFrom("email" as const, "sms" as const),
    ordinal: fc.integer({ min: 1, max: 9 }),
  });

  test("the same seed and message give the same script, whatever was asked before", () => {
    fc.assert(
      fc.property(fc.string(), rates, fc.array(key, { minLength: 2, maxLength: 6 }), (seed, given, keys) => {
        const forward = keys.map((one) => behaviourOf(seed, given, one));
        const backward = keys.toReversed().map((one) => behaviourOf(seed, given, one));
        expect(backward.toReversed()).toEqual(forward);
      }),
    );
  });

  test("is ordered, delivers at most once, and nobody reads what was not delivered", () => {
    const whole = Rates.parse({
      deliver: 0.5,
      hardBounce: 0.2,
      blocked: 0.1,
      asyncBounce: 0.1,
      dropped: 0.1,
      undelivered: 0.4,
      deferred: 0.5,
      open: 0.9,
      click: 0.5,
      reply: 0.4,
      stop: 0.3,
      unsubscribe: 0.2,
      complaint: 0.1,
    });
    fc.assert(
      fc.property(fc.integer(), key, (seed, one) => {
        const script = behaviourOf(seed, whole, one);
        const times = script.map(({ afterSeconds }) => afterSeconds);
        expect(times).toEqual(times.toSorted((a, b) => a - b));
        expect(times.every((at) => Number.isInteger(at) && at >= 0)).toBe(true);
        expect(script.filter(({ kind }) => kind === "delivered").length).toBeLessThanOrEqual(1);
        const delivered = script.findIndex(({ kind }) => kind === "delivered");
        const needsDelivery = [
          "opened",
          "opened_machine",
          "clicked",
          "replied",
          "stop",
          "unsubscribed",
          "complained",
          "autoreply",
        ];
        for (const [index, { kind }] of script.entries()) {
          if (needsDelivery.includes(kind)) expect(delivered !== -1 && delivered < index).toBe(true);
        }
        const decisions = ["replied", "stop", "unsubscribed", "complained"] as const;
        expect(decisions.filter((kind) => has(script, kind)).length).toBeLessThanOrEqual(1);
        if (has(script, "clicked")) expect(has(script, "opened")).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("another seed, ordinal or channel is another draw", () => {
    const base = { address: "a@example.com", channel: "email", ordinal: 1 } as const;
    const half = Rates.parse({ open: 0.5, machineOpen: 0 });
    const opened = (seed: number, ordinal: number) => has(behaviourOf(seed, half, { ...base, ordinal }), "opened");
    const bySeed = new Set(Array.from({ length: 40 }, (_, seed) => opened(seed, 1)));
    const byOrdinal = new Set(Array.from({ length: 40 }, (_, ordinal) => opened(1, ordinal)));
    expect([bySeed.size, byOrdinal.size]).toEqual([2, 2]);
  });

  test("raising one rate changes nobody it does not concern", () => {
    const more = Rates.parse({ ...defaultRates, reply: 0.2, complaint: 0, unsubscribe: 0, stop: 0 });
    const withoutDecisions = (script: Behaviour) =>
      script.filter(({ kind }) => !["replied", "complained", "unsubscribed", "stop"].includes(kind));
    for (let i = 0; i < 500; i++) {
      const one = { address: `p${i}@example.com`, channel: "email", ordinal: 1 } as const;
      expect(withoutDecisions(behaviourOf("seed", more, one))).toEqual(withoutDecisions(emails[i] ?? []));
    }
  });

  test("an address, or its whole domain, can be told what to do", () => {
    const overrides = {
      "bounce@example.com": [{ kind: "bounced_hard", afterSeconds: 3 }],
      "@silent.example": [],
    } as const satisfies Record<string, Behaviour>;
    const of = (address: string) => behaviourOf(1, defaultRates, { address, channel: "email", ordinal: 1 }, overrides);
    expect(of("bounce@example.com")).toEqual([{ kind: "bounced_hard", afterSeconds: 3 }]);
    expect(of("anyone@silent.example")).toEqual([]);
    expect(of("other@example.com")).toEqual(
      behaviourOf(1, defaultRates, { address: "other@example.com", channel: "email", ordinal: 1 }),
    );
  });

  test.each([
    [{ deliver: 1.1 }, "deliver"],
    [{ open: -0.1 }, "open"],
    [{ hardBounce: 0.5 }, "deliver"],
    [{ undelivered: 0.5 }, "undelivered"],
    [{ reply: 0.9, stop: 0.2 }, "reply"],
    [{ opens: 0.1 }, ""],
  ])("refuses rates that make no sense: %o", (given, path) => {
    const parsed = Rates.safeParse(given);
    expect(parsed.success).toBe(false);
    expect(parsed.error?.issues[0]?.path.join(".")).toBe(path);
  });
});

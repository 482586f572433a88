import { describe, expect, test } from "vitest";
import { advance } from "../../../core/campaigns/engine.ts";
import { migrateState } from "../../../core/campaigns/migrate.ts";
import type { EngineEvent } from "../../../core/campaigns/state.ts";
import { email, hoursLater, iso, planOf, reaction, sms, walk } from "./plans.ts";

const next = (to: string, after = "PT72H") => ({ transitions: [{ on: "no_reply" as const, to, after }] });
const old = planOf({ start: "a", nodes: [email("a", next("b")), email("b", next("c")), email("c")] });
const sent = (nodeId: string): EngineEvent => ({ type: "sent", nodeId });
/** Has been sent `a` and waits at `b`, which was accepted at hour 73. */
const atB = walk(old, [
  [0, sent("a")],
  [1, reaction("a", "opened", 1)],
  [72, { type: "timeout", nodeId: "a", on: "no_reply" }],
  [73, sent("b")],
]).state;

describe("moving a running enrollment to a new version", () => {
  test("arms the timers of the new plan from the old facts", () => {
    const plan = planOf({ start: "a", nodes: [email("a", next("b")), email("b", next("d", "PT24H")), email("d")] });
    const { state, effects, problem } = migrateState(old, plan, atB, {}, hoursLater(80));
    expect(problem).toBeUndefined();
    expect(state).toEqual(atB);
    expect(effects).toEqual([
      { type: "cancel", what: "timeouts", nodeId: "b" },
      {
        type: "transition",
        fromNodeId: "b",
        toNodeId: "b",
        fromStatus: "active",
        toStatus: "active",
        reason: "migrated",
      },
      { type: "schedule", action: "timeout", nodeId: "b", on: "no_reply", runAt: iso(97) },
    ]);
  });

  test("follows the node map, with all that is known of the messages", () => {
    const plan = planOf({ start: "x", nodes: [email("x", next("y")), email("y", next("z")), email("z")] });
    const { state } = migrateState(old, plan, atB, { a: "x", b: "y" }, hoursLater(80));
    expect(state).toMatchObject({
      status: "active",
      nodeId: "y",
      sends: { x: { events: { opened: iso(1) } }, y: { sentAt: iso(73) } },
    });
    expect(Object.keys(state.sends)).toEqual(["x", "y"]);
  });

  test("never sends a sent node again, wherever the new plan puts it", () => {
    const plan = planOf({ start: "b", nodes: [email("b", next("a")), email("a", next("c")), email("c")] });
    const moved = migrateState(old, plan, atB, {}, hoursLater(80)).state;
    const { state, effects } = advance(plan, moved, { type: "timeout", nodeId: "b", on: "no_reply" }, hoursLater(145));
    // Node a was sent long ago and its time is up as well: the walk passes through it.
    expect(state.nodeId).toBe("a");
    expect(effects.filter((it) => it.type === "send")).toEqual([]);
    expect(effects).toContainEqual({
      type: "schedule",
      action: "timeout",
      nodeId: "a",
      on: "no_reply",
      runAt: iso(72),
    });
  });

  test.each([
    ["removed", planOf({ start: "a", nodes: [email("a", next("c")), email("c")] }), {}, /no node "b".*Map "b"/],
    [
      "of another type",
      planOf({ start: "a", nodes: [email("a", next("b")), { id: "b", type: "stop" }] }),
      {},
      /is a send node, "b" a stop node/,
    ],
    [
      "on another channel",
      planOf({ start: "a", nodes: [email("a", next("b")), sms("b")] }),
      {},
      /sends on email, "b" on sms/,
    ],
    ["mapped to nothing", old, { b: "nowhere" }, /no node "nowhere"/],
  ])("pauses when the current node is %s, and says what is needed", (_, plan, map, message) => {
    const { state, effects, problem } = migrateState(old, plan, atB, map, hoursLater(80));
    expect(problem).toMatch(message);
    expect(state).toMatchObject({ status: "paused", nodeId: "b", exitReason: "needs_mapping" });
    expect(effects).toEqual([
      { type: "cancel", what: "timeouts", nodeId: "b" },
      {
        type: "transition",
        fromNodeId: "b",
        toNodeId: "b",
        fromStatus: "active",
        toStatus: "paused",
        reason: "needs_mapping",
      },
    ]);
  });

  test("a paused one without its node cannot resume until a better map comes", () => {
    const plan = planOf({
      start: "a",
      nodes: [email("a", next("z")), email("z", next("end")), { id: "end", type: "stop" }],
    });
    const lost = migrateState(old, plan, atB, {}, hoursLater(80)).state;
    expect(advance(plan, lost, { type: "resume" }, hoursLater(81))).toEqual({ state: lost, effects: [] });
    const found = migrateState(old, plan, lost, { b: "z" }, hoursLater(82));
    expect(found.problem).toBeUndefined();
    expect(found.state).toMatchObject({ status: "active", nodeId: "z" });
    expect(found.state).not.toHaveProperty("exitReason");
    const armed = { type: "schedule", action: "timeout", nodeId: "z", on: "no_reply", runAt: iso(145) };
    expect(found.effects).toContainEqual(armed);
    // What a person has paused, before or since, waits for a person.
    const since = advance(old, lost, { type: "pause", reason: "by Ann" }, hoursLater(81)).state;
    const before = advance(old, atB, { type: "pause", reason: "by Ann" }, hoursLater(79)).state;
    for (const held of [since, migrateState(old, plan, before, {}, hoursLater(80)).state]) {
      const { state, effects } = migrateState(old, plan, held, { b: "z" }, hoursLater(82));
      expect(state).toMatchObject({ status: "paused", nodeId: "z", exitReason: "by Ann" });
      expect(effects).not.toContainEqual(armed);
      expect(advance(plan, state, { type: "resume" }, hoursLater(83)).effects).toContainEqual(armed);
    }
  });

  test("an ended one only has its facts renamed; one not started starts where the new plan does", () => {
    const ended = advance(old, atB, { type: "stop", reason: "manual" }, hoursLater(80)).state;
    const plan = planOf({ start: "x", nodes: [email("x")] });
    expect(migrateState(old, plan, ended, { a: "x" }, hoursLater(81))).toMatchObject({
      effects: [],
      state: { status: "stopped", sends: { x: {}, b: {} } },
    });
    const fresh = { ...atB, nodeId: null, sends: {}, stepCount: 0 };
    expect(migrateState(old, plan, fresh, {}, hoursLater(81))).toEqual({
      state: fresh,
      effects: [
        { type: "cancel", what: "timeouts", nodeId: "a" },
        { type: "schedule", action: "node", nodeId: "x", runAt: iso(81) },
      ],
    });
    expect(migrateState(old, old, fresh, {}, hoursLater(81))).toEqual({ state: fresh, effects: [] });
  });

  test("two old nodes seen as one keep the earliest of each fact", () => {
    const plan = planOf({ start: "m", nodes: [email("m", next("c")), email("c")] });
    const { state } = migrateState(old, plan, atB, { a: "m", b: "m" }, hoursLater(80));
    expect(state.sends).toEqual({
      m: { sentAt: iso(0), outcome: "sent", events: { opened: iso(1), delivered: iso(1) } },
    });
  });

  test("two nodes may change places, and a name passed on along a chain brings its own facts", () => {
    const swapped = planOf({ start: "b", nodes: [email("b", next("a")), email("a", next("c")), email("c")] });
    const { state } = migrateState(old, swapped, atB, { a: "b", b: "a" }, hoursLater(80));
    expect(state).toMatchObject({ nodeId: "a", sends: { a: { sentAt: iso(73) }, b: { events: { opened: iso(1) } } } });
    const longer = planOf({ start: "a", nodes: [email("a", next("b")), email("b", next("c")), email("c")] });
    const chain = migrateState(old, longer, atB, { a: "b", b: "c" }, hoursLater(80)).state;
    expect(chain).toMatchObject({ nodeId: "c", sends: { b: { events: { opened: iso(1) } }, c: { sentAt: iso(73) } } });
  });

  test("a node whose name goes to another one has no counterpart, and what is known of its message stays apart", () => {
    const plan = planOf({ start: "a", nodes: [email("a", next("b")), email("b")] });
    const { state } = migrateState(old, plan, atB, { b: "a", c: "b" }, hoursLater(80));
    const { a, b, ...retired } = state.sends;
    expect([a, b]).toMatchObject([{ sentAt: iso(73), events: {} }, undefined]);
    expect(Object.values(retired)).toMatchObject([{ sentAt: iso(0), events: { opened: iso(1) } }]);
    const [name = ""] = Object.keys(retired);
    // An answer to it is an answer all the same, also after another move.
    const again = migrateState(plan, old, state, { a: "b", b: "c" }, hoursLater(81)).state;
    expect(advance(old, again, reaction(name, "replied", 82), hoursLater(82)).state).toMatchObject({
      status: "stopped",
      exitReason: "replied",
    });
  });

  test("whoever stands on a node whose name goes to another one needs an entry for it", () => {
    const plan = planOf({ start: "a", nodes: [email("a", next("b")), email("b")] });
    const { state, problem } = migrateState(old, plan, atB, { c: "b" }, hoursLater(80));
    expect(problem).toMatch(/"b" has no counterpart: "c" takes its name/);
    expect(state).toMatchObject({ status: "paused", nodeId: "b", sends: atB.sends });
    const found = migrateState(old, plan, state, { b: "b", c: "b" }, hoursLater(81));
    expect(found).toMatchObject({ state: { nodeId: "b", sends: atB.sends } });
    expect(found.problem).toBeUndefined();
  });

  test("a map may speak of nodes that another version has: the name that this one's node bears stays its own", () => {
    expect(migrateState(old, old, atB, { earlier: "b" }, hoursLater(80)).state).toEqual(atB);
  });

  test("who cannot move yet keeps every name", () => {
    const plan = planOf({ start: "x", nodes: [email("x", next("y")), email("y")] });
    expect(migrateState(old, plan, atB, { a: "x" }, hoursLater(80))).toMatchObject({
      problem: expect.any(String),
      state: { nodeId: "b", sends: atB.sends },
    });
  });
});

import { describe, expect, test } from "vitest";
import type { Condition, Fields } from "../../../core/campaigns/condition.ts";
import { advance } from "../../../core/campaigns/engine.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { type EngineEvent, EnrollmentState, initialState } from "../../../core/campaigns/state.ts";
import { sendStateOf } from "../../../core/campaigns/walk.ts";
import { demoGraph, email, hoursLater, iso, planOf, reaction, sms, walk } from "./plans.ts";

const sent = (nodeId: string): EngineEvent => ({ type: "sent", nodeId });
const timeout = (nodeId: string, on: Extract<EngineEvent, { type: "timeout" }>["on"]): EngineEvent => ({
  type: "timeout",
  nodeId,
  on,
});
const stop = { id: "end", type: "stop" } as const;

describe("the demo campaign", () => {
  const demo = planOf(demoGraph);

  test("someone who opens gets the bump a day later and then the text", () => {
    const { state, sent: nodes } = walk(demo, [
      [1, sent("step-1")],
      [5, reaction("step-1", "opened", 5)],
      [29, timeout("step-1", "opened")],
      [30, sent("step-2")],
      [78, timeout("step-2", "no_reply")],
      [79, sent("step-3")],
    ]);
    expect(nodes).toEqual(["step-1", "step-2", "step-3"]);
    expect(state).toMatchObject({ status: "completed", nodeId: "step-3", exitReason: "end" });
  });

  test("someone who never reacts gets the bump after three days and no text", () => {
    const { state, sent: nodes } = walk(demo, [
      [1, sent("step-1")],
      [73, timeout("step-1", "no_open")],
      [74, sent("step-2")],
      [122, timeout("step-2", "no_reply")],
    ]);
    expect(nodes).toEqual(["step-1", "step-2"]);
    expect(state).toMatchObject({ status: "completed", nodeId: "step-3-if" });
  });

  test("an open by a machine is no engagement", () => {
    const { state } = walk(demo, [
      [1, sent("step-1")],
      [2, reaction("step-1", "opened", 2, true)],
      [2, reaction("step-1", "clicked", 2, true)],
    ]);
    expect(sendStateOf(state, "step-1")?.events).toEqual({});
    expect(state.chosen).toBeUndefined();
  });

  test("a click without a reported open counts as an open", () => {
    const { state } = walk(demo, [
      [1, sent("step-1")],
      [2, reaction("step-1", "clicked", 2)],
    ]);
    expect(sendStateOf(state, "step-1")?.events).toEqual({ clicked: iso(2), opened: iso(2), delivered: iso(2) });
    expect(state.chosen).toEqual({ on: "opened", runAt: iso(26) });
  });

  test.each(["replied", "bounced", "complained", "unsubscribed"] as const)(
    "%s, about any message, stops it and cancels all",
    (event) => {
      const { state, last } = walk(demo, [
        [1, sent("step-1")],
        [73, timeout("step-1", "no_open")],
        [74, reaction("step-1", event, 74)],
      ]);
      expect(state).toMatchObject({ status: "stopped", exitReason: event, nodeId: "step-2" });
      expect(last).toEqual([
        { type: "cancel", what: "all" },
        {
          type: "transition",
          fromNodeId: "step-2",
          toNodeId: null,
          fromStatus: "active",
          toStatus: "stopped",
          reason: event,
        },
      ]);
    },
  );

  test("a reply that is matched to no message still stops it", () => {
    expect(
      walk(demo, [
        [1, sent("step-1")],
        [2, reaction(null, "replied", 2)],
      ]).state,
    ).toMatchObject({
      exitReason: "replied",
      sends: { "step-1": { events: { replied: iso(2) } } },
    });
    expect(walk(demo, [[2, reaction(null, "replied", 2)]]).state).toMatchObject({ exitReason: "replied" });
    expect(walk(demo, [[2, reaction("unknown", "replied", 2)]]).state).toMatchObject({ exitReason: "replied" });
  });

  test("the same contact draws the same subject, drawn once", () => {
    const [first] = walk(demo, []).effects.filter((it) => it.type === "send");
    const [again] = walk(demo, []).effects.filter((it) => it.type === "send");
    expect(first).toEqual(again);
    expect(["a", "b"]).toContain(first?.variantId);
    expect(walk(demo, []).state.sends["step-1"]?.variantId).toBe(first?.variantId);
  });
});

describe("starting", () => {
  const plan = planOf({ start: "w", nodes: [{ id: "w", type: "wait", duration: "P1D", to: "a" }, email("a")] });

  test("the due action of the start node is the start", () => {
    const byDue = advance(plan, initialState("contact_1"), { type: "due", nodeId: "w" }, hoursLater(0));
    expect(byDue).toEqual(advance(plan, initialState("contact_1"), { type: "start" }, hoursLater(0)));
    expect(byDue.effects).toEqual([
      {
        type: "transition",
        fromNodeId: null,
        toNodeId: "w",
        fromStatus: "active",
        toStatus: "active",
        reason: "start",
      },
      { type: "schedule", action: "node", nodeId: "w", runAt: iso(24) },
    ]);
  });

  test("starting twice, or a due action of another node, changes nothing", () => {
    const fresh = initialState("contact_1");
    expect(advance(plan, fresh, { type: "due", nodeId: "a" }, hoursLater(0)).state).toBe(fresh);
    const { state } = walk(plan, []);
    expect(advance(plan, state, { type: "start" }, hoursLater(1))).toEqual({ state, effects: [] });
  });

  test("a wait that is looked at too early is scheduled again for its own time", () => {
    const { state, last } = walk(plan, [[3, { type: "due", nodeId: "w" }]]);
    expect(state.nodeId).toBe("w");
    expect(last).toEqual([{ type: "schedule", action: "node", nodeId: "w", runAt: iso(24) }]);
  });

  test("a wait that is over moves on, once", () => {
    expect(
      walk(plan, [
        [24, { type: "due", nodeId: "w" }],
        [24, { type: "due", nodeId: "w" }],
      ]).sent,
    ).toEqual(["a"]);
  });
});

describe("timers", () => {
  const plan = planOf({
    start: "a",
    nodes: [
      email("a", {
        transitions: [
          { on: "no_open", to: "b" },
          { on: "no_click", to: "c" },
        ],
      }),
      email("b"),
      email("c"),
    ],
  });

  test("start when the provider accepted the message, not when it was queued", () => {
    const { effects } = walk(plan, []);
    expect(effects.filter((it) => it.type === "schedule")).toEqual([]);
    expect(walk(plan, [[10, sent("a")]]).last).toEqual([
      { type: "schedule", action: "timeout", nodeId: "a", on: "no_open", runAt: iso(82) },
      { type: "schedule", action: "timeout", nodeId: "a", on: "no_click", runAt: iso(34) },
    ]);
  });

  test("the first to come true wins and takes the others with it", () => {
    const { state, last } = walk(plan, [
      [0, sent("a")],
      [24, timeout("a", "no_click")],
    ]);
    expect(state.nodeId).toBe("c");
    expect(last[0]).toEqual({ type: "cancel", what: "timeouts", nodeId: "a" });
    expect(
      walk(plan, [
        [0, sent("a")],
        [24, timeout("a", "no_click")],
        [72, timeout("a", "no_open")],
      ]).sent,
    ).toEqual(["a", "c"]);
  });

  test("one that fires early is scheduled again and moves nothing", () => {
    const { state, last } = walk(plan, [
      [0, sent("a")],
      [23, timeout("a", "no_click")],
    ]);
    expect(state.nodeId).toBe("a");
    expect(last).toEqual([{ type: "schedule", action: "timeout", nodeId: "a", on: "no_click", runAt: iso(24) }]);
  });

  test("one whose event did happen does not fire", () => {
    expect(
      walk(plan, [
        [0, sent("a")],
        [5, reaction("a", "opened", 5)],
        [72, timeout("a", "no_open")],
      ]).state.nodeId,
    ).toBe("a");
  });

  test("when everything waited for did happen and nothing is left to match, the enrollment completes", () => {
    const { state } = walk(plan, [
      [0, sent("a")],
      [5, reaction("a", "clicked", 5)],
      [24, timeout("a", "no_click")],
    ]);
    expect(state).toMatchObject({ status: "completed", exitReason: "end" });
  });

  test("one of a node never sent, left behind or unknown changes nothing", () => {
    for (const event of [
      timeout("a", "no_open"),
      timeout("b", "no_open"),
      timeout("zzz", "end"),
      timeout("constructor", "end"),
    ]) {
      const { state } = walk(plan, []);
      expect(advance(plan, state, event, hoursLater(500))).toEqual({ state, effects: [] });
    }
  });
});

describe("reactions", () => {
  const plan = planOf({
    start: "a",
    nodes: [
      email("a", {
        transitions: [
          { on: "clicked", to: "hot" },
          { on: "opened", to: "warm", within: "PT24H" },
          { on: "no_open", to: "cold" },
        ],
      }),
      email("hot"),
      email("warm"),
      email("cold"),
    ],
  });

  test("the first that matches moves on, later ones only add facts", () => {
    const { state, sent: nodes } = walk(plan, [
      [0, sent("a")],
      [1, reaction("a", "opened", 1)],
      [2, reaction("a", "clicked", 2)],
    ]);
    expect(nodes).toEqual(["a", "warm"]);
    expect(sendStateOf(state, "a")?.events).toEqual({ opened: iso(1), delivered: iso(1), clicked: iso(2) });
  });

  test("one that comes after its time is a fact and no move; one reported late but in time moves", () => {
    expect(
      walk(plan, [
        [0, sent("a")],
        [25, reaction("a", "opened", 25)],
      ]).state,
    ).toMatchObject({ nodeId: "a", sends: { a: { events: { opened: iso(25) } } } });
    expect(
      walk(plan, [
        [0, sent("a")],
        [30, reaction("a", "opened", 23)],
      ]).state.nodeId,
    ).toBe("warm");
  });

  test("after a late open nothing is left but a click, waited for a month", () => {
    const late = [
      [0, sent("a")],
      [25, reaction("a", "opened", 25)],
      [72, timeout("a", "no_open")],
    ] as const;
    const { last } = walk(plan, late);
    expect(last).toEqual([{ type: "schedule", action: "timeout", nodeId: "a", on: "end", runAt: iso(720) }]);
    expect(walk(plan, [...late, [100, reaction("a", "clicked", 100)]]).state.nodeId).toBe("hot");
    expect(walk(plan, [...late, [720, timeout("a", "end")]]).state).toMatchObject({ status: "completed" });
    expect(walk(plan, [...late, [719, timeout("a", "end")]]).state).toMatchObject({ status: "active" });
  });

  test("an event that overtakes the provider's answer proves that the message was sent", () => {
    const { state, sent: nodes } = walk(plan, [
      [1, reaction("a", "opened", 1)],
      [2, { type: "sent", nodeId: "a", at: iso(0) }],
    ]);
    expect(nodes).toEqual(["a", "warm"]);
    expect(sendStateOf(state, "a")).toMatchObject({ sentAt: iso(0), outcome: "sent" });
    expect(walk(plan, [[1, reaction("a", "delivered", 1)]]).last).toEqual([
      { type: "schedule", action: "timeout", nodeId: "a", on: "no_open", runAt: iso(73) },
    ]);
  });

  test("a duplicate changes nothing at all", () => {
    const once = walk(plan, [
      [0, sent("a")],
      [25, reaction("a", "opened", 25)],
    ]);
    expect(advance(plan, once.state, reaction("a", "opened", 25), hoursLater(26))).toEqual({
      state: once.state,
      effects: [],
    });
    expect(advance(plan, once.state, { ...sent("a"), at: iso(0) } as EngineEvent, hoursLater(26)).state).toBe(
      once.state,
    );
  });

  test("an unreadable instant counts as now", () => {
    expect(
      walk(plan, [
        [0, sent("a")],
        [3, { type: "message", nodeId: "a", event: "delivered", at: "soon" }],
      ]).state.sends,
    ).toMatchObject({ a: { events: { delivered: iso(3) } } });
  });

  test("names that every object has are not mistaken for nodes", () => {
    for (const nodeId of ["constructor", "__proto__", "toString"]) {
      const { state } = walk(plan, [[0, sent("a")]]);
      expect(advance(plan, state, reaction(nodeId, "opened", 1), hoursLater(1))).toEqual({ state, effects: [] });
    }
  });

  test("a message without transitions completes the enrollment when it is accepted", () => {
    expect(walk(planOf({ start: "a", nodes: [sms("a")] }), [[1, sent("a")]]).state).toMatchObject({
      status: "completed",
    });
  });
});

describe("an explicit transition on an exit event", () => {
  const plan = planOf({
    start: "a",
    nodes: [
      email("a", {
        transitions: [
          { on: "replied", to: "note", within: "P2D" },
          { on: "opened", to: "b", after: "PT24H" },
          { on: "no_reply", to: "b" },
        ],
      }),
      { id: "note", type: "task", title: "Answer", to: "end" },
      email("b"),
      stop,
    ],
  });

  test("outranks the exit rule at its own node, also while another one lingers", () => {
    expect(
      walk(plan, [
        [0, sent("a")],
        [5, reaction("a", "replied", 5)],
      ]).state,
    ).toMatchObject({ status: "completed", nodeId: "end" });
    expect(
      walk(plan, [
        [0, sent("a")],
        [4, reaction("a", "opened", 4)],
        [5, reaction("a", "replied", 5)],
      ]).state,
    ).toMatchObject({ nodeId: "end" });
  });

  test("is not undone by a duplicate of the same reply", () => {
    const next = planOf({ start: "a", nodes: [email("a", { transitions: [{ on: "replied", to: "b" }] }), email("b")] });
    const { state } = walk(next, [
      [0, sent("a")],
      [5, reaction("a", "replied", 5)],
      [6, reaction("a", "replied", 5)],
    ]);
    expect(state).toMatchObject({ status: "active", nodeId: "b" });
    expect(advance(next, state, reaction("b", "replied", 9), hoursLater(9)).state).toMatchObject({ status: "stopped" });
  });

  test("does not when it is too late or the node is left", () => {
    expect(
      walk(plan, [
        [0, sent("a")],
        [60, reaction("a", "replied", 60)],
      ]).state,
    ).toMatchObject({ status: "stopped", exitReason: "replied" });
    expect(
      walk(plan, [
        [0, sent("a")],
        [72, timeout("a", "no_reply")],
        [73, reaction("a", "replied", 40)],
      ]).state,
    ).toMatchObject({ status: "stopped" });
  });

  test("is followed after a pause in which it happened", () => {
    const { state, effects } = walk(plan, [
      [0, sent("a")],
      [4, { type: "pause" }],
      [5, reaction("a", "replied", 5)],
      [6, { type: "resume" }],
    ]);
    expect(state).toMatchObject({ status: "completed", nodeId: "end" });
    expect(effects).toContainEqual({ type: "task", nodeId: "note", title: "Answer", assignee: null, channel: null });
  });
});

describe("a message that cannot be sent", () => {
  const plan = planOf({
    start: "a",
    nodes: [
      email("a", {
        transitions: [
          { on: "failed", to: "b", after: "PT1H" },
          { on: "no_reply", to: "end" },
        ],
      }),
      sms("b"),
      stop,
    ],
  });

  test("follows its failed transition, with its delay", () => {
    const { state, last } = walk(plan, [[1, { type: "send_failed", nodeId: "a", reason: "suppressed" }]]);
    expect(state).toMatchObject({
      nodeId: "a",
      chosen: { on: "failed", runAt: iso(2) },
      sends: { a: { outcome: "failed", failure: "suppressed" } },
    });
    expect(last).toEqual([{ type: "schedule", action: "timeout", nodeId: "a", on: "failed", runAt: iso(2) }]);
    expect(
      walk(plan, [
        [1, { type: "send_failed", nodeId: "a" }],
        [2, timeout("a", "failed")],
      ]).sent,
    ).toEqual(["a", "b"]);
  });

  test("stops the enrollment when the plan does not say what then", () => {
    const { state } = walk(planOf({ start: "a", nodes: [email("a")] }), [
      [1, { type: "send_failed", nodeId: "a", reason: "expired" }],
    ]);
    expect(state).toMatchObject({ status: "stopped", exitReason: "send_failed" });
  });

  test("may also fail after it was accepted, while the node still waits", () => {
    const events = [
      [0, sent("a")],
      [1, { type: "send_failed", nodeId: "a", reason: "undelivered" }],
    ] as const;
    expect(walk(plan, events).last[0]).toEqual({ type: "cancel", what: "timeouts", nodeId: "a" });
    expect(walk(plan, events).state.chosen?.on).toBe("failed");
  });

  test("keeps a plan that only waits for the failure alive for three days", () => {
    const fallback = planOf({
      start: "a",
      nodes: [sms("a", { transitions: [{ on: "failed", to: "b" }] }), email("b")],
    });
    expect(walk(fallback, [[0, sent("a")]]).last).toEqual([
      { type: "schedule", action: "timeout", nodeId: "a", on: "end", runAt: iso(72) },
    ]);
  });
});

describe("pausing", () => {
  const plan = planOf({
    start: "w",
    nodes: [
      { id: "w", type: "wait", duration: "P1D", to: "a" },
      email("a", { transitions: [{ on: "no_open", to: "end" }] }),
      stop,
    ],
  });

  test("cancels the timers and neither shortens nor repeats a wait", () => {
    const { effects } = walk(plan, [
      [1, { type: "pause" }],
      [30, { type: "due", nodeId: "w" }],
      [40, { type: "resume" }],
    ]);
    expect(effects.slice(2)).toEqual([
      { type: "cancel", what: "timeouts", nodeId: "w" },
      {
        type: "transition",
        fromNodeId: "w",
        toNodeId: "w",
        fromStatus: "active",
        toStatus: "paused",
        reason: "paused",
      },
      {
        type: "transition",
        fromNodeId: "w",
        toNodeId: "w",
        fromStatus: "paused",
        toStatus: "active",
        reason: "resumed",
      },
      { type: "schedule", action: "node", nodeId: "w", runAt: iso(24) },
    ]);
  });

  test("keeps what was sent meanwhile: its timers start from the true instant", () => {
    const { last } = walk(plan, [
      [24, { type: "due", nodeId: "w" }],
      [25, { type: "pause" }],
      [26, sent("a")],
      [40, { type: "resume" }],
    ]);
    expect(last).toContainEqual({ type: "schedule", action: "timeout", nodeId: "a", on: "no_open", runAt: iso(98) });
  });

  test("an exit rule and a stop still apply", () => {
    expect(
      walk(plan, [
        [1, { type: "pause" }],
        [2, { type: "stop", reason: "lead_deleted" }],
      ]).state,
    ).toMatchObject({ status: "stopped", exitReason: "lead_deleted" });
    expect(
      walk(plan, [
        [1, { type: "pause" }],
        [2, reaction(null, "unsubscribed", 2)],
      ]).state,
    ).toMatchObject({ status: "stopped" });
    expect(
      walk(plan, [
        [1, { type: "pause" }],
        [2, { type: "converted" }],
      ]).state,
    ).toMatchObject({ exitReason: "converted" });
  });

  test("before the start, resuming schedules the start", () => {
    const paused = advance(plan, initialState("c"), { type: "pause" }, hoursLater(0)).state;
    expect(advance(plan, paused, { type: "start" }, hoursLater(1)).state).toBe(paused);
    expect(advance(plan, paused, { type: "resume" }, hoursLater(2)).effects).toContainEqual({
      type: "schedule",
      action: "node",
      nodeId: "w",
      runAt: iso(2),
    });
  });
});

test("before its first message, too, resuming schedules the start: who was paused too early is not forgotten", () => {
  const plan = planOf({ start: "a", nodes: [email("a")] });
  const paused = advance(plan, initialState("c"), { type: "pause" }, hoursLater(0)).state;
  expect(advance(plan, paused, { type: "resume" }, hoursLater(2)).effects).toContainEqual({
    type: "schedule",
    action: "node",
    nodeId: "a",
    runAt: iso(2),
  });
});

test("a plan may keep walking after a conversion or a reply", () => {
  const plan = planOf({
    start: "a",
    exitOn: ["unsubscribed"],
    nodes: [email("a", { transitions: [{ on: "no_open", to: "end" }] }), stop],
  });
  const { state } = walk(plan, [
    [0, sent("a")],
    [1, { type: "converted" }],
    [2, reaction("a", "replied", 2)],
  ]);
  expect(state).toMatchObject({ status: "active", sends: { a: { events: { replied: iso(2) } } } });
});

test("branch, update, task and stop are walked in one step, each logged", () => {
  const plan = planOf({
    start: "b",
    nodes: [
      {
        id: "b",
        type: "branch",
        cases: [{ when: { op: "eq", field: "lead.status", value: "hot" }, to: "u" }],
        else: "end",
      },
      { id: "u", type: "update", set: { status: "qualified", tags: { add: ["vip"] } }, to: "t" },
      { id: "t", type: "task", title: "Call", channel: "call", assignee: "actor_1", to: "end" },
      { id: "end", type: "stop", outcome: "stopped", reason: "handed over" },
    ],
  });
  const { state, effects } = walk(plan, [], { "lead.status": "hot" });
  expect(state).toMatchObject({ status: "stopped", exitReason: "handed over", stepCount: 4 });
  expect(
    effects.map((it) => (it.type === "transition" ? `${it.fromNodeId}→${it.toNodeId} ${it.reason}` : it.type)),
  ).toEqual([
    "null→b start",
    "b→u case 1",
    "update",
    "u→t updated",
    "task",
    "t→end task",
    "cancel",
    "end→null handed over",
  ]);
  expect(walk(plan, [], { "lead.status": "new" }).effects.map((it) => it.type)).toEqual([
    "transition",
    "transition",
    "cancel",
    "transition",
  ]);
});

test("a branch sees what an update before it has changed", () => {
  const branch = (id: string, when: Condition, to: string): PlanInput["nodes"][number] => ({
    id,
    type: "branch",
    cases: [{ when, to }],
    else: "no",
  });
  const plan = planOf({
    start: "u",
    nodes: [
      {
        id: "u",
        type: "update",
        set: { status: "hot", campaign_status: "nurture", tags: { add: ["vip"], remove: ["cold"] } },
        to: "status",
      },
      branch("status", { op: "eq", field: "lead.status", value: "hot" }, "stage"),
      branch("stage", { op: "eq", field: "lead.campaign_status", value: "nurture" }, "tags"),
      branch("tags", { op: "contains", field: "lead.tags", value: "vip" }, "gone"),
      branch("gone", { op: "not", of: { op: "contains", field: "lead.tags", value: "cold" } }, "yes"),
      { id: "yes", type: "stop", reason: "yes" },
      { id: "no", type: "stop", reason: "no" },
    ],
  });
  const end = (fields: Fields) => walk(plan, [], fields).state.exitReason;
  expect(end({ "lead.status": "new", "lead.tags": ["cold"] })).toBe("yes");
  expect(end({})).toBe("yes");
  expect(end({ "lead.status": "dnc", "lead.tags": [] })).toBe("no");
});

test("a circle that never ends is an error after a thousand steps", () => {
  const plan = planOf({
    start: "w",
    nodes: [
      { id: "w", type: "wait", duration: "PT1M", to: "b" },
      { id: "b", type: "branch", cases: [{ when: { op: "exists", field: "lead.phone" }, to: "end" }], else: "w" },
      stop,
    ],
  });
  const { state, sent: nodes } = walk(
    plan,
    Array.from({ length: 600 }, (_, i) => [i + 1, { type: "due", nodeId: "w" }] as const),
  );
  expect(state).toMatchObject({ status: "error", exitReason: "loop", stepCount: 1000 });
  expect(nodes).toEqual([]);
});

test("a state is plain JSON that its schema reads back", () => {
  const { state } = walk(planOf(demoGraph), [
    [1, sent("step-1")],
    [2, reaction("step-1", "clicked", 2)],
  ]);
  expect(EnrollmentState.parse(JSON.parse(JSON.stringify(state)))).toEqual(state);
});

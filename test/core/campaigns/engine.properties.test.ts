/**
 * What holds for every plan and every sequence of events. The driver keeps the set of pending timed actions as the scheduler would and
 * mixes what a real run brings (actions that come due, provider answers, reactions) with what goes wrong (duplicates, early timers,
 * events about nodes that were never sent, everything after the end).
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { compilePlan } from "../../../core/campaigns/compile.ts";
import { advance } from "../../../core/campaigns/engine.ts";
import { Net } from "../../../core/campaigns/fold.ts";
import { migrateState, type NodeMap, namesAfter } from "../../../core/campaigns/migrate.ts";
import type { Plan } from "../../../core/campaigns/plan.ts";
import {
  type Effect,
  type EngineEvent,
  EnrollmentState,
  initialState,
  isTerminal,
} from "../../../core/campaigns/state.ts";
import { messageEvents, transitionEvents } from "../../../core/campaigns/vocabulary.ts";
import { runs } from "../../support/runs.ts";
import { validPlan } from "./arbitrary.ts";
import { t0 } from "./plans.ts";

const plans: fc.Arbitrary<Plan> = validPlan.map((input) => {
  const compiled = compilePlan(input);
  if (!compiled.ok) throw new Error("the generator made an invalid plan");
  return compiled.plan;
});

/** One draw of the driver: what to do (resolved against the run so far), how much time passes first. */
const move = fc.record({
  kind: fc.constantFrom(
    "due",
    "due",
    "due",
    "answer",
    "answer",
    "react",
    "react",
    "react",
    "foreign",
    "repeat",
    "control",
  ),
  index: fc.nat({ max: 999 }),
  event: fc.constantFrom(...messageEvents),
  on: fc.constantFrom(...transitionEvents, "end" as const),
  isMachine: fc.constantFrom(false, false, false, true),
  isAccepted: fc.constantFrom(true, true, true, false),
  control: fc.constantFrom("pause", "resume", "resume", "start", "converted", "stop"),
  /** Reports arrive up to two days after what they report. */
  reportedLateHours: fc.constantFrom(0, 0, 1, 48),
  passHours: fc.constantFrom(0, 0, 1, 24, 73, 800),
  isEarly: fc.constantFrom(false, false, false, true),
});
type Move = typeof move extends fc.Arbitrary<infer T> ? T : never;
const moves = fc.array(move, { minLength: 1, maxLength: 40 });

const pick = <T>(all: readonly T[], index: number): T | undefined =>
  all.length === 0 ? undefined : all[index % all.length];
const keyOf = (effect: Extract<Effect, { type: "schedule" }>) =>
  `${effect.action} ${effect.nodeId} ${effect.action === "timeout" ? effect.on : ""}`;

interface Step {
  readonly event: EngineEvent;
  readonly now: Date;
  readonly before: EnrollmentState;
  readonly after: EnrollmentState;
  readonly effects: readonly Effect[];
  readonly pending: ReadonlyMap<string, Extract<Effect, { type: "schedule" }>>;
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value))
    for (const inner of Object.values(Object.freeze(value))) freeze(inner);
  return value;
}

function run(plan: Plan, draws: readonly Move[]): Step[] {
  const steps: Step[] = [];
  const pending = new Map<string, Extract<Effect, { type: "schedule" }>>();
  let state = freeze(initialState("contact_1"));
  let now = t0.getTime();
  const ids = [...plan.nodes.map((node) => node.id), "unknown", "__proto__"];

  const next = (it: Move): EngineEvent | undefined => {
    const sends = Object.entries(state.sends);
    switch (it.kind) {
      case "due": {
        const action = pick([...pending.values()], it.index);
        if (!action) return undefined;
        if (!it.isEarly) now = Math.max(now, Date.parse(action.runAt));
        return action.action === "node"
          ? { type: "due", nodeId: action.nodeId }
          : { type: "timeout", nodeId: action.nodeId, on: action.on };
      }
      case "answer": {
        const nodeId = pick(
          sends.filter(([, send]) => send.outcome === undefined),
          it.index,
        )?.[0];
        if (nodeId === undefined) return undefined;
        return it.isAccepted ? { type: "sent", nodeId } : { type: "send_failed", nodeId, reason: "rejected" };
      }
      case "react": {
        const nodeId = pick(sends, it.index)?.[0] ?? null;
        const at = new Date(now - it.reportedLateHours * 3_600_000).toISOString();
        return { type: "message", nodeId, event: it.event, at, machine: it.isMachine };
      }
      case "foreign": {
        const nodeId = pick(ids, it.index) ?? "unknown";
        const at = new Date(now).toISOString();
        return pick<EngineEvent>(
          [
            { type: "due", nodeId },
            { type: "timeout", nodeId, on: it.on },
            { type: "sent", nodeId },
            { type: "send_failed", nodeId },
            { type: "message", nodeId, event: it.event, at },
            { type: "message", nodeId: null, event: it.event, at },
          ],
          it.index,
        );
      }
      case "repeat":
        return pick(steps, it.index)?.event;
      case "control":
        return it.control === "stop" ? { type: "stop", reason: "manual" } : ({ type: it.control } as EngineEvent);
    }
  };

  const apply = (event: EngineEvent) => {
    const before = state;
    // There is one action per key: whoever runs it when it is due has run it.
    const key =
      event.type === "due"
        ? `node ${event.nodeId} `
        : event.type === "timeout"
          ? `timeout ${event.nodeId} ${event.on}`
          : "";
    if (Date.parse(pending.get(key)?.runAt ?? "") <= now) pending.delete(key);
    const result = advance(plan, before, freeze(event), new Date(now));
    state = freeze(result.state);
    for (const effect of result.effects) {
      if (effect.type === "schedule") pending.set(keyOf(effect), effect);
      if (effect.type === "cancel") {
        for (const [key, action] of pending)
          if (effect.what === "all" || action.nodeId === effect.nodeId) pending.delete(key);
      }
    }
    steps.push({ event, now: new Date(now), before, after: state, effects: result.effects, pending: new Map(pending) });
  };

  apply({ type: "start" });
  for (const draw of draws) {
    now += draw.passHours * 3_600_000;
    const event = next(draw);
    if (event) apply(event);
  }
  return steps;
}

const holds = (check: (steps: Step[], plan: Plan) => void, numRuns = runs(60, 150)) =>
  fc.assert(
    fc.property(plans, moves, (plan, draws) => {
      check(run(freeze(plan), draws), plan);
    }),
    { numRuns },
  );

test("every state is legal, survives JSON, and no argument is ever changed", () => {
  holds((steps) => {
    for (const { after } of steps) expect(EnrollmentState.parse(JSON.parse(JSON.stringify(after)))).toEqual(after);
  });
});

test("no node is sent twice", () => {
  holds((steps) => {
    const sent = steps.flatMap((it) => it.effects).flatMap((it) => (it.type === "send" ? [it.nodeId] : []));
    expect(new Set(sent).size).toBe(sent.length);
    expect(new Set(sent)).toEqual(new Set(Object.keys(steps.at(-1)?.after.sends ?? {})));
  });
});

test("ended enrollments never move: later events only add facts", () => {
  holds((steps) => {
    for (const { before, after, effects } of steps) {
      if (!isTerminal(before.status)) continue;
      expect(effects).toEqual([]);
      expect({ ...after, sends: {} }).toEqual({ ...before, sends: {} });
    }
  });
});

test("facts only accumulate, and their instants only move earlier", () => {
  holds((steps) => {
    for (const { before, after } of steps) {
      for (const [id, send] of Object.entries(before.sends)) {
        const later = after.sends[id];
        for (const [event, at] of Object.entries(send.events))
          expect(String(later?.events[event as keyof typeof send.events]) <= at).toBe(true);
        if (send.sentAt !== undefined) expect(String(later?.sentAt) <= send.sentAt).toBe(true);
        if (send.outcome === "failed") expect(later?.outcome).toBe("failed");
        expect(later?.variantId).toBe(send.variantId);
      }
    }
  });
});

test("the same event again at once changes nothing: at most a timer is scheduled for the same instant", () => {
  holds((steps, plan) => {
    for (const { event, now, after } of steps) {
      const again = advance(plan, after, event, now);
      expect(again.state).toEqual(after);
      expect(again.effects.filter((it) => it.type !== "schedule")).toEqual([]);
    }
  });
});

test("timers belong to the node the enrollment is at, and to a message that was sent or failed", () => {
  holds((steps) => {
    for (const { after, effects } of steps) {
      for (const effect of effects) {
        if (effect.type !== "schedule") continue;
        expect(after.status).toBe("active");
        if (after.nodeId !== null) expect(effect.nodeId).toBe(after.nodeId);
        if (effect.action === "timeout") expect(after.sends[effect.nodeId]?.outcome).toBeDefined();
      }
    }
  });
});

test("an active enrollment always waits for something, and an ended or paused one for nothing", () => {
  holds((steps, plan) => {
    for (const { after, pending } of steps) {
      if (after.status !== "active") {
        expect([...pending.keys()]).toEqual([]);
        continue;
      }
      const node = plan.nodes.find((it) => it.id === after.nodeId);
      const isWithProvider = node?.type === "send" && after.sends[node.id]?.outcome === undefined;
      if (!isWithProvider) expect(pending.size).toBeGreaterThan(0);
      for (const action of pending.values()) expect(action.nodeId).toBe(after.nodeId ?? plan.start);
    }
  });
});

test("the transition log is a chain from nothing to the final state", () => {
  holds((steps) => {
    let [nodeId, status]: [string | null, string] = [null, "active"];
    for (const { after, effects } of steps) {
      for (const effect of effects) {
        if (effect.type !== "transition") continue;
        expect([effect.fromNodeId, effect.fromStatus]).toEqual([nodeId, status]);
        nodeId = effect.toNodeId ?? nodeId;
        status = effect.toStatus;
      }
      expect([after.nodeId, after.status]).toEqual([nodeId, status]);
    }
  });
});

test("an unchanged state is the same object, so that a caller can skip the write", () => {
  holds((steps) => {
    for (const { before, after } of steps) {
      if (JSON.stringify(before) === JSON.stringify(after)) expect(after).toBe(before);
    }
  });
});

test("left to its timers, every enrollment ends", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      let state = initialState("contact_1");
      let now = t0;
      let queue: EngineEvent[] = [{ type: "start" }];
      const pending = new Map<string, Extract<Effect, { type: "schedule" }>>();
      for (let turn = 0; turn < 5000 && !isTerminal(state.status); turn++) {
        const event = queue.shift();
        if (!event) {
          const [first] = [...pending.values()].toSorted((a, b) => (a.runAt < b.runAt ? -1 : 1));
          if (!first) break;
          pending.delete(keyOf(first));
          now = new Date(Math.max(now.getTime(), Date.parse(first.runAt)));
          queue = [
            first.action === "node"
              ? { type: "due", nodeId: first.nodeId }
              : { type: "timeout", nodeId: first.nodeId, on: first.on },
          ];
          continue;
        }
        const result = advance(plan, state, event, now);
        state = result.state;
        for (const effect of result.effects) {
          if (effect.type === "schedule") pending.set(keyOf(effect), effect);
          if (effect.type === "cancel") pending.clear();
          if (effect.type === "send") queue.push({ type: "sent", nodeId: effect.nodeId });
        }
      }
      expect(isTerminal(state.status)).toBe(true);
    }),
    { numRuns: runs(60, 150) },
  );
});

test("reactions to an ended enrollment leave the same facts in any order and any number", () => {
  const reports = fc.array(
    fc.record({ index: fc.nat({ max: 20 }), event: fc.constantFrom(...messageEvents), hours: fc.nat({ max: 99 }) }),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(plans, moves, reports, fc.infiniteStream(fc.nat()), (plan, draws, facts, order) => {
      const end = run(plan, [...draws]).at(-1)?.after ?? initialState("c");
      const ended = advance(plan, end, { type: "stop", reason: "manual" }, t0).state;
      const nodes = Object.keys(ended.sends);
      const events = facts.flatMap(({ index, event, hours }): EngineEvent[] => {
        const nodeId = pick(nodes, index);
        return nodeId === undefined
          ? []
          : [{ type: "message", nodeId, event, at: new Date(t0.getTime() + hours * 3_600_000).toISOString() }];
      });
      const after = (list: readonly EngineEvent[]) =>
        list.reduce((state, event) => advance(plan, state, event, t0).state, ended);
      const shuffled = [...events, ...events]
        .map((event) => ({ event, at: order.next().value }))
        .toSorted((a, b) => a.at - b.at);
      expect(after(shuffled.map((it) => it.event))).toEqual(after(events));
    }),
    { numRuns: runs(60, 150) },
  );
});

test("a migration forgets nothing, sends no sent node again and mixes only what its map brings together", () => {
  const names = fc.constantFrom("intro", "constructor", "toString", "bump", "hasOwnProperty", "n5", "elsewhere");
  const maps = fc.dictionary(names, names, { maxKeys: 5, noNullPrototype: true });
  let renamed = 0;
  const check = (plan: Plan, target: Plan, nodeMap: NodeMap, before: EnrollmentState, now: Date) => {
    const { state, effects, problem } = migrateState(plan, target, before, nodeMap, now);
    expect(EnrollmentState.parse(JSON.parse(JSON.stringify(state)))).toEqual(state);
    // Who stays on the old plan keeps its names.
    if (problem !== undefined) return expect(state.sends).toEqual(before.sends);
    const told = new Map(namesAfter(plan, nodeMap).map(({ from, to }) => [from, to]));
    for (const [name, sources] of Map.groupBy(Object.entries(before.sends), ([id]) => told.get(id) ?? id)) {
      const sentAts = sources.flatMap(([, { sentAt }]) => sentAt ?? []).toSorted();
      expect(state.sends[name]?.sentAt).toBe(sentAts[0]);
      const known = new Set(sources.flatMap(([, { events }]) => Object.keys(events)));
      expect(new Set(Object.keys(state.sends[name]?.events ?? {}))).toEqual(known);
      if (sources.length > 1) for (const [id] of sources) expect(nodeMap[id] ?? id).toBe(name);
      expect(effects.filter((it) => it.type === "send" && it.nodeId === name)).toEqual([]);
      renamed += sources.filter(([id]) => id !== name).length;
    }
  };
  fc.assert(
    fc.property(plans, plans, moves, maps, (plan, other, draws, nodeMap) => {
      const last = run(plan, draws).at(-1);
      if (!last) return;
      expect(migrateState(plan, plan, last.after, {}, last.now).problem).toBeUndefined();
      for (const target of [plan, other])
        for (const map of [{}, nodeMap]) check(plan, target, map, last.after, last.now);
    }),
    { numRuns: runs(60, 150) },
  );
  expect(renamed).toBeGreaterThan(0);
});

test("however events are batched, what a batch says it sends is exactly what its state has more than before", () => {
  let forgotten = 0;
  fc.assert(
    fc.property(plans, moves, fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1 }), (plan, draws, sizes) => {
      const steps = run(plan, draws);
      let state = steps[0]?.before ?? initialState("contact_1");
      for (let from = 0, n = 0; from < steps.length; n++) {
        const size = sizes[n % sizes.length] ?? 1;
        const net = new Net("ccmp_1", state);
        for (const { event, now } of steps.slice(from, from + size)) {
          const { state: next, effects } = advance(plan, net.state, event, now);
          net.add(next, effects);
          forgotten += Object.keys(next.sends).length - Object.keys(net.state.sends).length;
        }
        const before = new Set(Object.keys(state.sends));
        const more = Object.keys(net.state.sends).filter((nodeId) => !before.has(nodeId));
        expect(new Set(net.sends.map(({ nodeId }) => nodeId))).toEqual(new Set(more));
        state = net.state;
        from += size;
      }
    }),
    { numRuns: runs(300, 5_000) },
  );
  // Some batches stopped what they had planned, or nothing was tested.
  expect(forgotten).toBeGreaterThan(0);
});

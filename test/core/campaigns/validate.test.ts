import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { Plan, type PlanInput } from "../../../core/campaigns/plan.ts";
import { parsePlan, validatePlan } from "../../../core/campaigns/validate.ts";
import { brokenPlans, validPlan } from "./arbitrary.ts";
import { demoGraph, email, sms } from "./plans.ts";

const plan = (...nodes: unknown[]): unknown => ({ start: "a", nodes });
const to = (id: string, on = "no_reply") => ({ transitions: [{ on, to: id }] });

describe("each rule names the node, the field and the fix", () => {
  const cases: [code: string, input: unknown, nodeId: string | undefined, path: string, message: RegExp][] = [
    ["no_start", { start: "x", nodes: [email("a")] }, undefined, "start", /no node "x"/],
    [
      "unknown_target",
      plan({ ...email("a"), ...to("b") }),
      "a",
      "nodes[0].transitions[0].to",
      /no node "b"; name an existing/,
    ],
    ["unreachable", plan(email("a"), email("b")), "b", "nodes[1].id", /no path from the start/],
    [
      "duplicate_id",
      plan({ ...email("a"), ...to("b") }, email("b"), email("b")),
      "b",
      "nodes[2].id",
      /another node has this id/,
    ],
    ["self_target", plan({ ...email("a"), ...to("a") }), "a", "nodes[0].transitions[0].to", /its own node/],
    ["self_target", plan({ id: "a", type: "wait", duration: "P1D", to: "a" }), "a", "nodes[0].to", /its own node/],
    [
      "cycle_without_wait",
      plan(
        { id: "a", type: "task", title: "Call", to: "b" },
        { id: "b", type: "update", set: { status: "hot" }, to: "a" },
      ),
      "a",
      "nodes[0].to",
      /a → b → a.*wait node of at least PT1M/,
    ],
    [
      "send_in_cycle",
      plan({ ...email("a"), ...to("b") }, { id: "b", type: "wait", duration: "P1D", to: "a" }),
      "a",
      "nodes[0].transitions[0].to",
      /a → b → a.*no node is sent twice/,
    ],
    [
      "subject_missing",
      plan({ ...email("a"), content: { text: "Hi" } }),
      "a",
      "nodes[0].content.subject",
      /needs a subject/,
    ],
    [
      "subject_missing",
      plan({
        ...email("a"),
        content: { text: "Hi" },
        variants: [
          { id: "x", weight: 1, subject: "S" },
          { id: "y", weight: 1 },
        ],
      }),
      "a",
      "nodes[0].variants[1].subject",
      /needs a subject/,
    ],
    ["content_missing", plan({ id: "a", type: "send", channel: "sms" }), "a", "nodes[0].content", /nothing to send/],
    ["content_missing", plan({ ...email("a"), content: { subject: "S" } }), "a", "nodes[0].content", /templateId/],
    ["content_ambiguous", plan({ ...email("a"), templateId: "t" }), "a", "nodes[0].content", /keep one/],
    [
      "content_not_on_channel",
      plan({ ...sms("a"), content: { text: "x", subject: "S" } }),
      "a",
      "nodes[0].content.subject",
      /no subject/,
    ],
    [
      "content_not_on_channel",
      plan({ ...sms("a"), content: { text: "x", html: "<p>" } }),
      "a",
      "nodes[0].content.html",
      /no HTML/,
    ],
    [
      "text_too_long",
      plan({ ...sms("a"), content: { text: "x".repeat(1601) } }),
      "a",
      "nodes[0].content.text",
      /1601 characters.*1600/,
    ],
    [
      "variant_weights",
      plan({
        ...email("a"),
        variants: [
          { id: "x", weight: 0 },
          { id: "y", weight: 0 },
        ],
      }),
      "a",
      "nodes[0].variants",
      /weight above 0/,
    ],
    [
      "variant_duplicate",
      plan({
        ...email("a"),
        variants: [
          { id: "x", weight: 1 },
          { id: "x", weight: 1 },
        ],
      }),
      "a",
      "nodes[0].variants[1].id",
      /"x"/,
    ],
    [
      "transition_not_on_channel",
      plan({ ...sms("a"), ...to("b", "opened") }, email("b")),
      "a",
      "nodes[0].transitions[0].on",
      /never happens on sms/,
    ],
    [
      "transition_duplicate",
      plan(
        {
          ...email("a"),
          transitions: [
            { on: "opened", to: "b" },
            { on: "opened", to: "b" },
          ],
        },
        email("b"),
      ),
      "a",
      "nodes[0].transitions[1].on",
      /keep one/,
    ],
    [
      "within_not_allowed",
      plan({ ...email("a"), transitions: [{ on: "no_open", to: "b", within: "P1D" }] }, email("b")),
      "a",
      "nodes[0].transitions[0].within",
      /use after/,
    ],
    [
      "condition_unknown_node",
      plan(
        { id: "a", type: "branch", cases: [{ when: { op: "happened", event: "opened", node: "z" }, to: "b" }] },
        email("b"),
      ),
      "a",
      "nodes[0].cases[0].when",
      /"z", which is not a send node/,
    ],
    [
      "condition_not_on_channel",
      plan(
        {
          id: "a",
          type: "branch",
          cases: [{ when: { op: "not", of: { op: "happened", event: "opened", node: "b" } }, to: "b" }],
        },
        sms("b"),
      ),
      "a",
      "nodes[0].cases[0].when",
      /sms never reports/,
    ],
    [
      "schedule_window",
      plan({ ...email("a"), schedule: { from: "18:00", to: "09:00" } }),
      "a",
      "nodes[0].schedule",
      /not before/,
    ],
    ["schedule_window", plan({ ...email("a"), schedule: { days: [] } }), "a", "nodes[0].schedule.days", /no day/],
    [
      "quiet_hours",
      { start: "a", quietHours: { start: "09:00", end: "09:00" }, nodes: [email("a")] },
      undefined,
      "quietHours",
      /same time/,
    ],
    [
      "too_many_nodes",
      plan(...Array.from({ length: 201 }, (_, i) => email(`n${i}`))),
      undefined,
      "nodes",
      /201 nodes; at most 200/,
    ],
    ["missing", plan({ id: "a", type: "send" }), "a", "nodes[0].channel", /is missing: expected one of email/],
    ["missing", { nodes: [email("a")] }, undefined, "start", /field start: is missing/],
    ["invalid", plan({ ...email("a"), channel: "call" }), "a", "nodes[0].channel", /task node.*got "call"/],
    ["invalid", plan({ id: "a", type: "fly" }), "a", "nodes[0].type", /one of send, wait, branch, update, task, stop/],
    [
      "invalid",
      plan({ id: "a", type: "wait", duration: "3 days", to: "b" }),
      "a",
      "nodes[0].duration",
      /ISO 8601.*got "3 days"/,
    ],
    [
      "invalid",
      plan({ id: "a", type: "wait", duration: "PT30S", to: "b" }),
      "a",
      "nodes[0].duration",
      /between PT1M and P400D/,
    ],
    [
      "invalid",
      plan({ id: "a", type: "wait", duration: "P401D", to: "b" }),
      "a",
      "nodes[0].duration",
      /between PT1M and P400D/,
    ],
    ["invalid", { start: "a", timeZone: "Mars/Olympus", nodes: [email("a")] }, undefined, "timeZone", /IANA/],
    ["invalid", { start: "a", timeZone: "+02:00", nodes: [email("a")] }, undefined, "timeZone", /IANA/],
    ["invalid", plan({ id: "a", type: "update", set: {} }), "a", "nodes[0].set", /at least one of status/],
    ["invalid", plan({ ...email("a"), variants: [{ id: "x", weight: 1 }] }), "a", "nodes[0].variants", /at least two/],
    [
      "invalid",
      plan({ id: "a", type: "branch", cases: [{ when: { op: "sum" }, to: "b" }] }),
      "a",
      "nodes[0].cases[0].when.op",
      /one of and, or/,
    ],
    ["unknown_field", plan({ ...email("a"), colour: "red" }), "a", "nodes[0].colour", /remove it or correct/],
    [
      "unknown_field",
      plan({ id: "a", type: "update", set: { owner_id: "x" } }),
      "a",
      "nodes[0].set.owner_id",
      /known here: status, campaign_status, tags/,
    ],
    ["invalid", plan({ id: "__proto__", type: "stop" }), "__proto__", "nodes[0].id", /node id/],
    ["invalid", null, undefined, "", /got null/],
    ["invalid", [], undefined, "", /got \[\]/],
  ];
  test.each(cases)("%s", (code, input, nodeId, path, message) => {
    const found = validatePlan(input).find((it) => it.code === code && it.path === path);
    expect(found, JSON.stringify(validatePlan(input), null, 1)).toBeDefined();
    expect(found?.nodeId).toBe(nodeId);
    expect(found?.message).toMatch(message);
    if (nodeId) expect(found?.message).toContain(`"${nodeId}"`);
    if (found?.field) expect(found.message).toContain(`field ${found.field}`);
  });
});

test("a circle with a wait and without a send is legal, whatever else is in it", () => {
  const loop = plan(
    { id: "a", type: "wait", duration: "P1D", to: "b" },
    {
      id: "b",
      type: "branch",
      cases: [{ when: { op: "eq", field: "lead.status", value: "hot" }, to: "c" }],
      else: "a",
    },
    email("c"),
  );
  expect(validatePlan(loop)).toEqual([]);
});

test("an input nested beyond reason is refused instead of exhausting the stack", () => {
  let when: unknown = { op: "exists", field: "lead.status" };
  for (let i = 0; i < 100_000; i++) when = { op: "not", of: when };
  expect(validatePlan(plan({ id: "a", type: "branch", cases: [{ when, to: "b" }] }, email("b")))).toMatchObject([
    { code: "too_deep" },
  ]);
});

test("parsing fills defaults and is idempotent: a stored plan read back is the same plan", () => {
  const parsed = parsePlan(demoGraph);
  expect(parsed.ok).toBe(true);
  if (!parsed.ok) return;
  expect(parsed.plan.exitOn).toEqual(["replied", "bounced", "complained", "unsubscribed", "converted"]);
  expect(parsed.plan.nodes[0]).toMatchObject({ messageClass: "marketing", expiresAfter: "P3D" });
  expect(parsed.plan.nodes[0]).toMatchObject({ transitions: [{ on: "opened" }, { on: "no_open", after: "PT72H" }] });
  expect(parsePlan(JSON.parse(JSON.stringify(parsed.plan)))).toEqual(parsed);
});

test("the defaults of the timers are 72 h without an open, 24 h without a click, 72 h without a reply", () => {
  const nodes = [
    email("a", {
      transitions: [
        { on: "no_open", to: "end" },
        { on: "no_click", to: "end" },
        { on: "no_reply", to: "end" },
      ],
    }),
    { id: "end", type: "stop" as const },
  ];
  const parsed = parsePlan({ start: "a", nodes } satisfies PlanInput);
  expect(parsed).toMatchObject({
    plan: { nodes: [{ transitions: [{ after: "PT72H" }, { after: "PT24H" }, { after: "PT72H" }] }, {}] },
  });
});

test("every generated plan is valid", () => {
  fc.assert(
    fc.property(validPlan, (input) => {
      expect(validatePlan(input)).toEqual([]);
    }),
  );
});

test("every way of breaking a valid plan is found, under its own code", () => {
  fc.assert(
    fc.property(brokenPlans, ({ input, code }) => {
      expect(validatePlan(input).map((it) => it.code)).toContain(code);
    }),
  );
});

test("no JSON makes validation throw", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), validPlan, (junk, input) => {
      expect(Array.isArray(validatePlan(junk))).toBe(true);
      expect(Array.isArray(validatePlan({ ...input, nodes: [...input.nodes, junk] }))).toBe(true);
    }),
  );
});

test("JSON Schema, and so the OpenAPI document, can describe a plan, recursive conditions included", () => {
  expect(JSON.stringify(z.toJSONSchema(Plan, { io: "input" }))).toContain("#/$defs/Condition");
});

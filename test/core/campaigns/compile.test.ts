import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compilePlan, formOf } from "../../../core/campaigns/compile.ts";
import { describePlan } from "../../../core/campaigns/describe.ts";
import { fieldsOf } from "../../../core/campaigns/fields.ts";
import { nodeOf } from "../../../core/campaigns/graph.ts";
import { canonicalPlan, chooseVariant, planHash, resolveContent, variantKey } from "../../../core/campaigns/hash.ts";
import type { SendNode } from "../../../core/campaigns/plan.ts";
import { validPlan } from "./arbitrary.ts";
import { demoGraph, demoSteps, email, planOf, reaction, walk } from "./plans.ts";

const compiled = (source: unknown) => {
  const result = compilePlan(source);
  if (!result.ok) throw new Error(result.problems.map((it) => it.message).join("\n"));
  return result;
};

test("the demo campaign has one hash, written as a graph or as steps", () => {
  const graph = compiled(demoGraph);
  const steps = compiled(demoSteps);
  expect(steps.plan).toEqual(graph.plan);
  expect(steps.hash).toBe(graph.hash);
  expect([graph.form, steps.form]).toEqual(["graph", "hours"]);
});

test("the hash of the demo campaign is pinned: a change here re-versions every stored plan", () => {
  expect(compiled(demoGraph).hash).toBe("676ea368c4ca002b09b75454de2809a2a5974aebdcb7d90856dfa51d6aa828ea");
});

test("steps without a reaction to wait for move on for everyone who did not reply", () => {
  const { plan } = compiled({
    steps: [
      { subject: "One", text: "1" },
      { delayHours: 48, subject: "Two", text: "2" },
    ],
  });
  expect(plan.nodes).toMatchObject([
    { id: "step-1", transitions: [{ on: "no_reply", after: "PT48H", to: "step-2" }] },
    { id: "step-2", transitions: [] },
  ]);
});

test("a skipped step hands on to a wait for the next one, a taken one to its own timer", () => {
  const { plan } = compiled({
    steps: [
      { delayHours: 2, subject: "One", text: "1" },
      { delayHours: 24, onlyIf: "not_opened", subject: "Two", text: "2" },
      { delayHours: 48, channel: "sms", text: "3" },
    ],
  });
  expect(plan.start).toBe("step-1-wait");
  expect(Object.fromEntries(plan.nodes.map((node) => [node.id, node]))).toMatchObject({
    "step-1-wait": { duration: "PT2H", to: "step-1" },
    "step-1": { transitions: [{ on: "no_reply", after: "PT24H", to: "step-2-if" }] },
    "step-2-if": { cases: [{ to: "step-2" }], else: "step-3-wait" },
    "step-2": { transitions: [{ on: "no_reply", after: "PT48H", to: "step-3" }] },
    "step-3-wait": { duration: "PT48H", to: "step-3" },
  });
});

test("a reaction to a text message can only be a click", () => {
  const { plan } = compiled({
    steps: [
      { channel: "sms", text: "1" },
      { delayHours: 24, afterEngagementHours: 0, channel: "sms", text: "2" },
    ],
  });
  expect(plan.nodes[0]).toMatchObject({
    transitions: [
      { on: "clicked", after: "PT1M" },
      { on: "no_click", after: "PT24H" },
    ],
  });
});

describe("nurture steps in days", () => {
  test("keep calendar days, follow the order of step, and give calls to people", () => {
    const { plan, form } = compiled([
      { step: 3, delay_days: 7, channel: "email", template_id: "checkin" },
      { step: 1, delay_days: 0, channel: "sms", template_id: "welcome_sms" },
      { step: 2, delay_days: 2, channel: "phone", template_id: "intro call" },
    ]);
    expect(form).toBe("days");
    expect(plan.nodes).toMatchObject([
      {
        id: "step-1",
        channel: "sms",
        templateId: "welcome_sms",
        transitions: [{ on: "no_reply", after: "P2D", to: "step-2" }],
      },
      { id: "step-2", type: "task", channel: "call", title: "intro call", to: "step-3-wait" },
      { id: "step-3-wait", duration: "P7D", to: "step-3" },
      { id: "step-3", channel: "email", templateId: "checkin" },
    ]);
  });

  test("a number used twice is refused where it stands", () => {
    const step = { step: 1, delay_days: 0, channel: "sms", template_id: "x" };
    expect(compilePlan([step, step])).toMatchObject({
      ok: false,
      problems: [{ code: "duplicate_step", path: "steps[0].step" }],
    });
  });
});

test.each([
  [{ steps: [] }, "steps"],
  [{ steps: [{ delayHours: -1 }] }, "steps[0].delayHours"],
  [{ steps: [{ delay_days: 1, step: 1, channel: "fax", template_id: "x" }] }, "steps[0].channel"],
  [{ steps: [{ subject: "x", txt: "y" }] }, "steps[0].txt"],
  [{ steps: 7 }, "steps"],
  [{ steps: [{ text: "no subject" }] }, "steps[0].subject"],
  [null, ""],
  ["plan", ""],
])("a wrong source is a list of problems that says where: %j", (source, path) => {
  expect(compilePlan(source)).toMatchObject({ ok: false, problems: [{ path }] });
});

test("a misspelt field of a step is answered with the one that was meant", () => {
  const compiled = compilePlan({ steps: [{ chanel: "email", subject: "a", text: "b" }] });
  expect(compiled).toMatchObject({
    ok: false,
    problems: [{ code: "unknown_field", message: expect.stringContaining("did you mean channel?") }],
  });
});

const nurture = (step: number, more: object = {}) => ({
  step,
  delay_days: 1,
  channel: "email",
  template_id: "x",
  ...more,
});
const hourly = (more: object = {}) => ({ subject: "a", text: "b", ...more });

test.each([
  [[hourly(), { subject: "a" }], "steps[1]", 'Node "step-2", field steps[1]: has nothing to send; give html, text or'],
  [[hourly(), { text: "b" }], "steps[1].subject", "an e-mail needs a subject"],
  [[hourly(), hourly({ text: "{{ }" })], "steps[1].text", "cannot be read as a template"],
  [[hourly({ schedule: { from: "12:00", to: "09:00" } })], "steps[0].schedule", "is not before to 09:00"],
  [[hourly({ delayHours: 0.5 })], "steps[0].delayHours", "field steps[0].delayHours: expected a whole number, got 0.5"],
  [[hourly({ delayHours: 9601 })], "steps[0].delayHours", "expected at most 9600, got 9601"],
  [[hourly({ channel: "call" })], "steps[0].channel", "a step in days, or a task node of a graph, got"],
  [[nurture(2), { step: 1, delayDays: 1, channel: "call", template_id: "x" }], "steps[1].delay_days", "is missing"],
])("what is wrong with steps is said where it is written: %j", (source, path, message) => {
  const compiled = compilePlan(source);
  expect(compiled.ok ? [] : compiled.problems).toContainEqual(
    expect.objectContaining({ path, message: expect.stringContaining(message) }),
  );
});

test("steps in days are named by where they stand, not by when they come", () => {
  const compiled = compilePlan([nurture(3), nurture(1, { channel: "sms", template_id: "y" }), nurture(2)]);
  const { warnings } = compiled.ok ? compiled : { warnings: null };
  expect(warnings).toEqual([]);
  const wrong = { steps: [nurture(2), nurture(1, { template_id: "" })] };
  expect(compilePlan(wrong)).toMatchObject({ ok: false, problems: [{ path: "steps[1].template_id" }] });
});

test("who answers goes on where an answer does not end the walk", () => {
  const stays = compiled({ exitOn: ["unsubscribed"], steps: [hourly(), hourly({ delayHours: 24 })] });
  const first = stays.plan.nodes[0];
  expect(first?.type === "send" && first.transitions).toMatchObject([
    { on: "replied", to: "step-2", after: "PT24H" },
    { on: "no_reply", to: "step-2", after: "PT24H" },
  ]);
  const run = walk(stays.plan, [
    [1, { type: "sent", nodeId: "step-1" }],
    [5, reaction("step-1", "replied", 5)],
    [29, { type: "timeout", nodeId: "step-1", on: "replied" }],
  ]);
  expect(run.sent).toEqual(["step-1", "step-2"]);
});

test("the form follows from what the source holds, also where one field of it is misspelt", () => {
  const { delay_days: _, ...undated } = nurture(1);
  expect(
    [{ nodes: [] }, { steps: [{ delay_days: 1 }] }, { steps: [undated] }, { steps: [{}] }, null, 3].map(formOf),
  ).toEqual(["graph", "days", "days", "hours", "graph", "graph"]);
});

describe("the hash", () => {
  test("is the SHA-256 of the stored canonical JSON and ignores the order of keys, nodes and transitions", () => {
    fc.assert(
      fc.property(validPlan, (input) => {
        const { plan, hash } = compiled(input);
        expect(hash).toBe(createHash("sha256").update(canonicalPlan(plan)).digest("hex"));
        const turned = (value: unknown): unknown =>
          Array.isArray(value)
            ? value.map(turned)
            : typeof value === "object" && value !== null
              ? Object.fromEntries(
                  Object.entries(value)
                    .toReversed()
                    .map(([key, inner]) => [key, turned(inner)]),
                )
              : value;
        const nodes = input.nodes
          .toReversed()
          .map((node) =>
            node.type === "send" ? { ...node, transitions: node.transitions?.toReversed() ?? [] } : node,
          );
        expect(compiled(turned({ ...input, nodes })).hash).toBe(hash);
        expect(compiled(JSON.parse(canonicalPlan(plan))).hash).toBe(hash);
      }),
    );
  });

  test("changes with anything that is sent or timed", () => {
    const base = planHash(planOf({ start: "a", nodes: [email("a")] }));
    for (const change of [{ senderId: "esi_1" }, { expiresAfter: "P4D" }, { content: { subject: "S", text: "T" } }]) {
      expect(planHash(planOf({ start: "a", nodes: [email("a", change)] }))).not.toBe(base);
    }
  });
});

describe("variants", () => {
  const variants = [
    { id: "a", weight: 1 },
    { id: "b", weight: 3 },
    { id: "never", weight: 0 },
  ];

  test("one recipient always draws the same, and many draw by weight", () => {
    const drawn = Array.from({ length: 4000 }, (_, i) => chooseVariant(variants, `key ${i}`)?.id);
    expect(drawn).toEqual(Array.from({ length: 4000 }, (_, i) => chooseVariant(variants, `key ${i}`)?.id));
    const share = drawn.filter((id) => id === "a").length / drawn.length;
    expect(share).toBeGreaterThan(0.22);
    expect(share).toBeLessThan(0.28);
    expect(drawn).not.toContain("never");
  });

  test("the draw depends on plan, node and contact", () => {
    const plan = planOf(demoGraph);
    const other = planOf({ ...demoGraph, timeZone: "UTC" });
    const keys = [
      variantKey(plan, "n", "c"),
      variantKey(plan, "m", "c"),
      variantKey(plan, "n", "d"),
      variantKey(other, "n", "c"),
    ];
    expect(new Set(keys).size).toBe(4);
  });

  test("a variant's body replaces the node's, its subject any subject", () => {
    const node = nodeOf(
      planOf({
        start: "a",
        nodes: [
          email("a", {
            templateId: "base",
            content: { subject: "S0" },
            variants: [
              { id: "subject", weight: 1, subject: "S1" },
              { id: "body", weight: 1, content: { subject: "S2", text: "T2" } },
              { id: "template", weight: 1, templateId: "other" },
              { id: "plain", weight: 1 },
            ],
          }),
        ],
      }),
      "a",
    ) as SendNode;
    const of = (id: string | null) => resolveContent(node, id);
    expect(of("subject")).toEqual({ templateId: "base", subject: "S1", html: null, text: null });
    expect(of("body")).toEqual({ templateId: null, subject: "S2", html: null, text: "T2" });
    expect(of("template")).toEqual({ templateId: "other", subject: null, html: null, text: null });
    expect(of("plain")).toEqual({ templateId: "base", subject: "S0", html: null, text: null });
    expect(of(null)).toEqual(of("plain"));
  });
});

test("a plan draws as a flowchart with its own words, quoted safely", () => {
  const text = describePlan(
    planOf({
      ...demoGraph,
      nodes: [
        email("step-1", {
          content: { subject: 'He said "go" <now>', text: "x" },
          transitions: [{ on: "no_reply", to: "w" }],
        }),
        { id: "w", type: "wait", duration: "P1D", to: "end" },
        { id: "end", type: "stop" },
      ],
    }),
  );
  expect(text).toBe(
    [
      "flowchart TD",
      '  n1["email: He said #34;go#34; #60;now#62;"]',
      '  n2(["wait P1D"])',
      '  n3(("completed"))',
      '  n1 -->|"no_reply after PT72H"| n2',
      "  n2 --> n3",
      "",
    ].join("\n"),
  );
});

test("fieldsOf lists what branches read, once each", () => {
  const read = (field: string) => ({ op: "not" as const, of: { op: "exists" as const, field } });
  const plan = planOf({
    start: "b",
    nodes: [
      {
        id: "b",
        type: "branch",
        cases: [
          { when: read("lead.status"), to: "a" },
          { when: { op: "and", of: [read("contact.title"), read("lead.status")] }, to: "a" },
        ],
      },
      email("a"),
    ],
  });
  expect(fieldsOf(plan)).toEqual(["contact.title", "lead.status"]);
});

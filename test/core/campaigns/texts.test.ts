/** A text that would hold every message is refused with the plan that carries it. */
import { expect, test } from "vitest";
import { compilePlan } from "../../../core/campaigns/compile.ts";

const mail = (content: object, more: object = {}) => ({
  start: "a",
  nodes: [{ id: "a", type: "send", channel: "email", content, ...more }],
});
const warningsOf = (source: unknown): string[] => {
  const compiled = compilePlan(source);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  return compiled.warnings.map(({ code, path, message }) => `${code} ${path} ${message}`);
};

test.each([
  ["subject", mail({ subject: "Hi {{ first_name", text: "x" }), "nodes[0].content.subject"],
  ["html", mail({ subject: "x", html: "<p>{% if first_name %}</p>" }), "nodes[0].content.html"],
  ["text", mail({ subject: "x", text: "{{ first_name | shout }}" }), "nodes[0].content.text"],
  [
    "a variant's text",
    mail(
      { subject: "x" },
      {
        variants: [
          { id: "a", weight: 1, content: { text: "fine" } },
          { id: "b", weight: 1, content: { text: "{{ }" } },
        ],
      },
    ),
    "nodes[0].variants[1].content.text",
  ],
])("%s that cannot be parsed is refused, naming node and field", (_name, source, path) => {
  expect(compilePlan(source)).toMatchObject({
    ok: false,
    problems: [{ code: "template_unreadable", nodeId: "a", path, message: expect.stringContaining('Node "a", field') }],
  });
});

test("plain steps are read the same way", () => {
  expect(compilePlan([{ subject: "Hi {{ first_name", text: "x" }])).toMatchObject({
    ok: false,
    problems: [{ code: "template_unreadable", nodeId: "step-1", path: "steps[0].subject" }],
  });
});

test("a slip in a variable's name is a warning with the name that was meant, and changes no hash", () => {
  const [warning, ...others] = warningsOf(mail({ subject: "Hi {{ fist_name }}", text: "x" }));
  expect(others).toEqual([]);
  expect(warning).toMatch(
    /^unknown_variable nodes\[0\]\.content\.subject .*names fist_name; did you mean first_name\?$/,
  );
  const [nested] = warningsOf(mail({ subject: "x", text: "{{ company.nmae }}" }));
  expect(nested).toContain("names company.nmae; did you mean company.name?");
  const [custom] = warningsOf(mail({ subject: "x", text: "{{ favourite_colour }}" }));
  expect(custom).toContain("names favourite_colour, which is no field of ours");
});

test("names that every message has, and names that the text itself gives, are no warning", () => {
  const text = `{% assign greeting = "Hi" %}{{ greeting }} {{ first_name }} {{ contact.title }} {{ company.name }} {{ company_name }}
    {{ sender.name }} {{ campaign.name }} {{ tenant.name }} {{ lead.city }} {{ address }} {{ unsubscribe_url }} {{ contact.custom_fields.size }}
    {% for phone in phones %}{{ phone }}{% endfor %}`;
  expect(warningsOf(mail({ subject: "x", text }))).toEqual([]);
});

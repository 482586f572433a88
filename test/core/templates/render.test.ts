import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileTemplate, MAX_SMS_CHARS, render } from "../../../core/templates/render.ts";

const html = (source: string, variables: Record<string, unknown> = {}) =>
  render(compileTemplate({ html: source }), variables);
const text = (source: string, variables: Record<string, unknown> = {}) =>
  render(compileTemplate({ text: source }), variables);

describe("a message has no holes", () => {
  test.each([
    ["missing", {}],
    ["null", { name: null }],
    ["undefined", { name: undefined }],
    ["empty", { name: "" }],
    ["white space", { name: " \t\u00a0" }],
    ["an inherited property", Object.create({ name: "Ada" })],
  ])("%s fails the render", (_, variables) => {
    expect(text("Hi {{ name }}", variables)).toMatchObject({ ok: false, reason: "missing_variable" });
    expect(html("<p>Hi {{ name }}</p>", variables)).toMatchObject({ ok: false, reason: "missing_variable" });
    expect(render(compileTemplate({ subject: "Hi {{ name }}", text: "x" }), variables)).toMatchObject({
      ok: false,
      reason: "missing_variable",
    });
  });
  test("the detail names the variable", () => {
    const result = text("Hi {{ contact.first_name }}", { contact: {} });
    expect(result).toMatchObject({ ok: false, detail: expect.stringContaining("contact.first_name") });
  });
  test.each([
    ["{{ name | default: 'there' }}", {}, "there"],
    ["{{ name | default: 'there' }}", { name: " " }, "there"],
    ["{{ name | default: 'there' | upcase }}", { name: null }, "THERE"],
    ["Hi{{ name | default: '' }}!", {}, "Hi!"],
    ["{% assign n = name | default: '' %}{% if n == '' %}none{% else %}{{ n }}{% endif %}", {}, "none"],
    ["{% if company %}at {{ company }}{% else %}alone{% endif %}", {}, "alone"],
    ["{% if company.name %}at {{ company.name }}{% endif %}!", { company: { name: "Acme" } }, "at Acme!"],
    ["{{ zero }} {{ no }}", { zero: 0, no: false }, "0 false"],
    ["{{ list | join: ', ' }}", { list: ["a", "b"] }, "a, b"],
    ["{{ when | date: '%Y-%m-%d %H:%M' }}", { when: "2026-11-09T23:30:00Z" }, "2026-11-09 23:30"],
  ])("%s with %j is %j", (source, variables, expected) => {
    expect(text(source, variables)).toEqual({ ok: true, text: expected });
  });
  test("a subject or text that comes out blank fails", () => {
    expect(render(compileTemplate({ subject: "{% if x %}{{ x }}{% endif %}", text: "x" }), {})).toMatchObject({
      ok: false,
      reason: "missing_variable",
    });
    expect(text("{% if x %}{{ x }}{% endif %} ")).toMatchObject({ ok: false, reason: "missing_variable" });
  });
});

describe("compiling", () => {
  test("lists the variables with their paths", () => {
    const compiled = compileTemplate({
      subject: "{{ a }}",
      html: "{% for p in people %}{{ p.name }}{{ b.c }}{% endfor %}",
      text: "{% assign x = d %}{{ x }}",
    });
    expect(compiled.ok).toBe(true);
    expect(compiled.variables).toEqual(expect.arrayContaining(["a", "b.c", "d"]));
    expect(compiled.variables).not.toContain("x");
  });
  test("one source is compiled once", () => {
    expect(compileTemplate({ text: "{{ same }}" })).toBe(compileTemplate({ text: "{{ same }}" }));
    expect(compileTemplate({ text: "{{ same }}" }).hash).not.toBe(compileTemplate({ html: "{{ same }}" }).hash);
  });
  test.each(["{{ name", "{% if x %}", "{{ x | nonsense }}", "{% nonsense %}", "{{ 'a }}"])(
    "%s is a problem with its part, and cannot be rendered",
    (source) => {
      const compiled = compileTemplate({ subject: source, text: "x" });
      expect(compiled).toMatchObject({ ok: false, problems: [{ part: "subject", severity: "error" }] });
      expect(render(compiled, {})).toMatchObject({ ok: false, reason: "syntax" });
    },
  );
  test("nothing to send is a problem", () => expect(compileTemplate({ subject: "x" }).ok).toBe(false));
  test("unsafe links and unquoted attributes are warned of", () => {
    const messages = (source: string) => compileTemplate({ html: source }).problems.map((problem) => problem.message);
    expect(messages('<a href="{{ link }}">x</a>')).toEqual([expect.stringContaining("| url")]);
    expect(messages("<a title={{ x }}>x</a>")).toEqual([expect.stringContaining("quotes")]);
    expect(
      messages(
        '<a href="{{ link | url }}">x</a><a href="https://a.example/{{ id }}">x</a><a href="{{ unsubscribe_url }}">x</a>',
      ),
    ).toEqual([]);
  });
});

describe("escaping", () => {
  const evil = `<script>alert("x")</script>&'`;
  test("HTML is escaped; text and subject are not", () => {
    const result = render(compileTemplate({ subject: "{{ v }}", html: "<p>{{ v }}</p>", text: "{{ v }}" }), {
      v: evil,
    });
    expect(result).toEqual({
      ok: true,
      subject: evil,
      html: "<p>&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&amp;&#39;</p>",
      text: evil,
    });
  });
  test("the author's own escape does not do it twice", () => {
    expect(html("{{ v | escape }}", { v: "a & b" })).toMatchObject({ html: "a &amp; b" });
  });
  test("no value can open a tag or leave a quoted attribute", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."<>&\"'`=/ ajx\u0000\u2028"), minLength: 1 }), (v) => {
        const result = html('<p title="{{ v }}">{{ v }}</p>', { v });
        if (result.ok) expect(result.html).toMatch(/^<p title="[^"<>]*">[^<>]*<\/p>$/);
      }),
      { numRuns: 500 },
    );
  });
  test.each(["https://a.example/x?y=1&z=2", "http://a.example/", "mailto:a@example.com", "tel:+12025550123"])(
    "url passes %s",
    (link) => {
      expect(text("{{ link | url }}", { link })).toMatchObject({ ok: true, text: link });
    },
  );
  test.each([
    "javascript:alert(1)",
    " JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "\u0001javascript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "//a.example",
    "a.example",
    "ftp://a.example",
  ])("url refuses %j", (link) => {
    expect(html('<a href="{{ link | url }}">x</a>', { link })).toMatchObject({ ok: false, reason: "syntax" });
  });
});

describe("headers", () => {
  test("a value cannot start a second header", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (v) => {
        const result = render(compileTemplate({ subject: "Re: {{ v }}", text: "x" }), { v });
        if (result.ok) expect(result.subject).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
      }),
    );
    expect(
      render(compileTemplate({ subject: "Hi {{ v }}", text: "x" }), { v: "Ada\r\nBcc: eve@example.com" }),
    ).toMatchObject({ subject: "Hi Ada Bcc: eve@example.com" });
  });
});

describe("the text part", () => {
  test("is derived from the HTML when the template has none", () => {
    const result = html(
      '<style>p{}</style><h1>Hello</h1><p>{{ v }} <a href="https://a.example/x">read</a></p><img src="x" alt="y">',
      { v: "a < b & c" },
    );
    expect(result).toMatchObject({ ok: true, text: expect.stringContaining("a < b & c read [https://a.example/x]") });
    expect(result.ok && result.text).not.toMatch(/p\{\}|<h1>/);
  });
  test("is the template's own when it has one", () => {
    expect(render(compileTemplate({ html: "<p>x</p>", text: "own" }), {})).toEqual({
      ok: true,
      html: "<p>x</p>",
      text: "own",
    });
  });
});

describe("size", () => {
  test("an SMS of 1,600 characters passes, one more does not", () => {
    const sms = (n: number) =>
      render(compileTemplate({ text: "{{ v }}" }), { v: "x".repeat(n) }, { maxTextChars: MAX_SMS_CHARS });
    expect(sms(1_600)).toMatchObject({ ok: true });
    expect(sms(1_601)).toMatchObject({ ok: false, reason: "limit" });
  });
  test("HTML over 500 KB and subjects over a line are refused", () => {
    expect(html("<p>{{ v }}</p>", { v: "é".repeat(250_001) })).toMatchObject({ ok: false, reason: "limit" });
    expect(render(compileTemplate({ subject: "{{ v }}", text: "x" }), { v: "x".repeat(999) })).toMatchObject({
      ok: false,
      reason: "limit",
    });
  });
  test("one text is compiled once, whoever brings it", () => {
    const source = { subject: "Hi {{ contact.first_name }}", html: "<p>Some words about {{ company }}.</p>" };
    expect(compileTemplate({ ...source })).toBe(compileTemplate({ ...source }));
    expect(compileTemplate({ ...source, subject: "Hi" })).not.toBe(compileTemplate(source));
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { instrument } from "../../../core/templates/instrument.ts";

const track = (url: string, index: number) => `https://t.example/c/${index}?${new URLSearchParams({ u: url })}`;
const links = (html: string) => instrument(html, "", { trackLink: track }).links;
const rewrite = (html: string) => instrument(html, "", { trackLink: (_, index) => `T${index}` }).html;

describe("links", () => {
  test.each([
    ['<a href="https://a.example/">x</a>', '<a href="T0">x</a>'],
    ["<a href='https://a.example/'>x</a>", "<a href='T0'>x</a>"],
    ["<a href=https://a.example/>x</a>", '<a href="T0">x</a>'],
    ["<a href=https://a.example/ class=b>x</a>", '<a href="T0" class=b>x</a>'],
    ['<A HREF = "HTTPS://a.example/"\n target=_blank>x</A>', '<A HREF = "T0"\n target=_blank>x</A>'],
    ['<a href="https://a.example/?a=1&amp;b=2">x</a>', '<a href="T0">x</a>'],
    ['<a href="&#104;ttps://a.example/">x</a>', '<a href="T0">x</a>'],
    [
      '<area href="https://a.example/"><a title="a > b" href="https://b.example/">x</a>',
      '<area href="T0"><a title="a > b" href="T1">x</a>',
    ],
    ['<a class="x"href="https://a.example/"/>', '<a class="x"href="T0"/>'],
    ['<a href="https://a.example/" href="https://b.example/">x</a>', '<a href="T0" href="https://b.example/">x</a>'],
  ])("%s becomes %s", (before, after) => expect(rewrite(before)).toBe(after));

  test.each([
    '<a href="mailto:a@example.com">x</a>',
    '<a href="tel:+12025550123">x</a>',
    '<a href="#top">x</a>',
    '<a href="">x</a>',
    "<a href>x</a>",
    '<a name="x">x</a>',
    '<a href="https://a.example/" data-outrider-notrack>x</a>',
    '<a data-outrider-notrack="" href="https://a.example/">x</a>',
    '<link href="https://a.example/style.css">',
    '<img src="https://a.example/x.png">',
    "<!-- <a href='https://a.example/'>x</a> -->",
    "<style>a[href='https://a.example/'] { }</style>",
    "<script>'<a href=\"https://a.example/\">'</script>",
    "<title><a href='https://a.example/'></title>",
    "a href='https://a.example/' < b",
    '<a href="https://a.example/',
  ])("%s stays as it is", (html) => {
    expect(rewrite(html)).toBe(html);
    expect(links(html)).toEqual([]);
  });

  test("the tracked URL is what a browser would have opened, and the new one is escaped", () => {
    const done = instrument('<a href="https://a.example/?a=1&amp;b=2&copy;=3">x</a>', "", {
      trackLink: (url) => `https://t.example/?u=${url}&q="<'`,
    });
    expect(done.links).toEqual(["https://a.example/?a=1&b=2©=3"]);
    expect(done.html).toBe(
      '<a href="https://t.example/?u=https://a.example/?a=1&amp;b=2©=3&amp;q=&#34;&lt;&#39;">x</a>',
    );
  });

  test("the same URL twice has two indexes", () => {
    expect(links('<a href="https://a.example/">x</a><a href="https://a.example/">y</a>')).toEqual([
      "https://a.example/",
      "https://a.example/",
    ]);
  });

  test("the unsubscribe link is never tracked, however it is written", () => {
    const unsubscribeUrl = "https://o.example/u/abc?x=1&y=2";
    const html = '<body><a href="https://o.example/u/abc?x=1&amp;y=2">bye</a></body>';
    expect(instrument(html, `bye ${unsubscribeUrl}`, { trackLink: track, unsubscribeUrl })).toEqual({
      html,
      text: `bye ${unsubscribeUrl}`,
      links: [],
    });
  });

  test("whatever the HTML, everything but links stays, and nothing throws", () => {
    const piece = fc.constantFrom(
      '<a href="',
      "<a href=",
      "https://a.example/",
      '"',
      "'",
      ">",
      "</a>",
      "<body>",
      "</body>",
      "&amp;",
      "&#x",
      "<!--",
      "-->",
      " ",
      "é",
      "x",
      "<script>",
      "</script>",
      "/",
      "=",
      "<![CDATA[",
      "<?",
      "\u0000",
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join("")),
        (html) => {
          expect(instrument(html, "", {}).html).toBe(html);
          const marked = instrument(html, "", { trackLink: () => "\u0001" });
          expect((marked.html ?? "").split("\u0001")).toHaveLength(marked.links.length + 1);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe("pixel and footer", () => {
  const what = {
    pixelUrl: "https://o.example/o/t?a=1&b=2",
    unsubscribeUrl: "https://o.example/u/t",
    postalAddress: "Acme Inc.\n1 Main St <2nd floor>, Springfield",
  };
  test("stand before the end of the body", () => {
    const { html } = instrument("<html><body><p>x</p></BODY></html>", "x", what);
    expect(html).toMatch(
      /^<html><body><p>x<\/p><p style="[^"]*">Acme Inc\.<br>1 Main St &lt;2nd floor&gt;, Springfield<br><a href="https:\/\/o\.example\/u\/t">Unsubscribe<\/a><\/p><img src="https:\/\/o\.example\/o\/t\?a=1&amp;b=2"[^>]*><\/BODY><\/html>$/,
    );
  });
  test("a body that is named in a comment or a script is none", () => {
    expect(
      instrument("<body>x<!-- </body> --><script>'</body>'</script></body>", "", { pixelUrl: "https://p.example" })
        .html,
    ).toMatch(/<\/script><img [^>]*><\/body>$/);
  });
  test("without a body they come last", () => {
    expect(instrument("<p>x</p>", "x", { pixelUrl: "https://p.example" }).html).toMatch(/^<p>x<\/p><img [^>]*>$/);
  });
  test("what the template places itself is not added", () => {
    const html =
      "<body>Acme Inc. 1 Main St &lt;2nd floor&gt;,\n  <b>Springfield</b> <a href='https://o.example/u/t'>no more</a></body>";
    const text = "Acme Inc.\n1 Main St <2nd floor>, Springfield\nhttps://o.example/u/t";
    expect(instrument(html, text, { ...what, pixelUrl: undefined })).toEqual({ html, text, links: [] });
  });
  test("a link in a comment does not count as placed", () => {
    expect(instrument("<!-- <a href='https://o.example/u/t'> -->", "", what).html).toContain("Unsubscribe</a>");
  });
  test("the text part gets its footer and keeps its links", () => {
    expect(instrument(undefined, "See https://a.example/\n\n", { ...what, trackLink: track })).toEqual({
      html: undefined,
      text: "See https://a.example/\n\n--\nAcme Inc.\n1 Main St <2nd floor>, Springfield\nUnsubscribe: https://o.example/u/t\n",
      links: [],
    });
  });
});

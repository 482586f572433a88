/** Templates written to hurt: each ends within its limits, as a value, and the process goes on. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { compileTemplate, render } from "../../../core/templates/render.ts";

interface Corpus {
  readonly variables: Record<string, unknown>;
  /** `fail`: refused when compiled or rendered. `limit`: refused by a limit. `escaped`: rendered without live markup. `any`: contained. */
  readonly bombs: readonly {
    readonly name: string;
    readonly html: string | readonly (string | { readonly repeat: string; readonly times: number })[];
    readonly expect: "fail" | "limit" | "escaped" | "any";
  }[];
}
const file: Corpus = JSON.parse(readFileSync(new URL("../../fixtures/templates/bombs.json", import.meta.url), "utf8"));
const corpus = {
  variables: file.variables,
  bombs: file.bombs.map((bomb) => ({
    ...bomb,
    html:
      typeof bomb.html === "string"
        ? bomb.html
        : bomb.html.map((piece) => (typeof piece === "string" ? piece : piece.repeat.repeat(piece.times))).join(""),
  })),
};

/** An unbounded bomb takes minutes or all memory; a bounded one half a second, and more where the machine is busy with other things. */
const patienceMs = 10_000;

describe("template bombs", () => {
  test("there are at least forty", () => expect(corpus.bombs.length).toBeGreaterThanOrEqual(40));

  test.each(corpus.bombs)("$name: $expect", (bomb) => {
    for (const part of ["html", "text", "subject"] as const) {
      const started = performance.now();
      const compiled = compileTemplate({ text: "x", [part]: bomb.html });
      const result = render(compiled, structuredClone(corpus.variables));
      expect(performance.now() - started).toBeLessThan(patienceMs);
      if (part !== "html") continue;
      if (bomb.expect === "fail") expect(result).toMatchObject({ ok: false });
      if (bomb.expect === "limit") expect(result).toMatchObject({ ok: false, reason: "limit" });
      if (bomb.expect === "escaped") {
        expect(result).toMatchObject({ ok: true });
        expect(result.ok && result.html).not.toMatch(/<script|<img|" onmouseover/);
        expect(result.ok && result.html).toMatch(/&(amp;)?lt;|&#34;/);
      }
    }
  });

  test("a template cannot change the variables that it was given", () => {
    const before = structuredClone(corpus.variables);
    const given = structuredClone(corpus.variables);
    for (const bomb of corpus.bombs)
      if (bomb.expect !== "limit" && bomb.expect !== "any") render(compileTemplate({ html: bomb.html }), given);
    render(
      compileTemplate({ html: "{% assign name = 'Eve' %}{{ items | push: 1 | size }}{{ items | reverse | join }}" }),
      given,
    );
    expect(given).toEqual(before);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJson, storableText } from "../../../core/kernel/json.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string) => parseJson(bytes(text));

describe("parseJson", () => {
  it("agrees with JSON.parse on every ordinary document", () => {
    const harmless = (value: unknown): boolean =>
      !/__proto__|constructor|prototype|\\u|[\0\uFFFD]/.test(JSON.stringify(value));
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8, noUnicodeString: false }).filter(harmless), (value) => {
        const text = JSON.stringify(value);
        // Doubles beyond 2^53 are kept as text on purpose.
        fc.pre(!/\d{16}|e[+-]?\d/.test(text));
        expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text), repaired: false });
      }),
    );
  });

  it("never throws, and what it accepts survives a second round", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(bytes)), (raw) => {
        const parsed = parseJson(raw);
        if (parsed.ok) expect(JSON.stringify(parsed.value)).not.toMatch(/\\u0000|\\ud[89a-f]/i);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["a depth bomb of 9 KiB", "[".repeat(5_000), "depth"],
    ["a depth bomb of objects", '{"a":'.repeat(65), "depth"],
    ["too many keys", `{${'"a":1,'.repeat(100_001)}"b":1}`, "keys"],
    ["a body over 1 MiB", `"${"x".repeat(1_048_576)}"`, "too_large"],
    ["no JSON", "{oops}", "syntax"],
    ["NaN", "[NaN]", "syntax"],
    ["a raw control character", '"\u0000"', "syntax"],
    ["nothing", "", "syntax"],
    ["__proto__", '{"__proto__":{"isAdmin":true}}', "forbidden_key"],
    ["an escaped __proto__", '{"a":[{"\\u005f_proto__":1}]}', "forbidden_key"],
    ["constructor", '{"constructor":{"prototype":1}}', "forbidden_key"],
  ])("refuses %s", (_name, text, reason) => {
    expect(parse(text)).toEqual({ ok: false, reason });
  });

  it("refuses what is not UTF-8", () => {
    expect(parseJson(Uint8Array.of(0x22, 0xff, 0x22))).toEqual({ ok: false, reason: "encoding" });
    expect(parseJson(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toEqual({ ok: false, reason: "encoding" });
  });

  it("accepts 64 levels, brackets inside strings and a byte order mark", () => {
    expect(parse(`${"[".repeat(64)}${"]".repeat(64)}`).ok).toBe(true);
    expect(parse(`["${"[{".repeat(500)}\\"]"]`).ok).toBe(true);
    expect(parse('\uFEFF{"a":1}')).toEqual({ ok: true, value: { a: 1 }, repaired: false });
  });

  it("accepts a full batch of 1,000 events", () => {
    const event = Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`key_${at}`, "value"]));
    expect(parse(JSON.stringify(Array.from({ length: 1_000 }, () => event))).ok).toBe(true);
  });

  it("replaces what jsonb refuses and says so", () => {
    expect(parse('{"a\\u0000":"x\\u0000y","b":["\\ud800","\\ud83d\\udc4d"]}')).toEqual({
      ok: true,
      value: { "a\uFFFD": "x\uFFFDy", b: ["\uFFFD", "👍"] },
      repaired: true,
    });
    expect(parse('{"a":"\\u00e9"}')).toEqual({ ok: true, value: { a: "é" }, repaired: false });
    expect(parse('{"job":"constructor of __proto__"}')).toMatchObject({ ok: true, repaired: false });
  });

  it("keeps identifiers beyond 2^53 and overflowing numbers as text", () => {
    expect(
      parse('{"id":12345678901234567890,"big":1e999,"n":1.5e3,"d":0.1234567890123456,"s":9007199254740991}'),
    ).toEqual({
      ok: true,
      value: {
        id: "12345678901234567890",
        big: "1e999",
        n: 1500,
        d: 0.1234567890123456,
        s: 9007199254740991,
      },
      repaired: false,
    });
  });
});

describe("storableText", () => {
  it("leaves ordinary text alone", () => {
    expect(storableText("Grüße 👍\n")).toBe("Grüße 👍\n");
    expect(storableText("a\0b\ud800")).toBe("a\uFFFDb\uFFFD");
    expect(storableText("ab👍", 3)).toBe("ab\uFFFD");
  });
});

/** Bytes that parsers trip over, each with a name. Made by code, so that a megabyte of nesting is one line to read. */
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";

export interface Named {
  readonly name: string;
  readonly bytes: Buffer;
  /** Says what the bytes are packed in, as an HTTP client would. */
  readonly encoding?: string;
}

const named = (name: string, bytes: string | Uint8Array): Named => ({ name, bytes: Buffer.from(bytes as Uint8Array) });
const utf16 = (text: string): Buffer => Buffer.from(`\ufeff${text}`, "utf16le");
const nested = (open: string, close: string, depth: number, inner = ""): string =>
  `${open.repeat(depth)}${inner}${close.repeat(depth)}`;

/** Bodies that are no honest JSON of the ingress they are sent to; `wrap` puts a value where a field of interest is. */
export function jsonBodies(wrap: (value: string) => string): readonly Named[] {
  const mebibyte = 1_048_576;
  const fill = (size: number): string => {
    const empty = wrap('""').length;
    return wrap(JSON.stringify("x".repeat(Math.max(0, size - empty))));
  };
  const good = wrap('"x"');
  return [
    named("empty body", ""),
    named("one space", " "),
    named("one NUL", "\0"),
    named("only a byte order mark", Buffer.from([0xef, 0xbb, 0xbf])),
    named("byte order mark in front", `\ufeff${good}`),
    named("two byte order marks", `\ufeff\ufeff${good}`),
    named("UTF-16 with mark", utf16(good)),
    named("UTF-16 big endian", utf16(good).swap16()),
    named("UTF-32", Buffer.concat([...good].map((letter) => Buffer.from([letter.charCodeAt(0), 0, 0, 0])))),
    named("invalid UTF-8: lone continuation", Buffer.concat([Buffer.from(wrap('"').slice(0, 3)), Buffer.from([0x80])])),
    named("invalid UTF-8: overlong slash", Buffer.from(wrap('"\u00c0\u00af"'), "latin1")),
    named("invalid UTF-8: encoded surrogate", Buffer.from(wrap('"\u00ed\u00a0\u0080"'), "latin1")),
    named("invalid UTF-8: beyond Unicode", Buffer.from(wrap('"\u00f4\u0090\u0080\u0080"'), "latin1")),
    named("invalid UTF-8: cut off", Buffer.from(wrap('"\u00e2\u0082"'), "latin1")),
    named("NUL escaped", wrap('"a\\u0000b"')),
    named("NUL unescaped", wrap('"a\0b"')),
    named("lone high surrogate", wrap('"\\ud800"')),
    named("lone low surrogate", wrap('"\\udc00 tail"')),
    named("surrogates the wrong way round", wrap('"\\udc00\\ud800"')),
    named("control characters", wrap('"a\u0001\u0002\u001f"')),
    named("line separators", wrap('"\u2028\u2029"')),
    named("right to left override", wrap('"\u202etxt.exe\u202c"')),
    named("zero width characters", wrap('"a\u200b\u200c\u200d\u2060\ufeffb"')),
    named("noncharacters", wrap('"\uffff\ufffe\ufdd0"')),
    named("a thousand combining marks", wrap(JSON.stringify(`e${"\u0301".repeat(1_000)}`))),
    named("emoji family", wrap('"👩‍👩‍👧‍👦🏴‍☠️"')),
    named("arrays 64 deep", wrap(nested("[", "]", 64))),
    named("arrays 65 deep", wrap(nested("[", "]", 65))),
    named("arrays 5,000 deep", wrap(nested("[", "]", 5_000))),
    named("arrays 100,000 deep", wrap(nested("[", "]", 100_000))),
    named("arrays 450,000 deep, never closed", "[".repeat(450_000)),
    named("objects 10,000 deep", wrap(nested('{"a":', "}", 10_000, "1"))),
    named("only closing brackets", "]".repeat(10_000)),
    named("duplicate keys", wrap('{"a":1,"a":2,"a":{"a":3,"a":4}}')),
    named("the same key 50,000 times", wrap(`{${Array.from({ length: 50_000 }, () => '"k":1').join(",")}}`)),
    named("150,000 keys", wrap(`{${Array.from({ length: 85_000 }, (_, n) => `"${n}":0`).join(",")}}`)),
    named("1e400", wrap("1e400")),
    named("-1e400", wrap("-1e400")),
    named("1e-400", wrap("1e-400")),
    named("20 digits", wrap("12345678901234567890")),
    named("100,000 digits", wrap("9".repeat(100_000))),
    named("100,000 decimals", wrap(`0.${"1".repeat(100_000)}`)),
    named("minus zero", wrap("-0")),
    named("NaN", wrap("NaN")),
    named("Infinity", wrap("Infinity")),
    named("a leading zero", wrap("007")),
    named("hexadecimal", wrap("0xff")),
    named("single quotes", wrap("'x'")),
    named("a trailing comma", wrap('["x",]')),
    named("a comment", wrap('/* hello */"x"')),
    named("trailing garbage", `${good}garbage`),
    named("two documents", `${good}${good}`),
    named("a NUL behind the end", `${good}\0`),
    named("cut off in the middle", good.slice(0, Math.floor(good.length / 2))),
    named("null", "null"),
    named("true", "true"),
    named("a number", "42"),
    named("a string", '"hello"'),
    named("an array", "[]"),
    named("an empty object", "{}"),
    named("an array of arrays", "[[[]]]"),
    named("an array of null", "[null,null]"),
    named("a __proto__ key", wrap('{"__proto__":{"isAdmin":true}}')),
    named("an escaped __proto__ key", wrap('{"\\u005f_proto__":{"isAdmin":true}}')),
    named("a constructor key", wrap('{"constructor":{"prototype":{"isAdmin":true}}}')),
    named("a toString key", wrap('{"toString":1,"valueOf":2}')),
    named("a toJSON key", wrap('{"toJSON":"x"}')),
    named("a then key", wrap('{"then":"x"}')),
    named("a length key", wrap('{"length":4294967295,"0":"x"}')),
    named("an empty key", wrap('{"":{"":{"":1}}}')),
    named("a key of 100,000 characters", wrap(`{"${"k".repeat(100_000)}":1}`)),
    named("exactly the limit", fill(mebibyte)),
    named("a byte over the limit", fill(mebibyte + 1)),
    named("a MiB of spaces", " ".repeat(mebibyte)),
    named("a MiB of quotes", '"'.repeat(mebibyte)),
    named("a MiB of backslashes", wrap(`"${"\\".repeat(900_000)}"`)),
    named("300,000 empty strings", `[${Array.from({ length: 300_000 }, () => '""').join(",")}]`),
    named("XML", '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'),
    named("HTML", "<html><script>alert(1)</script></html>"),
    named("a form", "a=1&b=2"),
    named("random bytes", Buffer.from(Array.from({ length: 4_096 }, (_, n) => (n * 7_919 + (n >> 3) * 104_729) & 255))),
    { name: "gzip", bytes: gzipSync(good), encoding: "gzip" },
    { name: "deflate", bytes: deflateSync(good), encoding: "deflate" },
    { name: "raw deflate", bytes: deflateRawSync(good), encoding: "deflate" },
    { name: "gzip said but not done", bytes: Buffer.from(good), encoding: "gzip" },
    { name: "gzip done but not said", bytes: gzipSync(good) },
    { name: "a gzip bomb of 100 MiB", bytes: bomb(), encoding: "gzip" },
    { name: "gzip cut off", bytes: gzipSync(good).subarray(0, 12), encoding: "gzip" },
    { name: "an unknown content encoding", bytes: Buffer.from(good), encoding: "zstd, br;q=\u00ff" },
  ];
}

let packed: Buffer | undefined;
/** 100 MiB of zeros in 100 KiB. */
const bomb = (): Buffer => {
  packed ??= gzipSync(Buffer.alloc(100 * 1_048_576));
  return packed;
};

/** Texts for single fields. */
export const fieldTexts: Readonly<Record<string, string>> = {
  empty: "",
  blank: "   \t ",
  NUL: "a\0b",
  "lone surrogate": "a\ud800b",
  "line break": "a\r\nBcc: evil@example.com\r\n\r\nbody",
  "only a line feed": "a\nX-Evil: 1",
  "unicode line breaks": "a\u0085b\u2028c\u2029d",
  "right to left": "\u202eevil",
  "zero width": "e\u200bv\u200di\u2060l",
  homoglyph: "аdmin@exаmple.com",
  prototype: "__proto__",
  constructor: "constructor",
  SQL: "'; drop table leads; --",
  "SQL wildcard": "%_%\\",
  path: "../../../../etc/passwd",
  template: "{{ 7 | times: 7 }}{% for i in (1..1000000000) %}{% endfor %}",
  HTML: "<script>alert(1)</script><img src=x onerror=alert(1)>",
  formula: '=HYPERLINK("https://evil.example","x")',
  format: "%s%n%x#{7*7}",
  percent: "%00%0d%0a%c0%af%zz",
  long: "x".repeat(70_000),
  "very long": "y".repeat(600_000),
  "long word of marks": "e\u0301".repeat(20_000),
  date: "2026-02-30T25:61:61Z",
  "far date": "+275760-09-13T00:00:00.000Z",
  "far past": "-271821-04-20T00:00:00.000Z",
  number: "1e400",
  emoji: "👩‍👩‍👧‍👦".repeat(100),
};

/** JSON values for a field that expects another type. */
export const fieldValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2_147_483_648,
  9_007_199_254_740_992,
  -9_007_199_254_740_992,
  1e308,
  [],
  [[]],
  [null],
  {},
  { a: 1 },
  { toString: 1, valueOf: 2 },
  { length: 3 },
  ...Object.values(fieldTexts),
];

/**
 * JSON that strangers send: refused before `JSON.parse` when it could hurt, repaired after it where PostgreSQL would refuse it.
 *
 * Invariant: what `parseJson` returns can be stored as jsonb and walked by recursion, whatever the bytes were.
 */

export interface JsonLimits {
  readonly maxBytes: number;
  /** Nested arrays and objects. V8 overflows its stack near 5,000, PostgreSQL's jsonb near 10,000. */
  readonly maxDepth: number;
  /** Object members in the whole body. A batch of 1,000 provider events has about 20,000. */
  readonly maxKeys: number;
}

export const defaultJsonLimits: JsonLimits = { maxBytes: 1_048_576, maxDepth: 64, maxKeys: 100_000 };

export type ParsedJson =
  | {
      readonly ok: true;
      readonly value: unknown;
      /** NUL characters or lone surrogates were replaced by U+FFFD: the value is no longer exactly what was sent. */
      readonly repaired: boolean;
    }
  | { readonly ok: false; readonly reason: "too_large" | "encoding" | "depth" | "keys" | "syntax" | "forbidden_key" };

const utf8 = new TextDecoder("utf-8", { fatal: true });
/** Keys that turn a careless `Object.assign` into prototype pollution. */
const forbiddenKeys = new Set(["__proto__", "constructor", "prototype"]);

/**
 * Replaces what PostgreSQL's `text` and `jsonb` refuse: NUL characters and lone surrogates. `maxLength` counts UTF-16 units and is
 * applied first, because a cut may split a pair.
 */
export const storableText = (text: string, maxLength = text.length): string =>
  text.slice(0, maxLength).replaceAll("\0", "\uFFFD").toWellFormed();

/**
 * Parses UTF-8 JSON (a byte order mark is tolerated). Whole numbers beyond 2^53 and numbers that overflow stay text, because
 * providers use them as identifiers. Of duplicate keys the last wins, as everywhere in JavaScript.
 */
export function parseJson(bytes: Uint8Array, limits: Partial<JsonLimits> = {}): ParsedJson {
  const { maxBytes, maxDepth, maxKeys } = { ...defaultJsonLimits, ...limits };
  if (bytes.byteLength > maxBytes) return { ok: false, reason: "too_large" };
  const shape = scan(bytes);
  if (shape.depth > maxDepth) return { ok: false, reason: "depth" };
  if (shape.keys > maxKeys) return { ok: false, reason: "keys" };
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return { ok: false, reason: "encoding" };
  }
  let value: unknown;
  try {
    value = shape.bigNumber
      ? JSON.parse(text, keepBigNumbers as (key: string, value: unknown) => unknown)
      : JSON.parse(text);
  } catch {
    return { ok: false, reason: "syntax" };
  }
  // In valid UTF-8 only an escape can spell a NUL or half a surrogate pair, and only an escape can hide a forbidden key.
  const suspicious = shape.escaped || [...forbiddenKeys].some((key) => text.includes(key));
  if (!suspicious) return { ok: true, value, repaired: false };
  const state = { repaired: false, forbidden: false };
  const clean = repair(value, state);
  return state.forbidden
    ? { ok: false, reason: "forbidden_key" }
    : { ok: true, value: clean, repaired: state.repaired };
}

const code = (character: string): number => character.charCodeAt(0);
const [quote, backslash, colon, letterU, zero, nine, dot] = [...'"\\:u09.'].map(code) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];
const openers = new Set([..."[{"].map(code));
const closers = new Set([..."]}"].map(code));
const exponents = new Set([..."eE"].map(code));

/** One pass over the bytes without building anything. It judges shape only; whether this is JSON at all is the parser's business. */
function scan(bytes: Uint8Array): { depth: number; keys: number; escaped: boolean; bigNumber: boolean } {
  let open = 0;
  let depth = 0;
  let keys = 0;
  let digits = 0;
  let inString = false;
  let escaped = false;
  let bigNumber = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (inString) {
      if (byte === backslash) {
        at++;
        if (bytes[at] === letterU) escaped = true;
      } else if (byte === quote) inString = false;
      continue;
    }
    if (byte >= zero && byte <= nine) {
      if (++digits > 15) bigNumber = true;
      continue;
    }
    if (digits > 0 && exponents.has(byte)) bigNumber = true;
    if (byte !== dot) digits = 0;
    if (byte === quote) inString = true;
    else if (byte === colon) keys++;
    else if (openers.has(byte)) depth = Math.max(depth, ++open);
    else if (closers.has(byte)) open--;
  }
  return { depth, keys, escaped, bigNumber };
}

/** ECMAScript 2026 passes the source text of primitives to a reviver. */
function keepBigNumbers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  const exact = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
  return exact ? value : context.source;
}

/** Recursion is safe here: `scan` has bounded the depth. */
function repair(value: unknown, state: { repaired: boolean; forbidden: boolean }): unknown {
  if (typeof value === "string") {
    const clean = storableText(value);
    if (clean !== value) state.repaired = true;
    return clean;
  }
  if (Array.isArray(value)) return value.map((item) => repair(item, state));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => {
    if (forbiddenKeys.has(key)) state.forbidden = true;
    return [repair(key, state), repair(item, state)] as const;
  });
  return Object.fromEntries(entries);
}

/**
 * The Liquid dialect of templates: what a tenant's text may do. Invariant: nothing it says can read outside its variables, run longer or
 * grow larger than the limits here, print an unescaped value into HTML, or print nothing where a value was meant.
 */
import { Drop, Liquid, type Template } from "liquidjs";

export const PARSE_LIMIT_CHARS = 100_000;
export const RENDER_LIMIT_MS = 200;
/** One `{% … %}` or `{{ … }}`. Parsing a condition takes the square of its length. */
export const TAG_LIMIT_CHARS = 4_000;
/** Units of liquidjs: about one per character or array item produced. Without it one `(1..1e9)` ends the process, uncatchably. */
export const MEMORY_LIMIT = 1_000_000;

/** A value that was meant to be printed and is not there. */
export class BlankValue extends Error {
  override readonly name = "BlankValue";
}
/** A value that must not be printed where it stands. */
export class RefusedValue extends Error {
  override readonly name = "RefusedValue";
}

/** What `| default: ""` yields: the author has said that nothing is fine here. Filters and comparisons read it as the empty string. */
class IntendedBlank extends Drop {
  override valueOf(): string {
    return "";
  }
  override toString(): string {
    return "";
  }
}

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&#34;",
  "'": "&#39;",
};
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) => escapes[char] ?? char);

/** The printable form of an output, or BlankValue. Zero and false are values; objects are a mistake of the template. */
function printable(value: unknown): string {
  if (value instanceof IntendedBlank) return "";
  if (value === null || value === undefined) throw new BlankValue("a variable is empty");
  if (Array.isArray(value))
    return printable(value.map((item) => (typeof item === "object" ? printable(item) : String(item))).join(""));
  if (typeof value === "object" && !(value instanceof Date))
    throw new RefusedValue("an object cannot be printed: name one of its fields");
  const text = value instanceof Date ? value.toISOString() : String(value);
  if (text.trim() === "") throw new BlankValue("a variable is empty");
  return text;
}

const safeSchemes = new Set(["http:", "https:", "mailto:", "tel:"]);

/** The `url` filter: an absolute http, https, mailto or tel address, normalised; anything else is refused. */
export function safeUrl(value: unknown): string {
  const text = typeof value === "string" ? value.trim() : "";
  if (text === "") throw new BlankValue("a link is empty");
  // URL parsers drop tabs and line ends inside a scheme; a link that has them is hiding something.
  const parsed = /\p{Cc}/u.test(text) ? null : URL.parse(text);
  if (!parsed || !safeSchemes.has(parsed.protocol)) throw new RefusedValue("a link is not http, https, mailto or tel");
  return parsed.href;
}

/** Tags that read files, print unescaped or write into the caller's variables. */
const removedTags = ["include", "render", "layout", "block", "raw", "increment", "decrement"];
/** Filters that print unescaped, are not deterministic, or have no use in a message and do cost. */
const removedFilters = [
  "raw",
  "sample",
  "inspect",
  "jsonify",
  "json",
  "hmac_sha256",
  "sha256",
  "where_exp",
  "reject_exp",
  "group_by_exp",
  "has_exp",
  "find_exp",
  "find_index_exp",
];

export type Mode = "html" | "text";

function makeEngine(mode: Mode): Liquid {
  const engine = new Liquid({
    outputEscape: mode === "html" ? (value) => escapeHtml(printable(value)) : printable,
    ownPropertyOnly: true,
    strictVariables: true,
    strictFilters: true,
    lenientIf: true,
    templates: {},
    dynamicPartials: false,
    parseLimit: PARSE_LIMIT_CHARS,
    renderLimit: RENDER_LIMIT_MS,
    memoryLimit: MEMORY_LIMIT,
    // The same message wherever it is rendered.
    timezoneOffset: "UTC",
    preserveTimezones: true,
    locale: "en-US",
  });
  for (const tag of removedTags) delete engine.tags[tag];
  const filters = engine.filters;
  for (const filter of removedFilters) delete filters[filter];
  // Output is escaped in any case, so the author's own `| escape` must not do it twice.
  for (const name of ["escape", "escape_once", "xml_escape"]) engine.registerFilter(name, (value: unknown) => value);
  engine.registerFilter("url", safeUrl);
  const { default: fallback, date } = filters;
  engine.registerFilter("default", function (this: unknown, ...args: unknown[]) {
    const value: unknown = typeof fallback === "function" ? Reflect.apply(fallback, this, args) : args[1];
    const blankText = typeof args[0] === "string" && args[0].trim() === "";
    const chosen = blankText ? args[1] : value;
    return typeof chosen === "string" && chosen.trim() === "" ? new IntendedBlank() : chosen;
  });
  engine.registerFilter("date", function (this: unknown, ...args: unknown[]) {
    if (args[0] === "now" || args[0] === "today")
      throw new RefusedValue(`"${args[0]}" is not a variable: pass the date in`);
    return typeof date === "function" ? Reflect.apply(date, this, args) : args[0];
  });
  boundOutput(engine);
  return engine;
}

/**
 * liquidjs counts what filters produce but not what is written, so ten nested captures of a long text would double into gigabytes. Every
 * write is charged to the same limit here.
 */
function boundOutput(engine: Liquid): void {
  const renderer = engine.renderer;
  const original = renderer.renderTemplates.bind(renderer);
  renderer.renderTemplates = (templates, ctx, emitter) =>
    original(
      templates,
      ctx,
      emitter ?? {
        buffer: "",
        write(html: unknown) {
          const text = html === undefined || html === null ? "" : String(html);
          ctx.memoryLimit.use(text.length);
          this.buffer += text;
        },
      },
    );
}

const engines: Readonly<Record<Mode, Liquid>> = { html: makeEngine("html"), text: makeEngine("text") };

/** Throws an Error that a template's author can read. */
export function parse(mode: Mode, source: string): Template[] {
  if (source.length > PARSE_LIMIT_CHARS) throw new Error(`longer than ${PARSE_LIMIT_CHARS} characters`);
  for (let from = source.indexOf("{"); from >= 0; from = source.indexOf("{", from + 1)) {
    const closing = source[from + 1] === "{" ? "}}" : source[from + 1] === "%" ? "%}" : null;
    if (closing === null) continue;
    const end = source.indexOf(closing, from);
    if (end < 0) throw new Error(`${source.slice(from, from + 40)} is not closed`);
    if (end - from > TAG_LIMIT_CHARS)
      throw new Error(`${source.slice(from, from + 40)}… is longer than ${TAG_LIMIT_CHARS} characters`);
    from = end;
  }
  return engines[mode].parse(source);
}
/** Every variable path that the template takes from outside, `contact.first_name`. */
export const variablesOf = (mode: Mode, parsed: Template[]): string[] =>
  engines[mode].globalFullVariablesSync(parsed, { partials: false });
export const renderParsed = (mode: Mode, parsed: Template[], variables: object): string =>
  String(engines[mode].renderSync(parsed, variables));

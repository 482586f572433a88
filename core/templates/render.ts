/**
 * Templates to messages. Invariant: a render either yields a complete message or says why not; a message with a hole is never an answer.
 * Compiling is paid once per distinct source.
 */
import { createHash } from "node:crypto";
import { compile as compileHtmlToText } from "html-to-text";
import { Parser } from "htmlparser2";
import { LiquidError, type Template } from "liquidjs";
import { BlankValue, type Mode, parse, RefusedValue, renderParsed, variablesOf } from "./liquid.ts";

export const MAX_HTML_BYTES = 500_000;
/** Twilio's limit for a message body. Text parts of e-mails may be as large as the HTML. */
export const MAX_SMS_CHARS = 1_600;
/** RFC 5322 line limit; a subject is one line. */
const MAX_SUBJECT_CHARS = 998;

export interface TemplateSource {
  readonly subject?: string | undefined;
  readonly html?: string | undefined;
  readonly text?: string | undefined;
}

export interface TemplateProblem {
  readonly part: "subject" | "html" | "text" | "template";
  /** An error keeps the template from being used; a warning is shown to its author. */
  readonly severity: "error" | "warning";
  readonly message: string;
}

interface Part {
  readonly mode: Mode;
  readonly parsed: Template[];
}

export interface CompiledTemplate {
  readonly ok: boolean;
  /** SHA-256 of the source: equal sources are one compiled template. */
  readonly hash: string;
  /** Variable paths, sorted: `contact.first_name`. */
  readonly variables: readonly string[];
  readonly problems: readonly TemplateProblem[];
  readonly parts: { readonly subject?: Part; readonly html?: Part; readonly text?: Part };
}

export type Rendered =
  | { readonly ok: true; readonly subject?: string; readonly html?: string; readonly text: string }
  | { readonly ok: false; readonly reason: "missing_variable" | "limit" | "syntax"; readonly detail: string };

const cache = new Map<string, CompiledTemplate>();
const maxCached = 500;

/** Parses and checks; never throws. An unusable template has `ok: false` and says why in `problems`. */
export function compileTemplate(source: TemplateSource): CompiledTemplate {
  let known = bySource.get(source);
  if (!known) {
    known = compileText(source);
    bySource.set(source, known);
  }
  return known;
}

/** Many messages of one batch share one source: its text is hashed once. */
const bySource = new WeakMap<TemplateSource, CompiledTemplate>();

function compileText(source: TemplateSource): CompiledTemplate {
  const hash = createHash("sha256")
    .update(JSON.stringify([source.subject ?? null, source.html ?? null, source.text ?? null]))
    .digest("hex");
  let compiled = cache.get(hash);
  if (!compiled) {
    compiled = compileSource(source, hash);
    if (cache.size >= maxCached) cache.clear();
    cache.set(hash, compiled);
  }
  return compiled;
}

function compileSource(source: TemplateSource, hash: string): CompiledTemplate {
  const problems: TemplateProblem[] = [];
  const variables = new Set<string>();
  const part = (name: "subject" | "html" | "text", mode: Mode): Part | undefined => {
    const text = source[name];
    if (text === undefined) return undefined;
    try {
      const parsed = parse(mode, text);
      for (const path of variablesOf(mode, parsed)) variables.add(path);
      return { mode, parsed };
    } catch (error) {
      problems.push({ part: name, severity: "error", message: error instanceof Error ? error.message : String(error) });
      return undefined;
    }
  };
  const subject = part("subject", "text");
  const html = part("html", "html");
  const text = part("text", "text");
  if (source.html === undefined && source.text === undefined) {
    problems.push({ part: "template", severity: "error", message: "a template needs html or text" });
  }
  if (source.html !== undefined) problems.push(...linkWarnings(source.html));
  return {
    ok: problems.every((problem) => problem.severity !== "error"),
    hash,
    variables: [...variables].toSorted(),
    problems,
    parts: { ...(subject && { subject }), ...(html && { html }), ...(text && { text }) },
  };
}

const linkAttributes = new Set(["href", "src", "action", "background"]);
/** Places that the engine itself fills with addresses that it made. */
const ownLinks = /^\{\{-?\s*(unsubscribe_url|view_url|preferences_url)\s*-?\}\}$/;

/** A link that is a variable should say `| url`; a variable outside quotes can leave its attribute. */
function linkWarnings(html: string): TemplateProblem[] {
  const found: TemplateProblem[] = [];
  const warn = (message: string) => found.push({ part: "html", severity: "warning", message });
  const parser = new Parser({
    onattribute(name, value, quote) {
      if (value.includes("{{") && quote !== '"' && quote !== "'") warn(`put quotes around the value of ${name}`);
      const text = value.trim();
      if (linkAttributes.has(name) && text.startsWith("{{") && !ownLinks.test(text) && !/\|\s*url\b/.test(text)) {
        warn(`write {{ … | url }} in ${name}, so that only web, mail and phone links pass`);
      }
    },
  });
  parser.end(html);
  return found;
}

/**
 * Fills a compiled template. A variable that is missing, null or blank fails the render unless it goes through `default` or only steers an
 * `if`. `maxTextChars` caps the text part: `MAX_SMS_CHARS` for SMS.
 */
export function render(
  compiled: CompiledTemplate,
  variables: Readonly<Record<string, unknown>>,
  opts: { readonly maxTextChars?: number } = {},
): Rendered {
  if (!compiled.ok) {
    const problem = compiled.problems.find(({ severity }) => severity === "error");
    return {
      ok: false,
      reason: "syntax",
      detail: `${problem?.part ?? "template"}: ${problem?.message ?? "not usable"}`,
    };
  }
  try {
    const subject = compiled.parts.subject && headerText(fill(compiled.parts.subject, variables));
    const html = compiled.parts.html && fill(compiled.parts.html, variables);
    if (subject === "") throw new BlankValue("the subject is blank");
    if (subject !== undefined && subject.length > MAX_SUBJECT_CHARS)
      throw new OverLimit(`the subject is longer than ${MAX_SUBJECT_CHARS} characters`);
    if (html !== undefined) {
      if (Buffer.byteLength(html) > MAX_HTML_BYTES)
        throw new OverLimit(`the html is larger than ${MAX_HTML_BYTES} bytes`);
      if (scriptLink.test(html)) throw new RefusedValue("a link would run a script");
    }
    const text = compiled.parts.text ? fill(compiled.parts.text, variables) : textFromHtml(html ?? "");
    if (text.trim() === "" && html === undefined) throw new BlankValue("the text is blank");
    const maxTextChars = opts.maxTextChars ?? MAX_HTML_BYTES;
    if (text.length > maxTextChars) throw new OverLimit(`the text is longer than ${maxTextChars} characters`);
    return { ok: true, ...(subject !== undefined && { subject }), ...(html !== undefined && { html }), text };
  } catch (error) {
    return failure(error);
  }
}

class OverLimit extends Error {
  override readonly name = "OverLimit";
}

const fill = (part: Part, variables: object): string => renderParsed(part.mode, part.parsed, variables);

/** One line without control characters: a value cannot start a new header. */
export const headerText = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();

/** `javascript:`, `vbscript:` and `data:text` at the start of an attribute, with the white space that browsers skip. */
const scriptLink =
  /=\s*["']?[\p{Cc}\s]*(?:j\s*a\s*v\s*a\s*s\s*c\s*r\s*i\s*p\s*t\s*:|v\s*b\s*s\s*c\s*r\s*i\s*p\s*t\s*:|data:\s*text)/iu;

const htmlToText = compileHtmlToText({
  wordwrap: 78,
  selectors: [
    { selector: "img", format: "skip" },
    { selector: "a", options: { hideLinkHrefIfSameAsText: true, ignoreHref: false } },
  ],
  limits: { maxInputLength: MAX_HTML_BYTES, maxDepth: 200 },
});
/** The plain-text part of an e-mail that has only HTML. */
export const textFromHtml = (html: string): string => htmlToText(html);

/** liquidjs wraps what a filter throws; the first of our own kinds in the chain decides. */
function failure(error: unknown): Extract<Rendered, { ok: false }> {
  for (
    let cause: unknown = error;
    cause instanceof Error;
    cause = LiquidError.is(cause) ? cause.originalError : undefined
  ) {
    if (cause instanceof BlankValue) return { ok: false, reason: "missing_variable", detail: messageOf(error) };
    if (cause instanceof RefusedValue) return { ok: false, reason: "syntax", detail: messageOf(error) };
    if (cause instanceof OverLimit || cause instanceof RangeError || / limit exceeded/.test(cause.message)) {
      return { ok: false, reason: "limit", detail: messageOf(error) };
    }
    if (cause.name === "UndefinedVariableError" || cause.name === "InternalUndefinedVariableError") {
      return { ok: false, reason: "missing_variable", detail: messageOf(error) };
    }
  }
  return { ok: false, reason: "syntax", detail: messageOf(error) };
}

/** The first line, bounded: the rest of a liquidjs message quotes the template. */
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n", 1)[0]?.slice(0, 300) ?? "";

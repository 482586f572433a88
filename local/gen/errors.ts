/**
 * The catalogue of refusals, `docs/errors.md`, from the places in the source that make them.
 *
 * Invariant: every `new DomainError(` in core/ and functions/ is in it. One whose code cannot be read from the source stops the
 * generator, so that a code is always a literal that can be searched for.
 */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { type ErrorKind, errorKinds } from "../../core/kernel/error.ts";
import { statusOf } from "../../functions/lib/http.ts";
import type { Generated } from "./generate.ts";

const root = path.resolve(import.meta.dirname, "../..");
const opening = "new DomainError(";

export interface CatalogueEntry {
  readonly code: string;
  readonly kind: ErrorKind;
  /** As the source has it, with the names of what is filled in: `No lead {id}.` */
  readonly message: string;
  readonly file: string;
}

/** Source text → its refusals. Pure. @throws Error when a kind or code is not a literal */
export function refusalsOf(source: string, file: string): CatalogueEntry[] {
  const sites = [...source.matchAll(/new DomainError\(/g)].map(({ index }) => index);
  return sites.flatMap((at): CatalogueEntry[] => {
    const [kindText = "", code = "", words = ""] = argumentsAt(source, at + opening.length);
    const message = /^\w+$/.test(words) ? definitionOf(words, source.slice(0, at)) : words;
    const kind = errorKinds.find((known) => kindText === `"${known}"`);
    if (!kind) throw new Error(`${file}: the kind of a DomainError must be a literal, not ${kindText}`);
    const literal = literalOf(code);
    if (literal !== undefined) return [{ code: literal, kind, message: readable(message), file }];
    const helper = source
      .slice(0, at)
      .match(
        /(?:const (\w+) = \(code\b|function (\w+)\(code\b)(?![\s\S]*(?:const \w+ = \(code\b|function \w+\(code\b))/,
      );
    const name = helper?.[1] ?? helper?.[2];
    if (code !== "code" || name === undefined) {
      throw new Error(`${file}: the code of a DomainError must be a literal, not ${code}`);
    }
    const calls = [...source.matchAll(new RegExp(`(?<![\\w.])${name}\\((?=\\s*")`, "g"))];
    return calls.flatMap((call): CatalogueEntry[] => {
      const [given = "", words = ""] = argumentsAt(source, call.index + call[0].length);
      const known = literalOf(given);
      return known === undefined ? [] : [{ code: known, kind, message: readable(words), file }];
    });
  });
}

/** What a name stands for, by its last definition before. */
const definitionOf = (name: string, before: string): string =>
  [...before.matchAll(new RegExp(`const ${name} =\\s*([\\s\\S]+?);\\n`, "g"))].at(-1)?.[1] ?? "";

const literalOf = (text: string): string | undefined => text.match(/^"([a-z0-9_.]+)"$/)?.[1];

/** A message that holds `"` is written in the others. */
const isQuote = (character: string): boolean => character === '"' || character === "'" || character === "`";

/** The arguments of a call whose opening bracket is just before `from`, as text. */
function argumentsAt(source: string, from: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let start = from;
  for (let at = from; at < source.length; at++) {
    const character = source[at] ?? "";
    if (isQuote(character)) {
      at = endOfText(source, at);
    } else if ("([{".includes(character)) depth++;
    else if (character === "," && depth === 0) {
      found.push(source.slice(start, at).trim());
      start = at + 1;
    } else if (")]}".includes(character) && depth-- === 0) {
      found.push(source.slice(start, at).trim());
      return found;
    }
  }
  return found;
}

/** @returns where the text that begins at `at` ends; what a template fills in may hold texts of its own */
function endOfText(source: string, at: number): number {
  const quote = source[at];
  for (let next = at + 1; next < source.length; next++) {
    if (source[next] === "\\") next++;
    else if (source[next] === quote) return next;
    else if (quote === "`" && source.startsWith("${", next)) {
      let depth = 1;
      for (next += 2; depth > 0 && next < source.length; next++) {
        const character = source[next] ?? "";
        if (isQuote(character)) next = endOfText(source, next);
        else if (character === "{") depth++;
        else if (character === "}" && --depth === 0) break;
      }
    }
  }
  return source.length;
}

/** A message as a person reads it; of several possible ones all, the words of a variable by its name. */
function readable(expression: string): string {
  const texts: string[] = [];
  for (let at = 0; at < expression.length; at++) {
    if (!isQuote(expression[at] ?? "")) continue;
    const end = endOfText(expression, at);
    texts.push(expression.slice(at + 1, end));
    at = end;
  }
  const words = texts.map((text) => text.replaceAll(/\$\{([^{}]*)\}/g, (_all, inner: string) => `{${nameOf(inner)}}`));
  const sentences = words.filter((text) => /\s/.test(text));
  const shown = sentences.length > 0 ? sentences : words;
  return (
    shown.join(" / ").replaceAll("|", "\\|").replaceAll(/\s+/g, " ") ||
    "Names each refused field, its value and what fits."
  );
}

const nameOf = (inner: string): string => inner.match(/([A-Za-z]\w*)\W*$/)?.[1] ?? "value";

/** Refusals that are HTTP's own. */
const ofHttp: readonly (readonly [code: string, status: number, message: string])[] = [
  ["http.400", 400, "The body is not JSON, or not UTF-8."],
  ["http.no_route", 404, "There is no such path."],
  ["http.405", 405, "The path takes other methods; the header Allow names them."],
  ["http.415", 415, "The body is of a type that the path does not take."],
  ["internal", 500, "Something went wrong here; the request id leads to the log."],
];

export function errorCatalogue(): Generated {
  const files = globSync(["core/**/*.ts", "functions/**/*.ts"], {
    cwd: root,
    exclude: ["**/node_modules/**"],
  }).toSorted();
  const all = files
    .filter((file) => file !== "core/kernel/error.ts")
    .flatMap((file) => refusalsOf(readFileSync(path.join(root, file), "utf8"), file));
  const byCode = [...Map.groupBy(all, ({ code }) => code)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const rows = byCode.map(([code, entries]) => {
    const messages = [...new Set(entries.map(({ message }) => message))].join(" / ");
    const statuses = [...new Set(entries.map(({ kind }) => `${statusOf[kind]} ${kind}`))].join(", ");
    const places = [...new Set(entries.map(({ file }) => file.split("/").slice(0, 2).join("/")))].join(", ");
    return `| \`${code}\` | ${statuses} | ${messages} | ${places} |`;
  });
  const content = [
    "<!-- Made by npm run gen from the source. Do not edit; review its changes. -->",
    "# Errors",
    "",
    "Every refusal is a problem document (RFC 9457, `application/problem+json`) with a stable `code`, the words below in `detail`, the",
    "refused fields in `errors` (`path`, `value`, `message`: what would be accepted) and the `requestId` under which the log knows more.",
    "A `code` never changes its meaning; new ones may be added. `429`, `503` (a POST with its `Idempotency-Key`) and `idempotency.in_flight` may be repeated as they are.",
    "",
    "| code | status | message | from |",
    "|---|---|---|---|",
    ...ofHttp.map(([code, status, message]) => `| \`${code}\` | ${status} | ${message} | functions/lib |`),
    ...rows,
    "",
  ].join("\n");
  return { path: "docs/errors.md", content };
}

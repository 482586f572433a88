/**
 * What the engine adds to a rendered e-mail: tracked links, the open pixel, the footer that the law asks for. Invariant: only the values of
 * `href` change and only text at the end is added; every other byte of the author's HTML stays as it was.
 */
import { QuoteType, Tokenizer } from "htmlparser2";
import { escapeHtml } from "./liquid.ts";

export interface Instrumentation {
  /** The address to put in place of the `index`-th tracked link (0-based, in order of appearance; the same URL twice has two indexes). */
  readonly trackLink?: ((url: string, index: number) => string) | undefined;
  readonly pixelUrl?: string | undefined;
  /** Required for marketing; the gate refuses to send without (`postal_address_missing`). */
  readonly unsubscribeUrl?: string | undefined;
  readonly postalAddress?: string | undefined;
}

export interface Instrumented {
  readonly html: string | undefined;
  readonly text: string;
  /** The original URLs by index. */
  readonly links: readonly string[];
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

interface Scan {
  /** Links of `<a>` and `<area>` in order, with the range of the value and whether it stands in quotes. */
  readonly links: readonly {
    readonly url: string;
    readonly start: number;
    readonly end: number;
    readonly quoted: boolean;
    readonly track: boolean;
  }[];
  /** Offset of the last `</body>`, or of `</html>`, or the end. */
  readonly bodyEnd: number;
  /** Words of the document with single spaces. */
  readonly words: string;
}

/** What stands between an attribute's name and its value. */
const beforeValue = /\s*=\s*["']?/y;

const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

function scan(html: string): Scan {
  const links: Scan["links"][number][] = [];
  const words: string[] = [];
  let bodyEnd = -1;
  let htmlEnd = -1;
  let tag = "";
  let attribute = "";
  let value = "";
  let valueStart = -1;
  let pending: Scan["links"][number] | undefined;
  let silent = false;
  const finishTag = () => {
    if (pending) links.push({ ...pending, track: pending.track && !silent });
    pending = undefined;
    words.push(" ");
  };
  const tokenizer = new Tokenizer(
    { decodeEntities: true, xmlMode: false },
    {
      onopentagname(start, end) {
        tag = html.slice(start, end).toLowerCase();
        silent = false;
      },
      onattribname(start, end) {
        attribute = html.slice(start, end).toLowerCase();
        value = "";
        beforeValue.lastIndex = end;
        valueStart = beforeValue.test(html) ? beforeValue.lastIndex : -1;
        if (attribute === "data-outrider-notrack") silent = true;
      },
      onattribdata(start, end) {
        value += html.slice(start, end);
      },
      onattribentity(codepoint) {
        value += String.fromCodePoint(codepoint);
      },
      onattribend(quote, end) {
        if (attribute !== "href" || (tag !== "a" && tag !== "area") || valueStart < 0 || pending) return;
        const url = value.trim();
        pending = {
          url,
          start: valueStart,
          end: quote === QuoteType.Unquoted ? end : end - 1,
          quoted: quote !== QuoteType.Unquoted,
          track: /^https?:\/\//i.test(url),
        };
      },
      onopentagend: finishTag,
      onselfclosingtag: finishTag,
      onclosetag(start, end) {
        const name = html.slice(start, end).toLowerCase();
        if (name === "body") bodyEnd = html.lastIndexOf("<", start);
        if (name === "html") htmlEnd = html.lastIndexOf("<", start);
        words.push(" ");
      },
      ontext: (start, end) => void words.push(html.slice(start, end)),
      ontextentity: (codepoint) => void words.push(String.fromCodePoint(codepoint)),
      oncdata: () => {},
      oncomment: () => {},
      ondeclaration: () => {},
      onprocessinginstruction: () => {},
      onend: () => {},
    },
  );
  tokenizer.write(html);
  tokenizer.end();
  return {
    links,
    bodyEnd: bodyEnd >= 0 ? bodyEnd : htmlEnd >= 0 ? htmlEnd : html.length,
    words: oneLine(words.join("")),
  };
}

/** Pure and deterministic. `html: undefined` instruments only the text; links in the text part are never rewritten. */
export function instrument(html: string | undefined, text: string, what: Instrumentation): Instrumented {
  const links: string[] = [];
  return {
    html: html === undefined ? undefined : instrumentHtml(html, what, links),
    text: withTextFooter(text, what),
    links,
  };
}

function instrumentHtml(html: string, what: Instrumentation, links: string[]): string {
  const found = scan(html);
  const edits: Edit[] = [];
  if (what.trackLink) {
    for (const link of found.links) {
      if (!link.track || link.url === what.unsubscribeUrl) continue;
      const replacement = escapeHtml(what.trackLink(link.url, links.length));
      links.push(link.url);
      edits.push({ start: link.start, end: link.end, text: link.quoted ? replacement : `"${replacement}"` });
    }
  }
  const footer: string[] = [];
  if (what.postalAddress !== undefined && !found.words.includes(oneLine(what.postalAddress))) {
    footer.push(escapeHtml(what.postalAddress.trim()).replace(/\r?\n/g, "<br>"));
  }
  if (what.unsubscribeUrl !== undefined && !found.links.some((link) => link.url === what.unsubscribeUrl)) {
    footer.push(`<a href="${escapeHtml(what.unsubscribeUrl)}">Unsubscribe</a>`);
  }
  let tail = footer.length > 0 ? `<p style="font-size:12px;color:#666666">${footer.join("<br>")}</p>` : "";
  if (what.pixelUrl !== undefined)
    tail += `<img src="${escapeHtml(what.pixelUrl)}" width="1" height="1" alt="" style="display:none">`;
  if (tail !== "") edits.push({ start: found.bodyEnd, end: found.bodyEnd, text: tail });

  const pieces: string[] = [];
  let at = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    pieces.push(html.slice(at, edit.start), edit.text);
    at = edit.end;
  }
  pieces.push(html.slice(at));
  return pieces.join("");
}

function withTextFooter(text: string, what: Instrumentation): string {
  const lines: string[] = [];
  if (what.postalAddress !== undefined && !oneLine(text).includes(oneLine(what.postalAddress)))
    lines.push(what.postalAddress.trim());
  if (what.unsubscribeUrl !== undefined && !text.includes(what.unsubscribeUrl))
    lines.push(`Unsubscribe: ${what.unsubscribeUrl}`);
  return lines.length === 0 ? text : `${text.trimEnd()}\n\n--\n${lines.join("\n")}\n`;
}

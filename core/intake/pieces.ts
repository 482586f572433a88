/**
 * Where a record of a file begins and ends, found without building it. The parsers (csv-parse, JSON.parse) get whole records of bounded
 * size and nothing else: neither has a limit that would keep a line of 100 MB out of memory.
 *
 * Invariant: at most one record's limit plus one chunk of text is held, whatever the file is.
 */

/** Longest record in characters. */
export const maxRecord = 1_048_576;
/** Records are handed on in blocks, to parse many with one call. */
const blockRecords = 250;

export type Piece =
  /** `count` whole records, in order, as they stood in the file. */
  | { readonly kind: "records"; readonly text: string; readonly count: number }
  /** One record that cannot be read; `sample` is how it begins. */
  | { readonly kind: "broken"; readonly problem: string; readonly sample: string; readonly size: number };

export interface Splitter {
  push(text: string): Piece[];
  end(): Piece[];
}

export const problems = {
  tooLarge: "row is larger than 1 MiB",
  quotes: "quotes in this row are not closed",
  json: (reason: string) => `row is not valid JSON (${reason})`,
  notObject: "row is not a JSON object",
  columns: (cells: number, columns: number) => `row has ${cells} cells, the header has ${columns} columns`,
  empty: "row is empty",
} as const;

const broken = (problem: string, text: string, size = text.length): Piece => ({
  kind: "broken",
  problem,
  sample: text.slice(0, 500),
  size,
});

export interface LineShape {
  readonly delimiter: string;
  readonly newline: "\n" | "\r";
  readonly quotes: boolean;
  /** Most records of a piece. */
  readonly block?: number;
}

/**
 * Records separated by line breaks; with `quotes`, a line break inside a quoted cell separates nothing.
 * The first record comes alone (a header is read on its own).
 */
export function lineSplitter({ delimiter, newline, quotes, block = blockRecords }: LineShape): Splitter {
  let buffer = "";
  /** Length of a record that is being thrown away because it outgrew the limit. */
  let dropped = 0;
  let droppedSample = "";
  let first = true;

  /** Index of the line break that ends the record starting at `from`; -1: not in the buffer; -2: not in it, and a quote is open. */
  function endOf(from: number, nextQuote: number, final: boolean): number {
    const plain = buffer.indexOf(newline, from);
    if (!quotes || nextQuote === -1 || (plain !== -1 && nextQuote > plain)) return plain;
    for (let at = from; ; ) {
      if (buffer[at] === '"') {
        for (at += 1; ; at += 2) {
          at = buffer.indexOf('"', at);
          if (at === -1) return -2;
          // The last character may be the first half of an escaped quote.
          if (at === buffer.length - 1 && !final) return -2;
          if (buffer[at + 1] !== '"') break;
        }
        at += 1;
      }
      while (at < buffer.length && buffer[at] !== delimiter && buffer[at] !== newline) at += 1;
      if (at >= buffer.length) return -1;
      if (buffer[at] === newline) return at;
      at += 1;
    }
  }

  function split(final: boolean): Piece[] {
    const pieces: Piece[] = [];
    let from = 0;
    let blockStart = 0;
    let blockCount = 0;
    let nextQuote = buffer.indexOf('"');
    const flush = (until: number) => {
      if (blockCount > 0) pieces.push({ kind: "records", text: buffer.slice(blockStart, until), count: blockCount });
      blockCount = 0;
    };
    while (from < buffer.length) {
      if (dropped > 0) {
        const end = buffer.indexOf(newline, from);
        dropped += (end === -1 ? buffer.length : end) - from;
        from = end === -1 ? buffer.length : end + 1;
        if (end !== -1 || final) {
          pieces.push({ kind: "broken", problem: problems.tooLarge, sample: droppedSample, size: dropped });
          dropped = 0;
        }
        blockStart = from;
        nextQuote = buffer.indexOf('"', from);
        continue;
      }
      if (nextQuote !== -1 && nextQuote < from) nextQuote = buffer.indexOf('"', from);
      let end = endOf(from, nextQuote, final);
      const open = end === -2;
      if (end < 0) {
        const size = buffer.length - from;
        if (!final && size <= maxRecord) break;
        const line = buffer.indexOf(newline, from);
        if (open && (final || line !== -1)) {
          // A quote that never closes would swallow the rest of the file: only its own line is given up.
          flush(from);
          const lineEnd = line === -1 ? buffer.length : line;
          pieces.push(broken(problems.quotes, buffer.slice(from, Math.min(lineEnd, from + 500)), lineEnd - from));
          from = lineEnd + 1;
          blockStart = from;
          first = false;
          continue;
        }
        if (size > maxRecord) {
          flush(from);
          droppedSample = buffer.slice(from, from + 500);
          dropped = size;
          from = buffer.length;
          blockStart = from;
          if (final) {
            pieces.push({ kind: "broken", problem: problems.tooLarge, sample: droppedSample, size });
            dropped = 0;
          }
          continue;
        }
        end = buffer.length;
      }
      if (end - from > maxRecord) {
        flush(from);
        pieces.push(broken(problems.tooLarge, buffer.slice(from, from + 500), end - from));
        blockStart = end + 1;
      } else if (isBlank(from, end)) {
        flush(from);
        blockStart = end + 1;
      } else {
        if (blockCount === 0) blockStart = from;
        blockCount += 1;
        if (first || blockCount === block || end + 1 - blockStart > maxRecord) {
          first = false;
          flush(Math.min(end + 1, buffer.length));
          blockStart = end + 1;
        }
      }
      from = end + 1;
    }
    flush(Math.min(from, buffer.length));
    buffer = from >= buffer.length ? "" : buffer.slice(from);
    return pieces;
  }

  function isBlank(from: number, end: number): boolean {
    for (let at = from; at < end; at += 1) {
      const character = buffer[at];
      if (character !== " " && character !== "\r" && character !== "\n") return false;
    }
    return true;
  }

  return {
    push(text) {
      buffer += text;
      return split(false);
    },
    end() {
      const pieces = split(true);
      if (dropped > 0)
        pieces.push({ kind: "broken", problem: problems.tooLarge, sample: droppedSample, size: dropped });
      dropped = 0;
      return pieces;
    },
  };
}

const [openSquare, closeSquare, openBrace, closeBrace, quote, backslash, comma] = [...'[]{}"\\,'].map((c) =>
  c.charCodeAt(0),
) as [number, number, number, number, number, number, number];

/** Elements of one JSON array, each a piece of its own. */
export function arraySplitter(): Splitter {
  let state: "before" | "inside" | "after" = "before";
  let element = "";
  let size = 0;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let trailing = false;

  function finish(pieces: Piece[], closing: boolean): void {
    const text = element.trim();
    if (size > maxRecord) pieces.push(broken(problems.tooLarge, element, size));
    else if (text !== "") pieces.push({ kind: "records", text, count: 1 });
    else if (!closing) pieces.push(broken(problems.json("syntax"), "", 0));
    element = "";
    size = 0;
  }

  function push(text: string): Piece[] {
    const pieces: Piece[] = [];
    let from = 0;
    const keep = (until: number) => {
      size += until - from;
      if (size <= maxRecord) element += text.slice(from, until);
      else if (element.length > 500) element = element.slice(0, 500);
    };
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (state !== "inside") {
        if (code === openSquare && state === "before") {
          state = "inside";
          from = at + 1;
        } else if (code > 32 && state === "after") trailing = true;
      } else if (inString) {
        if (escaped) escaped = false;
        else if (code === backslash) escaped = true;
        else if (code === quote) inString = false;
      } else if (code === quote) inString = true;
      else if (code === openBrace || code === openSquare) depth += 1;
      else if (depth > 0 && (code === closeBrace || code === closeSquare)) depth -= 1;
      else if (depth === 0 && (code === comma || code === closeSquare)) {
        keep(at);
        finish(pieces, code === closeSquare);
        from = at + 1;
        if (code === closeSquare) state = "after";
      }
    }
    if (state === "inside") keep(text.length);
    return pieces;
  }

  return {
    push,
    end() {
      const pieces: Piece[] = [];
      if (state === "inside") pieces.push(broken(problems.json("the array is not closed"), element, size));
      if (trailing) pieces.push(broken(problems.json("there is more after the array"), "", 0));
      return pieces;
    },
  };
}

/**
 * Files into rows: CSV, NDJSON and JSON arrays of any size, in any usual encoding, a row at a time.
 *
 * Invariants: memory does not grow with the file, nor with a line of it; every record of the file is one row, good or refused, always under
 * the same number, so that an import can go on at row N.
 */
import { parse } from "csv-parse/sync";
import { DomainError, parseJson } from "../kernel/index.ts";
import { fieldOf } from "./columns.ts";
import { blockBytes, type FileFormat } from "./formats.ts";
import type { SourceRow } from "./normalize.ts";
import { arraySplitter, lineSplitter, type Piece, problems, type Splitter } from "./pieces.ts";
import { blocksOf, encodingOf, TextReader } from "./text.ts";

const refused = (code: string, message: string) => new DomainError("invalid", code, message);

/** The whole vocabulary of failure: what makes a file unreadable as a whole. */
export const errors = {
  empty: () => refused("import.empty", "The file is empty."),
  unknownFormat: (found: string) =>
    refused("import.format_unknown", `The file is ${found}. Send CSV, NDJSON or a JSON array as plain text.`),
  formatMismatch: (expected: FileFormat, found: string) =>
    refused("import.format_mismatch", `The file was announced as ${expected} but ${found}.`),
  header: (found: string) =>
    refused("import.header_unreadable", `The first line is not a readable CSV header: ${found}`),
  noEmailColumn: (columns: readonly string[]) =>
    refused(
      "import.no_email_column",
      `No column holds e-mail addresses. Columns found: ${columns.slice(0, 30).join(", ")}. Name the right one in options.mapping, like {"Contact": "email"}.`,
    ),
};

/** What a file is by its first bytes, for those that are no text. */
const signatures: readonly (readonly [string, string])[] = [
  ["1f8b", "compressed (gzip); unpack it first"],
  ["504b0304", "a ZIP archive or an Excel workbook (.xlsx); export it as CSV"],
  ["d0cf11e0", "an old Office document (.xls); export it as CSV"],
  ["25504446", "a PDF document"],
  ["28b52ffd", "compressed (zstd); unpack it first"],
  ["425a68", "compressed (bzip2); unpack it first"],
  ["fd377a585a", "compressed (xz); unpack it first"],
  ["377abcaf", "a 7z archive"],
  ["50415231", "a Parquet file"],
  ["53514c697465", "an SQLite database"],
  ["89504e47", "a PNG picture"],
  ["ffd8ff", "a JPEG picture"],
];

export interface Sniffed {
  readonly format: FileFormat;
  readonly delimiter: string;
  readonly newline: "\n" | "\r";
  /** Characters before the header: an Excel `sep=;` line. */
  readonly preamble: number;
}

/**
 * What a file is, by its first 64 KiB.
 * @param expected what the sender says it is
 * @throws DomainError `import.empty`, `import.format_unknown`, `import.format_mismatch`: all name what was found
 */
export function sniff(head: Uint8Array, expected?: FileFormat): Sniffed {
  if (head.length === 0) throw errors.empty();
  const hex = Buffer.from(head.subarray(0, 8)).toString("hex");
  const signature = signatures.find(([magic]) => hex.startsWith(magic));
  if (signature) throw errors.unknownFormat(signature[1]);
  const text = new TextReader(() => {}).read(Buffer.from(head), true);
  const start = text.trimStart();
  if (start === "") throw errors.empty();
  const opening = start[0] ?? "";
  if (opening === "<") throw errors.unknownFormat("XML or HTML");
  const looks = opening === "[" ? "json" : opening === "{" ? "ndjson" : "csv";
  const format = expected ?? looks;
  if (format === "json" && looks !== "json") throw errors.formatMismatch(format, "does not begin with [");
  if (format === "ndjson" && looks !== "ndjson") throw errors.formatMismatch(format, "does not begin with {");
  if (format === "csv" && looks === "csv" && encodingOf(head).encoding === "utf-8" && isBinary(text)) {
    throw errors.unknownFormat("binary data");
  }
  const newline = !text.includes("\n") && text.includes("\r") ? "\r" : "\n";
  const announced = /^sep=(.)\r?[\n\r]/i.exec(text);
  return {
    format,
    newline,
    preamble: announced?.[0].length ?? 0,
    delimiter: announced?.[1] ?? delimiterOf(text.slice(0, 16_384), newline),
  };
}

const isBinary = (text: string): boolean => (text.slice(0, 4096).match(/[^\P{Cc}\t\n\r]/gu)?.length ?? 0) > 100;

/** The mark that cuts the header into most cells; where two tie, the one that cuts the following lines alike. */
function delimiterOf(text: string, newline: string): string {
  const lines = text
    .split(newline)
    .slice(0, 6)
    .map((line) => line.replace(/"[^"]*"/g, ""));
  let best = ",";
  let bestScore = 0;
  for (const delimiter of [",", ";", "\t", "|"]) {
    const [header = 0, ...others] = lines.map((line) => line.split(delimiter).length - 1);
    const score = header === 0 ? 0 : header + others.filter((cells) => cells === header).length / 10;
    if (score > bestScore) [best, bestScore] = [delimiter, score];
  }
  return best;
}

export interface ReadOptions {
  readonly format?: FileFormat | undefined;
  /** Rows already done: they are counted past, not built. */
  readonly skip?: number | undefined;
  /** Whether a header counts as naming e-mail addresses besides those known by name. */
  readonly isEmailColumn?: ((header: string) => boolean) | undefined;
  /** Called as bytes are consumed. */
  readonly onBytes?: ((total: number) => void) | undefined;
}

/**
 * The rows of a file, in blocks. Rows are numbered from 1.
 * @throws DomainError of `errors` when the file as a whole cannot be read
 */
export async function* readRows(
  bytes: AsyncIterable<Uint8Array>,
  options: ReadOptions = {},
): AsyncGenerator<SourceRow[]> {
  let warnings: string[] = [];
  const reader = new TextReader((warning) => {
    if (!warnings.includes(warning)) warnings.push(warning);
  });
  let rows: RowReader | undefined;
  let splitter: Splitter | undefined;
  let total = 0;

  function* build(pieces: readonly Piece[]): Generator<SourceRow[]> {
    for (const piece of pieces) {
      const built = rows?.read(piece) ?? [];
      const [first, ...others] = built;
      if (first === undefined) continue;
      if (warnings.length === 0) yield built;
      else yield [{ ...first, warnings: [...(first.warnings ?? []), ...warnings] }, ...others];
      warnings = [];
    }
  }

  let held: Buffer | undefined;
  for await (const block of blocksOf(bytes)) {
    if (held) yield* take(held, false);
    held = block;
  }
  if (!held) throw errors.empty();
  yield* take(held, true);

  function* take(block: Buffer, last: boolean): Generator<SourceRow[]> {
    let preamble = 0;
    if (!splitter) {
      const sniffed = sniff(block.subarray(0, blockBytes), options.format);
      preamble = sniffed.preamble;
      splitter =
        sniffed.format === "json" ? arraySplitter() : lineSplitter({ ...sniffed, quotes: sniffed.format === "csv" });
      rows = sniffed.format === "csv" ? new CsvRows(sniffed, options) : new JsonRows(options.skip ?? 0);
    }
    total += block.length;
    options.onBytes?.(total);
    const text = reader.read(block, last).slice(preamble);
    yield* build(splitter.push(text));
    if (last) yield* build(splitter.end());
  }
}

interface RowReader {
  read(piece: Piece): SourceRow[];
}

class JsonRows implements RowReader {
  #row = 0;
  readonly #skip: number;

  constructor(skip: number) {
    this.#skip = skip;
  }

  read(piece: Piece): SourceRow[] {
    if (piece.kind === "broken") {
      this.#row += 1;
      return this.#row <= this.#skip ? [] : [unreadable(this.#row, piece)];
    }
    const lines = piece.count === 1 ? [piece.text] : piece.text.split("\n").filter((line) => line.trim() !== "");
    return lines.flatMap((line) => {
      this.#row += 1;
      return this.#row <= this.#skip ? [] : [this.#parse(line)];
    });
  }

  #parse(line: string): SourceRow {
    const row = this.#row;
    const size = line.length;
    const parsed = parseJson(Buffer.from(line), { maxBytes: 4 * size + 3, maxKeys: 10_000 });
    if (!parsed.ok) return unreadable(row, { problem: problems.json(parsed.reason), sample: line.slice(0, 500), size });
    const { value } = parsed;
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      return unreadable(row, { problem: problems.notObject, sample: line.slice(0, 500), size });
    }
    const warnings = parsed.repaired ? ["characters that cannot be stored were replaced"] : undefined;
    const empty = Object.keys(value).length === 0 ? problems.empty : undefined;
    return { row, raw: value as Record<string, unknown>, size, problem: empty, warnings };
  }
}

class CsvRows implements RowReader {
  #row = 0;
  #columns: string[] | undefined;
  readonly #sniffed: Sniffed;
  readonly #options: ReadOptions;
  readonly #skip: number;

  constructor(sniffed: Sniffed, options: ReadOptions) {
    this.#sniffed = sniffed;
    this.#options = options;
    this.#skip = options.skip ?? 0;
  }

  #cells(text: string): string[][] {
    return parse(text, {
      delimiter: this.#sniffed.delimiter,
      record_delimiter: this.#sniffed.newline === "\r" ? ["\r"] : ["\r\n", "\n"],
      relax_column_count: true,
      relax_quotes: true,
      skip_empty_lines: false,
    });
  }

  read(piece: Piece): SourceRow[] {
    if (this.#columns === undefined) {
      this.#columns = this.#header(piece);
      return [];
    }
    if (piece.kind === "broken") {
      this.#row += 1;
      return this.#row <= this.#skip ? [] : [unreadable(this.#row, piece)];
    }
    if (this.#row + piece.count <= this.#skip) {
      this.#row += piece.count;
      return [];
    }
    const records = this.#together(piece) ?? this.#oneByOne(piece);
    const size = Math.ceil(piece.text.length / records.length);
    return records.flatMap((cells) => {
      this.#row += 1;
      if (this.#row <= this.#skip) return [];
      if (typeof cells === "string")
        return [unreadable(this.#row, { problem: problems.quotes, sample: cells.slice(0, 500), size: cells.length })];
      return [this.#build(cells, size)];
    });
  }

  /** All records with one call; null when the parser does not see as many records as the splitter did. */
  #together(piece: Piece & { kind: "records" }): string[][] | null {
    try {
      const records = this.#cells(piece.text);
      return records.length === piece.count ? records : null;
    } catch {
      return null;
    }
  }

  /** Each record alone, so that one the parser refuses costs no other; such a one stays text. */
  #oneByOne(piece: Piece & { kind: "records" }): (string[] | string)[] {
    const splitter = lineSplitter({ ...this.#sniffed, quotes: true, block: 1 });
    const texts = [...splitter.push(piece.text), ...splitter.end()].map((part) =>
      part.kind === "records" ? part.text : part.sample,
    );
    return texts.map((text) => {
      try {
        const [cells, ...others] = this.#cells(text);
        return cells !== undefined && others.length === 0 ? cells : text;
      } catch {
        return text;
      }
    });
  }

  #header(piece: Piece): string[] {
    if (piece.kind === "broken") throw errors.header(piece.problem);
    let cells: string[] | undefined;
    try {
      [cells] = this.#cells(piece.text);
    } catch {
      throw errors.header(problems.quotes);
    }
    if (!cells || cells.length > 1000) throw errors.header(`${cells?.length ?? 0} columns, 1 to 1000 are possible`);
    const seen = new Set<string>();
    const columns = cells.map((cell, index) => {
      const name = cell.replaceAll("\0", "").trim().slice(0, 200) || `column_${index + 1}`;
      let unique = name === "__proto__" ? "column_proto" : name;
      for (let n = 2; seen.has(unique); n += 1) unique = `${name}_${n}`;
      seen.add(unique);
      return unique;
    });
    const isEmail = this.#options.isEmailColumn ?? (() => false);
    if (!columns.some((column) => fieldOf(column) === "email" || isEmail(column))) throw errors.noEmailColumn(columns);
    return columns;
  }

  #build(cells: string[], size: number): SourceRow {
    const columns = this.#columns ?? [];
    const raw: Record<string, unknown> & { _extra?: string[] } = {};
    for (const [index, column] of columns.entries()) {
      const cell = cells[index];
      if (cell !== undefined) raw[column] = cell;
    }
    const extra = cells.slice(columns.length);
    // Spreadsheets leave empty cells at the end; anything else means that the values may stand in the wrong columns.
    const fits =
      cells.length === columns.length || (cells.length > columns.length && extra.every((cell) => cell === ""));
    if (!fits && extra.length > 0) raw._extra = extra;
    const problem = cells.every((cell) => cell.trim() === "")
      ? problems.empty
      : fits
        ? undefined
        : problems.columns(cells.length, columns.length);
    return { row: this.#row, raw, size, problem };
  }
}

const unreadable = (
  row: number,
  { problem, sample, size }: { problem: string; sample: string; size: number },
): SourceRow => ({
  row,
  raw: { _text: sample },
  problem,
  size: Math.min(size, 500),
});

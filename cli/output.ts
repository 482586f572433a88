/**
 * What a command says. Invariant: stdout carries the result and nothing else (under --json one JSON value, or one per line for lists);
 * hints, progress and refusals go to stderr. Colours and tables appear only where a terminal reads.
 */
import { once } from "node:events";
import { styleText } from "node:util";
import { Presets, SingleBar } from "cli-progress";
import Table from "cli-table3";
import type { Row } from "./client.ts";
import type { Failure } from "./errors.ts";
import { at, cell, printable, title } from "./text.ts";

/** `name` or `title=path.in.row`. */
export type Column = string;

export interface Progress {
  update(done: number, total: number, note?: string): void;
  stop(): void;
}

export interface Output {
  readonly json: boolean;
  readonly isTerminal: boolean;
  /** One result: JSON, or what `show` makes of it. */
  value(value: unknown, show: () => Promise<void> | void): Promise<void>;
  /** A list as it comes. @returns how many rows it had */
  rows(rows: AsyncIterable<Row> | Iterable<Row>, columns: readonly Column[], ifNone: string): Promise<number>;
  /** One object, a field a line. */
  record(row: Row, columns: readonly Column[]): Promise<void>;
  /** Text on stdout; not under --json. */
  line(text: string): Promise<void>;
  /** Text for the person watching. */
  note(text: string): void;
  failure(failure: Failure): void;
  progress(label: string): Progress;
  /** One value as text, as in a table. */
  cell(value: unknown): string;
  good(text: string): string;
  bad(text: string): string;
  bold(text: string): string;
}

/** Rows that share one table, so that a long list appears while it is read. */
const tableRows = 100;

const plain = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

type Style = "green" | "red" | "bold" | "dim";
const styled = (style: Style, text: string, stream: NodeJS.WriteStream): string => styleText(style, text, { stream });

const split = (column: Column): { readonly name: string; readonly path: string } => {
  const [name = "", path] = column.split("=");
  return { name: path === undefined ? title(name) : name, path: path ?? name };
};

export function createOutput(json: boolean): Output {
  const { stdout, stderr } = process;
  const isTerminal = stdout.isTTY === true;
  const isTable = isTerminal && !json;

  async function write(text: string): Promise<void> {
    if (!stdout.write(text)) await once(stdout, "drain");
  }
  const printJson = (value: unknown) => write(`${JSON.stringify(value)}\n`);

  function tableOf(columns: readonly Column[], rows: readonly Row[], headed: boolean): string {
    const table = new Table({
      head: headed ? columns.map((column) => styled("bold", split(column).name, stdout)) : [],
      chars: plain,
      style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    });
    for (const row of rows) table.push(columns.map((column) => cell(at(row, split(column).path), true)));
    return table.toString().replace(/ +$/gm, "");
  }

  const output: Output = {
    json,
    isTerminal,
    async value(value, show) {
      if (json) await printJson(value);
      else await show();
    },
    async rows(rows, columns, ifNone) {
      let count = 0;
      let held: Row[] = [];
      const flush = async () => {
        if (held.length > 0) await write(`${tableOf(columns, held, count === held.length)}\n`);
        held = [];
      };
      for await (const row of rows) {
        count++;
        if (json) await printJson(row);
        else if (isTable) {
          held.push(row);
          if (held.length === tableRows) await flush();
        } else {
          if (count === 1) await write(`${columns.map((column) => split(column).name).join("\t")}\n`);
          await write(`${columns.map((column) => cell(at(row, split(column).path), false)).join("\t")}\n`);
        }
      }
      await flush();
      if (count === 0 && !json) output.note(ifNone);
      return count;
    },
    async record(row, columns) {
      const shown = columns.map(split).map(({ name, path }) => [name, cell(at(row, path), isTerminal)] as const);
      const width = Math.max(0, ...shown.map(([name]) => name.length));
      for (const [name, value] of shown)
        await output.line(`${styled("dim", name.padEnd(width), stdout)}  ${value}`.trimEnd());
    },
    async line(text) {
      if (!json) await write(`${text}\n`);
    },
    note: (text) => void stderr.write(`${text}\n`),
    failure(failure) {
      if (json) {
        stderr.write(`${JSON.stringify({ error: failure })}\n`);
        return;
      }
      const { code, message, fields, hint, requestId } = failure;
      // The first refused field is the message, too: said once.
      const repeats = message === `${fields[0]?.path}: ${fields[0]?.message}`;
      const head = repeats
        ? `${fields.length === 1 ? "one field was" : `${fields.length} fields were`} refused.`
        : message;
      const lines = [`${styled("red", code, stderr)}: ${printable(head)}`];
      for (const field of fields) {
        const value = field.value === undefined ? "" : ` = ${printable(JSON.stringify(field.value))}`;
        lines.push(`  ${styled("bold", printable(field.path), stderr)}${value}`, `    ${printable(field.message)}`);
      }
      if (hint !== null) lines.push(`  ${hint}`);
      if (requestId !== null && requestId !== "local") lines.push(`  request ${printable(requestId)}`);
      stderr.write(`${lines.join("\n")}\n`);
    },
    progress(label) {
      if (stderr.isTTY !== true) return { update: () => {}, stop: () => {} };
      const format = `${label} [{bar}] {percentage}% {note}`;
      const bar = new SingleBar(
        { format, hideCursor: true, clearOnComplete: true, stream: stderr },
        Presets.shades_grey,
      );
      let started = false;
      return {
        update(done, total, note = "") {
          if (!started) bar.start(total, done, { note });
          started = true;
          bar.setTotal(total);
          bar.update(done, { note });
        },
        stop: () => bar.stop(),
      };
    },
    cell: (value) => cell(value, isTerminal),
    good: (text) => styled("green", text, stdout),
    bad: (text) => styled("red", text, stdout),
    bold: (text) => styled("bold", text, stdout),
  };
  return output;
}

/** A reader that went away (`| head`) has what it wanted. */
export function endQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  }
}

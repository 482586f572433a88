/**
 * What a long run says while it works and when it ends: a bar on a terminal, a line now and then elsewhere, one JSON object under
 * `--json`. Invariant: stdout carries the result and nothing else; a run with a violation ends with exit code 1.
 */
import os from "node:os";
import { parseArgs } from "node:util";
import { Presets, SingleBar } from "cli-progress";

export interface LongOptions {
  readonly json: boolean;
  readonly seed: number;
  /** The run's own number, such as `--races`. */
  count(name: string, fallback: number): number;
}

/** Options every long run takes, and the numbers it names. */
export function longOptions(numbers: readonly string[]): LongOptions {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      seed: { type: "string" },
      ...Object.fromEntries(numbers.map((name) => [name, { type: "string" as const }])),
    },
  });
  const given = values as Readonly<Record<string, string | boolean | undefined>>;
  const whole = (name: string, fallback: number): number => {
    const text = given[name];
    const value = text === undefined ? fallback : Number(text);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} takes a whole number, not ${text}`);
    return value;
  };
  return {
    json: values.json === true,
    seed: whole("seed", Math.floor(Math.random() * 2 ** 31)),
    count: whole,
  };
}

export interface Progress {
  add(done: number): void;
  stop(): void;
}

const lineEveryMs = 10_000;

export function progress(label: string, total: number): Progress {
  const { stderr } = process;
  const started = performance.now();
  let done = 0;
  if (stderr.isTTY) {
    const bar = new SingleBar(
      { format: `${label} {bar} {percentage} %  {value}/{total}`, stream: stderr },
      Presets.rect,
    );
    bar.start(total, 0);
    return {
      add: (more) => bar.increment(more),
      stop: () => bar.stop(),
    };
  }
  let said = started;
  const seconds = () => ((performance.now() - started) / 1000).toFixed(0);
  return {
    add(more) {
      done += more;
      if (performance.now() - said < lineEveryMs) return;
      said = performance.now();
      stderr.write(`${label}: ${done.toLocaleString("en")} of ${total.toLocaleString("en")} after ${seconds()} s\n`);
    },
    stop: () => void stderr.write(`${label}: ${done.toLocaleString("en")} in ${seconds()} s\n`),
  };
}

/** A figure of the summary; `violations` of any of them end the run with 1. */
export interface Figure {
  readonly name: string;
  readonly count: number;
  readonly violations: number;
  readonly seconds: number;
  readonly note?: string;
}

/** Prints the summary and sets the exit code. */
export function conclude(
  run: string,
  options: LongOptions,
  figures: readonly Figure[],
  details: readonly string[],
): void {
  const violations = figures.reduce((sum, figure) => sum + figure.violations, 0);
  const load = os.loadavg().map((value) => Number(value.toFixed(1)));
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ run, seed: options.seed, violations, load, figures, details })}\n`);
  } else {
    const width = Math.max(...figures.map(({ name }) => name.length));
    for (const { name, count, violations: bad, seconds, note } of figures) {
      const shown = `${count.toLocaleString("en").padStart(11)}  ${String(bad).padStart(5)} violations  ${seconds.toFixed(1).padStart(7)} s`;
      process.stdout.write(`${name.padEnd(width)}  ${shown}${note === undefined ? "" : `  ${note}`}\n`);
    }
    for (const detail of details) process.stdout.write(`${detail}\n`);
    process.stdout.write(`${run}: ${violations} violations, seed ${options.seed}, load ${load.join(" ")}\n`);
  }
  process.exitCode = violations === 0 ? 0 : 1;
}

/** A small deterministic generator (mulberry32): the same seed draws the same run. */
export function generator(seed: number) {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    pick: <T>(list: readonly [T, ...T[]] | readonly T[]): T => list[below(list.length)] as T,
    chance: (share: number): boolean => next() < share,
  };
}
export type Random = ReturnType<typeof generator>;

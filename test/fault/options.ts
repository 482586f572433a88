/** What a run is asked for, from the command line. */
import { parseArgs } from "node:util";

export interface FaultOptions {
  /** The run goes on until at least this many messages are planned. */
  readonly messages: number;
  /** Milliseconds between two kills of a random worker. */
  readonly killEveryMs: number;
  /** Milliseconds between two immediate restarts of PostgreSQL. */
  readonly restartDbEveryMs: number;
  /** Draws everything that is left to chance. */
  readonly seed: number;
  readonly workers: number;
  /** Keep the database's files too. */
  readonly keep: boolean;
}

export class OptionError extends Error {
  override readonly name = "OptionError";
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

/** `2s`, `500ms`, `1m` in milliseconds. */
function milliseconds(name: string, text: string): number {
  const [, number, unit] = /^(\d+)(ms|s|m)$/.exec(text) ?? [];
  const factor = units[unit ?? ""];
  if (number === undefined || factor === undefined || Number(number) === 0) {
    throw new OptionError(`--${name}: expected a time such as 2s, 500ms or 1m, not ${text}`);
  }
  return Number(number) * factor;
}

function count(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new OptionError(`--${name}: expected a whole number from 1 to ${max}, not ${text}`);
}

/** @throws OptionError naming the option and what it may hold */
export function readOptions(args: readonly string[]): FaultOptions & { readonly json: boolean } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      messages: { type: "string", default: "100000" },
      "kill-every": { type: "string", default: "2s" },
      "restart-db-every": { type: "string", default: "60s" },
      seed: { type: "string", default: "7" },
      workers: { type: "string", default: "4" },
      json: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
    },
  });
  return {
    messages: count("messages", values.messages, 10_000_000),
    killEveryMs: milliseconds("kill-every", values["kill-every"]),
    restartDbEveryMs: milliseconds("restart-db-every", values["restart-db-every"]),
    seed: count("seed", values.seed, 2 ** 31),
    workers: count("workers", values.workers, 32),
    json: values.json,
    keep: values.keep,
  };
}

/**
 * What ends a command early, and with which exit code. Invariant: whatever goes wrong becomes one of these, and a person reads a sentence,
 * never a stack.
 */
import { DomainError, type FieldProblem } from "../core/kernel/error.ts";

/** Documented in docs/cli.md. */
export const exitCodes = {
  ok: 0,
  /** Refused by a rule, or what was asked about has a problem. */
  refused: 1,
  usage: 2,
  unreachable: 4,
  /** Ctrl-C, as shells count it. */
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export interface Failure {
  readonly exitCode: ExitCode;
  /** Stable, `module.problem`. */
  readonly code: string;
  readonly message: string;
  readonly fields: readonly FieldProblem[];
  /** What to do about it. */
  readonly hint: string | null;
  /** HTTP status, when a server refused. */
  readonly status: number | null;
  readonly requestId: string | null;
}

export class CliError extends Error {
  override readonly name = "CliError";
  readonly failure: Failure;
  constructor(exitCode: ExitCode, code: string, message: string, more: Partial<Failure> & ErrorOptions = {}) {
    const { cause, ...rest } = more;
    super(message, cause === undefined ? {} : { cause });
    this.failure = { exitCode, code, message, fields: [], hint: null, status: null, requestId: null, ...rest };
  }
}

export const usageError = (code: string, message: string, more: Partial<Failure> = {}): CliError =>
  new CliError(exitCodes.usage, code, message, more);

/** An operation that failed for a reason outside itself: a file that cannot be read, a database that is away. */
const systemCodes: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  EACCES: "may not be read or written by this user",
  EISDIR: "is a directory",
  ENOSPC: "has no room left",
};

export function failureOf(error: unknown): Failure {
  if (error instanceof CliError) return error.failure;
  if (error instanceof DomainError) {
    const exitCode = error.kind === "unavailable" ? exitCodes.unreachable : exitCodes.refused;
    const { code, message, fields } = error;
    return new CliError(exitCode, code, message, { fields }).failure;
  }
  const { code, path, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { message: String(error) };
  const why = systemCodes[code ?? ""];
  if (why !== undefined && path !== undefined) return usageError("file.unusable", `${path} ${why}.`).failure;
  return new CliError(exitCodes.refused, "cli.unforeseen", (message.split("\n")[0] ?? "").slice(0, 500)).failure;
}

/** The closed list of ways a request can be refused. Only `functions/lib/http.ts` and `functions/lib/sqs.ts` give them a status or a queue outcome. */
export const errorKinds = [
  "invalid",
  "unauthenticated",
  "forbidden",
  "not_found",
  "conflict",
  "too_large",
  "rate_limited",
  "unavailable",
] as const;
export type ErrorKind = (typeof errorKinds)[number];

/** One field that was refused: where it is (`contacts[3].email`), what it held, and what would be accepted. */
export interface FieldProblem {
  readonly path: string;
  readonly value?: unknown;
  readonly message: string;
}

export interface DomainErrorOptions extends ErrorOptions {
  readonly fields?: readonly FieldProblem[];
  readonly retryAfterSeconds?: number;
}

/** A broken promise. `message` is safe to show a customer; anything else goes in `cause`. `kind` alone decides HTTP status and retry. */
export class DomainError extends Error {
  override readonly name = "DomainError";
  readonly kind: ErrorKind;
  /** Stable and documented, `module.problem`. */
  readonly code: string;
  readonly fields: readonly FieldProblem[];
  readonly retryAfterSeconds: number | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: DomainErrorOptions = {}) {
    super(message, options);
    this.kind = kind;
    this.code = code;
    this.fields = options.fields ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** For `switch` statements that must handle every member of a union. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}

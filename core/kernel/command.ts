/**
 * `command` and `query`: a use case with its schema. The input is parsed before a transaction opens; both run inside one,
 * because row-level security reads the tenant from it. `add.schema` is reused by the API, the CLI and the OpenAPI document.
 */
import type * as z from "zod";
import { type Context, type TxContext, transact } from "./context.ts";
import { DomainError, type FieldProblem } from "./error.ts";
import { inputWords, wordsOf } from "./words.ts";

const at = (input: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined | null)?.[key], input);

/** `contacts[3].email` */
export const pathOf = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, key) => (typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`),
    "",
  );

/** @throws DomainError `input.invalid`, which names every refused field with its value and what would be accepted. */
export function parseInput<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const result = schema.safeParse(input, { error: inputWords });
  if (result.success) return result.data;
  const fields: FieldProblem[] = result.error.issues
    .flatMap(wordsOf)
    .map(({ path, message }) => ({ path: pathOf(path), value: at(input, path), message }));
  const [first] = fields;
  const where = first?.path ? `${first.path}: ` : "";
  throw new DomainError("invalid", "input.invalid", `${where}${first?.message ?? "invalid input"}`, {
    cause: result.error,
    fields,
  });
}

/** A write, in one transaction. */
export function command<S extends z.ZodType, R>(schema: S, run: (ctx: TxContext, input: z.output<S>) => Promise<R>) {
  const call = async (ctx: Context, input: z.input<S>): Promise<R> => {
    const parsed = parseInput(schema, input);
    return transact(ctx, (ctx) => run(ctx, parsed));
  };
  return Object.assign(call, { schema });
}

/** A read. It joins whatever transaction the caller has. */
export const query = command;

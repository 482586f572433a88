/**
 * One endpoint of the REST API as a value: what it takes, what it answers, who may call it and the one core call behind it.
 *
 * Invariant: the schema that a core command parses with is the schema that the OpenAPI document shows; the API adds only that unknown
 * fields are refused. Answers are tied to what the core returns by type (`Wire`) and by the tests, which parse every answer.
 */
import { type Bell, type Context, encodeCursor, type TxContext } from "@outrider/core/kernel";
import type { ApiScope } from "@outrider/core/tenancy";
import * as z from "zod";
import type { Host } from "../lib/runtime.ts";

export const methods = ["get", "post", "put", "patch", "delete"] as const;
export type Method = (typeof methods)[number];

type Primitive = string | number | boolean | null;

/** What a value is after JSON: instants and ids are text, columns of JSON are anything. */
export type Wire<T> = [Primitive] extends [T] ? unknown : WireOf<T>;
type WireOf<T> = T extends Date
  ? string
  : T extends string
    ? Record<never, never> extends Record<T, 1>
      ? string
      : T
    : T extends readonly (infer U)[]
      ? readonly Wire<U>[]
      : T extends object
        ? { readonly [K in keyof T]: Wire<T[K]> }
        : T;

export interface Call<I> {
  /** Inside a transaction when the request carries an Idempotency-Key: then its effect and its stored answer are one. */
  readonly ctx: Context;
  readonly host: Host;
  /** Not parsed yet: the core call does that, and says what is wrong with it. */
  readonly input: I;
  /** The body's bytes, of an endpoint that takes a file. */
  readonly bytes: Uint8Array;
}

/** Bodies that are files instead of JSON. */
export interface FileBody {
  readonly contentTypes: readonly string[];
  readonly maxBytes: number;
}

export interface EndpointOptions<S extends z.ZodType, R> {
  readonly method: Method;
  /** `/v1/leads/{id}`; the names in braces are fields of the input. */
  readonly path: `/v1/${string}`;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly scope: ApiScope;
  /** Fields come from the path, then from the query (GET, DELETE, files) or the JSON body (POST, PUT, PATCH). */
  readonly input: S;
  /** What the document shows for an input whose schema says less than is known, such as a patch of settings. */
  readonly documented?: z.ZodType;
  readonly answer: z.ZodType<Wire<R>>;
  /** Default 200; 204 sends nothing. */
  readonly status?: 200 | 201 | 202 | 204;
  readonly file?: FileBody;
  /** Members that a JSON body may have; default 10,000. */
  readonly maxKeys?: number;
  /** Text that PostgreSQL cannot store is replaced instead of refused: for rows of strangers' making. */
  readonly repairText?: boolean;
  /** The answer holds a secret: what is kept for its Idempotency-Key is sealed. */
  readonly secret?: boolean;
  /** Answered as text of this type instead of JSON; `run` returns the text. */
  readonly textType?: string;
  /** A body, or the query of a GET, for the document. */
  readonly example?: Readonly<Record<string, unknown>>;
  readonly run: (call: Call<z.input<S>>) => Promise<R>;
}

/** An endpoint whose types have been checked. */
export interface Endpoint extends Omit<EndpointOptions<z.ZodType, unknown>, "answer" | "run"> {
  readonly answer: z.ZodType;
  readonly run: (call: Call<never>) => Promise<unknown>;
}

export const endpoint = <S extends z.ZodType, R>(options: EndpointOptions<S, R>): Endpoint =>
  options as unknown as Endpoint;

/** Names in braces. */
export const pathFields = (path: string): string[] => [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "");

/** Fields that an input may have; null when it is not an object of named fields. */
export const fieldsOf = (schema: z.ZodType): Readonly<Record<string, z.ZodType>> | null =>
  schema instanceof z.ZodObject ? (schema.shape as Readonly<Record<string, z.ZodType>>) : null;

/** Rings once the work has been committed, in the caller's transaction or without one. */
export async function ringAfter(ctx: Context, bells: readonly Bell[]): Promise<void> {
  if (ctx.db.isTransaction) (ctx as TxContext).bells.push(...bells);
  else await ctx.ring?.(bells);
}

export const id = z.string().meta({ examples: ["lead_01J8Z7Q4M0V5T9W3X2Y1A6B7C8"] });
export const time = z.string().meta({ format: "date-time" });
export const text = z.string();
export const maybeText = z.string().nullable();
export const maybeTime = time.nullable();

export const page = <S extends z.ZodType>(item: S) =>
  z.object({
    data: z.array(item),
    nextCursor: z
      .string()
      .nullable()
      .describe("cursor of the next page; null on the last one")
      .meta({ examples: [`${encodeCursor("lead_01J8Z7Q4M0V5T9W3X2Y1A6B7C8")}.0Z6uQb3mVxkN5wYs`] }),
  });

/** No body. */
export const nothing = z.void();

/**
 * From an HTTP request to the input of a core call.
 *
 * Invariant: a field that nobody knows is refused by name, never ignored: what a caller spelled wrongly must not look accepted.
 */
import { createHash } from "node:crypto";
import {
  DomainError,
  defaultJsonLimits,
  type FieldProblem,
  nearest,
  parseJson,
  storableText,
  unknownField,
} from "@outrider/core/kernel";
import canonicalize from "canonicalize";
import type { Context as HttpContext } from "hono";
import { HTTPException } from "hono/http-exception";
import * as z from "zod";
import { rawBody } from "../lib/http.ts";
import { type Endpoint, fieldsOf, pathFields } from "./endpoint.ts";

export interface Request {
  readonly input: unknown;
  readonly bytes: Uint8Array;
  /** The same for requests that ask for the same, however their JSON is laid out. */
  readonly hash: Uint8Array;
}

const maxJsonKeys = 10_000;
const maxJsonDepth = 64;

/** @throws DomainError `input.unknown_field`, `input.unknown_parameter`, `input.unreadable`, `http.body_too_large`; HTTPException 400, 415 */
export async function readRequest(c: HttpContext, endpoint: Endpoint): Promise<Request> {
  const path = pathInput(c, endpoint);
  const inQuery = takesQuery(endpoint);
  const query = queryInput(c, endpoint, inQuery);
  const bytes =
    endpoint.method === "get" || endpoint.method === "delete" ? new Uint8Array() : await bodyOf(c, endpoint);
  const body = inQuery ? {} : bodyInput(c, endpoint, bytes);
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  const input = isObject ? { ...body, ...query, ...path } : body;
  const unknown = unknownFields(endpoint.input, input);
  if (unknown.length > 0) throw refused("input.unknown_field", unknown);
  const hash = createHash("sha256").update(`${c.req.method} ${c.req.path}\n${canonicalize({ ...query }) ?? ""}\n`);
  hash.update(inQuery ? bytes : (canonicalize(body) ?? ""));
  return { input, bytes, hash: new Uint8Array(hash.digest()) };
}

/** Whether the fields beside those of the path are in the query. */
export const takesQuery = ({ method, file }: Pick<Endpoint, "method" | "file">): boolean =>
  method === "get" || method === "delete" || file !== undefined;

function refused(code: string, fields: readonly FieldProblem[]): DomainError {
  const [first] = fields;
  return new DomainError("invalid", code, `${first?.path}: ${first?.message}`, { fields });
}

/** PostgreSQL has no text with a NUL in it, and no half of a surrogate pair. */
function storable(path: string, value: string): string {
  if (storableText(value) === value) return value;
  throw refused("input.unreadable", [{ path, message: "text without NUL characters and lone surrogates" }]);
}

const pathInput = (c: HttpContext, { path }: Endpoint): Record<string, string> =>
  Object.fromEntries(pathFields(path).map((name) => [name, storable(name, c.req.param(name) ?? "")]));

function queryInput(c: HttpContext, endpoint: Endpoint, inQuery: boolean): Record<string, unknown> {
  const fromPath = pathFields(endpoint.path);
  const fields = inQuery ? (fieldsOf(endpoint.input) ?? {}) : {};
  const known = Object.keys(fields).filter((name) => !fromPath.includes(name));
  const given = Object.entries(c.req.queries());
  const unknown = given.filter(([name]) => !known.includes(name));
  if (unknown.length > 0) {
    const allowed = known.length > 0 ? `allowed here: ${known.join(", ")}` : "none are allowed here";
    throw refused(
      "input.unknown_parameter",
      unknown.map(([name, [value]]) => {
        const meant = nearest(name, known);
        const advice = meant === undefined ? allowed : `did you mean ${meant}?`;
        return { path: name, value, message: `unknown query parameter; ${advice}` };
      }),
    );
  }
  return Object.fromEntries(given.map(([name, values]) => [name, queryValue(name, values, fields[name])]));
}

/** Text becomes what the schema asks for where the text is plainly that; anything else is left for the schema to refuse. */
function queryValue(name: string, given: readonly string[], schema: z.ZodType | undefined): unknown {
  const values = given.map((value) => storable(name, value));
  const inner = bare(schema);
  if (isList(inner)) return values.flatMap((value) => value.split(","));
  const [value = ""] = values;
  if (values.length > 1) {
    throw refused("input.unknown_parameter", [{ path: name, value: values, message: "given more than once" }]);
  }
  if (inner instanceof z.ZodBoolean && (value === "true" || value === "false")) return value === "true";
  if (inner instanceof z.ZodNumber && /^-?\d{1,15}(\.\d{1,6})?$/.test(value)) return Number(value);
  if (inner instanceof z.ZodRecord || inner instanceof z.ZodObject) return jsonParameter(name, value);
  return value;
}

const isList = (schema: z.ZodType | undefined): boolean =>
  schema instanceof z.ZodArray ||
  (schema instanceof z.ZodUnion && schema.options.some((option) => option instanceof z.ZodArray));

/** A structured parameter, such as the column mapping of an import, is JSON in the query. */
function jsonParameter(name: string, value: string): unknown {
  const parsed = parseJson(Buffer.from(value), { maxDepth: maxJsonDepth, maxKeys: maxJsonKeys });
  if (parsed.ok) return parsed.value;
  throw refused("input.unreadable", [{ path: name, value, message: "expected a JSON object, URL-encoded" }]);
}

/** A schema without `optional`, `default` and the like around it. */
function bare(schema: z.ZodType | undefined): z.ZodType | undefined {
  let inner = schema;
  while (inner) {
    const { innerType } = inner.def as { readonly innerType?: z.ZodType };
    if (!innerType) return inner;
    inner = innerType;
  }
  return undefined;
}

async function bodyOf(c: HttpContext, { file }: Endpoint): Promise<Uint8Array> {
  const maxBytes = file?.maxBytes ?? defaultJsonLimits.maxBytes;
  // Refused by its announced length before it is read; without one, by what has arrived.
  const announced = Number(c.req.header("content-length") ?? 0);
  if (announced > maxBytes) {
    throw new DomainError(
      "too_large",
      "http.body_too_large",
      `The body has ${announced} bytes; at most ${maxBytes} are taken.`,
    );
  }
  const bytes = await rawBody(c, maxBytes);
  const type = (c.req.header("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const accepted = file?.contentTypes ?? ["application/json"];
  if (bytes.byteLength > 0 && !accepted.includes(type)) {
    throw new HTTPException(415, { message: `The body's content-type must be ${accepted.join(" or ")}.` });
  }
  return bytes;
}

function unreadable(
  reason: Exclude<ReturnType<typeof parseJson>, { readonly ok: true }>["reason"],
  maxKeys: number,
): Error {
  switch (reason) {
    case "depth":
      return new DomainError("invalid", "input.depth", `The body is nested more than ${maxJsonDepth} levels deep.`);
    case "keys":
      return new DomainError("invalid", "input.keys", `The body has more than ${maxKeys} members.`);
    case "forbidden_key":
      return new DomainError(
        "invalid",
        "input.forbidden_key",
        "The body has a member named __proto__, constructor or prototype.",
      );
    default:
      return new HTTPException(400, {
        message: reason === "encoding" ? "The body is not UTF-8." : "The body is not JSON.",
      });
  }
}

function bodyInput(c: HttpContext, endpoint: Endpoint, bytes: Uint8Array): unknown {
  // An action without fields may come without a body.
  if (bytes.byteLength === 0) return {};
  const maxKeys = endpoint.maxKeys ?? maxJsonKeys;
  const parsed = parseJson(bytes, { maxDepth: maxJsonDepth, maxKeys });
  if (!parsed.ok) throw unreadable(parsed.reason, maxKeys);
  if (parsed.repaired && !endpoint.repairText) {
    throw new DomainError("invalid", "input.unreadable", "The body has text with NUL characters or lone surrogates.");
  }
  const { value } = parsed;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DomainError("invalid", "input.invalid", "The body must be a JSON object.");
  }
  const inPath = pathFields(endpoint.path).filter((name) => name in value);
  if (inPath.length > 0) {
    throw refused(
      "input.unknown_field",
      inPath.map((path) => ({
        path,
        value: (value as Record<string, unknown>)[path],
        message: `belongs in the path of ${c.req.path}`,
      })),
    );
  }
  return value;
}

/** Fields of a value that its schema does not name, however deep. */
export function unknownFields(schema: z.ZodType, value: unknown, at = ""): FieldProblem[] {
  if (value === undefined || value === null) return [];
  const inner = bare(schema);
  if (inner instanceof z.ZodObject) return unknownOfObject(inner, value, at);
  if (inner instanceof z.ZodArray && Array.isArray(value)) {
    return value.flatMap((item, index) => unknownFields(inner.element as z.ZodType, item, `${at}[${index}]`));
  }
  if (inner instanceof z.ZodUnion) {
    // One form must know all of them; else the nearest form says which it does not.
    const options = inner.options as readonly z.ZodType[];
    const [nearest] = options.map((option) => unknownFields(option, value, at)).toSorted((a, b) => a.length - b.length);
    return nearest ?? [];
  }
  if (inner instanceof z.ZodPipe) return unknownFields(inner.in as z.ZodType, value, at);
  return [];
}

function unknownOfObject(schema: z.ZodObject, value: unknown, at: string): FieldProblem[] {
  if (typeof value !== "object" || value === null) return [];
  const shape = schema.shape as Readonly<Record<string, z.ZodType>>;
  const isOpen = schema.def.catchall !== undefined && !(schema.def.catchall instanceof z.ZodNever);
  return Object.entries(value).flatMap(([name, item]) => {
    const path = at === "" ? name : `${at}.${name}`;
    const field = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (field) return unknownFields(field, item, path);
    return isOpen ? [] : [{ path, value: item, message: unknownField(name, Object.keys(shape)) }];
  });
}

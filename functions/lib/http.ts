/**
 * HTTP around Hono: refusals as problem details (RFC 9457), request ids, and the API Gateway (payload 2.0) entry.
 *
 * Invariant: an answer shows `message` and `fields` of a DomainError and nothing else; what an unknown error says is logged
 * under the request id and never sent.
 */
import { DomainError, type ErrorKind, type FieldProblem, isAway } from "@outrider/core/kernel";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context as Invocation } from "aws-lambda";
import type { Env, Hono, Context as HttpContext } from "hono";
import { handle } from "hono/aws-lambda";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Handler, Host } from "./runtime.ts";

/** The only table of error kind → HTTP status. */
export const statusOf: Readonly<Record<ErrorKind, ContentfulStatusCode>> = {
  invalid: 422,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  rate_limited: 429,
  unavailable: 503,
};

const titles: Readonly<Record<number, string>> = {
  400: "Bad request",
  401: "Not authenticated",
  403: "Not allowed",
  404: "Not found",
  405: "Method not allowed",
  409: "Conflict",
  413: "Too large",
  415: "Unsupported media type",
  422: "Invalid input",
  429: "Too many requests",
  500: "Internal error",
  503: "Temporarily unavailable",
};

/** RFC 9457, plus a stable `code`, the refused fields and the request id under which the log knows more. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly errors?: readonly FieldProblem[];
  readonly instance: string;
  readonly requestId: string;
}

export interface ProblemAnswer {
  readonly status: ContentfulStatusCode;
  readonly body: Problem;
  readonly headers: Readonly<Record<string, string>>;
}

const answer = (
  status: ContentfulStatusCode,
  code: string,
  detail: string,
  at: { readonly path: string; readonly requestId: string },
  extra: { readonly errors?: readonly FieldProblem[]; readonly headers?: Readonly<Record<string, string>> } = {},
): ProblemAnswer => ({
  status,
  headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...extra.headers },
  body: {
    type: `urn:outrider:problem:${code}`,
    title: titles[status] ?? "Error",
    status,
    detail,
    code,
    ...(extra.errors && extra.errors.length > 0 ? { errors: extra.errors } : {}),
    instance: at.path,
    requestId: at.requestId,
  },
});

/** Refused values are shown so that they can be found and corrected, but never large ones. */
const shown = ({ path, value, message }: FieldProblem): FieldProblem => {
  const text = value === undefined ? undefined : JSON.stringify(value);
  if (text === undefined) return { path, message };
  return { path, value: text.length > 200 ? `${text.slice(0, 200)}…` : value, message };
};

/** A database's restart takes seconds. */
const databaseAway = (cause: unknown): DomainError =>
  new DomainError(
    "unavailable",
    "database.away",
    "The database cannot be reached at the moment. Whether this was done is not known: a POST repeated with its Idempotency-Key happens once.",
    { retryAfterSeconds: 5, cause },
  );

/** Any thrown value as an answer. */
export function problemOf(error: unknown, at: { readonly path: string; readonly requestId: string }): ProblemAnswer {
  if (error instanceof DomainError) {
    const seconds = error.retryAfterSeconds;
    return answer(statusOf[error.kind], error.code, error.message, at, {
      errors: error.fields.map(shown),
      headers: {
        ...(seconds === undefined ? {} : { "retry-after": String(Math.max(1, Math.ceil(seconds))) }),
        ...(error.kind === "unauthenticated" ? { "www-authenticate": "Bearer" } : {}),
      },
    });
  }
  if (error instanceof HTTPException && error.status < 500) {
    return answer(
      error.status as ContentfulStatusCode,
      `http.${error.status}`,
      error.message || "The request was refused.",
      at,
    );
  }
  if (isAway(error)) return problemOf(databaseAway(error), at);
  return answer(500, "internal", "Something went wrong here. Quote the request id when you report it.", at);
}

interface Bindings {
  readonly lambdaContext?: { readonly awsRequestId?: string };
  readonly requestContext?: { readonly requestId?: string };
}

/** API Gateway's request id when there is one, so that the customer's, the gateway's and our log say the same. */
export function requestIdOf(c: HttpContext<Env>): string {
  const env = (c.env ?? {}) as Bindings;
  return env.requestContext?.requestId ?? env.lambdaContext?.awsRequestId ?? "local";
}

const respond = (c: HttpContext<Env>, { status, body, headers }: ProblemAnswer): Response =>
  c.body(JSON.stringify(body), status, { ...headers });

/**
 * Gives an app its errors, its 404 and its request ids. Call it before the routes are added.
 * @returns the same app
 */
export function withProblems<E extends Env, A extends Hono<E>>(host: Host, app: A): A {
  app.use("*", async (c, next) => {
    await next();
    c.header("x-request-id", requestIdOf(c as unknown as HttpContext<Env>));
    c.header("x-content-type-options", "nosniff");
  });
  app.notFound((raw) => {
    const c = raw as unknown as HttpContext<Env>;
    const at = { path: c.req.path, requestId: requestIdOf(c) };
    return respond(c, answer(404, "http.no_route", `There is no ${c.req.method} ${c.req.path}.`, at));
  });
  app.onError((error, raw) => {
    const c = raw as unknown as HttpContext<Env>;
    const requestId = requestIdOf(c);
    const refusal = problemOf(error, { path: c.req.path, requestId });
    if (refusal.status >= 500) {
      host.log.error("request.failed", {
        requestId,
        method: c.req.method,
        route: c.req.path,
        status: refusal.status,
        error,
      });
      host.log.metric("RequestsFailed", 1, "Count");
    }
    return respond(c, refusal);
  });
  return app;
}

/**
 * The request's body exactly as received, for signatures.
 * @throws DomainError `http.body_too_large` (too_large)
 */
export async function rawBody(c: HttpContext<Env>, maxBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(await c.req.arrayBuffer());
  if (bytes.byteLength > maxBytes) {
    throw new DomainError(
      "too_large",
      "http.body_too_large",
      `The body has ${bytes.byteLength} bytes; at most ${maxBytes} are taken.`,
    );
  }
  return bytes;
}

/** The function that API Gateway calls. */
export function lambda<E extends Env>(
  app: Hono<E>,
): Handler<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2> {
  const call = handle(app as unknown as Hono) as unknown as (
    event: APIGatewayProxyEventV2,
    invocation: Invocation,
  ) => Promise<APIGatewayProxyStructuredResultV2>;
  return (event, invocation) => call(asOnTheWire(event), invocation);
}

/** What a header may hold where requests are bytes: everything else would have the whole request refused, an unsubscribe like any other. */
const unsendable = /[^\t\x20-\x7e\x80-\xff]/g;
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * API Gateway decodes header values as UTF-8; no header that we read has other than ASCII characters. It also hands over the body of a GET,
 * which means nothing and which a `Request` cannot have.
 */
function asOnTheWire(event: APIGatewayProxyEventV2): APIGatewayProxyEventV2 {
  const { body, ...rest } = event;
  const hasNoBody = body === undefined || ["GET", "HEAD"].includes(event.requestContext.http.method);
  const headers = Object.entries(event.headers ?? {}).flatMap(([name, value]) =>
    headerName.test(name) && value !== undefined ? [[name, value.replaceAll(unsendable, "?").trim()] as const] : [],
  );
  return {
    ...rest,
    ...(hasNoBody ? {} : { body }),
    headers: Object.fromEntries(headers),
    ...(event.cookies && { cookies: event.cookies.map((cookie) => cookie.replaceAll(unsendable, "?")) }),
  };
}

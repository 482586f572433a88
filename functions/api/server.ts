/**
 * The HTTP side of every endpoint: authenticate, read, run once, answer.
 *
 * Invariant: a request is refused in the order 401, 403, 4xx of its form, 4xx of its content, and what is refused has changed nothing.
 */
import { DomainError, open, seal } from "@outrider/core/kernel";
import { type Answer, answerOnce } from "@outrider/core/tenancy";
import { Hono, type Context as HttpContext } from "hono";
import { HTTPException } from "hono/http-exception";
import { secureHeaders } from "hono/secure-headers";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { problemOf, requestIdOf, withProblems } from "../lib/http.ts";
import type { Host } from "../lib/runtime.ts";
import { callerOf } from "./caller.ts";
import { isPaged, withCursor, withPosition } from "./cursors.ts";
import { type Endpoint, type Method, pathFields } from "./endpoint.ts";
import { readRequest } from "./input.ts";

/** Refusals that stay true when the request is repeated. What was invalid may be mended under the same key. */
const keptKinds = new Set(["not_found", "conflict", "forbidden", "too_large"]);

type Run = (c: HttpContext) => Promise<Response>;

/** Hono spells `{id}` as `:id`. */
const honoPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ":$1");

/** Fixed parts before names, so that `/v1/suppressions/check` is not taken for an id. */
const rank = (path: string): string => path.replaceAll(/\{\w+\}/g, "~");

export interface PublicRoute {
  readonly path: string;
  readonly run: Run;
}

export function serve(host: Host, endpoints: readonly Endpoint[], publicRoutes: readonly PublicRoute[]): Hono {
  const app = withProblems(host, new Hono());
  app.use(
    "*",
    secureHeaders({
      contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      xFrameOptions: "DENY",
      referrerPolicy: "no-referrer",
      strictTransportSecurity: "max-age=63072000; includeSubDomains",
    }),
  );
  app.use("*", async (c, next) => {
    c.header("cache-control", "no-store");
    await next();
  });
  for (const { path, run } of publicRoutes) app.get(path, run);
  const inOrder = endpoints.toSorted((a, b) => (rank(a.path) < rank(b.path) ? -1 : 1));
  for (const endpoint of inOrder)
    app.on(endpoint.method.toUpperCase(), honoPath(endpoint.path), handle(host, endpoint));

  const allowed = Map.groupBy(inOrder, ({ path }) => path);
  for (const [path, group] of allowed) app.all(honoPath(path), refuseMethod(group.map(({ method }) => method)));
  for (const { path } of publicRoutes) app.all(path, refuseMethod(["get"]));
  return app;
}

function refuseMethod(methods: readonly Method[]) {
  const allow = methods.map((method) => method.toUpperCase()).join(", ");
  return (c: HttpContext): Response => {
    c.header("allow", allow);
    throw new HTTPException(405, { message: `${c.req.path} takes ${allow}.` });
  };
}

function handle(host: Host, endpoint: Endpoint): Run {
  const paged = isPaged(endpoint);
  const { signingKeys } = host;
  return async (c) => {
    const started = performance.now();
    const ctx = await callerOf(host, c, endpoint.scope);
    const request = await readRequest(c, endpoint);
    const place = { tenantId: ctx.tenantId, method: endpoint.method, path: c.req.path };
    const input = paged ? withPosition(signingKeys, place, request.input) : request.input;
    const run = async (at: typeof ctx): Promise<Answer> => {
      const result = await endpoint.run({ ctx: at, host, input: input as never, bytes: request.bytes });
      const shown = paged ? withCursor(signingKeys, place, result) : result;
      return { status: endpoint.status ?? 200, body: bodyText(endpoint, shown) };
    };
    const key = endpoint.method === "post" ? c.req.header("idempotency-key") : undefined;
    const answer = key === undefined ? await run(ctx) : await runOnce(key);
    host.log.info("request.answered", {
      requestId: requestIdOf(c),
      method: c.req.method,
      route: endpoint.path,
      status: answer.status,
      milliseconds: Math.round(performance.now() - started),
      tenantId: ctx.tenantId,
      correlationId: ctx.correlationId,
    });
    return respond(c, endpoint, answer);

    async function runOnce(key: string): Promise<Answer> {
      const place = { tenantId: ctx.tenantId, row: key, column: "idempotency_keys.response_body" };
      let shown: Answer | undefined;
      const work = async (at: typeof ctx): Promise<Answer> => {
        shown = await run(at);
        return endpoint.secret ? { ...shown, body: await seal(host.keys, shown.body, place) } : shown;
      };
      const at = { path: c.req.path, requestId: requestIdOf(c) };
      const kept = await answerOnce(ctx, { key, hash: request.hash }, work, (error) => refusal(error, at));
      if (!kept.replayed) return shown ?? kept;
      c.header("idempotent-replayed", "true");
      const sealed = endpoint.secret && kept.status < 400;
      return sealed ? { status: kept.status, body: await open(host.keys, kept.body, place) } : kept;
    }
  };
}

/** The answer to keep for a refusal; undefined for one that must not be kept. */
function refusal(error: unknown, at: { readonly path: string; readonly requestId: string }): Answer | undefined {
  if (!(error instanceof DomainError) || !keptKinds.has(error.kind)) return undefined;
  const { status, body } = problemOf(error, at);
  return { status, body: JSON.stringify(body) };
}

const bodyText = (endpoint: Endpoint, result: unknown): string => {
  if (endpoint.status === 204) return "";
  return endpoint.textType === undefined ? JSON.stringify(result) : String(result);
};

function respond(c: HttpContext, endpoint: Endpoint, { status, body }: Answer): Response {
  if (status === 204) return c.body(null, 204);
  const type = status >= 400 ? "application/problem+json" : (endpoint.textType ?? "application/json");
  return c.body(body, status as ContentfulStatusCode, { "content-type": type });
}

/** @throws Error when two endpoints would answer the same request, or a path names a field that its input does not have */
export function checkEndpoints(endpoints: readonly Endpoint[]): void {
  const seen = new Set<string>();
  for (const { method, path, input } of endpoints) {
    const name = `${method} ${rank(path)}`;
    if (seen.has(name)) throw new Error(`${method} ${path} is defined twice`);
    seen.add(name);
    const fields = "shape" in input ? Object.keys(input.shape as object) : [];
    const missing = pathFields(path).find((field) => !fields.includes(field));
    if (missing) throw new Error(`${method} ${path}: its input has no field ${missing}`);
  }
}

/**
 * An HTTP API (API Gateway, payload format 2.0) on this machine: requests become events for the deployed handlers.
 *
 * Invariant: a body reaches the handler byte for byte, as AWS would pass it: text types as UTF-8 text, everything else as base64.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context as Invocation } from "aws-lambda";
import { invoke, TimedOut } from "./lambda.ts";

export interface Target {
  readonly name: string;
  readonly timeoutSeconds: number;
  readonly call: (event: APIGatewayProxyEventV2, invocation: Invocation) => Promise<APIGatewayProxyStructuredResultV2>;
}

export interface Route {
  /** `POST /webhooks/{provider}/{channelConfigId}` or `ANY /v1/{proxy+}` */
  readonly key: string;
  readonly target: Target;
}

/** Lambda takes events of up to 6 MB. */
const maxEventBytes = 6 * 1024 * 1024;

/** Content types that API Gateway passes as text. */
const textual = /^(text\/|application\/(json|javascript|xml|x-www-form-urlencoded|graphql)|[^;]*\+(json|xml)\b)/i;

interface Matcher {
  readonly route: Route;
  readonly method: string;
  /** Literal parts and methods win over parameters, parameters over `{proxy+}`. */
  readonly rank: number;
  match(path: string): Record<string, string> | undefined;
}

const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

function matcher(route: Route): Matcher {
  const [method = "ANY", pattern = "/"] = route.key.split(" ");
  const parts = pattern.split("/").slice(1);
  const greedy = parts.at(-1)?.match(/^\{(\w+)\+\}$/)?.[1];
  const fixed = greedy === undefined ? parts : parts.slice(0, -1);
  const rank = fixed.reduce((sum, part) => sum * 3 + (part.startsWith("{") ? 1 : 2), 1) * 4;
  return {
    route,
    method,
    rank: rank + (method === "ANY" ? 0 : 1) + (greedy === undefined ? 2 : 0),
    match(path) {
      const given = path.split("/").slice(1);
      if (greedy === undefined ? given.length !== fixed.length : given.length <= fixed.length) return undefined;
      const found: Record<string, string> = {};
      for (const [at, part] of fixed.entries()) {
        const value = given[at] ?? "";
        const name = part.match(/^\{(\w+)\}$/)?.[1];
        if (name === undefined ? value !== part : value === "") return undefined;
        if (name !== undefined) found[name] = decoded(value);
      }
      const rest = given.slice(fixed.length).join("/");
      if (greedy !== undefined && rest === "") return undefined;
      return greedy === undefined ? found : { ...found, [greedy]: decoded(rest) };
    },
  };
}

/** Chooses the route of a request as an HTTP API does: the most specific one. */
export function router(routes: readonly Route[]) {
  const matchers = routes.map(matcher).sort((a, b) => b.rank - a.rank);
  return (method: string, path: string): { route: Route; parameters: Record<string, string> } | undefined => {
    for (const candidate of matchers) {
      if (candidate.method !== "ANY" && candidate.method !== method) continue;
      const parameters = candidate.match(path);
      if (parameters) return { route: candidate.route, parameters };
    }
    return undefined;
  };
}

const answer = (response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}) =>
  void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify({ message }));

/** @returns undefined when the body is larger than an event may be */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += (chunk as Buffer).length;
    if (size > maxEventBytes) return undefined;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function toEvent(
  request: IncomingMessage,
  url: URL,
  body: Buffer,
  found: { readonly route: Route; readonly parameters: Record<string, string> },
): APIGatewayProxyEventV2 {
  const { cookie, ...headers } = request.headers;
  const text = textual.test(request.headers["content-type"] ?? "");
  const method = request.method ?? "GET";
  const { searchParams } = url;
  const now = new Date();
  return {
    version: "2.0",
    routeKey: found.route.key,
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    ...(cookie === undefined ? {} : { cookies: cookie.split("; ") }),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : value]),
    ),
    ...(url.search.length > 1
      ? {
          queryStringParameters: Object.fromEntries(
            [...new Set(searchParams.keys())].map((name) => [name, searchParams.getAll(name).join(",")]),
          ),
        }
      : {}),
    ...(Object.keys(found.parameters).length > 0 ? { pathParameters: found.parameters } : {}),
    requestContext: {
      accountId: "000000000000",
      apiId: "local",
      domainName: request.headers.host ?? "localhost",
      domainPrefix: "local",
      http: {
        method,
        path: url.pathname,
        protocol: "HTTP/1.1",
        sourceIp: request.socket.remoteAddress ?? "",
        userAgent: request.headers["user-agent"] ?? "",
      },
      requestId: randomUUID(),
      routeKey: found.route.key,
      stage: "$default",
      time: now.toUTCString(),
      timeEpoch: now.getTime(),
    },
    ...(body.length === 0 ? {} : { body: body.toString(text ? "utf8" : "base64") }),
    isBase64Encoded: body.length > 0 && !text,
  };
}

function send(response: ServerResponse, result: APIGatewayProxyStructuredResultV2): void {
  const headers = Object.entries(result.headers ?? {}).map(([name, value]): [string, string] => [name, String(value)]);
  const cookies = (result.cookies ?? []).map((value): [string, string] => ["set-cookie", value]);
  response.writeHead(result.statusCode ?? 200, [...headers, ...cookies].flat());
  response.end(result.isBase64Encoded ? Buffer.from(result.body ?? "", "base64") : result.body);
}

export interface GatewayOptions {
  /** Asked per request, because a server listens before its handlers are loaded. */
  readonly routes: () => readonly Route[];
  readonly onError: (error: unknown) => void;
  /** What `/` answers where no route takes it, given the request's `accept`. Deployed there is none. */
  readonly front?: (accept: string | undefined) => Promise<{ readonly type: string; readonly body: string }>;
}

/** A server that is not listening yet. */
export function gateway({ routes, onError, front }: GatewayOptions): Server {
  let known: readonly Route[] = [];
  let find = router(known);
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(`http://local${request.url?.startsWith("/") ? request.url : "/"}`);
    if (routes().length !== known.length) {
      known = [...routes()];
      find = router(known);
    }
    const found = find(request.method ?? "GET", url.pathname);
    if (!found) {
      request.resume();
      if (!front || request.method !== "GET" || url.pathname !== "/") return answer(response, 404, "Not Found");
      const { type, body } = await front(request.headers.accept);
      return void response.writeHead(200, { "content-type": type, vary: "accept" }).end(body);
    }
    const body = await readBody(request);
    const event = body && toEvent(request, url, body, found);
    if (!event || (event.body?.length ?? 0) > maxEventBytes) {
      // The rest is read and dropped, so that a client that is still writing gets to read the answer.
      request.resume();
      return answer(response, 413, "Request Too Long", { connection: "close" });
    }
    const { name, timeoutSeconds, call } = found.route.target;
    send(response, await invoke(name, call, event, timeoutSeconds * 1_000));
  };
  return createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      onError(error);
      if (response.headersSent) response.destroy();
      else if (error instanceof TimedOut) answer(response, 503, "Service Unavailable");
      else answer(response, 500, "Internal Server Error");
    });
  });
}

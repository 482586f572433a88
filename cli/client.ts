/**
 * The HTTP API as an operator's client: problems become CliErrors, pages become one stream, every POST carries an idempotency key.
 * Invariant: what is repeated after a 429 or 503 is repeated under the same idempotency key, so it happens once; a PATCH has no key, it names
 * the state that is wanted.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import type { FieldProblem } from "../core/kernel/error.ts";
import type { Server } from "./config.ts";
import { CliError, exitCodes } from "./errors.ts";

/** One JSON object of the API. Shown as it comes, so that a newer server can say more than this client knows. */
export type Row = Readonly<Record<string, unknown>>;
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Client {
  readonly url: string;
  get(path: string, query?: Query): Promise<Row>;
  post(path: string, body?: unknown, query?: Query): Promise<Row>;
  patch(path: string, body: unknown): Promise<Row>;
  delete(path: string): Promise<Row>;
  /** The text of an answer that is not JSON. */
  text(path: string, query?: Query): Promise<string>;
  /** Bytes as they arrive. */
  bytes(path: string, query?: Query): AsyncIterable<Uint8Array>;
  /** A file as the body. */
  upload(path: string, query: Query, contentType: string, body: Uint8Array<ArrayBuffer>): Promise<Row>;
  /** Every row of a list, page after page. */
  pages(path: string, query?: Query, most?: number): AsyncGenerator<Row>;
}

/** Above the API's own limit of 29 s. */
const answerLimitMs = 45_000;
/** 4 MiB over a slow line. */
const uploadLimitMs = 300_000;
const maxTries = 4;
const maxPauseSeconds = 10;
const pageRows = 200;

const Problem = z.object({
  detail: z.string(),
  code: z.string(),
  requestId: z.string().optional(),
  errors: z.array(z.object({ path: z.string(), value: z.unknown().optional(), message: z.string() })).default([]),
});

const Body = z.record(z.string(), z.unknown());
const PageBody = z.object({ data: z.array(Body), nextCursor: z.string().nullable() });

interface Call {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Query | undefined;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly contentType?: string;
  readonly limitMs?: number;
}

export function createClient({ url, key }: Server): Client {
  async function once(call: Call, idempotencyKey: string): Promise<Response> {
    const { method, path, query = {}, body, contentType, limitMs = answerLimitMs } = call;
    const target = new URL(`${url}${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) target.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = { authorization: `Bearer ${key}`, accept: "application/json, */*;q=0.5" };
    if (method === "POST") headers["idempotency-key"] = idempotencyKey;
    if (contentType !== undefined) headers["content-type"] = contentType;
    try {
      return await fetch(target, {
        method,
        headers,
        redirect: "error",
        signal: AbortSignal.timeout(limitMs),
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      throw unreachable(url, error, limitMs);
    }
  }

  async function send(call: Call): Promise<Response> {
    const idempotencyKey = randomUUID();
    for (let tries = 1; ; tries++) {
      const response = await once(call, idempotencyKey);
      if (response.ok) return response;
      const pause = Number(response.headers.get("retry-after") ?? Number.NaN);
      const isBusy = response.status === 429 || response.status === 503;
      const canWait = isBusy && pause >= 0 && pause <= maxPauseSeconds && tries < maxTries;
      if (!canWait) throw await refusalOf(response, url);
      await response.body?.cancel();
      await sleep(pause * 1_000);
    }
  }

  const json = async (call: Call): Promise<Row> => {
    const response = await send(call);
    const text = await response.text();
    if (text === "") return {};
    return Body.parse(parse(text, url));
  };

  return {
    url,
    get: (path, query) => json({ method: "GET", path, query }),
    post: (path, body = {}, query) =>
      json({ method: "POST", path, query, body: JSON.stringify(body), contentType: "application/json" }),
    patch: (path, body) => json({ method: "PATCH", path, body: JSON.stringify(body), contentType: "application/json" }),
    delete: (path) => json({ method: "DELETE", path }),
    text: async (path, query) => (await send({ method: "GET", path, query })).text(),
    async *bytes(path, query) {
      const { body } = await send({ method: "GET", path, query });
      if (body !== null) yield* body;
    },
    upload: (path, query, contentType, body) =>
      json({ method: "POST", path, query, contentType, body, limitMs: uploadLimitMs }),
    async *pages(path, query = {}, most = Number.POSITIVE_INFINITY) {
      let left = most;
      let cursor: string | undefined;
      while (left > 0) {
        const page = PageBody.parse(
          await json({ method: "GET", path, query: { ...query, limit: Math.min(pageRows, left), cursor } }),
        );
        yield* page.data.slice(0, left);
        left -= page.data.length;
        if (page.nextCursor === null) return;
        cursor = page.nextCursor;
      }
    },
  };
}

function parse(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CliError(exitCodes.unreachable, "cli.not_outrider", `What answers at ${url} is not Outrider.`, {
      hint: "is the address complete, and is it the API's?",
    });
  }
}

async function refusalOf(response: Response, url: string): Promise<CliError> {
  const { status } = response;
  const text = await response.text().catch(() => "");
  if (status === 503 && /^\{"status":"unavailable"/.test(text)) {
    return new CliError(
      exitCodes.unreachable,
      "database.unreachable",
      `${url} runs, but its database does not answer.`,
      {
        status,
      },
    );
  }
  const problem = Problem.safeParse(text.startsWith("{") ? parse(text, url) : undefined).data;
  if (!problem) {
    const more = { status, hint: "is this the address of an Outrider API?" };
    return new CliError(
      exitCodes.unreachable,
      "cli.not_outrider",
      `${url} answered ${status} without saying why.`,
      more,
    );
  }
  return new CliError(status === 503 ? exitCodes.unreachable : exitCodes.refused, problem.code, problem.detail, {
    fields: problem.errors as readonly FieldProblem[],
    status,
    requestId: problem.requestId ?? null,
    hint: status === 401 ? "is the API key the one of this server? --key, OUTRIDER_API_KEY" : null,
  });
}

function unreachable(url: string, error: unknown, limitMs: number): CliError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const isLate = error instanceof Error && error.name === "TimeoutError";
  const { code, message } = cause instanceof Error ? (cause as NodeJS.ErrnoException) : { message: String(cause) };
  const why = isLate ? `no answer within ${limitMs / 1_000} s` : (code ?? message);
  return new CliError(exitCodes.unreachable, "cli.unreachable", `No Outrider answers at ${url} (${why}).`, {
    hint: "is it running? npm start runs one on this machine; --url and OUTRIDER_URL name another",
    cause: error,
  });
}

/**
 * One HTTP call to a provider, answered by a union instead of an exception.
 *
 * Invariant: `not_sent` means that no byte of the request was handed to a socket and none ever will be, so trying again cannot
 * send twice. Every doubt is `unknown`. undici tells them apart: it announces a request (`onRequestStart`) right before the
 * first write, and never after DNS, TCP or TLS failed.
 */
import { type Dispatcher, Pool } from "undici";

export interface HttpCall {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Limits the whole call: waiting for a connection, connecting, sending, and reading the answer. */
  readonly timeoutMs: number;
}

export type HttpResult =
  | {
      readonly kind: "response";
      readonly status: number;
      /** Lower-case names; repeated headers are joined with a comma. */
      readonly headers: Readonly<Record<string, string>>;
      /** At most `maxResponseBytes`. */
      readonly body: Uint8Array;
      /** False when the body was cut: too long, or the connection broke after the status line (the status still counts). */
      readonly complete: boolean;
    }
  | { readonly kind: "not_sent"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

export const maxResponseBytes = 1_048_576;

/**
 * How long an idle connection may be reused. A frozen Lambda does not see its peer close, and a request written to such a
 * connection is lost in doubt, so idle connections are given up before a freeze can age them.
 */
const idleMs = 4_000;
const connectMs = 5_000;
/** Connections per origin. The rest waits in memory, and what waits too long is `not_sent`. */
const connections = 64;

interface Origin {
  readonly pool: Pool;
  running: number;
  idleSince: number;
}

const origins = new Map<string, Origin>();

function openOrigin(origin: string): Origin {
  const known = origins.get(origin);
  // undici's own idle timer stands still while a process is frozen; the wall clock does not.
  const stale = known !== undefined && known.running === 0 && Date.now() - known.idleSince > idleMs;
  if (known !== undefined && !stale) return known;
  if (known !== undefined) void known.pool.destroy().catch(() => undefined);
  const pool = new Pool(origin, {
    connections,
    pipelining: 1,
    // HTTP/2 may move a request to another connection by itself after GOAWAY, which would blur what `not_sent` promises.
    allowH2: false,
    keepAliveTimeout: idleMs,
    keepAliveMaxTimeout: idleMs,
    connect: { timeout: connectMs },
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const opened: Origin = { pool, running: 0, idleSince: Date.now() };
  origins.set(origin, opened);
  return opened;
}

/** Closes every connection; for tests and shutdown. Calls in flight end as `unknown`. */
export async function closeConnections(): Promise<void> {
  const open = [...origins.values()];
  origins.clear();
  await Promise.all(open.map(({ pool }) => pool.destroy()));
}

/** Never throws and never follows redirects. Resolves at the latest when `timeoutMs` is over. */
export async function call(request: HttpCall): Promise<HttpResult> {
  let url: URL;
  try {
    url = new URL(request.url);
  } catch {
    return { kind: "not_sent", reason: "invalid url" };
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") return { kind: "not_sent", reason: "invalid url" };
  const origin = openOrigin(url.origin);
  origin.running++;
  try {
    return await dispatch(origin.pool, url, request);
  } finally {
    origin.running--;
    origin.idleSince = Date.now();
  }
}

function dispatch(pool: Pool, url: URL, request: HttpCall): Promise<HttpResult> {
  return new Promise((resolve) => {
    let started = false;
    let settled = false;
    let controller: Dispatcher.DispatchController | undefined;
    let head: { readonly status: number; readonly headers: Record<string, string> } | undefined;
    const chunks: Uint8Array[] = [];
    let size = 0;

    const settle = (result: HttpResult): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      resolve(result);
    };
    const respond = (complete: boolean): void => {
      if (head === undefined) return;
      settle({ kind: "response", ...head, body: Buffer.concat(chunks, size), complete });
    };
    const fail = (reason: string): void => {
      if (head !== undefined) respond(false);
      else settle({ kind: started ? "unknown" : "not_sent", reason });
    };
    const timer = setTimeout(() => {
      fail(started ? "timeout waiting for the answer" : "timeout before the request was sent");
      controller?.abort(new Error("timeout"));
    }, request.timeoutMs);

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(given) {
        controller = given;
        // Settled as `not_sent` while it waited for a connection: that must stay true.
        if (settled) given.abort(new Error("timeout"));
        else started = true;
      },
      onResponseStart(_controller, status, headers) {
        if (status < 200) return;
        head = { status, headers: flatten(headers) };
      },
      onResponseData(given, chunk) {
        if (settled) return;
        const room = maxResponseBytes - size;
        // A copy: undici reuses the memory behind a chunk.
        chunks.push(Uint8Array.prototype.slice.call(chunk, 0, room));
        size += Math.min(room, chunk.byteLength);
        if (chunk.byteLength <= room) return;
        respond(false);
        given.abort(new Error("answer too long"));
      },
      onResponseEnd() {
        respond(true);
      },
      onResponseError(_controller, error) {
        fail(reasonOf(error));
      },
    };
    try {
      pool.dispatch(
        {
          path: `${url.pathname}${url.search}`,
          method: request.method,
          headers: { ...request.headers },
          body: request.body ?? null,
        },
        handler,
      );
    } catch (error) {
      fail(reasonOf(error));
    }
  });
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name.toLowerCase()] = Array.isArray(value) ? value.join(", ") : value;
  }
  return flat;
}

/** The code rather than the message where there is one: messages carry addresses and certificates. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const code = (error as NodeJS.ErrnoException).code ?? (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return code ?? error.message.slice(0, 200);
}

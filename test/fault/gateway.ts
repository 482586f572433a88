/**
 * What stands between the world and the workers: an HTTP proxy that hands each request to a living worker and writes down every webhook that
 * was answered 2xx.
 *
 * Invariant: a line is written only when the whole answer has arrived, so it is a promise that our side made. A request whose worker dies
 * gets no answer at all, as with a broken connection.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Agent, request as call } from "undici";

/** A request that was answered 2xx. */
export interface GatewayLine {
  readonly at: number;
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

export interface Gateway {
  readonly url: string;
  readonly acknowledged: number;
  /** Connections broken because no worker lived to answer. */
  readonly broken: number;
  setWorkers(origins: readonly string[]): void;
  /** Waits until the log is on disk. */
  stop(): Promise<void>;
}

const answerLimitMs = 25_000;
/** Headers that belong to one connection. */
const hopByHop = new Set(["connection", "keep-alive", "transfer-encoding", "host", "content-length", "expect"]);

export async function startGateway(logFile: string): Promise<Gateway> {
  const log = createWriteStream(logFile, { flags: "a" });
  const agent = new Agent({ connections: 64, headersTimeout: answerLimitMs, bodyTimeout: answerLimitMs });
  let workers: readonly string[] = [];
  let turn = 0;
  const counts = { acknowledged: 0, broken: 0 };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));
    turn += 1;
    const origin = workers[turn % Math.max(1, workers.length)];
    if (origin === undefined) throw new Error("no worker lives");
    const path = request.url ?? "/";
    const headers = Object.entries(request.headers).flatMap(([name, value]) =>
      value === undefined || hopByHop.has(name) ? [] : [[name, String(value)] as const],
    );
    const answer = await call(`${origin}${path}`, {
      dispatcher: agent,
      method: (request.method ?? "GET") as "POST",
      headers: Object.fromEntries(headers),
      body: body.length > 0 ? body : null,
    });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    if (request.method === "POST" && path.startsWith("/webhooks/") && answer.statusCode < 300) {
      const line: GatewayLine = {
        at: Date.now(),
        path,
        sha256: createHash("sha256").update(body).digest("hex"),
        bytes: body.length,
      };
      counts.acknowledged += 1;
      log.write(`${JSON.stringify(line)}\n`);
    }
    const given = Object.entries(answer.headers).flatMap(([name, value]) =>
      value === undefined || hopByHop.has(name) ? [] : [[name, value] as const],
    );
    response.writeHead(answer.statusCode, Object.fromEntries(given));
    response.end(bytes);
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => {
      counts.broken += 1;
      request.socket.destroy();
    });
  });
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    get acknowledged() {
      return counts.acknowledged;
    },
    get broken() {
      return counts.broken;
    },
    setWorkers(origins) {
      workers = origins;
    },
    async stop() {
      server.close();
      server.closeAllConnections();
      await agent.destroy();
      await new Promise<void>((resolve) => log.end(resolve));
    },
  };
}

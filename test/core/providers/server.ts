/** A local provider that records requests and answers as told. */
import http from "node:http";
import type { AddressInfo } from "node:net";

export interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

export interface RecordedRequest {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface ProviderServer {
  readonly url: string;
  readonly requests: RecordedRequest[];
  /** What the next requests get. `reset` breaks the connection after the request was read. */
  answer: Answer | "reset" | "hang";
  /** What paths get instead, without their query. */
  readonly answers: Map<string, Answer>;
  close(): Promise<void>;
}

export async function startProvider(): Promise<ProviderServer> {
  const requests: RecordedRequest[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      requests.push({ method, path: url, headers, body: Buffer.concat(chunks).toString() });
      const answer = provider.answers.get(url?.split("?")[0] ?? "") ?? provider.answer;
      if (answer === "hang") return;
      if (answer === "reset") request.socket.resetAndDestroy();
      else response.writeHead(answer.status, answer.headers).end(answer.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const provider: ProviderServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answer: { status: 202 },
    answers: new Map(),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return provider;
}

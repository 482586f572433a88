import http from "node:http";
import net, { type AddressInfo } from "node:net";
import tls from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { call, closeConnections, maxResponseBytes } from "../../../core/providers/http.ts";

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  vi.useRealTimers();
  await closeConnections();
  await Promise.all(closers.splice(0).map((close) => close()));
});

function listen(server: net.Server): Promise<string> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => {
    sockets.add(socket.on("error", () => undefined));
  });
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(`127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
}

/** Answers each connection once its first bytes have come. `seen` proves what reached the server. */
async function rawServer(answer: (socket: net.Socket) => void) {
  const seen: Buffer[] = [];
  const server = net.createServer((socket) => {
    socket.once("data", (data) => {
      seen.push(data);
      answer(socket);
    });
  });
  return { url: `http://${await listen(server)}/send`, seen };
}

async function httpServer(handler: http.RequestListener) {
  const server = http.createServer(handler);
  return `http://${await listen(server)}`;
}

const post = (url: string, timeoutMs = 5_000) => call({ method: "POST", url, body: "{}", timeoutMs });

describe("a call that never reached the server is not_sent", () => {
  it("when the connection is refused", async () => {
    const server = net.createServer();
    const address = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    closers.splice(0);
    expect(await post(`http://${address}/`)).toEqual({ kind: "not_sent", reason: "ECONNREFUSED" });
  });

  it("when the name does not exist", async () => {
    expect(await post("http://nowhere.invalid/")).toMatchObject({ kind: "not_sent" });
  });

  it.each(["", "ftp://example.com/", "http://", "not a url"])("when the URL is %j", async (url) => {
    expect(await post(url)).toMatchObject({ kind: "not_sent" });
  });

  it("when a header could not be written", async () => {
    const { url, seen } = await rawServer((socket) => socket.end());
    const result = await call({ method: "POST", url, headers: { "x-a": "1\r\nx-b: 2" }, timeoutMs: 1_000 });
    expect(result).toMatchObject({ kind: "not_sent" });
    expect(seen).toEqual([]);
  });

  it("when TLS fails before any request bytes", async () => {
    const { url } = await rawServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    expect(await post(url.replace("http:", "https:"))).toMatchObject({ kind: "not_sent" });
  });

  it("when the server resets during the TLS handshake", async () => {
    const { url } = await rawServer((socket) => socket.resetAndDestroy());
    expect(await post(url.replace("http:", "https:"))).toEqual({ kind: "not_sent", reason: "ECONNRESET" });
  });

  it("when the server offers no certificate", async () => {
    const server = tls.createServer({}).on("tlsClientError", () => undefined);
    expect(await post(`https://${await listen(server)}/`)).toMatchObject({ kind: "not_sent" });
  });

  it("when the TLS handshake hangs until the deadline", async () => {
    const { url } = await rawServer(() => undefined);
    expect(await post(url.replace("http:", "https:"), 150)).toMatchObject({ kind: "not_sent" });
  });

  it("when it waited for a free connection until the deadline, and it is not sent later either", async () => {
    const held: http.ServerResponse[] = [];
    const paths: (string | undefined)[] = [];
    let allHeld = (): void => undefined;
    const full = new Promise<void>((resolve) => {
      allHeld = resolve;
    });
    const url = await httpServer((request, response) => {
      paths.push(request.url);
      if (request.url === "/busy" && held.push(response) === 64) allHeld();
      if (request.url !== "/busy") response.end();
    });
    const busy = Array.from({ length: 64 }, () => post(`${url}/busy`, 20_000));
    await full;
    expect(await post(`${url}/late`, 100)).toEqual({ kind: "not_sent", reason: "timeout before the request was sent" });
    for (const response of held) response.end();
    expect((await Promise.all(busy)).every(({ kind }) => kind === "response")).toBe(true);
    expect(await post(`${url}/next`)).toMatchObject({ kind: "response" });
    expect(paths).not.toContain("/late");
  });
});

describe("a call that may have reached the server without an answer is unknown", () => {
  it("when the server resets after the request", async () => {
    const { url, seen } = await rawServer((socket) => socket.resetAndDestroy());
    expect(await post(url)).toMatchObject({ kind: "unknown" });
    expect(seen).toHaveLength(1);
  });

  it("when the server closes without an answer", async () => {
    const { url } = await rawServer((socket) => socket.end());
    expect(await post(url)).toMatchObject({ kind: "unknown" });
  });

  it("when the connection breaks inside the status line or headers", async () => {
    for (const half of ["HTTP/1.1 2", "HTTP/1.1 202 Accepted\r\nX-Mess"]) {
      const { url } = await rawServer((socket) => socket.end(half));
      expect(await post(url)).toMatchObject({ kind: "unknown" });
    }
  });

  it("when the answer is not HTTP", async () => {
    const { url } = await rawServer((socket) => socket.end("\u0016\u0003\u0001 garbage\r\n\r\n"));
    expect(await post(url)).toMatchObject({ kind: "unknown" });
  });

  it("when the server hangs until the deadline", async () => {
    const { url } = await rawServer(() => undefined);
    const before = performance.now();
    expect(await post(url, 1_000)).toEqual({ kind: "unknown", reason: "timeout waiting for the answer" });
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it("when the server accepts the connection and never reads", async () => {
    const server = net.createServer((socket) => socket.pause());
    expect(await post(`http://${await listen(server)}/`, 1_000)).toMatchObject({ kind: "unknown" });
  });

  it("when a kept connection turns out to be dead", async () => {
    let requests = 0;
    const url = await httpServer((request, response) => {
      if (++requests === 1) response.end("first");
      else request.socket.destroy();
    });
    expect(await post(url)).toMatchObject({ kind: "response" });
    expect(await post(url)).toMatchObject({ kind: "unknown" });
    expect(requests).toBe(2);
  });
});

describe("a call that was answered is a response", () => {
  it("with status, lower-case headers and body bytes", async () => {
    const url = await httpServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        response.writeHead(202, { "X-Message-Id": "abc", "Set-Cookie": ["a=1", "b=2"] });
        response.end(`${request.method} ${request.url} ${Buffer.concat(chunks).toString()}`);
      });
    });
    const result = await call({ method: "POST", url: `${url}/v3?x=1`, body: "héllo", timeoutMs: 5_000 });
    expect(result).toMatchObject({ kind: "response", status: 202, complete: true });
    if (result.kind !== "response") return;
    expect(result.headers["x-message-id"]).toBe("abc");
    expect(result.headers["set-cookie"]).toBe("a=1, b=2");
    expect(Buffer.from(result.body).toString()).toBe("POST /v3?x=1 héllo");
  });

  it("when the server answers 500 after it has accepted", async () => {
    const url = await httpServer((_request, response) => response.writeHead(500).end());
    expect(await post(url)).toMatchObject({ kind: "response", status: 500, complete: true });
  });

  it("when the server answers before it has read the body", async () => {
    const { url } = await rawServer((socket) => socket.end("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"));
    const result = await call({ method: "POST", url, body: "x".repeat(200_000), timeoutMs: 5_000 });
    expect(result).toMatchObject({ kind: "response", status: 413 });
  });

  it("when interim answers come first", async () => {
    const { url } = await rawServer((socket) =>
      socket.end("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    );
    expect(await post(url)).toMatchObject({ kind: "response", status: 202, complete: true });
  });

  it("when the body breaks off: the status was said", async () => {
    const { url } = await rawServer((socket) =>
      socket.end('HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"sid":'),
    );
    const result = await post(url);
    expect(result).toMatchObject({ kind: "response", status: 201, complete: false });
  });

  it("when the body hangs until the deadline", async () => {
    const { url } = await rawServer((socket) => socket.write("HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nhalf"));
    expect(await post(url, 1_000)).toMatchObject({ kind: "response", status: 202, complete: false });
  });

  it("when the body is endless: the first MiB is kept", async () => {
    const url = await httpServer((_request, response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536, 0x61)));
      };
      response.on("drain", more);
      more();
    });
    const result = await post(url);
    expect(result).toMatchObject({ kind: "response", status: 200, complete: false });
    if (result.kind === "response") expect(result.body.byteLength).toBe(maxResponseBytes);
  });

  it("when it is a redirect, which is not followed", async () => {
    const url = await httpServer((_request, response) =>
      response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
    );
    expect(await post(url)).toMatchObject({ kind: "response", status: 302 });
  });

  it("over a new connection after a freeze, in which the old one may have died unseen", async () => {
    const ports = new Set<number | undefined>();
    const url = await httpServer((request, response) => {
      ports.add(request.socket.remotePort);
      response.end();
    });
    for (let at = 0; at < 10; at++) await post(url);
    const before = new Set(ports);
    ports.clear();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 5_000 });
    await post(url);
    expect([...ports].filter((port) => before.has(port))).toEqual([]);
  });

  it("over kept connections", async () => {
    const ports = new Set<number | undefined>();
    const url = await httpServer((request, response) => {
      ports.add(request.socket.remotePort);
      response.end();
    });
    for (let at = 0; at < 20; at++) await post(url);
    // An answer may resolve a moment before its connection is free again, so a second one may be opened.
    expect(ports.size).toBeLessThan(5);
  });
});

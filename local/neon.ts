/**
 * What Neon puts in front of PostgreSQL, for one local server: a WebSocket that carries the wire protocol unchanged.
 *
 * Invariant: the target is fixed when the proxy is made. The address a client asks for is ignored, so this is no open relay,
 * and a web page (which always sends an Origin) is refused.
 */
import { createServer } from "node:http";
import { connect } from "node:net";
import { pipeline } from "node:stream";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";

export interface NeonProxy {
  /** For `useNeonDriver(address)`: host, port and path. */
  readonly address: string;
  readonly port: number;
  /** Cuts open connections and resolves when the port is free again. May be called more than once. */
  close(): Promise<void>;
}

/** @param target the PostgreSQL server that every connection ends at. @param port default: a free one. */
export async function startNeonProxy(
  target: { readonly port: number; readonly host?: string },
  port = 0,
): Promise<NeonProxy> {
  const http = createServer((_request, response) => void response.writeHead(404).end());
  const server = new WebSocketServer({
    server: http,
    // Query results are small and local; compressing them costs more than it saves.
    perMessageDeflate: false,
    verifyClient: ({ origin }: { origin?: string }) => origin === undefined,
  });
  server.on("connection", (socket) => bridge(socket, target.port, target.host ?? "127.0.0.1"));
  const bound = await new Promise<number>((resolve, reject) => {
    http.once("error", reject);
    server.once("error", reject);
    http.listen(port, "127.0.0.1", () => {
      const address = http.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
  const close = (): Promise<void> => {
    for (const client of server.clients) client.terminate();
    http.closeAllConnections();
    return new Promise((resolve) => http.close(() => resolve()));
  };
  return { address: `127.0.0.1:${bound}/v1`, port: bound, close };
}

/** `pipeline` destroys both ends when either fails, so a lost client never leaves a server connection behind. */
function bridge(socket: WebSocket, port: number, host: string): void {
  const tcp = connect({ host, port, noDelay: true });
  const stream = createWebSocketStream(socket);
  const cut = (): void => {
    socket.terminate();
    tcp.destroy();
  };
  pipeline(stream, tcp, cut);
  pipeline(tcp, stream, cut);
}

/**
 * A provider in a process of its own: `node bench/provider.ts <latency in ms>` prints its port and accepts everything. It is as cheap as a
 * server can be, so that what is measured is the sender.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const latencyMs = Number(process.argv[2] ?? 0);
let accepted = 0;
const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    const answer = (): void => void response.writeHead(202, { "x-message-id": `m-${++accepted}` }).end();
    if (latencyMs > 0) setTimeout(answer, latencyMs);
    else answer();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));

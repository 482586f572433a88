/**
 * Webhooks from a process of its own: `node bench/load.ts <port> <path> <twilio|plain> <secret> <ms>` keeps 32 connections busy and prints how
 * many requests per second were answered 2xx, with the median and the 99th percentile of their latency in ms.
 */
import { createHmac, randomBytes } from "node:crypto";
import { connect } from "node:net";

const [port = "0", path = "/", scheme = "plain", secret = "", ms = "1000"] = process.argv.slice(2);
const connections = 32;
const publicUrl = "https://go.example.test";
const account = `AC${"0".repeat(32)}`;
// Together about 1 KB.
const padding = "m".repeat(760);
const run = randomBytes(8).toString("hex");
let made = 0;

function next(): string {
  const sid = `SM${run}${String(++made).padStart(16, "0")}`;
  const fields = {
    AccountSid: account,
    Body: padding,
    From: "12025550100",
    MessageSid: sid,
    MessageStatus: "delivered",
    To: "12025550101",
  };
  const body = new URLSearchParams(fields).toString();
  const headers = ["content-type: application/x-www-form-urlencoded"];
  if (scheme === "twilio") {
    const signed = `${publicUrl}${path}${Object.entries(fields).flat().join("")}`;
    headers.push(`x-twilio-signature: ${createHmac("sha1", secret).update(signed).digest("base64")}`);
  } else {
    headers.push(`x-signature: ${createHmac("sha256", secret).update(body).digest("hex")}`, `webhook-id: ${sid}`);
  }
  return `POST ${path} HTTP/1.1\r\nhost: localhost\r\n${headers.join("\r\n")}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

const latencies: number[] = [];
let counting = false;
let failed = 0;

for (let n = 0; n < connections; n++) {
  const socket = connect(Number(port), "127.0.0.1");
  let sentAt = 0;
  let received = "";
  const send = (): void => {
    sentAt = performance.now();
    socket.write(next());
  };
  socket.setNoDelay(true).setEncoding("latin1").on("connect", send);
  socket.on("data", (chunk: string) => {
    received += chunk;
    // Both servers answer without a body.
    if (!received.endsWith("\r\n\r\n")) return;
    if (!received.startsWith("HTTP/1.1 20") && failed++ === 0) process.stderr.write(`${received}\n`);
    received = "";
    if (counting) latencies.push(performance.now() - sentAt);
    send();
  });
}

setTimeout(() => {
  counting = true;
  const from = performance.now();
  setTimeout(() => {
    const seconds = (performance.now() - from) / 1_000;
    const sorted = latencies.toSorted((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
    console.log(JSON.stringify({ rate: sorted.length / seconds, p50: at(0.5), p99: at(0.99), failed }));
    process.exit(0);
  }, Number(ms));
  // A second of warming up: connections, caches, compilation.
}, 1_000);

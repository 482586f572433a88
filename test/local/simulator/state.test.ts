import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Pool, request } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Accept, Journal, State } from "../../../local/simulator/state.ts";
import { mail } from "./support.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "simulator-state-"));
});
afterEach(() => rm(dir, { recursive: true }));

test("concurrent appends share fsyncs, and each resolves only when it is in the file", async () => {
  const path = join(dir, "log.ndjson");
  const journal = await Journal.open<number>(path);
  const total = 20_000;
  await Promise.all(Array.from({ length: total }, (_, i) => journal.append(i)));
  expect(journal.syncs).toBeLessThan(total / 1000);
  expect((await readFile(path, "utf8")).split("\n").length).toBe(total + 1);
  // One at a time, each append has its own fsync: nothing is answered from memory.
  const before = journal.syncs;
  for (let i = 0; i < 5; i++) {
    await journal.append(i);
    expect((await readFile(path, "utf8")).endsWith(`\n${i}\n`)).toBe(true);
  }
  expect(journal.syncs - before).toBe(5);
  await journal.close();
});

test("a torn last line is cut off and the log goes on after it", async () => {
  const path = join(dir, "log.ndjson");
  const first = await Journal.open<string>(path);
  await first.append("grüße");
  await first.close();
  await appendFile(path, '"to');
  const second = await Journal.open<string>(path);
  expect(second.entries).toEqual(["grüße"]);
  await second.append("b");
  await second.close();
  expect(await readFile(path, "utf8")).toBe('"grüße"\n"b"\n');
});

test("ordinals, opt-outs and the signing key outlive the process", async () => {
  const accept: Accept = {
    provider: "twilio",
    messageId: "SM1",
    ourMessageId: "omsg_1",
    to: "+12025550142",
    from: "+12025550100",
    at: "2026-03-02T10:00:00.000Z",
    ordinal: 1,
    bodySha256: "00",
  };
  const first = await State.open(dir);
  first.nextOrdinal("twilio", accept.to);
  await first.accepts.append(accept);
  await first.optOut(accept.from, accept.to, new Date(0));
  const { publicKey } = first;
  await first.close();
  const second = await State.open(dir);
  expect(second.nextOrdinal("twilio", accept.to)).toBe(2);
  expect(second.isOptedOut(accept.from, accept.to)).toBe(true);
  expect(second.find("omsg_1")).toEqual({ accept, message: null });
  expect(second.publicKey).toBe(publicKey);
  await second.close();
});

/** The simulator as its own process. */
async function spawnSimulator() {
  const child = spawn(process.execPath, ["local/simulator/main.ts", "--dir", dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { url } = JSON.parse(line) as { url: string };
  const exited = once(child, "exit");
  return {
    url,
    async end(signal: NodeJS.Signals) {
      child.kill(signal);
      return (await exited) as [number | null, NodeJS.Signals | null];
    },
  };
}

test("kill -9 in full flight loses no acknowledged message", async () => {
  const running = await spawnSimulator();
  const connections = new Pool(running.url, { connections: 40 });
  const acked: string[] = [];
  let isOver = false;
  const sender = async (lane: number) => {
    for (let i = 0; !isOver; i++) {
      const body = JSON.stringify(mail(`p${lane}-${i}@example.com`));
      const sent = await request(`${running.url}/v3/mail/send`, {
        dispatcher: connections,
        method: "POST",
        headers: { authorization: "Bearer k" },
        body,
      }).catch(() => null);
      if (sent === null) return;
      acked.push(String(sent.headers["x-message-id"]));
      await sent.body.dump();
    }
  };
  const lanes = Array.from({ length: 40 }, (_, lane) => sender(lane));
  await expect.poll(() => acked.length, { timeout: 20_000, interval: 5 }).toBeGreaterThan(500);
  await running.end("SIGKILL");
  isOver = true;
  await Promise.all(lanes);
  await connections.destroy();

  const again = await spawnSimulator();
  const response = await fetch(`${again.url}/accepted?provider=sendgrid&format=ndjson`);
  const known = new Set(
    (await response.text())
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as Accept).messageId),
  );
  expect(acked.filter((id) => !known.has(id))).toEqual([]);
  expect(known.size).toBeGreaterThanOrEqual(acked.length);
  // At most the requests in flight were accepted without anybody hearing of it.
  expect(known.size - acked.length).toBeLessThanOrEqual(40);
  expect(await again.end("SIGTERM")).toEqual([0, null]);
});

/**
 * One import in a process of its own: `node bench/memory-import.ts <url> <tenant> <actor> <rows>` stores a CSV file of that many rows in a
 * folder, imports it and prints what it held on the way as JSON.
 */
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect } from "../core/db/connect.ts";
import { createImport, getImport, runImports } from "../core/intake/index.ts";
import { newId } from "../core/kernel/id.ts";
import type { Blobs } from "../core/ports/blobs.ts";

const [url = "", tenantId = "", actorId = "", count = "0"] = process.argv.slice(2);
const rows = Number(count);
const folder = mkdtempSync(path.join(os.tmpdir(), "outrider-import-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

const fileOf = (key: string): string => path.join(folder, key.replaceAll("/", "_"));
const unused = (): never => {
  throw new Error("an import needs no more than put and stream");
};
const blobs: Blobs = {
  put: (key, body) =>
    pipeline(
      body instanceof Uint8Array ? Readable.from([body]) : Readable.from(body, { objectMode: false }),
      createWriteStream(fileOf(key)),
    ),
  get: unused,
  stream: (key) => createReadStream(fileOf(key)),
  list: unused,
  delete: unused,
};

async function* csv(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("email,first_name,last_name,phone,company,title,city,state,country\n");
  for (let n = 0; n < rows; n += 1_000) {
    const lines = Array.from({ length: Math.min(1_000, rows - n) }, (_, at) => {
      const id = n + at;
      const company = Math.floor(id / 3);
      return `person${id}@company${company}.example,First${id},Last${id},+1212${2_000_000 + id},Company ${company},VP Sales,Springfield,IL,US\n`;
    });
    yield Buffer.from(lines.join(""));
  }
}

const db = connect({ url, driver: "pg", max: 2 });
const ctx = {
  tenantId,
  actor: { type: "user", id: actorId } as const,
  db,
  correlationId: newId("correlation", new Date()),
};
const { id } = await createImport({ blobs }, ctx, { source: "list", fileName: "list.csv" }, csv());

interface Sample {
  readonly ms: number;
  readonly mb: number;
}
const samples: Sample[] = [];
const from = performance.now();
const timer = setInterval(
  () => samples.push({ ms: performance.now() - from, mb: process.memoryUsage().rss / 1e6 }),
  100,
);
await runImports({ blobs, queue: { ring: async () => {} } }, ctx, [id], {
  remainingMs: () => Number.POSITIVE_INFINITY,
});
clearInterval(timer);
const seconds = (performance.now() - from) / 1_000;
const view = await getImport(ctx, { id });
if (view.status !== "completed") throw new Error(`the import is ${view.status}`);
await db.destroy();

const most = (share: readonly [number, number]): number =>
  Math.max(
    ...samples
      .filter(({ ms }) => ms >= share[0] * seconds * 1_000 && ms < share[1] * seconds * 1_000)
      .map(({ mb }) => mb),
  );
const tenths = Array.from({ length: 10 }, (_, n) => most([n / 10, (n + 1) / 10]).toFixed(0));
process.stderr.write(`resident MB in each tenth of the file: ${tenths.join(" ")}\n`);
console.log(JSON.stringify({ most: most([0, 1.01]), growth: most([0.5, 1.01]) / most([0.1, 0.5]), seconds }));

/** The object storage of the local host in a process of its own: `node bench/storage.ts` prints its address. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startAws } from "../local/aws.ts";

const dataDir = mkdtempSync(path.join(os.tmpdir(), "outrider-storage-"));
process.once("exit", () => rmSync(dataDir, { recursive: true, force: true }));
process.once("SIGTERM", () => process.exit(0));
const { endpoint } = await startAws({ dataDir });
console.log(endpoint);

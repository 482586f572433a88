/**
 * `bundle`: what a cold start of the webhook handler reads, bundled and minified with the settings of the deploy (infra/bundler.ts), against
 * a plain handler of Kysely, Neon's driver, the SQS client and zod/mini; `bundle-max`: the largest handler
 * against one with the vendors' SDKs; `…-whole`: with everything that either may load later; `import-time`: both bundles imported by Node with its compile cache.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import * as esbuild from "esbuild";
import { banner } from "../infra/bundler.ts";
import { installed, peersFolder } from "./peers.ts";
import { interleave, type Rig } from "./rig.ts";

const root = path.resolve(import.meta.dirname, "..");

const plain = `
  import { Kysely, PostgresDialect } from "kysely";
  import { Pool } from "@neondatabase/serverless";
  import { SQSClient, SendMessageBatchCommand } from "@aws-sdk/client-sqs";
  import * as z from "zod/mini";
  const schema = z.object({ id: z.string() });
  export const handler = async (event) => {
    const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: process.env.URL }) }) });
    await db.insertInto("deliveries").values(z.parse(schema, event)).execute();
    await new SQSClient({}).send(new SendMessageBatchCommand({ QueueUrl: "q", Entries: [] }));
  };`;
const vendors = `
  import { Hono } from "hono";
  import { handle } from "hono/aws-lambda";
  import { z as zod } from "zod";
  import { Logger } from "@aws-lambda-powertools/logger";
  import { BatchProcessor, EventType } from "@aws-lambda-powertools/batch";
  import twilio from "twilio";
  import sendgrid from "@sendgrid/mail";
  import Stripe from "stripe";
  const app = new Hono();
  export const keep = [zod.object({}), new Logger(), new BatchProcessor(EventType.SQS), twilio, sendgrid, Stripe, handle(app)];`;

interface Bundle {
  /** The file that Lambda imports. */
  readonly entry: string;
  /** What importing it reads. */
  readonly startBytes: number;
  /** With what it may load later. */
  readonly allBytes: number;
}

export async function bundleLines(rig: Rig): Promise<void> {
  const work = mkdtempSync(path.join(os.tmpdir(), "outrider-bundle-"));
  try {
    const handlers = readdirSync(path.join(root, "functions")).filter(
      (name) => name.endsWith(".ts") && name !== "topology.ts",
    );
    const own = new Map<string, Bundle>();
    for (const name of handlers)
      own.set(name, await bundle(path.join(work, name), { entryPoints: [path.join(root, "functions", name)] }));
    const webhooks = own.get("webhooks.ts");
    if (!webhooks) throw new Error("there is no functions/webhooks.ts");
    for (const [name, { startBytes, allBytes }] of own)
      rig.note(`    ${name}: ${kb(startBytes)} KB at start, ${kb(allBytes)} KB in all`);
    const a = await bundle(path.join(work, "a"), stdin(plain));
    rig.line({ name: "bundle", value: kb(webhooks.startBytes), unit: "KB", baseline: kb(a.startBytes) }, "lower");
    rig.line({ name: "bundle-whole", value: kb(webhooks.allBytes), unit: "KB", baseline: kb(a.allBytes) }, "lower");
    await importTimes(rig, work, webhooks, a);
    if (!installed("@sendgrid/mail")) {
      rig.note("  bundle-max is left out: the vendors' SDKs are not installed (npm run bench:install)");
      return;
    }
    const c = await bundle(path.join(work, "c"), stdin(plain + vendors));
    const largest = (bytes: "startBytes" | "allBytes"): number =>
      kb(Math.max(...[...own.values()].map((one) => one[bytes])));
    rig.line({ name: "bundle-max", value: largest("startBytes"), unit: "KB", baseline: kb(c.startBytes) }, "lower");
    rig.line({ name: "bundle-max-whole", value: largest("allBytes"), unit: "KB", baseline: kb(c.allBytes) }, "lower");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const kb = (bytes: number): number => Math.round(bytes / 1_000);

const stdin = (contents: string) => ({ stdin: { contents, resolveDir: peersFolder, loader: "js" as const } });

/** With SST's settings for Node functions; see infra/bundler.ts. */
async function bundle(outdir: string, source: Pick<esbuild.BuildOptions, "entryPoints" | "stdin">): Promise<Bundle> {
  const { metafile } = await esbuild.build({
    ...source,
    absWorkingDir: root,
    nodePaths: [path.join(root, "node_modules")],
    outdir,
    entryNames: "bundle",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    metafile: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "es2024",
    keepNames: true,
    logLevel: "silent",
    mainFields: ["module", "main"],
    minify: true,
    external: ["sharp", "pg-native"],
    banner: { js: banner.trim() },
  });
  const files = Object.entries(metafile.outputs);
  const entry = path.join(outdir, "bundle.mjs");
  const seen = new Set<string>();
  const queue = [path.relative(root, entry)];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { path: to, kind } of metafile.outputs[name]?.imports ?? [])
      if (kind === "import-statement" && metafile.outputs[to]) queue.push(to);
  }
  const sizeOf = (names: readonly string[]): number =>
    names.reduce((sum, name) => sum + statSync(path.join(root, name)).size, 0);
  return { entry, startBytes: sizeOf([...seen]), allBytes: sizeOf(files.map(([name]) => name)) };
}

/** Wall time of a process that imports, less one that does nothing; the compile cache is filled before. */
async function importTimes(rig: Rig, work: string, own: Bundle, plain: Bundle): Promise<void> {
  const cache = path.join(work, "cache");
  mkdirSync(cache);
  const empty = path.join(work, "empty.mjs");
  writeFileSync(empty, "");
  const timed = (entry: string) => async (): Promise<number> => {
    const from = performance.now();
    const { status, stderr } = spawnSync(process.execPath, [entry], {
      env: { ...process.env, NODE_COMPILE_CACHE: cache },
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${entry} cannot be imported: ${stderr.slice(0, 500)}`);
    return performance.now() - from;
  };
  const measured = { own: timed(own.entry), plain: timed(plain.entry), empty: timed(empty) };
  // Twice: the first run writes the cache when it ends.
  for (const run of Object.values(measured)) for (let n = 0; n < 2; n++) await run();
  const values = await interleave(rig, "import-time", measured, 15);
  rig.line(
    { name: "import-time", value: values.own - values.empty, unit: "ms", baseline: values.plain - values.empty },
    "lower",
  );
}

/**
 * Runs sst.config.ts as SST's CLI would (the same two esbuild passes, the same injected globals), against a played Pulumi engine:
 * no AWS account, no pulumi binary. Follows internals of SST 4.17; run `npm run infra:check` after every upgrade of it.
 *
 * Invariant: one synth per process, because Pulumi's runtime is global. `synth` starts one.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import * as esbuild from "esbuild";
import { banner, rpcServer } from "./bundler.ts";
import type { Build, Graph, Resource } from "./graph.ts";
import { computed, lookup, region, unwrap } from "./mocks.ts";

const here = path.resolve(import.meta.dirname, "..");

/** Replaces text of a source file while it is compiled: how tests plant a fault without touching the tree. */
export interface Edit {
  /** Relative to the root. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface SynthOptions {
  readonly root?: string;
  readonly stage?: string;
  readonly edits?: readonly Edit[];
  /** False leaves the functions uncompiled: quicker, where only the graph is looked at. Default true. */
  readonly bundle?: boolean;
}

interface Pass {
  readonly code: string;
  readonly outfile: string;
  readonly define: Readonly<Record<string, string>>;
  readonly extra?: string;
  readonly globals?: string;
  readonly inject?: readonly string[];
}

function compile(root: string, edits: readonly Edit[], pass: Pass) {
  const sst = path.join(root, ".sst");
  const open: esbuild.Plugin = {
    name: "globals",
    setup(build) {
      build.onLoad({ filter: /\.(js|ts)$/ }, ({ path: file }) => {
        if (file.startsWith(sst)) return undefined;
        let text = readFileSync(file, "utf8");
        for (const edit of edits.filter((edit) => path.join(root, edit.file) === file)) {
          if (!text.includes(edit.from)) throw new Error(`${edit.file} does not contain: ${edit.from}`);
          text = text.replace(edit.from, () => edit.to);
        }
        return { contents: `${pass.globals ?? ""}\n${text}`, loader: "default" };
      });
    },
  };
  return esbuild.build({
    absWorkingDir: root,
    banner: { js: banner + (pass.extra ?? "") },
    mainFields: ["module", "main"],
    format: "esm",
    platform: "node",
    sourcemap: "linked",
    logLevel: "error",
    stdin: { contents: pass.code, resolveDir: root, sourcefile: "eval.ts", loader: "ts" },
    nodePaths: [path.join(sst, "platform/node_modules")],
    plugins: [open],
    external: [
      "@pulumi/*",
      "undici",
      "@pulumiverse/*",
      "@sst-provider/*",
      "@aws-sdk/*",
      "esbuild",
      "archiver",
      "glob",
      "vite",
    ],
    define: { ...pass.define },
    inject: [...(pass.inject ?? [])],
    outfile: pass.outfile,
    bundle: true,
  });
}

interface App {
  name: string;
  home: string;
  stage: string;
  providers: Record<string, unknown>;
  removal: string;
  protect: boolean;
}

interface PulumiRuntime {
  setMocks(mocks: object, project: string, stack: string, preview: boolean, organization: string): Promise<void>;
  runInPulumiStack(run: () => Promise<unknown>): Promise<unknown>;
  disconnect(): Promise<void>;
}

/** Plays the whole run in this process. */
async function play({ root = here, stage = "test", edits = [], bundle = true }: SynthOptions): Promise<Graph> {
  const platform = path.join(root, ".sst/platform");
  if (!existsSync(path.join(platform, "node_modules/@pulumi/pulumi")))
    throw new Error("run `npm run infra:install` first");
  const work = mkdtempSync(path.join(os.tmpdir(), "outrider-synth-"));
  // Beside SST's platform, so that what stays external resolves from its node_modules.
  const first = path.join(platform, `app.${process.pid}.mjs`);
  const second = path.join(platform, `run.${process.pid}.mjs`);
  const config = JSON.stringify(path.join(root, "sst.config.ts"));
  const builds: Build[] = [];
  const resources: Resource[] = [];
  let answered = 0;
  const server = await rpcServer({ root, work, bundle, builds });
  try {
    await compile(root, edits, {
      outfile: first,
      extra: "function $config(input) { return input }",
      define: { $input: JSON.stringify({ stage }) },
      code: `import mod from ${config};\nexport default await mod.app({ stage: $input.stage });`,
    });
    const app = {
      removal: "retain",
      protect: false,
      ...(await import(pathToFileURL(first).href)).default,
      stage,
    } as App;

    process.env["SST_SERVER"] = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    process.env["SST_AWS_REGION"] = region;
    process.env["AWS_REGION"] = region;
    process.env["SST_SECRET_DatabaseUrl"] = "postgres://outrider_app:synth-password@pooler/outrider";
    process.env["SST_SECRET_SigningKeys"] = "synth-signing-key";

    const { runtime } = createRequire(path.join(platform, "package.json"))("@pulumi/pulumi") as {
      readonly runtime: PulumiRuntime;
    };
    const mocks = {
      newResource({ type, name, inputs, custom }: Resource & { readonly custom?: boolean }) {
        answered += 1;
        const state = { ...inputs, ...(custom === false ? {} : computed(type, name)) };
        resources.push({
          type,
          name,
          inputs: unwrap(inputs) as Resource["inputs"],
          state: unwrap(state) as Resource["state"],
        });
        return { id: `${name}-id`, state };
      },
      call({ token, inputs }: { readonly token: string; readonly inputs: Readonly<Record<string, unknown>> }) {
        answered += 1;
        return lookup(token, inputs);
      },
    };
    await runtime.setMocks(mocks, app.name, stage, false, "organization");

    const lock = JSON.parse(readFileSync(path.join(root, ".sst/provider-lock.json"), "utf8")) as {
      readonly alias: string;
      readonly package: string;
    }[];
    const paths = { home: path.join(work, "home"), root, work, platform };
    await compile(root, edits, {
      outfile: second,
      globals: [
        ...lock.map((entry) => `import * as ${entry.alias} from "${entry.package}";`),
        `import * as sst from "${platform}/src/components";`,
      ].join("\n"),
      inject: [path.join(platform, "src/shim/run.js")],
      define: {
        $app: JSON.stringify(app),
        $cli: JSON.stringify({ command: "deploy", dev: false, paths, state: { version: {} } }),
        $dev: "false",
      },
      code: `import { run } from ${JSON.stringify(path.join(platform, "src/auto/run.ts"))};
        import mod from ${config};
        export default await run(mod.run);`,
    });

    // What fails inside an apply() leaves Pulumi waiting for ever: the first unhandled failure ends the run.
    const failed = new Promise<never>((_resolve, reject) => {
      process.on("unhandledRejection", reject);
      process.on("uncaughtException", reject);
    });
    const settled = async () => {
      await runtime.runInPulumiStack(async () => (await import(pathToFileURL(second).href)).default);
      for (let seen = -1; seen !== answered + builds.length; ) {
        seen = answered + builds.length;
        await runtime.disconnect();
        await sleep(50);
      }
    };
    await Promise.race([settled(), failed]);
    resources.sort((a, b) => (a.type + a.name < b.type + b.name ? -1 : 1));
    return { resources, builds: builds.sort((a, b) => (a.functionId < b.functionId ? -1 : 1)) };
  } finally {
    server.close();
    rmSync(work, { recursive: true, force: true });
    for (const file of [first, second]) for (const made of [file, `${file}.map`]) rmSync(made, { force: true });
  }
}

/** The deployable graph of a tree. @throws Error with SST's or the compiler's own words when it cannot be made */
export function synth(options: SynthOptions = {}): Graph {
  const root = options.root ?? here;
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ["--no-warnings", import.meta.filename, JSON.stringify({ ...options, root })],
    { cwd: root, maxBuffer: 1 << 28, timeout: 100_000, encoding: "utf8" },
  );
  if (status !== 0) throw new Error(stderr.trim() || `synth ended with ${status ?? signal}`);
  return JSON.parse(stdout) as Graph;
}

if (import.meta.main) {
  play(JSON.parse(process.argv[2] ?? "{}") as SynthOptions).then(
    (graph) => process.stdout.write(JSON.stringify(graph), () => process.exit(0)),
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : String(error));
      process.exit(1);
    },
  );
}

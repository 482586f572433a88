/**
 * The part of SST's own server that its components call while a stack is built, and the bundling of each function with SST's settings.
 * A missing file, a missing export or an import that does not resolve therefore fails the check as it would fail a deploy.
 */
import { createCipheriv } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";
import * as esbuild from "esbuild";
import type { Build } from "./graph.ts";

/** SST puts this in front of every ESM bundle. */
export const banner = `
import { createRequire as topLevelCreateRequire } from 'module';
const require = topLevelCreateRequire(import.meta.url);
import { fileURLToPath as topLevelFileUrlToPath, URL as topLevelURL } from "url"
const __filename = topLevelFileUrlToPath(import.meta.url)
const __dirname = topLevelFileUrlToPath(new topLevelURL(".", import.meta.url))
`;

interface BuildRequest {
  readonly functionID: string;
  readonly handler: string;
  readonly encryptionKey: string;
  readonly links?: Readonly<Record<string, unknown>>;
  readonly properties?: {
    readonly minify?: boolean;
    readonly splitting?: boolean;
    readonly esbuild?: { readonly external?: readonly string[] };
  };
}

interface BuildAnswer {
  readonly handler: string;
  readonly out: string;
  readonly errors: readonly string[];
  readonly sourcemaps: readonly string[];
}

export interface RpcOptions {
  readonly root: string;
  /** Where bundles are written. */
  readonly work: string;
  /** False: functions are looked up but not compiled. */
  readonly bundle: boolean;
  /** Every function that was built is added here. */
  readonly builds: Build[];
}

async function build({ root, work, bundle, builds }: RpcOptions, request: BuildRequest): Promise<BuildAnswer> {
  const file = `${request.handler.replace(/\.[^.]+$/, "")}.ts`;
  const name = request.handler.split(".").at(-1) ?? "";
  const out = path.join(work, "artifacts", `${request.functionID}-src`);
  const failed = (...errors: string[]): BuildAnswer => ({ handler: "", out, errors, sourcemaps: [] });
  if (!existsSync(path.join(root, file))) return failed(`there is no handler ${request.handler}`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const outfile = path.join(out, "bundle.mjs");
  const links = request.links ?? {};
  if (!bundle) {
    writeFileSync(outfile, "");
    builds.push({ functionId: request.functionID, file, links: Object.keys(links), bytes: 0 });
    return { handler: `bundle.${name}`, out, errors: [], sourcemaps: [] };
  }
  let bytes = 0;
  try {
    const { metafile } = await esbuild.build({
      absWorkingDir: root,
      entryPoints: [path.join(root, file)],
      ...(request.properties?.splitting
        ? { splitting: true, outdir: out, entryNames: "bundle", outExtension: { ".js": ".mjs" } }
        : { outfile }),
      bundle: true,
      metafile: true,
      platform: "node",
      format: "esm",
      target: "es2024",
      keepNames: true,
      logLevel: "silent",
      mainFields: ["module", "main"],
      minify: request.properties?.minify ?? false,
      sourcemap: "linked",
      external: ["sharp", "pg-native", ...(request.properties?.esbuild?.external ?? [])],
      banner: { js: banner.trim() },
    });
    // A chunk of a module that is imported on demand has an entry point, too.
    const entry = path.relative(root, outfile);
    if (!metafile.outputs[entry]?.exports.includes(name)) return failed(`${file} does not export ${name}`);
    bytes = startBytes(metafile, entry);
  } catch (error) {
    const { errors } = error as { readonly errors?: readonly { readonly text: string }[] };
    return failed(...(errors?.map(({ text }) => `${file}: ${text}`) ?? [String(error)]));
  }
  const cipher = createCipheriv("aes-256-gcm", Buffer.from(request.encryptionKey, "base64"), Buffer.alloc(12));
  const sealed = Buffer.concat([cipher.update(JSON.stringify(links)), cipher.final(), cipher.getAuthTag()]);
  writeFileSync(path.join(out, "resource.enc"), sealed);
  builds.push({ functionId: request.functionID, file, links: Object.keys(links), bytes });
  return { handler: `bundle.${name}`, out, errors: [], sourcemaps: [`${outfile}.map`] };
}

/** What a cold start reads: the entry and all it imports, without what waits for an `import()`. */
function startBytes({ outputs }: esbuild.Metafile, entry: string): number {
  const seen = new Set<string>();
  const queue = [entry];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { path: to, kind } of outputs[name]?.imports ?? []) if (kind === "import-statement") queue.push(to);
  }
  return [...seen].reduce((sum, name) => sum + (outputs[name]?.bytes ?? 0), 0);
}

/** Listens on a free port. */
export async function rpcServer(options: RpcOptions): Promise<Server> {
  const methods: Readonly<Record<string, (input: never) => unknown>> = {
    "Provider.Aws.Bootstrap": () => ({
      asset: "sst-asset",
      assetEcrRegistryId: "123456789012",
      assetEcrUrl: "123456789012.dkr.ecr/sst-asset",
      state: "sst-state",
      appsyncHttp: "",
      appsyncRealtime: "",
    }),
    "Provider.Aws.Appsync": () => ({ http: "", realtime: "" }),
    "Runtime.AddTarget": () => true,
    "Runtime.Build": (input: BuildRequest) => build(options, input),
  };
  const answer = async (body: AsyncIterable<Buffer>): Promise<object> => {
    const call = JSON.parse(Buffer.concat(await Array.fromAsync(body)).toString("utf8")) as {
      readonly method: string;
      readonly params: readonly [never];
    };
    const method = methods[call.method];
    return method ? { result: await method(call.params[0]) } : { error: `rpc: can't find method ${call.method}` };
  };
  const server = createServer((request, response) => {
    response.setHeader("content-type", "application/json");
    answer(request).then(
      (result) => response.end(JSON.stringify(result)),
      (error: unknown) => response.end(JSON.stringify({ error: String(error) })),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

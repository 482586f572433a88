/**
 * Programs of the rig as single files. A worker is started hundreds of times in a run, and reading its modules one by one takes two
 * seconds of a core; a bundle takes a third of one. Deployed functions are bundled the same way.
 */
import path from "node:path";
import * as esbuild from "esbuild";

const banner = `import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);`;

/** @returns the file to start */
export async function bundle(program: string, folder: string): Promise<string> {
  const outfile = path.join(folder, `${program}.mjs`);
  await esbuild.build({
    entryPoints: [path.resolve(import.meta.dirname, `${program}.ts`)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2024",
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: "error",
    mainFields: ["module", "main"],
    external: ["pg-native"],
    banner: { js: banner },
  });
  return outfile;
}

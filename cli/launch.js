#!/usr/bin/env node
/**
 * `npx outrider`: checks the Node version, then runs the command line. Plain JavaScript, because an older Node cannot even read the entry.
 * Exit code 2: this Node is too old.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 24 || (major === 24 && minor < 2)) {
  console.error(
    `Outrider needs Node 24.2 or later; this is ${process.versions.node}. npm installs one beside it: run it through npm (npx outrider).`,
  );
  process.exit(2);
}
// Verbs are short: half of their time would be compiling.
const { enableCompileCache } = await import("node:module");
enableCompileCache?.();
await import(new URL("main.ts", import.meta.url).href);

/**
 * Checks the Node version, then runs a TypeScript entry: `node local/launch.js main.ts`. Plain JavaScript, because an older Node cannot even
 * read the entry. Exit code 2: this Node is too old.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const file = process.argv[2];
if (major < 24 || (major === 24 && minor < 2)) {
  console.error(
    `Outrider needs Node 24.2 or later; this is ${process.versions.node}. npm installs one beside it: run it through npm (npm start).`,
  );
  process.exit(2);
}
process.argv.splice(1, 2, new URL(file, import.meta.url).pathname);
// A third of the time until it is up would be compiling.
const { enableCompileCache, flushCompileCache } = await import("node:module");
enableCompileCache?.();
await import(new URL(file, import.meta.url).href);
// Who is killed later starts as fast the next time.
flushCompileCache?.();

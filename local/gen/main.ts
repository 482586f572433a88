/** `npm run gen` rewrites the generated files; with `--check` it only says whether they are up to date. */
import { writeFileSync } from "node:fs";
import { errorCatalogue } from "./errors.ts";
import { absolute, generate, outdated } from "./generate.ts";

const files = [...(await generate()), errorCatalogue()];
const stale = outdated(files);

if (process.argv.includes("--check")) {
  for (const file of stale) console.error(`${file} is out of date: run npm run gen and commit the result`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  for (const file of files.filter(({ path }) => stale.includes(path))) writeFileSync(absolute(file.path), file.content);
  console.log(stale.length === 0 ? "Everything is up to date." : `Wrote ${stale.join(" and ")}.`);
}

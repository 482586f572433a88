/**
 * Fetches SST's platform (its components and Pulumi's SDKs) into .sst/platform, from the npm registry alone: no pulumi binary, no bun, no
 * AWS account. Idempotent: the platform of the installed version is left as it is.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const at = (...parts: string[]): string => path.join(root, ...parts);

const wanted: unknown = JSON.parse(readFileSync(at("node_modules/sst/package.json"), "utf8")).version;
const complete = existsSync(at(".sst/platform/version")) && existsSync(at(".sst/platform/node_modules/@pulumi/aws"));
const present = complete ? readFileSync(at(".sst/platform/version"), "utf8").trim() : undefined;

if (present === wanted) {
  console.log(`SST's platform ${present} is in place.`);
} else {
  const { status } = spawnSync(at("node_modules/.bin/sst"), ["install", "--stage", "check"], {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      SST_SKIP_DEPENDENCY_CHECK: "1",
      SST_NO_BUN: "1",
      SST_TELEMETRY_DISABLED: "1",
      CI: "1",
    },
  });
  if (status !== 0) {
    console.error("SST's platform could not be installed; `npm run infra:install` tries again.");
    process.exit(status ?? 1);
  }
}
// Only a deploy would write it, and the type check reads it.
if (!existsSync(at(".sst/types.generated.d.ts"))) writeFileSync(at(".sst/types.generated.d.ts"), "export {};\n");

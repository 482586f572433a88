/**
 * `npm run bench:install`: the queues that the benchmark compares with and the SDKs of its reference bundles, in exact versions, into
 * bench/peers/, and Redis from Debian where there is none. Idempotent. Nothing outside of bench/peers/ changes.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { peersFolder, redisServer } from "./peers.ts";

const run = (command: string, args: readonly string[], cwd: string): boolean =>
  spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] }).status === 0;

// Their own dependencies follow their ranges: a lock would have to be kept, and the versions compared are the ones named.
const npm = ["install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--workspaces=false"];
if (!run("npm", npm, peersFolder)) {
  console.error("The peers could not be installed; `npm run bench:install` tries again.");
  process.exit(1);
}

if (redisServer() !== undefined) console.log("redis-server is in place.");
else if (!unpackRedis()) {
  console.log("There is no redis-server, and apt-get could not fetch one: the BullMQ lines will be left out.");
}

/** Downloads Debian's packages and unpacks them beside the peers: installs nothing, needs no rights. */
function unpackRedis(): boolean {
  const downloads = mkdtempSync(path.join(os.tmpdir(), "outrider-redis-"));
  const target = path.join(peersFolder, "redis");
  mkdirSync(target, { recursive: true });
  const fetched = run(
    "apt-get",
    ["download", "redis-tools", "redis-server", "libjemalloc2", "liblzf1", "libatomic1"],
    downloads,
  );
  const unpacked =
    fetched &&
    readdirSync(downloads).every((name) => run("dpkg", ["-x", path.join(downloads, name), target], downloads));
  rmSync(downloads, { recursive: true, force: true });
  return unpacked && redisServer() !== undefined;
}

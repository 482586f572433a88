/**
 * `npm run bench [-- --only send,claim] [--quick] [--rounds n] [--markdown]`: each line is Outrider against a baseline measured in the same
 * run, as one JSON object on stdout; what happens meanwhile goes to stderr. bench/README.md says what each line means.
 */
import os from "node:os";
import { parseArgs } from "node:util";
import { applyLines } from "./apply.ts";
import { batchLines } from "./batch.ts";
import { bundleLines } from "./bundle.ts";
import { claimLines } from "./claim.ts";
import { claimFlatLines } from "./claim-flat.ts";
import { intakeLines, verifyLines } from "./intake.ts";
import { markdown } from "./markdown.ts";
import { memoryLines } from "./memory.ts";
import { promoteLines } from "./promote.ts";
import { type Rig, startBench } from "./rig.ts";
import { enqueueLines, scheduleLines } from "./schedule.ts";
import { sendLines } from "./send.ts";
import { simulateLines } from "./simulate.ts";
import { wakeLines } from "./wake.ts";

const lines: Readonly<Record<string, (rig: Rig) => Promise<void>>> = {
  intake: intakeLines,
  "intake-batch": batchLines,
  verify: verifyLines,
  apply: applyLines,
  send: sendLines,
  claim: claimLines,
  "claim-flat": claimFlatLines,
  enqueue: enqueueLines,
  schedule: scheduleLines,
  wake: wakeLines,
  promote: promoteLines,
  simulate: simulateLines,
  bundle: bundleLines,
  memory: memoryLines,
};

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    markdown: { type: "boolean", default: false },
  },
});
const wanted = values.only?.split(",") ?? Object.keys(lines);
const unknown = wanted.filter((name) => !(name in lines));
if (unknown.length > 0) {
  process.stderr.write(`No line ${unknown.join(", ")}. There are: ${Object.keys(lines).join(", ")}.\n`);
  process.exit(2);
}

const rounds = Number(values.rounds ?? (values.quick ? 3 : 5));
const load = (): string => os.loadavg()[0]?.toFixed(1) ?? "";
const began = performance.now();
const loadBefore = load();
const bench = await startBench({ quick: values.quick, rounds });
let failed = false;
try {
  process.stderr.write(`node ${process.version}, ${os.cpus().length} cores, load ${loadBefore}, ${rounds} rounds\n`);
  for (const name of wanted) {
    const from = performance.now();
    process.stderr.write(`${name}\n`);
    try {
      await bench.run(async (rig) => lines[name]?.(rig));
    } catch (error) {
      // The other lines are worth having all the same.
      failed = true;
      process.stderr.write(`${name} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
    }
    const seconds = Math.round((performance.now() - from) / 1_000);
    process.stderr.write(`  ${name} took ${seconds} s; load ${load()}\n`);
  }
  if (values.markdown) {
    const minutes = (performance.now() - began) / 60_000;
    const command = ["npm run bench --", ...process.argv.slice(2)].join(" ");
    process.stdout.write(markdown(bench.lines, { command, minutes, rounds, loadBefore, loadAfter: load() }));
  }
} finally {
  await bench.stop();
}
// Kept-alive sockets of provider pools would hold the process.
process.exit(failed ? 1 : 0);

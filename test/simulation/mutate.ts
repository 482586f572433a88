/**
 * `npm run mutants`: plants one defect after the other into a copy of the tree and plays worlds until a checker sees it. Exit code 1 when
 * one survives.
 */
import os from "node:os";
import { Command } from "commander";
import { startTestServer } from "../support/global-setup.ts";
import { kill, type Verdict } from "./kill.ts";
import { mutants } from "./mutants.ts";

const options = new Command("mutants")
  .description("Shows that every checker bites")
  .option("--seeds <n>", "worlds per mutant at most", Number, 200)
  .option("--from <n>", "the first seed", Number, 1)
  .option("--only <names>", "comma-separated names")
  .option("--players <n>", "mutants at the same time", Number, 2)
  .option("--json", "print the result as JSON")
  .parse()
  .opts<{ seeds: number; from: number; only?: string; players: number; json?: boolean }>();

const began = performance.now();
const wanted = options.only?.split(",");
const waiting = mutants.filter((mutant) => wanted === undefined || wanted.includes(mutant.name));
const total = waiting.length;
const verdicts: Verdict[] = [];
const { server, stop } = await startTestServer();
try {
  await Promise.all(
    Array.from({ length: options.players }, async () => {
      for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) {
        const verdict = await kill(server, mutant, { from: options.from, seeds: options.seeds });
        verdicts.push(verdict);
        const how =
          verdict.checker === null ? `SURVIVES ${verdict.played} seeds` : `${verdict.checker} (seed ${verdict.seed})`;
        process.stderr.write(`${verdicts.length} of ${total}  ${mutant.name}: ${how}\n`);
      }
    }),
  );
} finally {
  await stop();
}
const survivors = verdicts.filter((one) => one.checker === null);
if (options.json) process.stdout.write(`${JSON.stringify({ verdicts, survivors: survivors.length })}\n`);
else {
  const width = Math.max(...verdicts.map((one) => one.name.length));
  for (const one of verdicts.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    process.stdout.write(
      `${one.name.padEnd(width)}  ${one.checker === null ? "SURVIVES" : `seed ${one.seed}`.padEnd(8)}  ${one.checker ?? ""}\n`,
    );
  }
  const worst = Math.max(...verdicts.map((one) => one.played));
  const load = os.loadavg().map((value) => value.toFixed(1));
  process.stdout.write(
    `${verdicts.length} mutants, ${survivors.length} survive; at most ${worst} worlds for one; ${Math.round((performance.now() - began) / 1000)} s (load ${load.join(" ")})\n`,
  );
}
process.exitCode = survivors.length === 0 ? 0 : 1;

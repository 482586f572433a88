/** `npm run simulate-engine -- --seeds N`: plays worlds with the real engine and says what was found. Exit code 1 on a violation. */
import { writeFileSync } from "node:fs";
import os from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { progress } from "../long/report.ts";
import { startTestServer } from "../support/global-setup.ts";
import type { Outcome } from "./parts.ts";
import { openPlayer, playAll, playerCount } from "./players.ts";
import { Coverage, story } from "./report.ts";
import { writeScript } from "./script.ts";
import { shrink } from "./shrink.ts";

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("expected a whole number");
  return value;
};

const program = new Command("simulate-engine")
  .description("Plays worlds of faults with the real engine over virtual time")
  .option("--seeds <n>", "how many seeds", count, 200)
  .option("--from <n>", "the first seed", count, 1)
  .option("--seed <seed>", "this seed alone")
  .option("--players <n>", "processes", count, playerCount())
  .option("--trace <file>", "write every step of the seed into a file")
  .option("--no-shrink", "leave failing worlds as they are")
  .option("--json", "print the result as JSON")
  .parse();
const options = program.opts<{
  seeds: number;
  from: number;
  seed?: string;
  players: number;
  trace?: string;
  shrink: boolean;
  json?: boolean;
}>();

const seeds =
  options.seed === undefined
    ? Array.from({ length: options.seeds }, (_, n) => String(options.from + n))
    : [options.seed];
const server = await startTestServer();
try {
  const began = performance.now();
  const players = await Promise.all(
    Array.from({ length: Math.min(options.players, seeds.length) }, () => openPlayer(server.server)),
  );
  const bar = progress("simulated", seeds.length);
  const outcomes: Outcome[] = [];
  const coverage = new Coverage();
  await playAll(
    players,
    seeds.map(writeScript),
    (outcome) => {
      outcomes.push(outcome);
      coverage.add(outcome);
      bar.add(1);
      if (outcome.violation)
        process.stderr.write(`seed ${outcome.seed}: ${outcome.violation.checker}: ${outcome.violation.detail}\n`);
    },
    options.trace !== undefined,
  );
  bar.stop();
  const [first] = players;
  const hashes = new Map(outcomes.map((outcome) => [outcome.seed, outcome.hash]));
  // One in a hundred is played again, on the process that happens to be first: it must be the same to the last bit.
  const again = seeds.filter((_, n) => n % 100 === 0);
  const changed: string[] = [];
  const stories: string[] = [];
  if (first) {
    for (const seed of again) if ((await first.play(writeScript(seed))).hash !== hashes.get(seed)) changed.push(seed);
    for (const outcome of outcomes.filter((one) => one.violation).slice(0, 3)) {
      stories.push(
        story(
          outcome,
          options.shrink ? await shrink(writeScript(outcome.seed), outcome, (script) => first.play(script)) : null,
        ),
      );
    }
  }
  if (options.trace !== undefined)
    writeFileSync(options.trace, outcomes.flatMap((outcome) => outcome.trace ?? []).join("\n"));
  await Promise.all(players.map((player) => player.close()));
  const violations = outcomes.filter((one) => one.violation);
  const sum = (read: (outcome: Outcome) => number): number => outcomes.reduce((total, one) => total + read(one), 0);
  const summary = {
    seeds: seeds.length,
    violations: violations.map((one) => ({ seed: one.seed, ...one.violation })),
    replayed: again.length,
    changed,
    steps: sum((one) => one.steps),
    accepts: sum((one) => one.accepts),
    days: Math.round(sum((one) => one.days)),
    seconds: Math.round((performance.now() - began) / 1000),
    load: os.loadavg().map((value) => Number(value.toFixed(1))),
    faults: coverage.counts,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else {
    for (const told of stories) process.stdout.write(`${told}\n\n`);
    if (seeds.length >= 100) process.stdout.write(`${coverage.table()}\n`);
    process.stdout.write(
      `${summary.seeds} seeds, ${summary.steps.toLocaleString("en")} steps, ${summary.accepts.toLocaleString("en")} accepts, ${summary.days.toLocaleString("en")} simulated days in ${summary.seconds} s (load ${summary.load.join(" ")}): ` +
        `${violations.length} violations; ${again.length} played again, ${changed.length} differ\n`,
    );
    if (options.seed !== undefined) process.stdout.write(`trace hash ${outcomes[0]?.hash}\n`);
  }
  if (violations.length > 0 || changed.length > 0) process.exitCode = 1;
} finally {
  await server.stop();
}

/**
 * `npm run fault -- --messages 100000 --kill-every 2s --restart-db-every 60s --seed 7 [--workers 4] [--json] [--keep]`: sends messages while
 * processes are killed and the database is pulled from under them, and judges what became of them. Exits 1 when anything was lost, sent
 * twice or late; the ids are printed, the logs stay in the directory that is named last.
 */
import { Presets, SingleBar } from "cli-progress";
import { OptionError, readOptions } from "./options.ts";
import { lines } from "./print.ts";
import { type FaultEvents, runFault } from "./rig.ts";

function progress(messages: number): FaultEvents & { done(): void } {
  const isTerminal = process.stderr.isTTY === true;
  let bar: SingleBar | undefined;
  const done = () => {
    bar?.stop();
    bar = undefined;
  };
  let last = { seconds: 0, accepted: 0 };
  return {
    done,
    onStage(stage) {
      done();
      process.stderr.write(`${stage}\n`);
    },
    onProgress({ seconds, planned, accepted, waiting, deaths, restarts }) {
      const rate = Math.round((accepted - last.accepted) / Math.max(1, seconds - last.seconds));
      last = { seconds, accepted };
      const note = `${accepted} sent of ${planned} planned, ${rate}/s, ${waiting} waiting, ${deaths} deaths, ${restarts} restarts`;
      if (!isTerminal) return void process.stderr.write(`${String(seconds).padStart(5)} s  ${note}\n`);
      bar ??= new SingleBar(
        { format: "{bar} {note}", hideCursor: true, stream: process.stderr },
        Presets.shades_classic,
      );
      if (!bar.isActive) bar.start(messages, 0, { note });
      bar.update(Math.min(messages, planned), { note });
    },
  };
}

// What was started goes with this process, and it hears of the end by `exit` only.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));

try {
  const { json, ...options } = readOptions(process.argv.slice(2));
  const events = progress(options.messages);
  const report = await runFault(options, events);
  events.done();
  console.log(json ? JSON.stringify(report) : lines(report).join("\n"));
  process.exitCode = report.ok ? 0 : 1;
} catch (error) {
  if (!(error instanceof OptionError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}

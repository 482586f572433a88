/** `npm run demo`: the main job from a file to the last reply. Exits 0 only if every invariant held. `-- --json`: the report as one JSON object, last. */
import { Presets, SingleBar } from "cli-progress";
import { failureOf } from "../failure.ts";
import { lines } from "./print.ts";
import { type DemoEvents, runDemo } from "./run.ts";

const asJson = process.argv.includes("--json");
const began = performance.now();
const elapsed = () => `${((performance.now() - began) / 1000).toFixed(0).padStart(3)} s`;

/** Progress goes to stderr: a bar on a terminal, a line per stage and tenth elsewhere. */
function progress(): DemoEvents & { done(): void } {
  let bar: SingleBar | undefined;
  let tenth = 0;
  const isTerminal = process.stderr.isTTY === true;
  const finish = () => {
    bar?.stop();
    bar = undefined;
    tenth = 0;
  };
  const advance = (done: number, total: number, note: string) => {
    if (isTerminal) {
      bar ??= new SingleBar(
        { format: "        {bar} {value}/{total} {note}", hideCursor: true, stream: process.stderr },
        Presets.shades_classic,
      );
      if (!bar.isActive) bar.start(total, 0, { note });
      bar.setTotal(total);
      bar.update(done, { note });
      return;
    }
    const reached = total > 0 ? Math.floor((10 * done) / total) : 0;
    if (reached > tenth) process.stderr.write(`${elapsed()}    ${done}/${total} ${note}\n`);
    tenth = Math.max(tenth, reached);
  };
  return {
    onStage(stage) {
      finish();
      process.stderr.write(`${elapsed()}  ${stage}\n`);
    },
    onImport: (view) => advance(view.bytesRead, view.sizeBytes, "bytes read"),
    onPump: ({ now, sent }, expected) => advance(sent, expected, `sent, ${now.toISOString().slice(0, 16)}`),
    done: finish,
  };
}

try {
  const events = progress();
  const report = await runDemo(events);
  events.done();
  console.log(asJson ? JSON.stringify(report) : lines(report).join("\n"));
  process.exitCode = report.ok ? 0 : 1;
} catch (error) {
  const { line, exitCode } = failureOf(error);
  console.error(line);
  process.exitCode = exitCode;
}

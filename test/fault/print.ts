/** The report for people. */
import { styleText } from "node:util";
import Table from "cli-table3";
import type { Spread } from "./figures.ts";
import type { FaultReport } from "./rig.ts";

const number = (n: number) => n.toLocaleString("en-US");
const seconds = (n: number | null) => (n === null ? "–" : `${n.toFixed(n < 10 ? 2 : 1)} s`);
const clock = (at: Date) => at.toISOString().slice(11, 23);
const title = (text: string) => `\n${styleText("bold", text)}`;

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const drawn = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, i) => (i === 0 ? "left" : "right")),
  });
  drawn.push(...rows.map((row) => row.map((cell) => (typeof cell === "number" ? number(cell) : cell))));
  return drawn.toString();
}

const spreads = (rows: Readonly<Record<string, Spread>>): string =>
  table(
    ["", "n", "p50", "p99", "longest"],
    Object.entries(rows).map(([name, { n, p50, p99, max }]) => [name, n, seconds(p50), seconds(p99), seconds(max)]),
  );

export function lines(report: FaultReport): string[] {
  const { options, killed, restarts, bells, gateway, driven, coverage } = report;
  const points = Object.entries(coverage);
  return [
    title("Run"),
    `seed ${options.seed}: ${number(report.planned)} messages planned, ${number(report.accepted)} accepted, in ${number(report.seconds)} s; load ${report.load.map((one) => one.toFixed(1)).join(" to ")}`,
    `${options.workers} workers, ${number(killed.born)} born, ${number(killed.atRandom)} killed at random, ${number(killed.byPoint)} by fault points; PostgreSQL restarted ${restarts.n} times, away ${(restarts.longestMs / 1000).toFixed(1)} s at most`,
    `bells: ${number(bells.lost)} lost, ${number(bells.doubled)} doubled, ${number(bells.late)} late; ${number(gateway.acknowledged)} webhooks acknowledged, ${number(gateway.broken)} requests broken; ${number(report.webhooks)} archived, ${number(report.repeated)} of them again, ${number(report.largeBodies)} in object storage`,
    `${number(driven.pieces)} lists, ${number(driven.enrolled)} enrollments, ${number(driven.pauses)} pauses, ${number(driven.migrated)} walks migrated, ${number(driven.stops)} STOPs and ${number(driven.suppressions)} suppressions brought in`,
    title("Messages"),
    table(["status", "messages"], Object.entries(report.byStatus)),
    title("Calls whose end nobody knew"),
    table(
      ["settled", "calls", "of which accepted"],
      report.ambiguous.map(({ how, n, accepted }) => [how, n, accepted]),
    ),
    title("From the death of a worker until its rows were taken up"),
    spreads(report.recovery),
    title("From the answer to a STOP until the last claim of a message to that address"),
    spreads({ "every STOP": report.stop.all, "with messages to come": report.stop.pending }),
    `${number(report.stop.claimedAfterwards)} of ${number(report.stop.all.n)} had one claimed after the answer`,
    ...report.stop.late.map(
      ({ delivery, received, answered, seconds, moves }) =>
        `  ${delivery}: came ${clock(received)}, answered ${clock(answered)}, claimed ${seconds.toFixed(1)} s later; ${moves.join(", ")}`,
    ),
    title("Killed at"),
    table(
      ["fault point", "times"],
      points.map(([point, n]) => [point, n === 0 ? styleText("yellow", "0") : n]),
    ),
    title("Judgement"),
    ...[...report.verdicts, ...report.invariants].flatMap(({ id, title: what, violations, sample }) =>
      violations === 0
        ? [`${styleText("green", "✓")} ${id}: ${what}`]
        : [`${styleText("red", "✗")} ${id}: ${what}: ${number(violations)}`, ...sample.map((one) => `    ${one}`)],
    ),
    `\nLogs: ${report.directory}`,
    report.ok
      ? styleText("green", "Nothing was lost and nothing was sent twice.")
      : styleText("red", "Not as it must be: see above."),
  ];
}

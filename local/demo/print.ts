/** The demo's report for people: what came in, what was foreseen, what happened, and proof that the two are the same. */
import { styleText } from "node:util";
import Table from "cli-table3";
import type { DemoReport } from "./run.ts";

const good = (text: string) => styleText("green", text);
const bad = (text: string) => styleText("red", text);
const title = (text: string) => `\n${styleText("bold", text)}`;
const number = (n: number) => n.toLocaleString("en-US");
const percent = (rate: number) => `${(rate * 100).toFixed(1)} %`;

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const drawn = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, i) => (i === 0 ? "left" : "right")),
  });
  drawn.push(...rows.map((row) => row.map((cell) => (typeof cell === "number" ? number(cell) : cell))));
  return drawn.toString();
}

const entries = (record: Readonly<Record<string, number>>): string =>
  Object.entries(record)
    .filter(([, n]) => n > 0)
    .map(([name, n]) => `${name} ${number(n)}`)
    .join(", ") || "none";

export function lines(report: DemoReport): string[] {
  return [
    ...importLines(report),
    ...simulationLines(report),
    ...liveLines(report),
    ...storyLines(report),
    ...proofLines(report),
  ];
}

function importLines({ import: { rows }, rejected, enrolled }: DemoReport): string[] {
  return [
    title("Import"),
    `${number(rows.read)} rows read: ${number(rows.promoted)} people promoted, ${number(rows.duplicate)} duplicates, ${number(rows.rejected)} refused`,
    table(
      ["Not taken because", "rows", "for example"],
      rejected.map((one) => [one.reason, one.rows, one.example]),
    ),
    `${number(enrolled.enrolled)} of ${number(enrolled.audience)} contacts enrolled`,
  ];
}

function simulationLines({ simulation: { summary, sendsHash, steps }, planHash }: DemoReport): string[] {
  const days = Object.entries(summary.perDay);
  return [
    title("Simulated before anything was sent"),
    `plan ${planHash.slice(0, 12)}, the same from the graph and from the steps; sends ${sendsHash.slice(0, 12)}; ${number(steps)} decisions`,
    `${number(summary.sent)} messages (${entries(summary.byChannel)}), estimated at ${summary.cost.total.toFixed(2)} USD`,
    `not sent: ${entries(Object.fromEntries(Object.entries(summary.byVerdict).filter(([verdict]) => verdict !== "sent")))}`,
    `held for a while: ${Object.entries(summary.held)
      .map(
        ([reason, held]) =>
          `${reason} ${number(held.messages)} (${(held.seconds / 3600 / Math.max(1, held.messages)).toFixed(1)} h each)`,
      )
      .join(", ")}`,
    table([`Day (${summary.timeZone})`, "sends"], days),
  ];
}

function liveLines({ report, startedAt, endedAt }: DemoReport): string[] {
  const { enrollments, messages } = report;
  const states = Object.entries(enrollments);
  return [
    title(
      `Live run, ${startedAt.toISOString().slice(0, 10)} to ${endedAt.toISOString().slice(0, 10)} on the virtual clock`,
    ),
    `${number(report.enrolled)} enrolled = ${states.map(([state, n]) => `${number(n)} ${state}`).join(" + ")}`,
    `ended because: ${entries(report.exitReasons)}`,
    table(
      [
        "Node",
        "channel",
        "queued",
        "sent",
        "delivered",
        "opened",
        "clicked",
        "replied",
        "bounced",
        "complained",
        "unsub.",
      ],
      report.nodes.map((n) => [
        n.nodeId,
        n.channel,
        n.queued,
        n.sent,
        n.delivered,
        n.opened,
        n.clicked,
        n.replied,
        n.bounced,
        n.complained,
        n.unsubscribed,
      ]),
    ),
    table(
      ["Subject", "sent", "open rate", "click rate", "reply rate"],
      report.variants.map((v) => [
        v.variantId,
        v.sent,
        percent(v.rates.opened),
        percent(v.rates.clicked),
        percent(v.rates.replied),
      ]),
    ),
    `rates: delivered ${percent(messages.rates.delivered)}, bounced ${percent(messages.rates.bounced)}, opened ${percent(messages.rates.opened)}, clicked ${percent(messages.rates.clicked)}, replied ${percent(messages.rates.replied)}`,
    `heard from people: ${entries(report.inbound)}`,
  ];
}

function storyLines({ story }: DemoReport): string[] {
  if (!story) return [];
  return [
    title("One message from the imported row to the reply"),
    ...story.trace.steps.map((step) => `${step.at.toISOString().slice(0, 16)}  ${step.stage.padEnd(11)} ${step.what}`),
    styleText("bold", "Why it was sent"),
    ...story.explanation.sentences.map((sentence) => `  ${sentence}`),
  ];
}

function proofLines({ comparison, invariants, accepts, ok }: DemoReport): string[] {
  const broken = invariants.filter((one) => one.violations > 0);
  const same = comparison.different === 0;
  return [
    title("Proof"),
    `${same ? good("✓") : bad("✗")} simulated ${number(comparison.simulated)}, live ${number(comparison.live)}, differences ${number(comparison.different)}`,
    `${accepts.duplicates === 0 ? good("✓") : bad("✗")} the providers accepted ${number(accepts.total)} messages, ${number(accepts.duplicates)} of them twice`,
    ...invariants.map(
      (one) =>
        `${one.violations === 0 ? good("✓") : bad("✗")} ${one.id} ${one.title}${one.violations === 0 ? "" : `: ${one.violations} violations, such as ${one.sample[0]}`}`,
    ),
    ok
      ? good("\nEvery invariant held.")
      : bad(`\nNot as it must be: ${broken.map((one) => one.id).join(", ") || "see above"}.`),
  ];
}

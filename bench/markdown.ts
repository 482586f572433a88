/** The table of docs/performance.md, with the machine it was measured on and what each line is held to. */
import os from "node:os";
import type { Line } from "./rig.ts";

/** A ratio that a line must reach, or a value that it must keep under. */
type Target = { readonly ratio: number } | { readonly atMost: number };

/** Ratios are above 1 where Outrider is better; where less is better (bytes, ms), a limit of 1.1 × is a ratio of 0.91. */
export const targets: Readonly<Record<string, Target>> = {
  intake: { ratio: 0.85 },
  "intake-batch": { ratio: 1 },
  verify: { ratio: 40 },
  apply: { ratio: 0.6 },
  "apply-row-by-row": { ratio: 3.5 },
  send: { ratio: 0.5 },
  "send-vs-naive": { ratio: 5 },
  "send-20ms": { ratio: 0.5 },
  "send-20ms-vs-naive": { ratio: 5 },
  claim: { ratio: 0.85 },
  "claim-4-workers": { ratio: 0.85 },
  "claim-dead": { ratio: 0.2 },
  "claim-flat": { ratio: 0.75 },
  "claim-flat-after": { ratio: 0.7 },
  "enqueue-pg-boss": { ratio: 3 },
  "enqueue-graphile-worker": { ratio: 2.5 },
  "schedule-pg-boss": { ratio: 1 },
  "schedule-graphile-worker": { ratio: 0.7 },
  promote: { ratio: 0.4 },
  "promote-row-by-row": { ratio: 5 },
  wake: { atMost: 10 },
  bundle: { ratio: 0.91 },
  "import-time": { ratio: 0.91 },
  "bundle-max": { ratio: 2.86 },
  "memory-idle": { atMost: 250 },
  "memory-import-growth": { atMost: 1.15 },
};

export interface Circumstances {
  readonly command: string;
  readonly minutes: number;
  readonly rounds: number;
  readonly loadBefore: string;
  readonly loadAfter: string;
}

export function markdown(
  lines: readonly Line[],
  { command, minutes, rounds, loadBefore, loadAfter }: Circumstances,
): string {
  const [cpu] = os.cpus();
  const gigabytes = Math.round(os.totalmem() / 2 ** 30);
  const machine = `${os.cpus().length} × ${cpu?.model.trim()}, ${gigabytes} GB, Node ${process.versions.node}`;
  const rows = lines.map((line) => {
    const target = targets[line.name];
    return `| ${[line.name, `${number(line.value)} ${line.unit}`, number(line.baseline), number(line.ratio), textOf(target), verdict(line, target)].join(" | ")} |`;
  });
  return `
\`${command}\`, ${new Date().toISOString().slice(0, 16)}Z, ${minutes.toFixed(0)} minutes, medians of ${rounds} rounds.
${machine}; PostgreSQL 18, embedded, full durability; load ${loadBefore} before, ${loadAfter} after.

| line | Outrider | baseline | ratio | target | |
| --- | --- | --- | --- | --- | --- |
${rows.join("\n")}
`;
}

const number = (value: number | null): string =>
  value === null ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: 4 });

function textOf(target: Target | undefined): string {
  if (!target) return "–";
  return "ratio" in target ? `≥ ${target.ratio}` : `at most ${target.atMost}`;
}

function verdict(line: Line, target: Target | undefined): string {
  if (!target) return "";
  const met = "ratio" in target ? (line.ratio ?? 0) >= target.ratio : line.value <= target.atMost;
  return met ? "met" : "short";
}

/** What a run of worlds is told in: the story of a violation, and which faults were met. */
import { execFileSync } from "node:child_process";
import Table from "cli-table3";
import type { Outcome } from "./parts.ts";
import { faultFamilies, type Script } from "./script.ts";

/** Every kind of fault that a few hundred worlds must have met. */
export const expectedFaults = [
  "bell lost",
  "bell doubled",
  "bell late",
  "bell received again",
  "queue unavailable",
  "sweep overlaps",
  "killed before a statement",
  "killed after a statement",
  "connection lost before a statement",
  "connection lost after a statement",
  "answer to a commit lost",
  "handler frozen",
  "frozen with an answer in its hands",
  "killed during a call",
  "operation in the middle of a run",
  "statement waited for a lock",
  "process clock skewed",
  "clock jumps ahead",
  "webhook doubled",
  "fact told again in another batch",
  "webhook late and out of order",
  "webhook before the answer",
  "no webhook ever",
  "forged webhook",
  "event about another tenant's message",
  "provider slow",
  "answer of an accept lost",
  "500 after an accept",
  "accept without an id",
  "429",
  "500 without an accept",
  "400",
  "provider knows an opt-out",
  "provider hangs",
  "provider unreachable",
  "looked up and found",
  "looked up and absent",
] as const;

export class Coverage {
  readonly counts: Record<string, number> = {};
  add({ faults }: Outcome): void {
    for (const [fault, times] of Object.entries(faults)) this.counts[fault] = (this.counts[fault] ?? 0) + times;
  }
  blank(): string[] {
    return expectedFaults.filter((fault) => !this.counts[fault]);
  }
  table(): string {
    const table = new Table({ head: ["fault", "times"], style: { head: [], border: [], compact: true } });
    for (const fault of new Set<string>([...expectedFaults, ...Object.keys(this.counts).sort()]))
      table.push([fault, this.counts[fault] ?? 0]);
    return table.toString();
  }
}

const commit = (): string => {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
};

/** @param shrunk the smallest world in which it still happens */
export function story(
  outcome: Outcome,
  shrunk: { readonly script: Script; readonly outcome: Outcome; readonly played: number } | null,
): string {
  const told = shrunk?.outcome ?? outcome;
  const without = shrunk ? faultFamilies.filter((family) => !shrunk.script.faults[family]) : [];
  return [
    `seed ${outcome.seed} at ${commit()}: ${outcome.violation?.checker ?? "no violation"}`,
    `  ${told.violation?.detail ?? ""}`,
    ...(shrunk
      ? [
          `  smaller, after ${shrunk.played} attempts: ${shrunk.script.events.length} events${without.length > 0 ? `, without ${without.join(", ")}` : ""}`,
        ]
      : []),
    ...told.story.map((line) => `  ${line}`),
    `  replay: npm run simulate-engine -- --seed ${outcome.seed} --trace trace.txt`,
  ].join("\n");
}

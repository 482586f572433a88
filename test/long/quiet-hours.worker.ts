/** One thread of the quiet-hours run. */
import type { Kysely } from "kysely";
import { connect } from "../../core/db/connect.ts";
import { type Compared, compare, differences } from "../core/compliance/quiet/compare.ts";
import { aroundChange, draw } from "../core/compliance/quiet/questions.ts";
import { type Transition, transitions } from "../core/compliance/quiet/statement.ts";
import { serve } from "./pool.ts";
import { generator } from "./report.ts";

export interface Setup {
  readonly url: string;
  readonly zones: readonly string[];
}

export type Job =
  | { readonly kind: "random"; readonly seed: number; readonly count: number }
  | { readonly kind: "zone"; readonly zone: string; readonly minutes: number };

export interface Result extends Compared {
  readonly kind: Job["kind"];
  readonly transitions: number;
  /** First and last sampled instant at which the two clocks of this zone differ. */
  readonly differs?: { readonly zone: string; readonly from: string; readonly until: string };
}

const [from2024, until2031] = [Date.UTC(2024, 0, 1), Date.UTC(2031, 0, 1)];
const sampled = Array.from({ length: (until2031 - from2024) / 21_600_000 }, (_, n) => from2024 + n * 21_600_000);

/** What the process's own data says about the same zone, where it says something else than the server's. */
function ownTransitions(zone: string): Transition[] {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const offset = (at: number): number => {
    const name = format.formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "";
    const [, sign, hours = 0, minutes = 0] = /^GMT(?:([+-])(\d+):?(\d+)?)?$/.exec(name) ?? [];
    return (sign === "-" ? -1 : 1) * (Number(hours) * 3_600 + Number(minutes) * 60);
  };
  const found: Transition[] = [];
  for (const [n, end] of sampled.entries()) {
    const start = sampled[n - 1];
    if (start === undefined || offset(start) === offset(end)) continue;
    let [low, high] = [start, end];
    while (high - low > 60_000) {
      const middle = low + Math.floor((high - low) / 120_000) * 60_000;
      if (offset(middle) === offset(start)) low = middle;
      else high = middle;
    }
    found.push({ zone, at: high, before: offset(start), after: offset(end) });
  }
  return found;
}

serve<Setup, Job, Result>(async ({ url, zones }) => {
  const db = connect({ url, driver: "pg", max: 1 }) as unknown as Kysely<unknown>;
  return {
    async run(job) {
      if (job.kind === "random") {
        const random = generator(job.seed);
        const asked = Array.from({ length: job.count }, () => draw(random, zones));
        return { kind: job.kind, transitions: 0, ...(await compare(db, asked)) };
      }
      const { zone, minutes } = job;
      const other = await differences(db, zone, sampled);
      const changes = await transitions(db, zone, 2024, 2031);
      const all = other.length > 0 ? [...changes, ...ownTransitions(zone)] : changes;
      const [first, last] = [other[0], other.at(-1)];
      return {
        kind: job.kind,
        transitions: all.length,
        ...(await compare(
          db,
          all.flatMap((change) => aroundChange(change, minutes)),
        )),
        ...(first !== undefined && last !== undefined
          ? { differs: { zone, from: new Date(first).toISOString(), until: new Date(last).toISOString() } }
          : {}),
      };
    },
    close: () => db.destroy(),
  };
});

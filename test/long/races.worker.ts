/** One thread of the race harness. */

import { type Contest, contest, type Outcome } from "../core/suppression/races/contest.ts";
import { type CloneSource, openDatabase } from "../support/clone.ts";
import { serve } from "./pool.ts";
import { generator } from "./report.ts";

export interface Setup {
  readonly server: CloneSource;
  readonly database: string;
}
export interface Job extends Contest {
  readonly seed: number;
}
export type Result = Outcome & Pick<Job, "kind" | "claim">;

serve<Setup, Job, Result>(async ({ server, database }) => {
  const opened = openDatabase(server, database, { max: 24, driver: "pg" });
  return {
    run: async (job) => ({ ...(await contest(opened, generator(job.seed), job)), kind: job.kind, claim: job.claim }),
    close: async () => {
      await Promise.all([opened.db.destroy(), opened.owner.destroy()]);
    },
  };
});

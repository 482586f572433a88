/** Schedule `reconcile`: settle the sends whose end is unknown. */
import { campaignPort } from "@outrider/core/campaigns";
import { dueWork } from "@outrider/core/kernel";
import { reconcile } from "@outrider/core/messages";
import { type Host, lazily } from "./lib/runtime.ts";
import { scheduled } from "./lib/schedule.ts";

const limit = 1_000;

export const define = (host: Host) => {
  const deps = { ...host, campaigns: campaignPort };
  return scheduled(host, "reconcile", async ({ correlationId }) => {
    const counts = { expiredLeases: 0, found: 0, absent: 0, aged: 0, waiting: 0 };
    for (const [tenantId, ids] of await dueWork(host.db, "reconcile", limit)) {
      const report = await reconcile(host.contextFor(tenantId, "reconcile", correlationId), deps, ids);
      for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += report[name];
    }
    return counts;
  });
};
export const handler = lazily(define);

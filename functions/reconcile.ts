/** Schedule `reconcile`: settle the sends whose end is unknown. */
import { campaignPort } from "@outrider/core/campaigns";
import { dueWork } from "@outrider/core/kernel";
import { expireLeases, minimumRemainingMs, reconcile } from "@outrider/core/messages";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

const limit = 1_000;

export const define = (host: Host) => {
  const deps = { ...host, campaigns: campaignPort };
  return scheduled(host, "reconcile", async (tick) => {
    const counts = { expiredLeases: 0, found: 0, absent: 0, aged: 0, waiting: 0, postponed: 0 };
    // Every tenant's dead first: somebody waits for these, and looking at what is known to be in doubt takes its time.
    const dead = [...(await dueWork(host.db, "expired", limit))];
    const expiring = await eachTenant(host, "reconcile", tick, dead, minimumRemainingMs, async (ctx, ids) => {
      counts.expiredLeases += await expireLeases(ctx, ids);
    });
    const doubtful = [...(await dueWork(host.db, "reconcile", limit))];
    const looking = await eachTenant(host, "reconcile", tick, doubtful, minimumRemainingMs, async (ctx, ids) => {
      const report = await reconcile(ctx, deps, ids, tick.remainingMs);
      for (const name of Object.keys(report) as (keyof typeof report)[]) counts[name] += report[name];
    });
    return { ...counts, failed: expiring.failed + looking.failed, left: expiring.left + looking.left };
  });
};
export const handler = lazily(define);

/** Schedule `reconcile`: settle the sends whose end is unknown. */
import { campaignPort } from "@outrider/core/campaigns";
import { dueWork } from "@outrider/core/kernel";
import { expireLeases, reconcile } from "@outrider/core/messages";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

const limit = 1_000;
/** Messages that are looked at together, their providers being asked at the same time. */
const batch = 100;
/** A look-up at a provider takes up to 10 s, and its result is to be stored. */
const reserveMs = 15_000;

export const define = (host: Host) => {
  const deps = { ...host, campaigns: campaignPort };
  return scheduled(host, "reconcile", async (tick) => {
    const counts = { expiredLeases: 0, found: 0, absent: 0, aged: 0, waiting: 0 };
    const due = [...(await dueWork(host.db, "reconcile", limit))];
    // Every tenant's dead first: somebody waits for these, and looking at what is known to be in doubt takes its time.
    const expiring = await eachTenant(host, "reconcile", tick, due, reserveMs, async (ctx, ids) => {
      counts.expiredLeases += await expireLeases(ctx, ids);
    });
    const batches = due.flatMap(([tenantId, ids]) =>
      Array.from(
        { length: Math.ceil(ids.length / batch) },
        (_, n) => [tenantId, ids.slice(n * batch, (n + 1) * batch)] as const,
      ),
    );
    const looking = await eachTenant(host, "reconcile", tick, batches, reserveMs, async (ctx, ids) => {
      const report = await reconcile(ctx, deps, ids);
      for (const name of Object.keys(report) as (keyof typeof report)[]) counts[name] += report[name];
    });
    return { ...counts, failed: expiring.failed + looking.failed, left: looking.left };
  });
};
export const handler = lazily(define);

/** Schedule `reconcile`: settle the sends whose end is unknown. */
import { campaignPort } from "@outrider/core/campaigns";
import { dueWork } from "@outrider/core/kernel";
import { reconcile } from "@outrider/core/messages";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

const limit = 1_000;
/** A look-up at a provider takes up to 10 s, and its result is to be stored. */
const reserveMs = 15_000;

export const define = (host: Host) => {
  const deps = { ...host, campaigns: campaignPort };
  return scheduled(host, "reconcile", async (tick) => {
    const counts = { expiredLeases: 0, found: 0, absent: 0, aged: 0, waiting: 0 };
    const due = [...(await dueWork(host.db, "reconcile", limit))];
    const visited = await eachTenant(host, "reconcile", tick, due, reserveMs, async (ctx, ids) => {
      const report = await reconcile(ctx, deps, ids);
      for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += report[name];
    });
    return { ...counts, ...visited };
  });
};
export const handler = lazily(define);

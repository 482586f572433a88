/** Schedule `maintain`: partitions ahead of time, campaigns that have ended, what has served its time. */
import { completeFinished } from "@outrider/core/campaigns";
import { allTenants, reach, transact } from "@outrider/core/kernel";
import { expireWindows, makePartitions } from "@outrider/core/messages";
import { expireIdempotencyKeys } from "@outrider/core/tenancy";
import { type Host, lazily } from "./lib/runtime.ts";
import { scheduled } from "./lib/schedule.ts";

export const define = (host: Host) =>
  scheduled(host, "maintain", async ({ correlationId, remainingMs }) => {
    const counts = { partitions: await makePartitions(host.db), completed: 0, windows: 0, keys: 0 };
    for (const tenantId of await allTenants(host.db)) {
      // The rest is an hour older at the next run; nothing waits for it.
      if (remainingMs() < 10_000) break;
      await transact(host.contextFor(tenantId, "maintain", correlationId), async (ctx) => {
        counts.completed += (await completeFinished(ctx, undefined)).length;
        counts.windows += await expireWindows(ctx);
        counts.keys += await expireIdempotencyKeys(ctx);
      });
      reach("maintain.tenant");
    }
    return counts;
  });
export const handler = lazily(define);

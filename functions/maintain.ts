/** Schedule `maintain`: partitions ahead of time, campaigns that have ended, what has served its time. */
import { completeFinished } from "@outrider/core/campaigns";
import { allTenants, reach, transact } from "@outrider/core/kernel";
import { expireWindows, makePartitions } from "@outrider/core/messages";
import { expireRuns } from "@outrider/core/operator";
import { expireIdempotencyKeys } from "@outrider/core/tenancy";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

export const define = (host: Host) =>
  scheduled(host, "maintain", async (tick) => {
    const counts = { partitions: await makePartitions(host.db), completed: 0, windows: 0, keys: 0, runs: 0 };
    const tenants = (await allTenants(host.db)).map((tenantId) => [tenantId, undefined] as const);
    // What is left is an hour older at the next run; nothing waits for it.
    const visited = await eachTenant(host, "maintain", tick, tenants, 10_000, (ctx) =>
      transact(ctx, async (ctx) => {
        reach("maintain.tenant");
        counts.completed += (await completeFinished(ctx, undefined)).length;
        counts.windows += await expireWindows(ctx);
        counts.keys += await expireIdempotencyKeys(ctx);
        counts.runs += await expireRuns(ctx);
      }),
    );
    return { ...counts, ...visited };
  });
export const handler = lazily(define);

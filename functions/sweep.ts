/**
 * Schedule `sweep`: ring for all due work, so that a lost bell costs a minute and nothing else; then wake what was mended, which may take
 * long for a tenant that has a million messages waiting, and must not keep anybody from being rung for.
 */
import { dueWork, mergeBells, reach, transact, wakeNoted, wakingMs } from "@outrider/core/kernel";
import { bellKinds } from "@outrider/core/ports";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

/** Rows rung for per kind and run: what the workers can do in a minute. */
const limit = 20_000;
/** Tenants whose held messages are woken by one run. */
const wakingTenants = 100;

export const define = (host: Host) =>
  scheduled(host, "sweep", async (tick) => {
    const counts: Record<string, number> = { woken: 0 };
    for (const kind of bellKinds) {
      // Rung before it counts as swept: what a killed sweep has found, the next one finds again.
      const due = await host.db.transaction().execute(async (tx) => {
        const due = await dueWork(tx, kind, limit);
        if (due.size > 0) reach("sweep.found");
        await host.queue.ring(mergeBells([...due].map(([tenantId, ids]) => ({ kind, tenantId, ids }))));
        return due;
      });
      reach("sweep.rung");
      counts[kind] = [...due.values()].reduce((sum, ids) => sum + ids.length, 0);
    }
    const waking = [...(await dueWork(host.db, "wake", wakingTenants))];
    await eachTenant(host, "sweep", tick, waking, wakingMs, (ctx) =>
      transact(ctx, async (ctx) => {
        counts["woken"] = (counts["woken"] ?? 0) + (await wakeNoted(ctx));
      }),
    );
    return counts;
  });
export const handler = lazily(define);

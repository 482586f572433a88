/** Schedule `sweep`: wake what was mended, and ring for all due work, so that a lost bell costs a minute and nothing else. */
import { dueWork, mergeBells, reach, transact, wakeNoted } from "@outrider/core/kernel";
import { bellKinds } from "@outrider/core/ports";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

/** Rows rung for per kind and run: what the workers can do in a minute. */
const limit = 20_000;
/** Tenants whose held messages are woken by one run, and what is left of it for ringing. */
const wakingTenants = 100;
const reserveMs = 25_000;

export const define = (host: Host) =>
  scheduled(host, "sweep", async (tick) => {
    const counts: Record<string, number> = { woken: 0 };
    const waking = [...(await dueWork(host.db, "wake", wakingTenants))];
    await eachTenant(host, "sweep", tick, waking, reserveMs, (ctx) =>
      transact(ctx, async (ctx) => {
        counts["woken"] = (counts["woken"] ?? 0) + (await wakeNoted(ctx));
      }),
    );
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
    return counts;
  });
export const handler = lazily(define);

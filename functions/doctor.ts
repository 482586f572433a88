/** Schedule `doctor`: every invariant of every tenant's data, and the fences between them; what is broken becomes a metric with an alarm. */
import { allTenants } from "@outrider/core/kernel";
import { checkInstallation, examineTenant, type InvariantResult, recordRun } from "@outrider/core/operator";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

/** One checker may take 10 s, and what was found is to be stored. */
const reserveMs = 20_000;
const hourMs = 3_600_000;

/** Where many tenants do not fit into one run, each hour begins somewhere else. */
function fromAnotherEnd<T>(all: readonly T[], at: Date): readonly T[] {
  const start = all.length === 0 ? 0 : (Math.floor(at.getTime() / hourMs) * 7_919) % all.length;
  return [...all.slice(start), ...all.slice(0, start)];
}

export const define = (host: Host) =>
  scheduled(host, "doctor", async (tick) => {
    const counts = { tenants: 0, violations: 0, skipped: 0 };
    const byRule = new Map<string, number>();
    const say = (found: readonly InvariantResult[], tenantId?: string): void => {
      for (const { id, title, violations, sample } of found.filter((one) => one.violations > 0)) {
        counts.violations += violations;
        byRule.set(id, (byRule.get(id) ?? 0) + violations);
        host.log.error("invariant.broken", { code: id, name: title, count: violations, reason: sample[0], tenantId });
      }
    };
    const now = new Date();
    say(await checkInstallation(host.db, now));
    const tenants = fromAnotherEnd(await allTenants(host.db), now).map((tenantId) => [tenantId, undefined] as const);
    const visited = await eachTenant(host, "doctor", tick, tenants, reserveMs, async (ctx) => {
      const examination = await examineTenant(ctx);
      await recordRun(ctx, examination);
      say(examination.results, ctx.tenantId);
      counts.tenants++;
      counts.skipped += examination.skipped.length;
    });
    // Zero too: an alarm must tell "nothing is broken" from "nobody looked".
    host.log.metric("InvariantViolations", counts.violations, "Count");
    host.log.metric("InvariantsSkipped", counts.skipped, "Count");
    for (const [invariant, violations] of byRule)
      host.log.metric("InvariantViolations", violations, "Count", { invariant });
    return { ...counts, ...visited };
  });
export const handler = lazily(define);

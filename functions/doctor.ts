/**
 * Schedule `doctor`: every invariant of every tenant's data, and the fences between them; what is broken becomes a metric with an alarm.
 * Invariant: a run takes no more of the database than its share of the hour, and whom it had no time for is the next one's first.
 */
import {
  checkInstallation,
  checkSeclusion,
  examinationMs,
  examineTenant,
  type InvariantResult,
  longestUnexamined,
  recordRun,
} from "@outrider/core/operator";
import { type Host, lazily } from "./lib/runtime.ts";
import { eachTenant, scheduled } from "./lib/schedule.ts";

/** Of each hour: examining reads what nobody else reads. */
const shareMs = 240_000;
/** What was found is to be stored, too. */
const reserveMs = examinationMs + 5_000;

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
    const beyondShareMs = Math.max(0, tick.remainingMs() - shareMs);
    const share = { ...tick, remainingMs: () => tick.remainingMs() - beyondShareMs };
    say([...(await checkInstallation(host.db, new Date())), await checkSeclusion(host.db)]);
    const tenants = (await longestUnexamined(host.db)).map((tenantId) => [tenantId, undefined] as const);
    const visited = await eachTenant(host, "doctor", share, tenants, reserveMs, async (ctx) => {
      const examination = await examineTenant(ctx);
      await recordRun(ctx, examination);
      say(examination.results, ctx.tenantId);
      const { skipped } = examination;
      if (skipped.length > 0) {
        host.log.warn("invariant.skipped", { name: skipped.join(" "), count: skipped.length, tenantId: ctx.tenantId });
      }
      counts.tenants++;
      counts.skipped += skipped.length;
    });
    // Zero too: an alarm must tell "nothing is broken" from "nobody looked".
    host.log.metric("InvariantViolations", counts.violations, "Count");
    host.log.metric("InvariantsSkipped", counts.skipped, "Count");
    host.log.metric("TenantsUnexamined", visited.left, "Count");
    for (const [invariant, violations] of byRule)
      host.log.metric("InvariantViolations", violations, "Count", { invariant });
    return { ...counts, ...visited };
  });
export const handler = lazily(define);

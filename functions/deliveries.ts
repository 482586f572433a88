/** Queue: archived deliveries become facts. */
import { applyDeliveries } from "@outrider/core/deliveries";
import { type Host, lazily } from "./lib/runtime.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) =>
  consumer(host, "deliveries", async (ctx, ids, limits) => {
    const { failed } = await applyDeliveries(ctx, host, ids, limits.remainingMs);
    if (failed === 0) return;
    const { tenantId, correlationId } = ctx;
    host.log.error("delivery.failed", { count: failed, tenantId, correlationId });
    host.log.metric("DeliveriesFailed", failed, "Count");
  });
export const handler = lazily(define);

/** Queue: archived deliveries become facts. */
import { applyDeliveries } from "@outrider/core/deliveries";
import { type Host, lazily } from "./lib/runtime.ts";
import { tellSetAside } from "./lib/set-aside.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) =>
  consumer(host, "deliveries", async (ctx, ids, limits) => {
    const { failed } = await applyDeliveries(ctx, host, ids, limits.remainingMs);
    if (failed > 0) tellSetAside(host, ctx, failed);
  });
export const handler = lazily(define);

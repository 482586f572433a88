/** Queue: archived deliveries become facts. */
import { applyDeliveries } from "@outrider/core/deliveries";
import { type Host, lazily } from "./lib/runtime.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) =>
  consumer(host, "deliveries", (ctx, ids, limits) =>
    applyDeliveries(ctx, { blobs: host.blobs, webhooks: host.webhooks }, ids, limits.remainingMs),
  );
export const handler = lazily(define);

/** The front door of webhooks, as every function that opens it needs it. */
import { applyNow, WebhookIntake } from "@outrider/core/deliveries";
import type { Host } from "./runtime.ts";
import { tellSetAside } from "./set-aside.ts";

/** One per process: it remembers endpoints. */
export const webhookIntake = (host: Host): WebhookIntake =>
  new WebhookIntake({
    db: host.db,
    keys: host.keys,
    blobs: host.blobs,
    webhooks: host.webhooks,
    wallClock: () => new Date(),
    contextFor: (tenantId) => host.contextFor(tenantId, "webhooks"),
    apply: (ctx, id) => applyNow(ctx, host, id, () => tellSetAside(host, ctx, 1)),
  });

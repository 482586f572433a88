/** The front door of webhooks, as every function that opens it needs it. */
import { applyNow, WebhookIntake } from "@outrider/core/deliveries";
import type { Host } from "./runtime.ts";

/** One per process: it remembers endpoints. */
export const webhookIntake = ({ db, keys, blobs, webhooks, contextFor }: Host): WebhookIntake =>
  new WebhookIntake({
    db,
    keys,
    blobs,
    webhooks,
    wallClock: () => new Date(),
    contextFor: (tenantId) => contextFor(tenantId, "webhooks"),
    apply: (ctx, id) => applyNow(ctx, { blobs, webhooks }, id),
  });

/** Schedule `drain`: webhooks that came while the database was away go through the front door again. */
import { announceMs, drainSpill } from "@outrider/core/deliveries";
import { type Host, lazily } from "./lib/runtime.ts";
import { scheduled } from "./lib/schedule.ts";
import { webhookIntake } from "./lib/webhook-intake.ts";

/** Beside archiving and deleting. */
const laneMs = announceMs + 2_000;

export const define = (host: Host) => {
  const intake = webhookIntake(host);
  return scheduled(host, "drain", async ({ remainingMs }) => {
    const { archived, refused, failed, waiting } = await drainSpill(host.blobs, intake, () => remainingMs() > laneMs);
    if (waiting > 0) host.log.metric("WebhooksSpilled", waiting, "Count");
    if (failed > 0) host.log.error("webhook.spill_failed", { count: failed });
    return { archived, refused, failed, waiting };
  });
};
export const handler = lazily(define);

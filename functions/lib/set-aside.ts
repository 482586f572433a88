/** What was answered 2xx and cannot be applied must not only stand in a table: somebody has to look. */
import type { Context } from "@outrider/core/kernel";
import type { Host } from "./runtime.ts";

/** @param count deliveries that were set aside just now */
export function tellSetAside({ log }: Host, { tenantId, correlationId }: Context, count: number): void {
  log.error("delivery.failed", { count, tenantId, correlationId });
  log.metric("DeliveriesFailed", count, "Count");
}

/**
 * Scheduled functions: one run, one log line, one duration metric. A run that fails is logged and thrown, so that the scheduler's
 * retry and dead letter queue see it; the next tick does the work anyway, because due rows say what there is to do.
 */
import { newId } from "@outrider/core/kernel";
import type { Context as Invocation } from "aws-lambda";
import type { Handler, Host } from "./runtime.ts";
import type { Limits } from "./sqs.ts";

export interface Tick extends Limits {
  /** Ties together what this run causes. */
  readonly correlationId: string;
}

/** @param run may work across tenants; it takes one `host.contextFor` per tenant it touches. Its counts go to the log line. */
export function scheduled(
  host: Host,
  schedule: string,
  run: (tick: Tick) => Promise<Readonly<Record<string, number>>>,
): Handler<unknown, void> {
  return async (_event: unknown, invocation: Invocation): Promise<void> => {
    const startedMs = invocation.getRemainingTimeInMillis();
    const correlationId = newId("correlation", new Date());
    const log = host.log.with({ schedule, correlationId, requestId: invocation.awsRequestId });
    const remainingMs = () => invocation.getRemainingTimeInMillis();
    try {
      const counts = await run({ correlationId, remainingMs });
      const count = Object.values(counts).reduce((sum, n) => sum + n, 0);
      const milliseconds = startedMs - remainingMs();
      if (count > 0) log.info("schedule.ran", { milliseconds, count, counts: JSON.stringify(counts) });
      log.metric("ScheduleDuration", milliseconds, "Milliseconds", { schedule });
    } catch (error) {
      log.error("schedule.failed", { milliseconds: startedMs - remainingMs(), error });
      throw error;
    }
  };
}

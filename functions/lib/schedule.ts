/**
 * Scheduled functions: one run, one log line, one duration metric. A run that fails is logged and thrown, so that the scheduler's
 * retry and dead letter queue see it; the next tick does the work anyway, because due rows say what there is to do.
 */
import { type Context, newId } from "@outrider/core/kernel";
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

/** What became of the tenants of a run. */
export interface Visited {
  /** Tenants whose work threw: logged, and tried again by the next run. */
  failed: number;
  /** Tenants for whom no time was left. */
  left: number;
}

/**
 * Works tenant by tenant. One tenant's error is that tenant's: it is logged with its id and counted, and the next one's turn comes.
 * @param reserveMs stop when less than this is left of the invocation, so that what is under way can end
 */
export async function eachTenant<T>(
  host: Host,
  schedule: string,
  { correlationId, remainingMs }: Tick,
  tenants: readonly (readonly [tenantId: string, given: T])[],
  reserveMs: number,
  work: (ctx: Context, given: T) => Promise<void>,
): Promise<Visited> {
  const visited = { failed: 0, left: 0 };
  for (const [n, [tenantId, given]] of tenants.entries()) {
    if (remainingMs() < reserveMs) {
      visited.left = tenants.length - n;
      host.log.warn("schedule.out_of_time", { schedule, correlationId, remaining: visited.left });
      break;
    }
    try {
      await work(host.contextFor(tenantId, schedule, correlationId), given);
    } catch (error) {
      visited.failed++;
      host.log.error("tenant.failed", { schedule, correlationId, tenantId, error });
    }
  }
  if (visited.failed > 0) host.log.metric("TenantsFailed", visited.failed, "Count", { schedule });
  return visited;
}

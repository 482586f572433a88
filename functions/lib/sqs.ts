/**
 * Queue consumers: bells in, one outcome per record out.
 *
 * Invariants: a record runs in the context of its own tenant and no other; a record that is not reported as failed is done
 * for good (Lambda deletes it), so only finished or hopeless records are left out of the answer; one bad record never costs
 * its neighbours. The rows are the truth: a bell that is parked or lost is rung again by the sweep if its work is still due.
 */
import { type Context, DomainError, type ErrorKind, reach } from "@outrider/core/kernel";
import { maxBellIds } from "@outrider/core/ports";
import type { Context as Invocation, SQSBatchResponse, SQSEvent, SQSRecord } from "aws-lambda";
import * as z from "zod";
import type { Handler, Host } from "./runtime.ts";

/** The only table of error kind → what becomes of the bell. Errors without a kind are bugs or outages: a deploy or time fixes them. */
const outcomes: Readonly<Record<ErrorKind, "park" | "redeliver">> = {
  invalid: "park",
  unauthenticated: "park",
  forbidden: "park",
  not_found: "park",
  conflict: "park",
  too_large: "park",
  rate_limited: "redeliver",
  unavailable: "redeliver",
};

const isPermanent = (error: unknown): boolean => error instanceof DomainError && outcomes[error.kind] === "park";

/** Whatever else is no id: PostgreSQL would refuse a NUL or half a surrogate pair each time the bell comes back. */
const Name = z.string().regex(/^[\x21-\x7e]{1,100}$/);

/** The body of a bell. `v` lets old and new code run side by side during a deploy. */
export const Envelope = z.object({
  v: z.literal(1),
  tenantId: Name,
  ids: z.array(Name).max(maxBellIds),
});

/** A bell written by newer code: it must come back until that code runs here. */
const NewerEnvelope = z.object({ v: z.number().int().gt(1) });

/** How much time the invocation has left. */
export interface Limits {
  remainingMs(): number;
}

/** The answer to Lambda, made only here: a wrong top-level key would be taken for success and lose messages. */
export function partialResponse(failed: Iterable<SQSRecord>): SQSBatchResponse {
  return { batchItemFailures: Array.from(failed, ({ messageId }) => ({ itemIdentifier: messageId })) };
}

/** Nothing new starts in the last 15 % of the time limit: what is cut off mid-way waits for its lease to run out. */
const reservedShare = 0.15;

/** Tenants worked on at the same time in one invocation, so that one slow provider does not hold up the others. */
const lanes = 4;

interface Group {
  readonly tenantId: string;
  readonly records: SQSRecord[];
  readonly ids: Set<string>;
  /** One bell without ids asks for everything due, which includes the others. */
  everything: boolean;
}

type Read =
  | { readonly kind: "bell"; readonly bell: z.output<typeof Envelope> }
  | { readonly kind: "newer" | "malformed" };

function read(body: string): Read {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return { kind: "malformed" };
  }
  const bell = Envelope.safeParse(json);
  if (bell.success) return { kind: "bell", bell: bell.data };
  return { kind: NewerEnvelope.safeParse(json).success ? "newer" : "malformed" };
}

/**
 * @param run does the work of one tenant. `ids` has no duplicates and may hold more than a bell's 100, because the bells of one tenant
 *   in a batch are answered together; empty means: whatever is due. It may run again for the same ids at any time.
 */
export function consumer(
  host: Host,
  queue: string,
  run: (ctx: Context, ids: readonly string[], limits: Limits) => Promise<unknown>,
): Handler<SQSEvent, SQSBatchResponse> {
  return async ({ Records }: SQSEvent, invocation: Invocation): Promise<SQSBatchResponse> => {
    reach("bells.received");
    const log = host.log.with({ queue, requestId: invocation.awsRequestId });
    const limits: Limits = { remainingMs: () => invocation.getRemainingTimeInMillis() };
    const reservedMs = limits.remainingMs() * reservedShare;
    const failed = new Set<SQSRecord>();
    const groups = new Map<string, Group>();
    let parked = 0;

    const park = (record: SQSRecord, tenantId: string | undefined, error: unknown) => {
      parked += 1;
      log.error("bell.parked", {
        messageId: record.messageId,
        tenantId,
        received: record.attributes.ApproximateReceiveCount,
        error,
      });
    };

    for (const record of Records) {
      const content = read(record.body);
      if (content.kind === "bell") {
        const { tenantId, ids } = content.bell;
        const group = groups.get(tenantId) ?? { tenantId, records: [], ids: new Set<string>(), everything: false };
        groups.set(tenantId, group);
        group.records.push(record);
        group.everything ||= ids.length === 0;
        for (const id of ids) group.ids.add(id);
      } else if (content.kind === "newer") {
        failed.add(record);
        log.warn("bell.newer_version", { messageId: record.messageId });
      } else {
        park(record, undefined, new Error("the body is not a bell"));
      }
    }

    /** @returns the error, if it failed for a reason that time or a deploy may fix */
    async function attempt(group: Group, records: readonly SQSRecord[], ids: readonly string[]): Promise<void> {
      const ctx = host.contextFor(group.tenantId, queue);
      try {
        await run(ctx, ids, limits);
      } catch (error) {
        const alone = records.length === 1;
        const unavailable = error instanceof DomainError && outcomes[error.kind] === "redeliver";
        if (!alone && !unavailable) return oneByOne(group);
        for (const record of records) {
          if (isPermanent(error)) park(record, group.tenantId, error);
          else {
            failed.add(record);
            const { tenantId, correlationId } = ctx;
            log.warn("bell.failed", { messageId: record.messageId, tenantId, correlationId, error });
          }
        }
      }
    }

    /** Answered together they failed: each alone shows which one it is, and the others get done. */
    async function oneByOne(group: Group): Promise<void> {
      for (const record of group.records) {
        const content = read(record.body);
        if (limits.remainingMs() <= reservedMs) failed.add(record);
        else if (content.kind === "bell") await attempt(group, [record], content.bell.ids);
      }
    }

    const waiting = [...groups.values()];
    async function lane(): Promise<void> {
      for (let group = waiting.shift(); group; group = waiting.shift()) {
        if (limits.remainingMs() <= reservedMs) for (const record of group.records) failed.add(record);
        else await attempt(group, group.records, group.everything ? [] : [...group.ids]);
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane));

    log.info("bells.answered", { records: Records.length, failed: failed.size, parked });
    if (parked > 0) log.metric("BellsParked", parked, "Count", { queue });
    if (failed.size > 0) log.metric("BellsFailed", failed.size, "Count", { queue });
    reach("bells.answered");
    return partialResponse(failed);
  };
}

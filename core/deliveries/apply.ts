/**
 * Archived deliveries into facts. Invariant: a delivery is applied whole, in the transaction that marks it completed, or it is marked failed
 * with its reason and changes nothing; its neighbours are applied either way.
 */
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import { sql } from "kysely";
import {
  areSuspect,
  type Claimed,
  type Context,
  claim,
  crashedRepeatedly,
  isLockTimeout,
  isRefused,
  limitLockWaits,
  maxClaims,
  reach,
  type Settled,
  settle,
  type TxContext,
  transact,
  work,
} from "../kernel/index.ts";
import type { Blobs, ParsedDelivery, WebhookAdapter } from "../ports/index.ts";
import { sha256Of } from "./archive.ts";
import { type Batch, type Effects, takeEffect } from "./effects.ts";

export interface DeliveryDeps {
  readonly blobs: Pick<Blobs, "get">;
  /** By `webhook_deliveries.provider`. */
  readonly webhooks: Readonly<Record<string, WebhookAdapter>>;
}

export interface ApplyReport {
  readonly claimed: number;
  readonly completed: number;
  readonly failed: number;
  readonly newEvents: number;
  readonly newInbound: number;
}

/** One claim: what a worker can parse and apply within its lease. */
const maxClaim = 100;
/** Below this an invocation does not begin another claim: what it has taken and cannot finish would wait for its lease to run out. */
const minimumRemainingMs = 10_000;
/** Events in one transaction: more would hold too many address locks at once. */
const maxEvents = 1_000;
/** Well within the lease: what waits longer is put back while it is still this worker's. */
const lockTimeoutMs = 5_000;
/** What cannot be applied for now is tried again for so long, ever more rarely, before somebody has to look. */
const retriedForSeconds = 86_400;
const retryInSeconds = { least: 30, most: 300 };
/** Somebody waits for the answer: two waits fit into its limit, and what could not be had is due again before the bell rings for it. */
const urgentLockTimeoutMs = 2_000;

export interface Archived {
  readonly id: string;
  readonly channel_config_id: string;
  readonly provider: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
  readonly body_encoding: "identity" | "br";
  readonly body_key: string | null;
  readonly body_sha256: Uint8Array;
  readonly received_at: Date;
  readonly created_at: Date;
  readonly correlation_id: string;
}

export interface Read {
  readonly row: Archived;
  readonly parsed: ParsedDelivery;
}

/** A delivery that is applied under a claim. */
interface Job extends Read, Taken {}

interface Taken {
  readonly claimed: Claimed;
  /** Somebody waits for it here and now. */
  readonly isUrgent: boolean;
  /** Since it was archived. */
  readonly ageSeconds: number;
}

/**
 * Applies what is due, claim after claim while time remains. What is left over is still due: the sweep rings for it.
 * @param ids those that bells named, any number; empty: whatever is due
 * @param remainingMs how long the invocation may still run
 */
export async function applyDeliveries(
  ctx: Context,
  deps: DeliveryDeps,
  ids: readonly string[],
  remainingMs: () => number = () => Number.POSITIVE_INFINITY,
): Promise<ApplyReport> {
  let total: ApplyReport = { claimed: 0, completed: 0, failed: 0, newEvents: 0, newInbound: 0 };
  for (let from = 0; from === 0 || from < ids.length || ids.length === 0; ) {
    if (remainingMs() < minimumRemainingMs) break;
    const { suspect, ...done } = await applyClaim(ctx, deps, ids.slice(from, from + maxClaim));
    total = {
      claimed: total.claimed + done.claimed,
      failed: total.failed + done.failed,
      ...sum(total, done),
    };
    // Suspects are claimed a few at a time: the others of the same bell may still be there.
    if (suspect) continue;
    if (ids.length === 0 && done.claimed < maxClaim) break;
    from += maxClaim;
  }
  return total;
}

/** `set_aside`: it cannot be applied, its row says why, and a replay may do it one day. `waiting`: it was put back, or somebody else has it. */
export type Fate = "applied" | "set_aside" | "waiting";

/**
 * Applies one delivery here and now, even if another worker has it: that one may be dead, and if it is not, one of the two does nothing.
 * @param onSetAside called when this call has set it aside, not when somebody had before
 * @returns what has become of it, whoever did it
 */
export async function applyNow(
  ctx: Context,
  deps: DeliveryDeps,
  id: string,
  onSetAside: () => void = () => {},
): Promise<Fate> {
  const { completed, failed } = await applyClaim(ctx, deps, [id], true);
  if (failed > 0) onSetAside();
  if (completed === 1) return "applied";
  const status = await transact(ctx, async (ctx) => {
    const row = await ctx.db
      .selectFrom("webhook_deliveries")
      .select("status")
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .executeTakeFirst();
    return row?.status;
  });
  return status === "completed" ? "applied" : status === "failed" ? "set_aside" : "waiting";
}

async function applyClaim(
  ctx: Context,
  deps: DeliveryDeps,
  ids: readonly string[],
  fromOthers = false,
): Promise<ApplyReport & { readonly suspect: boolean }> {
  const { claimed, rows, now } = await transact(ctx, async (ctx) => {
    if (fromOthers) await limitLockWaits(ctx.db, urgentLockTimeoutMs);
    const claimed = await claim(ctx.db, ctx.tenantId, work.deliveries, { ids, limit: maxClaim, fromOthers });
    return {
      claimed,
      now: ctx.now,
      rows: await load(
        ctx,
        claimed.map((one) => one.id),
      ),
    };
  });
  const suspect = areSuspect(claimed);
  if (claimed.length === 0) return { claimed: 0, completed: 0, failed: 0, newEvents: 0, newInbound: 0, suspect };
  reach("delivery.claimed");
  const byId = new Map(claimed.map((one) => [one.id, one]));
  const jobs: Job[] = [];
  const broken: Settled[] = [];
  for (const row of rows) {
    const claimedRow = byId.get(row.id);
    if (!claimedRow) continue;
    const ageSeconds = (now.getTime() - row.created_at.getTime()) / 1_000;
    const taken = { claimed: claimedRow, isUrgent: fromOthers, ageSeconds };
    if (claimedRow.attempts > maxClaims) {
      broken.push(setAside(taken, { error: crashedRepeatedly, again: false }));
      continue;
    }
    const read = await readOne(deps, row);
    if ("error" in read) broken.push(setAside(taken, read));
    else jobs.push({ ...read, ...taken });
  }
  reach("delivery.parsed");
  let done: Outcome = { completed: 0, newEvents: 0, newInbound: 0 };
  for (const group of groups(jobs)) {
    done = sum(done, await applyGroup(ctx, group, broken));
    reach("delivery.applied");
  }
  if (broken.length > 0) await transact(ctx, (ctx) => settle(ctx.db, ctx.tenantId, work.deliveries, broken));
  return { claimed: claimed.length, failed: broken.filter((one) => one.status === "failed").length, ...done, suspect };
}

export async function load(ctx: TxContext, ids: readonly string[]): Promise<Archived[]> {
  const { rows } = await sql<Archived>`
    select id, channel_config_id, provider, target, headers, body, body_encoding, body_key, body_sha256, received_at,
      created_at, correlation_id
    from webhook_deliveries where tenant_id = ${ctx.tenantId} and id = any(${ids as string[]}) order by received_at, id`.execute(
    ctx.db,
  );
  return rows;
}

export interface Unreadable {
  readonly error: string;
  /** What went wrong says nothing about its bytes, and may pass. */
  readonly again: boolean;
}

/** Fetches the body and reads it by its provider's rules. A body that cannot be read at all is an answer, not an exception. */
export async function readOne(deps: DeliveryDeps, row: Archived): Promise<Read | Unreadable> {
  const adapter = deps.webhooks[row.provider];
  if (!adapter) return { error: `no adapter for provider ${row.provider}`, again: false };
  let stored: Uint8Array;
  try {
    stored = row.body ?? (await deps.blobs.get(row.body_key ?? ""));
  } catch (error) {
    return { error: messageOf(error), again: true };
  }
  try {
    const body = await asTheyCame(row, stored);
    // Adapters read the address for its query only; the host it was called at is not archived.
    const url = new URL(row.target, "https://archived.invalid").href;
    const parsed = await adapter.parse({ headers: row.headers, body, url }, row.received_at);
    const whole = parsed.problems.find((problem) => problem.index === -1);
    return whole ? { error: whole.reason, again: false } : { row, parsed };
  } catch (error) {
    return { error: messageOf(error), again: false };
  }
}

const decompress = promisify(brotliDecompress);

/** @throws when what was kept elsewhere, or compressed, is not what was answered for: it will not be the next time either */
async function asTheyCame(
  { body, body_encoding, body_sha256, target }: Archived,
  stored: Uint8Array,
): Promise<Uint8Array> {
  if (body !== null && body_encoding === "identity") return stored;
  const bytes = body === null ? stored : await decompress(stored);
  if (!sha256Of(target, bytes).equals(body_sha256)) throw new Error("the stored bytes are not those that came");
  return bytes;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 1_000);

/** What may pass spends none of the claims that are counted against a delivery which kills its workers; urgent ones are not counted. */
function setAside({ claimed: { id, generation }, isUrgent, ageSeconds }: Taken, { error, again }: Unreadable): Settled {
  if (!again || ageSeconds >= retriedForSeconds) return { id, generation, status: "failed", error };
  const inSeconds = isUrgent ? 0 : Math.min(retryInSeconds.most, Math.max(retryInSeconds.least, ageSeconds / 2));
  return { id, generation, status: "pending", error, retryInSeconds: inSeconds, isSpared: !isUrgent };
}

/** Neighbours share a transaction up to a limit of events; a delivery is never split. */
function groups(jobs: readonly Job[]): Job[][] {
  const made: Job[][] = [];
  let size = 0;
  for (const job of jobs) {
    const events = job.parsed.events.length + job.parsed.inbound.length;
    if (made.length === 0 || size + events > maxEvents) {
      made.push([]);
      size = 0;
    }
    made.at(-1)?.push(job);
    size += events;
  }
  return made;
}

interface Outcome {
  readonly completed: number;
  readonly newEvents: number;
  readonly newInbound: number;
}
const sum = (a: Outcome, b: Outcome): Outcome => ({
  completed: a.completed + b.completed,
  newEvents: a.newEvents + b.newEvents,
  newInbound: a.newInbound + b.newInbound,
});

/** All in one transaction; if that fails, in halves, so that the one at fault is found and set aside before the lease of the others runs out. */
async function applyGroup(ctx: Context, jobs: readonly Job[], broken: Settled[]): Promise<Outcome> {
  try {
    return await applyTogether(ctx, jobs);
  } catch (error) {
    const [only, ...more] = jobs;
    if (!only) return { completed: 0, newEvents: 0, newInbound: 0 };
    // Each half would wait as long again, and the lease would run out.
    if (more.length === 0 || isLockTimeout(error)) {
      for (const job of jobs) broken.push(setAside(job, { error: messageOf(error), again: !isRefused(error) }));
      return { completed: 0, newEvents: 0, newInbound: 0 };
    }
    const half = Math.ceil(jobs.length / 2);
    const first = await applyGroup(ctx, jobs.slice(0, half), broken);
    return sum(first, await applyGroup(ctx, jobs.slice(half), broken));
  }
}

const applyTogether = (ctx: Context, jobs: readonly Job[]): Promise<Outcome> =>
  transact(ctx, async (ctx) => {
    await limitLockWaits(ctx.db, jobs.some(({ isUrgent }) => isUrgent) ? urgentLockTimeoutMs : lockTimeoutMs);
    const held = new Set(
      await settle(
        ctx.db,
        ctx.tenantId,
        work.deliveries,
        jobs.map(({ claimed }) => ({ id: claimed.id, generation: claimed.generation, status: "completed" })),
      ),
    );
    // A worker that was paused past its lease applies nothing.
    const ours = jobs.filter(({ claimed }) => held.has(claimed.id));
    const effects = await takeEffect(ctx, batchOf(ours));
    await note(ctx, ours, effects);
    reach("delivery.applying");
    return { completed: ours.length, newEvents: effects.newEvents, newInbound: effects.newInbound };
  });

export function batchOf(reads: readonly Read[]): Batch {
  return {
    facts: reads.flatMap(({ row, parsed }) =>
      parsed.events.map((event) => ({
        channelConfigId: row.channel_config_id,
        provider: row.provider,
        deliveryId: row.id,
        event,
      })),
    ),
    inbound: reads.flatMap(({ row, parsed }) =>
      parsed.inbound.map((inbound) => ({
        channelConfigId: row.channel_config_id,
        provider: row.provider,
        deliveryId: row.id,
        receivedAt: row.received_at,
        correlationId: row.correlation_id,
        inbound,
      })),
    ),
  };
}

/** What was found in each delivery, its unreadable events and those about a stranger's message included. */
export async function note(ctx: TxContext, reads: readonly Read[], effects: Effects): Promise<void> {
  const strangers = Map.groupBy(effects.strangers, (fact) => fact.deliveryId);
  const rows = reads.map(({ row, parsed }) => {
    const foreign = (strangers.get(row.id) ?? []).map(({ event }) => ({
      index: indexOf(parsed, parsed.events.indexOf(event)),
      reason: `event ${event.providerEventId}: ${event.messageId} is no message of this tenant`,
    }));
    return {
      id: row.id,
      events: parsed.events.length,
      inbound: parsed.inbound.length,
      problems: [...parsed.problems, ...foreign],
    };
  });
  await sql`
    update webhook_deliveries d set event_count = r.events, inbound_count = r.inbound, problems = r.problems, last_error = null
    from unnest(${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.events)}::int[], ${rows.map((r) => r.inbound)}::int[],
                ${rows.map((r) => JSON.stringify(r.problems))}::jsonb[]) as r(id, events, inbound, problems)
    where d.tenant_id = ${ctx.tenantId} and d.id = r.id`.execute(ctx.db);
}

/** Where the nth readable event stood in the body: unreadable ones before it shift it. */
function indexOf({ problems }: ParsedDelivery, nth: number): number {
  const unreadable = new Set(problems.map((problem) => problem.index));
  let index = 0;
  for (let readable = 0; ; index++) {
    if (unreadable.has(index)) continue;
    if (readable++ === nth) return index;
  }
}

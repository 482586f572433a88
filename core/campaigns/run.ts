/**
 * Due scheduled actions: each is one event for its enrollment. Claimed first, so that one that kills its workers is found out; then applied
 * and completed in one transaction, so that an action that ran has moved its enrollment and one that did not is still due.
 */
import { sql } from "kysely";
import {
  areSuspect,
  backoffSeconds,
  type Claimed,
  type Context,
  claim,
  crashedRepeatedly,
  isCollision,
  isLockTimeout,
  limitLockWaits,
  lockEnrollments,
  maxClaims,
  reach,
  settle,
  type TxContext,
  transact,
  work,
} from "../kernel/index.ts";
import { type EnrollmentEvent, moveWalks } from "./apply.ts";
import { halt } from "./halt.ts";
import type { TimeoutName } from "./state.ts";

/** Actions taken in one transaction. */
export const actionBatch = 500;
/** Below this an invocation does not begin another claim. */
const minimumRemainingMs = 10_000;

/** A run waits so long for a lock, several times over well within its lease; then what it has taken up goes back for a while. */
const lockTimeoutMs = 3_000;
const busyForSeconds = 15;

interface Due {
  readonly contact_campaign_id: string;
  readonly action_type: "node" | "timeout";
  readonly node_id: string;
  readonly watch: string | null;
}

/**
 * Runs what is due among `ids` (empty: whatever is due for the tenant). @returns how many ran
 * @param remainingMs how long the invocation may still run; what is left over is still due
 */
export async function runActions(
  ctx: Context,
  ids: readonly string[],
  remainingMs: () => number = () => Number.POSITIVE_INFINITY,
): Promise<number> {
  let done = 0;
  for (;;) {
    const claimed = await transact(ctx, ({ db, tenantId }) =>
      claim(db, tenantId, work.actions, { ids, limit: actionBatch }),
    );
    done += await runClaimed(ctx, claimed);
    if (!areSuspect(claimed) || remainingMs() < minimumRemainingMs) return done;
  }
}

/** Together; if that fails, in halves, so that the one at fault is found before the lease of the others runs out. */
async function runClaimed(ctx: Context, claimed: readonly Claimed[]): Promise<number> {
  const deadly = claimed.filter((one) => one.attempts > maxClaims);
  for (const one of deadly) await transact(ctx, (ctx) => recordFailure(ctx, one, crashedRepeatedly));
  const sound = claimed.filter((one) => one.attempts <= maxClaims);
  const [first, ...more] = sound;
  if (!first) return 0;
  try {
    return await transact(ctx, (ctx) => runBatch(ctx, sound));
  } catch (error) {
    if (isLockTimeout(error) || isCollision(error)) {
      await transact(ctx, (ctx) => putBack(ctx, sound));
      return 0;
    }
    if (more.length === 0) {
      await transact(ctx, (ctx) => recordFailure(ctx, first, error));
      return 0;
    }
    const half = Math.ceil(sound.length / 2);
    return (await runClaimed(ctx, sound.slice(0, half))) + (await runClaimed(ctx, sound.slice(half)));
  }
}

/** Somebody holds their campaign or their enrollments, a pause of many for example: that is no failure, and no crash. */
const putBack = (ctx: TxContext, claimed: readonly Claimed[]) =>
  settle(
    ctx.db,
    ctx.tenantId,
    work.actions,
    claimed.map(({ id, generation }) => ({
      id,
      generation,
      status: "pending",
      error: "busy: somebody else holds its campaign or its enrollment",
      retryInSeconds: busyForSeconds,
      isSpared: true,
    })),
  );

async function runBatch(ctx: TxContext, claimed: readonly Claimed[]): Promise<number> {
  await limitLockWaits(ctx.db, lockTimeoutMs);
  const due = await complete(ctx, claimed);
  const events: EnrollmentEvent[] = due.map((action) => ({
    enrollmentId: action.contact_campaign_id,
    event:
      action.action_type === "node"
        ? { type: "due", nodeId: action.node_id }
        : { type: "timeout", nodeId: action.node_id, on: (action.watch ?? "end") as TimeoutName },
  }));
  if (events.length > 0) reach("action.taking");
  await moveWalks(ctx, events);
  if (events.length > 0) reach("action.applying");
  if (claimed.length === actionBatch) ctx.bells.push({ kind: "actions", tenantId: ctx.tenantId, ids: [] });
  return due.length;
}

/**
 * Locks the enrollments and their campaigns first, as everybody does, then completes the actions that are still due and still this worker's.
 * A pause waits for the campaign before it touches actions, so an action must not be held by somebody who still has to.
 */
async function complete(ctx: TxContext, claimed: readonly Claimed[]): Promise<Due[]> {
  const ids = claimed.map((one) => one.id);
  const walkers = sql`select a.contact_campaign_id from scheduled_actions a where a.tenant_id = ${ctx.tenantId} and a.id = any(${ids})`;
  await lockEnrollments(ctx, sql`in (${walkers})`);
  const { rows } = await sql<Due>`
    with done as (
      update scheduled_actions a set status = 'completed', completed_at = ${ctx.now}, lease_until = null
      from unnest(${ids}::text[], ${claimed.map((one) => one.generation)}::int[]) as c(id, generation)
      where a.tenant_id = ${ctx.tenantId} and a.id = c.id and a.generation = c.generation and a.status = 'pending' and a.run_at <= ${ctx.now}
      returning a.id, a.contact_campaign_id, a.action_type, a.node_id, a.watch, a.run_at
    )
    select * from done order by run_at, id`.execute(ctx.db);
  return rows;
}

/** Put back with a delay, or over: its enrollment is halted and its neighbours go on. What has moved on meanwhile is left alone. */
async function recordFailure(ctx: TxContext, { id, generation, attempts }: Claimed, cause: unknown): Promise<void> {
  // The enrollment before its actions and messages, as everywhere.
  const { rows } = await sql<{ id: string }>`
    select e.id from contact_campaigns e
    where e.tenant_id = ${ctx.tenantId}
      and e.id = (select a.contact_campaign_id from scheduled_actions a where a.tenant_id = ${ctx.tenantId} and a.id = ${id})
    for update`.execute(ctx.db);
  const over = attempts >= maxClaims;
  const settled = await settle(ctx.db, ctx.tenantId, work.actions, [
    {
      id,
      generation,
      status: over ? "failed" : "pending",
      error: cause instanceof Error ? cause.message : String(cause),
      retryInSeconds: backoffSeconds(attempts, 1),
    },
  ]);
  if (over && settled.length > 0) for (const enrollment of rows) await halt(ctx, enrollment.id, cause);
}

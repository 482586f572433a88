/**
 * Events to enrollments: read and lock, let the pure engine decide, write the net result set-wise. The only place that changes where a
 * contact stands.
 *
 * Invariant: an enrollment is changed by one transaction at a time (its row is locked, in id order, before anything else of it), and a
 * campaign cannot be paused between the decision and the rows it leads to (shared lock here, exclusive lock in `pause`).
 */
import { sql } from "kysely";
import { attempt, campaignGates, DomainError, isRefused, PartFailed, type TxContext } from "../kernel/index.ts";
import { enqueue, type NewMessage } from "../messages/index.ts";
import type { Fields } from "./condition.ts";
import { addDuration } from "./duration.ts";
import { advance } from "./engine.ts";
import { fieldsIn, fieldsOf, type Records } from "./fields.ts";
import { Net } from "./fold.ts";
import { nodeOf } from "./graph.ts";
import { halt } from "./halt.ts";
import { resolveContent } from "./hash.ts";
import { type EngineEvent, type EnrollmentState, initialState, type StateStatus } from "./state.ts";
import { type PlanVersion, planVersions } from "./versions.ts";
import { updated } from "./walk.ts";
import { writeNets } from "./write.ts";

export interface EnrollmentEvent {
  readonly enrollmentId: string;
  readonly event: EngineEvent;
}

/** One locked enrollment. */
export interface Walker {
  readonly id: string;
  readonly campaign_id: string;
  readonly campaign_status: string;
  readonly status: StateStatus | "draft";
  readonly lead_id: string;
  readonly contact_id: string;
  readonly plan_version_id: string;
  readonly sender_identity_id: string | null;
  readonly entry: number;
  readonly correlation_id: string | null;
  /** An empty object before the first event. */
  readonly state: EnrollmentState | { readonly key?: never };
}

/** Who was stopped or paused before the first event is so all the same. */
export function stateOf({ state, status, contact_id }: Walker): EnrollmentState {
  if (state.key !== undefined) return state;
  return { ...initialState(contact_id), ...(status !== "draft" && { status }) };
}

/** Engine events that follow from what was just queued are few; more rounds than this would be a loop. */
const maxRounds = 20;

/**
 * Applies events `[batch]` in their order per enrollment. Whoever brings them has more to store than where somebody stands: a walk that
 * cannot be moved ends in `error`, or is paused while its plan cannot be read, and neither takes its neighbours with it nor the fact that it
 * was told. Ids that are not this tenant's are ignored.
 */
export async function applyEvents(ctx: TxContext, events: readonly EnrollmentEvent[]): Promise<void> {
  if (events.length === 0) return;
  if (ctx.isCareful) return applyApart(ctx, events);
  try {
    await moveWalks(ctx, events);
  } catch (error) {
    throw isWalksFault(error) ? new PartFailed("a walk could not be moved", { cause: error }) : error;
  }
}

/** In halves, each in a savepoint, until those at fault are found. */
async function applyApart(ctx: TxContext, events: readonly EnrollmentEvent[]): Promise<void> {
  try {
    await attempt(ctx, () => moveWalks(ctx, events));
  } catch (error) {
    if (!isWalksFault(error)) throw error;
    const ids = [...new Set(events.map((one) => one.enrollmentId))].toSorted();
    const [only = "", ...more] = ids;
    if (more.length === 0) return halt(ctx, only, error);
    const first = new Set(ids.slice(0, Math.ceil(ids.length / 2)));
    const [one = [], other = []] = [true, false].map((is) => events.filter((it) => first.has(it.enrollmentId) === is));
    await applyApart(ctx, one);
    await applyApart(ctx, other);
  }
}

/**
 * What will be the same the next time: data that PostgreSQL refuses, a plan that this release cannot read, a defect of the engine. A lost
 * connection, a lock that could not be had, a full disk pass.
 */
const isWalksFault = (error: unknown): error is Error =>
  error instanceof DomainError || error instanceof TypeError || error instanceof RangeError || isRefused(error);

/**
 * `applyEvents` for whoever deals with a failure: all of it is done or nothing. A fixed number of statements (per round: a message that ends
 * as soon as it is queued is an event of its own).
 */
export async function moveWalks(ctx: TxContext, events: readonly EnrollmentEvent[]): Promise<void> {
  let pending = events;
  for (let round = 0; pending.length > 0 && round < maxRounds; round++) {
    const walkers = await lockWalkers(ctx, [...new Set(pending.map((one) => one.enrollmentId))]);
    const plans = await planVersions(
      ctx,
      walkers.map((walker) => walker.plan_version_id),
    );
    const fields = await fieldsFor(ctx, walkers, plans);
    const byEnrollment = Map.groupBy(pending, (one) => one.enrollmentId);
    const nets = walkers.flatMap((walker) => {
      const version = plans.get(walker.plan_version_id);
      if (!version) return [];
      const net = new Net(walker.id, stateOf(walker));
      for (const { event } of byEnrollment.get(walker.id) ?? []) {
        const read = net.updates.reduce((known, set) => updated(known, set), fields.get(walker.id) ?? {});
        const { state, effects } = advance(version.plan, net.state, event, ctx.now, read);
        net.add(state, effects);
      }
      return [{ walker, net, version }];
    });
    const changed = nets.filter(({ net }) => net.changed);
    await writeNets(ctx, changed);
    const notQueued = await enqueue(
      ctx,
      changed.flatMap((one) => messagesOf(ctx, one)),
    );
    pending = notQueued.map(({ enrollmentId, nodeId, reason }) => ({
      enrollmentId,
      event: { type: "send_failed", nodeId, reason },
    }));
  }
}

/** Locks enrollments in id order. Everybody who needs their rows does it through here or in the same order. */
export async function lockWalkers(ctx: TxContext, ids: readonly string[]): Promise<Walker[]> {
  if (ids.length === 0) return [];
  const { rows } = await sql<Walker>`
    with locked as materialized (
      select * from contact_campaigns where tenant_id = ${ctx.tenantId} and id = any(${ids as string[]}) order by id for update
    ), ${campaignGates(ctx, "locked")}
    select e.id, e.campaign_id, e.status, e.lead_id, e.contact_id, e.plan_version_id, e.sender_identity_id, e.entry, e.correlation_id, e.state,
           '' as campaign_status
    from locked e, (select count(*) from gates) g order by e.id`.execute(ctx.db);
  // A later statement, so that a pause that committed while we waited for its lock is seen.
  const campaigns = await ctx.db
    .selectFrom("marketing.campaigns")
    .select(["campaign_id", "status"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "in", [...new Set(rows.map((row) => row.campaign_id)), ""])
    .execute();
  const statuses = new Map(campaigns.map((row) => [row.campaign_id, row.status]));
  return rows.map((row) => ({ ...row, campaign_status: statuses.get(row.campaign_id) ?? "stopped" }));
}

/** Facts that branches read: fields of the lead, the contact and the company. Nothing is read when no plan branches on them. */
async function fieldsFor(
  ctx: TxContext,
  walkers: readonly Walker[],
  plans: ReadonlyMap<string, PlanVersion>,
): Promise<ReadonlyMap<string, Fields>> {
  const reading = walkers.filter((walker) => {
    const version = plans.get(walker.plan_version_id);
    return version !== undefined && fieldsOf(version.plan).length > 0;
  });
  if (reading.length === 0) return new Map();
  const { rows } = await sql<Records & { id: string }>`
    select e.id, to_jsonb(l) - array['raw_data', 'flags'] as lead, to_jsonb(k) as contact, to_jsonb(co) - 'provenance' as company
    from contact_campaigns e
    join leads l on l.tenant_id = e.tenant_id and l.id = e.lead_id
    join contacts k on k.tenant_id = e.tenant_id and k.id = e.contact_id
    left join company.master co on co.tenant_id = l.tenant_id and co.id = l.company_id
    where e.tenant_id = ${ctx.tenantId} and e.id = any(${reading.map((walker) => walker.id)})`.execute(ctx.db);
  return new Map(rows.map((row) => [row.id, fieldsIn(row)]));
}

function messagesOf(
  ctx: TxContext,
  { walker, net, version }: { walker: Walker; net: Net; version: PlanVersion },
): NewMessage[] {
  return net.sends.flatMap(({ nodeId, variantId }) => {
    const node = nodeOf(version.plan, nodeId);
    if (node?.type !== "send") return [];
    return [
      {
        enrollmentId: walker.id,
        campaignId: walker.campaign_id,
        entry: walker.entry,
        nodeId,
        variantId,
        planVersionId: version.id,
        leadId: walker.lead_id,
        contactId: walker.contact_id,
        channel: node.channel,
        messageClass: node.messageClass,
        senderIdentityId: node.senderId ?? walker.sender_identity_id,
        templateId: resolveContent(node, variantId).templateId,
        expiresAt: addDuration(ctx.now, node.expiresAfter, version.plan.timeZone),
        correlationId: walker.correlation_id,
      },
    ];
  });
}

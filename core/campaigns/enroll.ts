/**
 * Who walks a plan. Invariants: a contact walks one plan per channel at a time; entering again supersedes the walk before, and never
 * sends what the entry before has sent unless asked to enter anew.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  type Channel,
  command,
  DomainError,
  decodeCursor,
  idOf,
  Page,
  paged,
  query,
  reach,
  type TxContext,
} from "../kernel/index.ts";
import * as segments from "../segments/index.ts";
import { applyEvents } from "./apply.ts";
import { nodeOf } from "./graph.ts";
import { firstActionKey, ringDue } from "./lifecycle.ts";
import { errors as campaignErrors, campaignOf } from "./manage.ts";
import type { Plan } from "./plan.ts";
import type { EngineEvent } from "./state.ts";
import { planVersions } from "./versions.ts";

export const errors = {
  notFound: (id: string) => new DomainError("not_found", "enrollment.not_found", `No enrollment ${id}.`),
  closed: (status: string) =>
    new DomainError("conflict", "enrollment.campaign_closed", `A ${status} campaign takes nobody in.`),
};

/** Exactly one way of saying who: a list, a segment, a filter, or everybody. */
export const Audience = z.union([
  z.strictObject({ contactIds: z.array(idOf("contact")).min(1).max(100_000) }),
  z.strictObject({ segmentId: idOf("segment") }),
  z.strictObject({ filter: segments.Filter }),
  z.strictObject({ all: z.literal(true) }),
]);
export type Audience = z.output<typeof Audience>;

export const Enroll = z.strictObject({
  campaignId: idOf("campaign"),
  audience: Audience,
  /** Contacts whose earlier walk through this campaign has ended enter again, and may be sent everything again. Default: they are left out. */
  reenroll: z.boolean().default(false),
});

/** What became of an audience. The parts add up to `audience`. */
export interface EnrollReport {
  readonly audience: number;
  readonly enrolled: number;
  /** Is walking this campaign, or has walked it and `reenroll` was not asked for. */
  readonly alreadyEnrolled: number;
  /** Is walking another campaign on the same channel. */
  readonly busy: number;
  readonly noAddress: number;
  /** Deleted, do-not-contact or inactive. */
  readonly unavailable: number;
}

/** The channel an enrollment walks on: the one of the first message a contact can meet. */
export function channelOf(plan: Plan): Channel {
  const seen = new Set<string>();
  const queue = [plan.start];
  for (const id of queue) {
    const node = seen.has(id) ? undefined : nodeOf(plan, id);
    seen.add(id);
    if (node?.type === "send") return node.channel;
    if (node?.type === "wait") queue.push(node.to);
    if (node?.type === "branch")
      queue.push(...node.cases.map((one) => one.to), ...(node.else === undefined ? [] : [node.else]));
    if ((node?.type === "update" || node?.type === "task") && node.to !== undefined) queue.push(node.to);
  }
  return "email";
}

/** One statement per step for the whole audience, however large. */
export const enroll = command(Enroll, async (ctx, { campaignId, audience, reenroll }): Promise<EnrollReport> => {
  await lockEntrance(ctx, campaignId);
  const campaign = await campaignOf(ctx, campaignId);
  if (campaign.status === "completed" || campaign.status === "stopped") throw errors.closed(campaign.status);
  if (campaign.planVersionId === null) throw campaignErrors.noPlan(campaignId);
  const version = (await planVersions(ctx, [campaign.planVersionId])).get(campaign.planVersionId);
  if (!version) throw campaignErrors.noPlan(campaignId);
  const contactIds = await audienceOf(ctx, audience);
  const report = await insertEnrollments(ctx, {
    campaignId,
    version,
    contactIds,
    reenroll,
    channel: channelOf(version.plan),
    senderId: senderOf(campaign.settings),
    starts: campaign.status === "active" ? version.plan.start : null,
  });
  await ctx.db
    .updateTable("marketing.campaigns")
    .set((set) => ({ target_count: set(set.fn.coalesce("target_count", set.lit(0)), "+", report.enrolled) }))
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", campaignId)
    .execute();
  return { audience: contactIds.length, ...report };
});

/**
 * One enroll per tenant at a time, so that no contact enters twice; and the campaign's row, so that it is not activated, stopped or
 * completed between what is read of it here and the commit: whoever enters then would never be started, or never be sent anything.
 */
async function lockEntrance(ctx: TxContext, campaignId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`enroll:${ctx.tenantId}`}, 0))`.execute(ctx.db);
  await sql`select from marketing.campaigns where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} for no key update`.execute(
    ctx.db,
  );
}

const senderOf = (settings: unknown): string | null => {
  const id = (settings as { senderIdentityId?: unknown } | null)?.senderIdentityId;
  return typeof id === "string" ? id : null;
};

/** One page: ids are small, and one statement sees one state of the list. */
const everybody = { after: undefined, limit: 1_000_000 } as const;

/** Contact ids in id order. */
export async function audienceOf(ctx: TxContext, audience: Audience): Promise<string[]> {
  if ("contactIds" in audience) return [...new Set(audience.contactIds)].toSorted();
  if ("segmentId" in audience) {
    const segment = await segments.getSegment(ctx, { id: audience.segmentId });
    return segments.membersPage(ctx, segments.Filter.parse(segment.filter), everybody);
  }
  if ("filter" in audience) return segments.membersPage(ctx, audience.filter, everybody);
  const rows = await ctx.db
    .selectFrom("contacts")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("status", "=", "active")
    .orderBy("id")
    .execute();
  return rows.map((row) => row.id);
}

interface Entering {
  readonly campaignId: string;
  readonly version: { readonly id: string; readonly hash: string };
  readonly contactIds: readonly string[];
  readonly reenroll: boolean;
  readonly channel: Channel;
  readonly senderId: string | null;
  /** The node at which everybody starts at once; null: when the campaign is activated or resumed. */
  readonly starts: string | null;
}

async function insertEnrollments(ctx: TxContext, entering: Entering): Promise<Omit<EnrollReport, "audience">> {
  const { campaignId, version, contactIds, reenroll, channel, senderId, starts } = entering;
  const { rows } = await sql<{ verdict: string; n: number }>`
    with audience as materialized (
      select k.id, k.lead_id, a.n, l.deleted_at is not null or l.status = 'dnc' or k.status <> 'active' as unavailable,
             exists (select from contact_channels ch where ch.tenant_id = k.tenant_id and ch.contact_id = k.id and ch.channel = ${channel}
                       and ch.status = 'active') as reachable
      from unnest(${contactIds as string[]}::text[]) with ordinality a(id, n)
      join contacts k on k.tenant_id = ${ctx.tenantId} and k.id = a.id
      join leads l on l.tenant_id = k.tenant_id and l.id = k.lead_id
    ), current as materialized (
      select e.contact_id, e.id, e.campaign_id, e.status in ('draft', 'active', 'paused') as walking
      from contact_campaigns e join audience a on a.id = e.contact_id
      where e.tenant_id = ${ctx.tenantId} and e.channel = ${channel} and e.superseded_by is null and e.contact_id = any(${contactIds as string[]})
    ), before as materialized (
      select e.contact_id, max(e.entry) as entries from contact_campaigns e join audience a on a.id = e.contact_id
      where e.tenant_id = ${ctx.tenantId} and e.campaign_id = ${campaignId} and e.contact_id = any(${contactIds as string[]})
      group by e.contact_id
    ), judged as materialized (
      select a.*, c.id as current_id, coalesce(b.entries, 0) + 1 as entry, make_id('ccmp', ulid_time(${ctx.now}), a.n) as new_id,
        case when a.unavailable then 'unavailable'
             when c.walking and c.campaign_id <> ${campaignId} then 'busy'
             when c.walking then 'already'
             when b.entries is not null and not ${reenroll}::bool then 'already'
             when not a.reachable then 'no_address'
             else 'enrolled' end as verdict
      from audience a left join current c on c.contact_id = a.id left join before b on b.contact_id = a.id
    ), superseded as (
      update contact_campaigns e set superseded_by = j.new_id
      from judged j where e.tenant_id = ${ctx.tenantId} and e.id = j.current_id and j.verdict = 'enrolled'
      returning e.id
    )
    select verdict, count(*)::int as n from judged, (select count(*) from superseded) s group by verdict
    union all select id || ' ' || lead_id || ' ' || entry || ' ' || new_id, -1 from judged where verdict = 'enrolled'`.execute(
    ctx.db,
  );
  const counts = new Map(rows.filter((row) => row.n >= 0).map((row) => [row.verdict, row.n]));
  const chosen = rows
    .filter((row) => row.n < 0)
    .map((row) => {
      const [contactId = "", leadId = "", entry = "1", id = ""] = row.verdict.split(" ");
      return { contactId, leadId, entry: Number(entry), id };
    })
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  if (chosen.length > 0) {
    const { rows: actions } = await sql<{ id: string }>`
      with entered as (
        insert into contact_campaigns (tenant_id, id, campaign_id, lead_id, contact_id, channel, status, started_at, plan_version_id, plan_hash,
          sender_identity_id, entry, correlation_id, created_at, updated_at)
        select ${ctx.tenantId}, r.id, ${campaignId}, r.lead_id, r.contact_id, ${channel}, ${starts === null ? "draft" : "active"},
          ${starts === null ? null : ctx.now}, ${version.id}, ${version.hash}, ${senderId}, r.entry, ${ctx.correlationId}, ${ctx.now}, ${ctx.now}
        from unnest(${chosen.map((r) => r.id)}::text[], ${chosen.map((r) => r.leadId)}::text[], ${chosen.map((r) => r.contactId)}::text[],
          ${chosen.map((r) => r.entry)}::int[]) as r(id, lead_id, contact_id, entry)
        order by r.id
        returning id
      )
      insert into scheduled_actions (tenant_id, id, campaign_id, contact_campaign_id, action_type, node_id, run_at, idempotency_key,
        correlation_id, created_at, updated_at)
      select ${ctx.tenantId}, make_id('sact', ulid_time(${ctx.now}), row_number() over (order by e.id)), ${campaignId}, e.id, 'node', ${starts},
        ${ctx.now}, e.id || ${starts === null ? "" : firstActionKey("", starts)}, ${ctx.correlationId}, ${ctx.now}, ${ctx.now}
      from entered e where ${starts !== null}::bool
      returning id`.execute(ctx.db);
    ringDue(
      ctx,
      actions.map(({ id }) => id),
    );
    reach("enrollment.entering");
  }
  const unknown = contactIds.length - [...counts.values()].reduce((sum, n) => sum + n, 0);
  return {
    enrolled: counts.get("enrolled") ?? 0,
    alreadyEnrolled: counts.get("already") ?? 0,
    busy: counts.get("busy") ?? 0,
    noAddress: counts.get("no_address") ?? 0,
    unavailable: (counts.get("unavailable") ?? 0) + unknown,
  };
}

const ById = z.object({ id: idOf("enrollment") });

const select = (ctx: TxContext) =>
  ctx.db
    .selectFrom("contact_campaigns")
    .select([
      "id",
      "campaign_id as campaignId",
      "contact_id as contactId",
      "lead_id as leadId",
      "channel",
      "status",
      "current_node_id as nodeId",
      "plan_version_id as planVersionId",
      "plan_hash as planHash",
      "state",
      "entry",
      "exit_reason as exitReason",
      "superseded_by as supersededBy",
      "started_at as startedAt",
      "completed_at as completedAt",
      "created_at as createdAt",
    ])
    .where("tenant_id", "=", ctx.tenantId);

export const getEnrollment = query(ById, async (ctx, { id }) => {
  const row = await select(ctx).where("id", "=", id).executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

export const listEnrollments = query(
  Page.extend({
    campaignId: idOf("campaign").optional(),
    contactId: idOf("contact").optional(),
    status: z.string().max(20).optional(),
  }),
  async (ctx, { limit, cursor, campaignId, contactId, status }) => {
    const after = decodeCursor(cursor);
    let rows = select(ctx)
      .orderBy("id")
      .limit(limit + 1);
    if (after !== undefined) rows = rows.where("id", ">", after);
    if (campaignId !== undefined) rows = rows.where("campaign_id", "=", campaignId);
    if (contactId !== undefined) rows = rows.where("contact_id", "=", contactId);
    if (status !== undefined) rows = rows.where("status", "=", status as "active");
    return paged(await rows.execute(), limit);
  },
);

/** The audit log of one enrollment, oldest first. */
export const listTransitions = query(ById, async (ctx, { id }) => {
  await getEnrollment(ctx, { id });
  return ctx.db
    .selectFrom("campaign_transitions")
    .select([
      "id",
      "from_status as fromStatus",
      "to_status as toStatus",
      "from_node_id as fromNodeId",
      "to_node_id as toNodeId",
      "reason",
      "triggered_by as triggeredBy",
      "created_at as at",
    ])
    .where("tenant_id", "=", ctx.tenantId)
    .where("contact_campaign_id", "=", id)
    .orderBy("id")
    .execute();
});

/**
 * One event for one enrollment, by hand. What the engine does not allow in its state changes nothing.
 * @throws DomainError `plan.unreadable`: who asked is told, and asks again when a release runs that can read it
 */
const steer = (event: (reason: string | undefined) => EngineEvent) =>
  command(ById.extend({ reason: z.string().max(500).optional() }), async (ctx, { id, reason }) => {
    const { planVersionId } = await getEnrollment(ctx, { id });
    await planVersions(ctx, [planVersionId]);
    await applyEvents(ctx, [{ enrollmentId: id, event: event(reason) }]);
    return getEnrollment(ctx, { id });
  });

export const pauseEnrollment = steer((reason) => ({ type: "pause", ...(reason !== undefined && { reason }) }));
export const resumeEnrollment = steer(() => ({ type: "resume" }));
export const stopEnrollment = steer((reason) => ({ type: "stop", reason: reason ?? "stopped_by_operator" }));

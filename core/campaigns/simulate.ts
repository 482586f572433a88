/**
 * A whole audience through a plan before anything is sent. Reads one state of the database, computes outside of any transaction, and writes
 * nothing but the simulation's own rows.
 *
 * Invariant: a stored simulation never changes; the same input has the same `sendsHash`.
 */
import { type SqlBool, sql } from "kysely";
import * as z from "zod";
import {
  type Context,
  DomainError,
  Instant,
  idOf,
  newId,
  type Paged,
  parseInput,
  query,
  type TxContext,
  transact,
} from "../kernel/index.ts";
import { turnOf, walkNode } from "../messages/index.ts";
import { Audience, audienceOf, channelOf } from "./enroll.ts";
import { planHash } from "./hash.ts";
import { errors as campaignErrors, campaignOf, compileFor, PlanSource } from "./manage.ts";
import type { Plan } from "./plan.ts";
import { type ReactionModel, ReactionRates, ratesModel, silence } from "./reactions.ts";
import { runSimulation } from "./simulation.ts";
import { loadInput } from "./simulation-facts.ts";
import type { Simulated, SimulatedSend, SimulationInput, Walking } from "./simulation-input.ts";
import { defaultPrices, type Prices, type SimulationSummary, sendsHash, summarize } from "./simulation-summary.ts";
import { EnrollmentState } from "./state.ts";
import { planVersions, versionOf } from "./versions.ts";

export const errors = {
  notFound: (id: string) => new DomainError("not_found", "simulation.not_found", `No simulation ${id}.`),
};

export const Simulate = z.strictObject({
  campaignId: idOf("campaign"),
  /** A plan to try instead of the campaign's own: nobody has to be enrolled for it. */
  plan: PlanSource.optional(),
  /** `enrolled`: everybody on their way, from where they are. Anything else: as if they were enrolled at the start. */
  audience: z.union([z.literal("enrolled"), Audience]).default("enrolled"),
  /** Default: now. */
  startAt: Instant.optional(),
  /** How people react: not at all (default), or by rates. */
  engagement: z.union([z.literal("none"), ReactionRates]).default("none"),
  store: z.boolean().default(true),
});

export interface Simulation {
  /** null: not stored. */
  readonly id: string | null;
  readonly campaignId: string;
  readonly planHash: string;
  readonly sendsHash: string;
  readonly startsAt: Date;
  readonly contacts: number;
  readonly summary: SimulationSummary;
}

export interface SimulationRun extends Simulation {
  readonly sends: readonly SimulatedSend[];
  readonly enrollments: Simulated["enrollments"];
  /** Engine events and gate decisions: the unit of its speed. */
  readonly steps: number;
}

export interface SimulateOptions {
  /** A model of ours (a script, a replay) instead of rates. */
  readonly reactions?: ReactionModel;
  /** Contacts read at a time. */
  readonly pageSize?: number;
}

/**
 * @throws DomainError `campaign.not_found`, `campaign.no_plan`, `plan.invalid`
 */
export async function simulate(
  ctx: Context,
  request: z.input<typeof Simulate>,
  options: SimulateOptions = {},
): Promise<SimulationRun> {
  const input = parseInput(Simulate, request);
  const { world, plan, hash, leftOut, prices } = await transact(ctx, (ctx) =>
    read(ctx, input, options.pageSize ?? 2_000),
  );
  const model = options.reactions ?? (input.engagement === "none" ? silence : ratesModel(input.engagement));
  const simulated = runSimulation(world, model);
  const simulation: Omit<SimulationRun, "id"> = {
    campaignId: input.campaignId,
    planHash: hash,
    sendsHash: sendsHash(simulated.sends),
    startsAt: world.startAt,
    contacts: world.walkers.length,
    summary: summarize(simulated, { timeZone: plan.timeZone, prices, leftOut }),
    sends: simulated.sends,
    enrollments: simulated.enrollments,
    steps: simulated.steps,
  };
  const id = input.store ? await transact(ctx, (ctx) => store(ctx, simulation)) : null;
  return { id, ...simulation };
}
simulate.schema = Simulate;

interface Read {
  readonly world: SimulationInput;
  readonly plan: Plan;
  readonly hash: string;
  readonly leftOut: Readonly<Record<string, number>>;
  readonly prices: Prices;
}

async function read(ctx: TxContext, input: z.output<typeof Simulate>, pageSize: number): Promise<Read> {
  const campaign = await campaignOf(ctx, input.campaignId);
  const current =
    campaign.planVersionId === null
      ? undefined
      : (await planVersions(ctx, [campaign.planVersionId])).get(campaign.planVersionId);
  const tried = input.plan === undefined ? undefined : await compileFor(ctx, input.plan);
  const plan = tried?.plan ?? current?.plan;
  if (!plan) throw campaignErrors.noPlan(input.campaignId);
  const known = tried ? await versionOf(ctx, campaign.id, planHash(plan)) : campaign.planVersionId;
  const planId = known ?? newPlan;
  const startAt = input.startAt ?? ctx.now;
  const sender = (campaign.settings as { senderIdentityId?: string }).senderIdentityId ?? null;
  const { walkers, leftOut } =
    input.audience === "enrolled"
      ? { walkers: await enrolled(ctx, input.campaignId, startAt), leftOut: {} }
      : await entering(ctx, input.campaignId, { id: planId, plan }, await audienceOf(ctx, input.audience), sender);
  const versions = await planVersions(
    ctx,
    walkers
      .flatMap((one) => [one.planVersionId, ...one.messages.map((message) => message.planVersionId)])
      .filter((id) => id !== newPlan),
  );
  const isTried = input.plan !== undefined;
  const plans = new Map([...versions].map(([id, version]) => [id, version.plan]));
  plans.set(planId, plan);
  const world = await loadInput(ctx, {
    startAt,
    campaign: { id: campaign.id, name: campaign.name },
    plans,
    // A plan that is tried out is walked from its start by everybody who has not begun.
    walkers: isTried ? walkers.map((one) => (one.isDraft ? { ...one, planVersionId: planId } : one)) : walkers,
    pageSize,
  });
  return { world, plan, hash: planHash(plan), leftOut, prices: await pricesOf(ctx) };
}

/** Stands for a plan that is no version of the campaign. Sorts after the id of every version. */
const newPlan = "~";

interface EnrolledRow {
  readonly id: string;
  readonly contact_id: string;
  readonly lead_id: string;
  readonly plan_version_id: string;
  readonly sender_identity_id: string | null;
  readonly entry: number;
  readonly status: string;
  readonly state: unknown;
}

/** Everybody on the way, with what waits for them. Messages in flight count as sent: their dedupe keys are taken. */
async function enrolled(ctx: TxContext, campaignId: string, startAt: Date): Promise<Walking[]> {
  const { rows } = await sql<EnrolledRow>`
    select id, contact_id, lead_id, plan_version_id, sender_identity_id, entry, status, state from contact_campaigns
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and status in ('draft', 'active', 'paused')
    order by id`.execute(ctx.db);
  const { rows: actions } = await sql<Walking["actions"][number] & { walker: string }>`
    select a.id, a.contact_campaign_id as walker, a.action_type as action, a.node_id as "nodeId", a.watch,
      coalesce(a.paused_run_at, a.run_at) as "runAt"
    from scheduled_actions a where a.tenant_id = ${ctx.tenantId} and a.campaign_id = ${campaignId} and a.status = 'pending'`.execute(
    ctx.db,
  );
  const { rows: messages } = await sql<
    Walking["messages"][number] & { walker: string; decision: Parameters<typeof turnOf>[0] }
  >`
    select m.id, m.contact_campaign_id as walker, m.plan_version_id as "planVersionId", m.node_id as "nodeId", ${walkNode} as "walkNodeId", m.variant_id as "variantId", m.to_address as address,
      m.suppression_key as "suppressionKey", m.dedupe_key as "dedupeKey", m.generation > 0 as "wasClaimed",
      case when m.hold_reason = 'campaign_not_active' then ${startAt}::timestamptz else m.run_at end as "runAt",
      m.expires_at as "expiresAt", m.decision
    from outbound_messages m
    where m.tenant_id = ${ctx.tenantId} and m.campaign_id = ${campaignId} and m.status in ('queued', 'held') and m.node_id is not null
      and m.plan_version_id is not null`.execute(ctx.db);
  const actionsOf = Map.groupBy(actions, (one) => one.walker);
  const messagesOf = Map.groupBy(messages, (one) => one.walker);
  return rows.map((row) => {
    const state = EnrollmentState.safeParse(row.state);
    return {
      id: row.id,
      contactId: row.contact_id,
      leadId: row.lead_id,
      planVersionId: row.plan_version_id,
      senderId: row.sender_identity_id,
      entry: row.entry,
      isDraft: row.status === "draft",
      state: state.success ? state.data : null,
      actions: actionsOf.get(row.id) ?? [],
      messages: (messagesOf.get(row.id) ?? []).map((one) => ({ ...one, turn: turnOf(one.decision) })),
    };
  });
}

/** Who would be enrolled, by the rules of `enroll`, in the order in which it would be done. */
async function entering(
  ctx: TxContext,
  campaignId: string,
  { id: planVersionId, plan }: { readonly id: string; readonly plan: Plan },
  contactIds: readonly string[],
  senderId: string | null,
): Promise<{ walkers: Walking[]; leftOut: Record<string, number> }> {
  const channel = channelOf(plan);
  const walks = sql<SqlBool>`e.tenant_id = k.tenant_id and e.contact_id = k.id and e.channel = ${channel} and e.superseded_by is null
    and e.status in ('draft', 'active', 'paused')`;
  const { rows } = await sql<{ id: string; lead_id: string; verdict: string }>`
    select k.id, k.lead_id,
      case when l.deleted_at is not null or l.status = 'dnc' or k.status <> 'active' then 'unavailable'
           when exists (select from contact_campaigns e where ${walks} and e.campaign_id <> ${campaignId}) then 'busy'
           when exists (select from contact_campaigns e where e.tenant_id = k.tenant_id and e.contact_id = k.id and e.campaign_id = ${campaignId})
             then 'already_enrolled'
           when not exists (select from contact_channels ch where ch.tenant_id = k.tenant_id and ch.contact_id = k.id and ch.channel = ${channel}
             and ch.status = 'active') then 'no_address'
           else 'enrolled' end as verdict
    from unnest(${contactIds as string[]}::text[]) with ordinality a(id, n)
    join contacts k on k.tenant_id = ${ctx.tenantId} and k.id = a.id
    join leads l on l.tenant_id = k.tenant_id and l.id = k.lead_id
    order by a.n`.execute(ctx.db);
  const leftOut: Record<string, number> = {};
  for (const { verdict } of rows) if (verdict !== "enrolled") leftOut[verdict] = (leftOut[verdict] ?? 0) + 1;
  if (rows.length < contactIds.length) leftOut["unknown"] = contactIds.length - rows.length;
  const walkers = rows
    .filter((row) => row.verdict === "enrolled")
    .map((row, n) => ({
      id: `enters_${String(n).padStart(9, "0")}`,
      contactId: row.id,
      leadId: row.lead_id,
      planVersionId,
      senderId,
      entry: 1,
      isDraft: true,
      state: null,
      actions: [],
      messages: [],
    }));
  return { walkers, leftOut };
}

const PriceTable = z.object({ email: z.number().min(0), sms: z.number().min(0) }).partial();

/** The organization's configuration value `message_prices` (`{"email": 0.0008, "sms": 0.0079}`), or the defaults. */
async function pricesOf(ctx: TxContext): Promise<Prices> {
  const row = await ctx.db
    .selectFrom("system_config")
    .select("config_value")
    .where("organization_id", "=", ctx.organizationId)
    .where("config_key", "=", "message_prices")
    .executeTakeFirst();
  const given = PriceTable.safeParse(row?.config_value);
  return { email: given.data?.email ?? defaultPrices.email, sms: given.data?.sms ?? defaultPrices.sms };
}

/** Rows of one insert. */
const storePage = 5_000;

async function store(ctx: TxContext, simulation: Omit<SimulationRun, "id">): Promise<string> {
  const id = newId("simulation", ctx.now);
  const { sends } = simulation;
  await ctx.db
    .insertInto("campaign_simulations")
    .values({
      tenant_id: ctx.tenantId,
      id,
      campaign_id: simulation.campaignId,
      plan_hash: simulation.planHash,
      sends_hash: simulation.sendsHash,
      starts_at: simulation.startsAt,
      contacts: simulation.contacts,
      sends: simulation.summary.sent,
      summary: JSON.stringify(simulation.summary),
      created_by: `${ctx.actor.type}:${ctx.actor.id}`,
      created_at: ctx.now,
    })
    .execute();
  for (let start = 0; start < sends.length; start += storePage) {
    const page = sends.slice(start, start + storePage);
    await sql`
      insert into simulated_sends (tenant_id, simulation_id, ordinal, contact_id, node_id, variant_id, channel, address, at, verdict, detail)
      select ${ctx.tenantId}, ${id}, r.* from unnest(
        ${page.map((one) => one.ordinal)}::int[], ${page.map((one) => one.contactId)}::text[], ${page.map((one) => one.nodeId)}::text[],
        ${page.map((one) => one.variantId)}::text[], ${page.map((one) => one.channel)}::text[], ${page.map((one) => one.address)}::text[],
        ${page.map((one) => one.at)}::timestamptz[], ${page.map((one) => one.verdict)}::text[], ${page.map(detailOf)}::jsonb[]) as r`.execute(
      ctx.db,
    );
  }
  return id;
}

const detailOf = ({ held, segments }: SimulatedSend): string | null =>
  held.length === 0 && segments === null
    ? null
    : JSON.stringify({ ...(held.length > 0 && { held }), ...(segments !== null && { segments }) });

const ById = z.object({ id: idOf("simulation") });

/** @throws DomainError `simulation.not_found` */
export const getSimulation = query(ById, async (ctx, { id }): Promise<Simulation & { readonly createdAt: Date }> => {
  const row = await ctx.db
    .selectFrom("campaign_simulations")
    .selectAll()
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return {
    id: row.id,
    campaignId: row.campaign_id,
    planHash: row.plan_hash,
    sendsHash: row.sends_hash,
    startsAt: row.starts_at,
    contacts: row.contacts,
    // Written by `store`, and by nothing else: the row cannot be updated.
    summary: row.summary as unknown as SimulationSummary,
    createdAt: row.created_at,
  };
});

export interface StoredSend extends Omit<SimulatedSend, "enrollmentId" | "held" | "segments" | "channel" | "verdict"> {
  readonly channel: string;
  readonly verdict: string;
  readonly detail: unknown;
}

/** In the order of their ends. The cursor is the ordinal of the last one seen. */
export const listSimulatedSends = query(
  ById.extend({
    limit: z.coerce.number().int().min(1).max(500).default(50),
    cursor: z
      .string()
      .regex(/^\d{1,9}$/, { error: "use nextCursor of a page, unchanged" })
      .optional(),
    contactId: idOf("contact").optional(),
  }),
  async (ctx, { id, limit, cursor, contactId }): Promise<Paged<StoredSend>> => {
    await getSimulation(ctx, { id });
    let rows = ctx.db
      .selectFrom("simulated_sends")
      .select([
        "ordinal",
        "contact_id as contactId",
        "node_id as nodeId",
        "variant_id as variantId",
        "channel",
        "address",
        "at",
        "verdict",
        "detail",
      ])
      .where("tenant_id", "=", ctx.tenantId)
      .where("simulation_id", "=", id)
      .orderBy("ordinal")
      .limit(limit + 1);
    if (cursor !== undefined) rows = rows.where("ordinal", ">", Number(cursor));
    if (contactId !== undefined) rows = rows.where("contact_id", "=", contactId);
    const found: StoredSend[] = await rows.execute();
    const data = found.slice(0, limit);
    const last = data.at(-1);
    return { data, nextCursor: found.length > limit && last ? String(last.ordinal) : null };
  },
);

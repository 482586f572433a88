/**
 * Why a contact got a node's message, or did not, or has not yet: for any (campaign, contact, node), also where nothing was ever queued.
 * Reads only. Invariant: there is always an answer, with a stable code, and it names the first thing that stands in the way.
 */
import { sql } from "kysely";
import * as z from "zod";
import { type Context, DomainError, idOf, parseInput, type TxContext, transact } from "../kernel/index.ts";
import { explainMessage, type MessageExplanation, walkNode } from "../messages/index.ts";
import { channelOf } from "./enroll.ts";
import { fieldsIn, fieldsOf } from "./fields.ts";
import { nodeOf, reachable } from "./graph.ts";
import { campaignOf } from "./manage.ts";
import type { Node, Plan } from "./plan.ts";
import { campaignPort } from "./port.ts";
import { planVersions } from "./versions.ts";

export const errors = {
  contactNotFound: (id: string) => new DomainError("not_found", "contact.not_found", `No contact ${id}.`),
  nodeNotFound: (id: string) => new DomainError("not_found", "plan.node_not_found", `The plan has no node ${id}.`),
};

/** Beside the gate's reasons and the codes of `explainMessage`. */
export const explainCodes = [
  "no_plan",
  "lead_unavailable",
  "busy",
  "no_address",
  "never_in_audience",
  "not_started",
  "campaign_not_active",
  "paused",
  "waiting",
  "not_reached_yet",
  "path_not_taken",
  "ended_before",
  "ended",
  "not_a_message",
] as const;

export interface Explanation {
  /** One of `explainCodes`, a gate reason, or a code of `explainMessage`. */
  readonly code: string;
  /** Sentences for a person, the most important first. */
  readonly sentences: readonly string[];
  readonly facts: Readonly<Record<string, unknown>>;
  /** The message in question, or without a node the latest one. */
  readonly message: MessageExplanation | null;
}

export const Explain = z.object({
  campaignId: idOf("campaign"),
  contactId: idOf("contact"),
  /** Without it: where the contact stands in the campaign. */
  nodeId: z.string().max(64).optional(),
});

/** @throws DomainError `campaign.not_found`, `contact.not_found`, `plan.node_not_found` */
export async function explain(ctx: Context, input: z.input<typeof Explain>): Promise<Explanation> {
  const { campaignId, contactId, nodeId } = parseInput(Explain, input);
  return transact(ctx, async (ctx) => {
    const campaign = await campaignOf(ctx, campaignId);
    const contact = await contactOf(ctx, contactId);
    const enrollment = await enrollmentOf(ctx, campaignId, contactId);
    const versionId = enrollment?.plan_version_id ?? campaign.planVersionId;
    const plan = versionId === null ? undefined : (await planVersions(ctx, [versionId])).get(versionId)?.plan;
    if (!plan) return answer("no_plan", ["The campaign has no plan yet."], { campaignStatus: campaign.status });
    const node = nodeOf(plan, nodeId);
    if (nodeId !== undefined && !node) throw errors.nodeNotFound(nodeId);
    if (!enrollment) return notEnrolled(ctx, campaignId, contact, plan);
    return enrolledAnswer(ctx, { campaign, contact, enrollment, plan, node });
  });
}
explain.schema = Explain;

const answer = (
  code: (typeof explainCodes)[number],
  sentences: readonly string[],
  facts: Readonly<Record<string, unknown>>,
): Explanation => ({ code, sentences, facts, message: null });

interface ContactRow {
  readonly id: string;
  readonly status: string;
  readonly lead: Readonly<Record<string, unknown>>;
  readonly contact: Readonly<Record<string, unknown>>;
  readonly company: Readonly<Record<string, unknown>> | null;
  readonly channels: readonly { readonly channel: string; readonly address: string; readonly status: string }[];
}

async function contactOf(ctx: TxContext, id: string): Promise<ContactRow> {
  const { rows } = await sql<ContactRow>`
    select k.id, k.status, to_jsonb(l) - array['raw_data', 'flags'] as lead, to_jsonb(k) as contact, to_jsonb(co) - 'provenance' as company,
      (select coalesce(jsonb_agg(jsonb_build_object('channel', ch.channel, 'address', ch.address, 'status', ch.status) order by ch.id), '[]')
       from contact_channels ch where ch.tenant_id = k.tenant_id and ch.contact_id = k.id) as channels
    from contacts k join leads l on l.tenant_id = k.tenant_id and l.id = k.lead_id
    left join company.master co on co.tenant_id = l.tenant_id and co.id = l.company_id
    where k.tenant_id = ${ctx.tenantId} and k.id = ${id}`.execute(ctx.db);
  const [row] = rows;
  if (!row) throw errors.contactNotFound(id);
  return row;
}

/** The latest entry: what came before is history. */
const enrollmentOf = (ctx: TxContext, campaignId: string, contactId: string) =>
  ctx.db
    .selectFrom("contact_campaigns")
    .selectAll()
    .where("tenant_id", "=", ctx.tenantId)
    .where("campaign_id", "=", campaignId)
    .where("contact_id", "=", contactId)
    .orderBy("entry", "desc")
    .limit(1)
    .executeTakeFirst();
type Enrollment = NonNullable<Awaited<ReturnType<typeof enrollmentOf>>>;

/** In the order in which `enroll` decides. */
async function notEnrolled(ctx: TxContext, campaignId: string, contact: ContactRow, plan: Plan): Promise<Explanation> {
  const channel = channelOf(plan);
  const facts = {
    contactStatus: contact.status,
    leadStatus: contact.lead["status"],
    channel,
    addresses: contact.channels,
  };
  const start = "The contact is not enrolled";
  if (contact.lead["deleted_at"] !== null || contact.lead["status"] === "dnc" || contact.status !== "active") {
    const why =
      contact.lead["deleted_at"] !== null
        ? "its lead was deleted"
        : contact.status !== "active"
          ? `it is ${contact.status}`
          : "its lead is marked do-not-contact";
    return answer("lead_unavailable", [`${start}, and cannot be: ${why}.`], facts);
  }
  const other = await ctx.db
    .selectFrom("contact_campaigns as e")
    .innerJoin("marketing.campaigns as c", (join) =>
      join.onRef("c.tenant_id", "=", "e.tenant_id").onRef("c.campaign_id", "=", "e.campaign_id"),
    )
    .select(["e.id", "c.campaign_id as campaignId", "c.name"])
    .where("e.tenant_id", "=", ctx.tenantId)
    .where("e.contact_id", "=", contact.id)
    .where("e.channel", "=", channel)
    .where("e.superseded_by", "is", null)
    .where("e.campaign_id", "<>", campaignId)
    .where("e.status", "in", ["draft", "active", "paused"])
    .executeTakeFirst();
  if (other) {
    return answer("busy", [`${start}: it is walking campaign “${other.name}” on ${channel}.`], { ...facts, other });
  }
  if (!contact.channels.some((one) => one.channel === channel && one.status === "active")) {
    return answer("no_address", [`${start}, and cannot be: it has no usable ${channel} address.`], facts);
  }
  return answer(
    "never_in_audience",
    [`${start}: no audience that was enrolled has held it. It could be enrolled now.`],
    facts,
  );
}

interface Asked {
  readonly campaign: { readonly id: string; readonly status: string };
  readonly contact: ContactRow;
  readonly enrollment: Enrollment;
  readonly plan: Plan;
  readonly node: Node | undefined;
}

async function enrolledAnswer(ctx: TxContext, asked: Asked): Promise<Explanation> {
  const { campaign, enrollment, node } = asked;
  const messageId = await latestMessage(ctx, enrollment.id, node?.id);
  if (messageId !== null && node) {
    const message = await explainMessage(ctx, campaignPort, { messageId });
    return { code: message.code, sentences: message.sentences, facts: standing(enrollment), message };
  }
  const history = await historyOf(ctx, enrollment.id);
  const waiting = await waitingOf(ctx, enrollment.id);
  const facts = { ...standing(enrollment), campaignStatus: campaign.status, waiting, history };
  if (enrollment.status === "draft") {
    const why = `The contact is enrolled and begins when the campaign is activated; the campaign is ${campaign.status}.`;
    return answer("not_started", [why], facts);
  }
  if (node && history.some((one) => one.toNodeId === node.id) && node.type !== "send") {
    const visit = history.findLast((one) => one.toNodeId === node.id);
    const why = `Node ${node.id} sends nothing: it is a ${node.type} node, and the contact came to it at ${visit?.at.toISOString()}.`;
    return answer("not_a_message", [why], facts);
  }
  const ended = ["completed", "stopped", "error"].includes(enrollment.status);
  if (node) return notReached(asked, { history, waiting, facts, ended });
  const message = messageId === null ? null : await explainMessage(ctx, campaignPort, { messageId });
  if (ended) {
    const why = `The contact's walk ended as ${enrollment.status} (${enrollment.exit_reason ?? "no reason noted"}) at node ${enrollment.current_node_id ?? "none"}.`;
    return { ...answer("ended", [why], facts), message };
  }
  const stands = standsAt(asked, waiting);
  return {
    ...answer(stands.code, [stands.sentence, ...(message?.sentences ?? [])], facts),
    message,
  };
}

const standing = (enrollment: Enrollment) => ({
  enrollmentId: enrollment.id,
  status: enrollment.status,
  nodeId: enrollment.current_node_id,
  exitReason: enrollment.exit_reason,
  entry: enrollment.entry,
  supersededBy: enrollment.superseded_by,
});

/** Where somebody under way is, and what has to happen. */
function standsAt(
  { campaign, enrollment }: Asked,
  waiting: Waiting,
): { code: "campaign_not_active" | "paused" | "waiting"; sentence: string } {
  const at = `at node ${enrollment.current_node_id ?? "(before the start)"}`;
  if (enrollment.status === "paused") {
    return {
      code: "paused",
      sentence: `The contact's walk is paused ${at}: ${enrollment.exit_reason ?? "no reason noted"}.`,
    };
  }
  if (campaign.status !== "active") {
    return { code: "campaign_not_active", sentence: `The contact is ${at}; the campaign is ${campaign.status}.` };
  }
  const [next] = waiting;
  const until =
    next === undefined
      ? "for the message there to be sent"
      : `${next.watch === null ? "" : `for a reaction, or `}until ${next.runAt?.toISOString() ?? "the campaign goes on"}${next.watch === null ? "" : ` (${next.watch})`}`;
  return { code: "waiting", sentence: `The contact waits ${at} ${until}.` };
}

interface Step {
  readonly fromNodeId: string | null;
  readonly toNodeId: string | null;
  readonly toStatus: string;
  readonly reason: string | null;
  readonly at: Date;
}

interface Answering {
  readonly history: readonly Step[];
  readonly waiting: Waiting;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly ended: boolean;
}

function notReached(asked: Asked, { history, waiting, facts, ended }: Answering): Explanation {
  const { plan, node, enrollment, contact } = asked;
  const target = node?.id ?? "";
  const canReach = (from: string | null): boolean =>
    from === null || reachable({ ...plan, start: from }).includes(target);
  // The first step after which no way leads there any more is the one that decided it.
  const turn = history.find((step) => step.toNodeId !== null && canReach(step.fromNodeId) && !canReach(step.toNodeId));
  if (turn) {
    const from = nodeOf(plan, turn.fromNodeId);
    const fields = fieldsOf(plan);
    const read = fieldsIn(contact);
    const sentence = `Node ${target} lies on another path: at ${turn.at.toISOString()} the contact went from ${turn.fromNodeId ?? "the start"} to ${turn.toNodeId} (${turn.reason ?? "no reason noted"}).`;
    return answer("path_not_taken", [sentence], {
      ...facts,
      turn,
      ...(from?.type === "branch" && { cases: from.cases, else: from.else ?? null }),
      fieldsNow: Object.fromEntries(fields.map((name) => [name, read[name] ?? null])),
      sends: (enrollment.state as { sends?: unknown }).sends ?? {},
    });
  }
  if (ended) {
    const sentence = `The contact's walk ended as ${enrollment.status} (${enrollment.exit_reason ?? "no reason noted"}) at node ${enrollment.current_node_id ?? "none"}, before node ${target}.`;
    return answer("ended_before", [sentence], facts);
  }
  const stands = standsAt(asked, waiting);
  const code = stands.code === "waiting" ? "not_reached_yet" : stands.code;
  return answer(code, [`Node ${target} is not reached yet.`, stands.sentence], facts);
}

async function latestMessage(ctx: TxContext, enrollmentId: string, nodeId: string | undefined): Promise<string | null> {
  let rows = ctx.db
    .selectFrom("outbound_messages as m")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("contact_campaign_id", "=", enrollmentId)
    .orderBy("id", "desc")
    .limit(1);
  if (nodeId !== undefined) rows = rows.where(walkNode, "=", nodeId);
  return (await rows.executeTakeFirst())?.id ?? null;
}

const historyOf = (ctx: TxContext, enrollmentId: string): Promise<Step[]> =>
  ctx.db
    .selectFrom("campaign_transitions")
    .select([
      "from_node_id as fromNodeId",
      "to_node_id as toNodeId",
      "to_status as toStatus",
      "reason",
      "created_at as at",
    ])
    .where("tenant_id", "=", ctx.tenantId)
    .where("contact_campaign_id", "=", enrollmentId)
    .orderBy("id")
    .execute();

type Waiting = readonly {
  readonly action: string;
  readonly nodeId: string;
  readonly watch: string | null;
  /** null: its campaign is paused. */
  readonly runAt: Date | null;
}[];

async function waitingOf(ctx: TxContext, enrollmentId: string): Promise<Waiting> {
  const { rows } = await sql<Waiting[number]>`
    select action_type as action, node_id as "nodeId", watch, case when run_at < 'infinity' then run_at end as "runAt" from scheduled_actions
    where tenant_id = ${ctx.tenantId} and contact_campaign_id = ${enrollmentId} and status = 'pending' order by run_at, id`.execute(
    ctx.db,
  );
  return rows;
}

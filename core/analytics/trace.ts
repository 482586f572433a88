/**
 * The life of one message, from the imported row to the reply and what followed: ids and instants, oldest first. One round of fixed
 * statements. Invariant: a step that is listed is a row that exists; a stage without rows is simply absent.
 */
import { sql } from "kysely";
import * as z from "zod";
import { type Context, DomainError, idOf, parseInput, type TxContext, transact } from "../kernel/index.ts";

/** In the order in which they follow from each other; steps of one instant are listed in this order. */
export const traceStages = [
  "import",
  "raw_load",
  "company",
  "person",
  "lead",
  "contact",
  "enrollment",
  "transition",
  "action",
  "message",
  "decision",
  "attempt",
  "event",
  "delivery",
  "inbound",
  "suppression",
  "lead_status",
] as const;
export type TraceStage = (typeof traceStages)[number];

export interface TraceStep {
  readonly stage: TraceStage;
  readonly id: string;
  readonly at: Date;
  /** One line for a person. */
  readonly what: string;
  readonly correlationId: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface Trace {
  readonly messageId: string | null;
  readonly correlationIds: readonly string[];
  readonly steps: readonly TraceStep[];
}

export const TraceInput = z.union([
  z.strictObject({ messageId: idOf("message") }),
  /** Everything that one cause has led to. At most 1,000 messages are followed. */
  z.strictObject({ correlationId: z.string().min(1).max(200) }),
]);

/** @throws DomainError `message.not_found` when the tenant has no such message; `trace.not_found` for an unknown correlation */
export async function trace(ctx: Context, input: z.input<typeof TraceInput>): Promise<Trace> {
  const parsed = parseInput(TraceInput, input);
  return transact(ctx, async (ctx) => {
    const ids = "messageId" in parsed ? [parsed.messageId] : await messagesOf(ctx, parsed.correlationId);
    const { rows } = await stepsOf(ctx, ids).execute(ctx.db);
    if (rows.length === 0) {
      throw "messageId" in parsed
        ? new DomainError("not_found", "message.not_found", `No message ${parsed.messageId}.`)
        : new DomainError("not_found", "trace.not_found", `Nothing is known of correlation ${parsed.correlationId}.`);
    }
    const order = (step: TraceStep) => traceStages.indexOf(step.stage);
    const steps = rows.toSorted(
      (a, b) => a.at.getTime() - b.at.getTime() || order(a) - order(b) || (a.id < b.id ? -1 : 1),
    );
    return {
      messageId: "messageId" in parsed ? parsed.messageId : null,
      correlationIds: [...new Set(steps.flatMap((step) => step.correlationId ?? []))],
      steps,
    };
  });
}
trace.schema = TraceInput;

async function messagesOf(ctx: TxContext, correlationId: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from outbound_messages where tenant_id = ${ctx.tenantId} and correlation_id = ${correlationId}
    union
    select message_id from inbound_messages where tenant_id = ${ctx.tenantId} and correlation_id = ${correlationId} and message_id is not null
    order by id limit 1000`.execute(ctx.db);
  return rows.map((row) => row.id);
}

/** Each branch is one stage, found through the ids that the message carries. Bodies, texts and templates stay where they are. */
const stepsOf = (ctx: TxContext, ids: readonly string[]) => sql<TraceStep>`
  with m as materialized (
    select * from outbound_messages where tenant_id = ${ctx.tenantId} and id = any(${ids as string[]})
  ), e as materialized (
    select distinct x.* from contact_campaigns x join m on m.contact_campaign_id = x.id where x.tenant_id = ${ctx.tenantId}
  ), l as materialized (
    select distinct x.tenant_id, x.id, x.created_at, x.source_type, x.source, x.import_run_id, x.load_id, x.company_id, x.person_id, x.status
    from leads x join m on m.lead_id = x.id where x.tenant_id = ${ctx.tenantId}
  ), r as materialized (
    select distinct x.tenant_id, x.load_id, x.batch_id, x.source, x.status, x.created_at, x.promoted_at, x.metadata
    from intake.raw_loads x join l on l.load_id = x.load_id where x.tenant_id = ${ctx.tenantId}
  ), v as materialized (
    select distinct x.tenant_id, x.id, x.event_type, x.event_at, x.delivery_id, x.machine, x.code, x.reason, x.provider_event_id
    from message_events x join m on m.id = x.message_id where x.tenant_id = ${ctx.tenantId}
  ), i as materialized (
    select distinct x.tenant_id, x.id, x.channel, x.from_address, x.classification, x.response_type, x.matched_by, x.received_at, x.delivery_id,
      x.correlation_id, x.conversation_id
    from inbound_messages x join m on m.id = x.message_id where x.tenant_id = ${ctx.tenantId}
  )
  select 'import' as stage, x.id, x.created_at as at, 'the file ' || coalesce(x.file_name, x.id) || ' was imported' as what,
    null::text as "correlationId", jsonb_build_object('fileName', x.file_name, 'source', x.source, 'format', x.format, 'artifactId', x.artifact_id) as facts
  from imports x where x.tenant_id = ${ctx.tenantId} and x.id in (select batch_id from r union select import_run_id from l)
  union all
  select 'raw_load', r.load_id, r.created_at, 'a row came in from ' || r.source, null,
    jsonb_build_object('batchId', r.batch_id, 'source', r.source, 'status', r.status, 'promotedAt', r.promoted_at, 'row', r.metadata -> 'row')
  from r
  union all
  select 'company', x.id, x.created_at, 'company ' || coalesce(x.name, x.domain), null, jsonb_build_object('name', x.name, 'domain', x.domain)
  from company.master x join (select distinct company_id from l) c on c.company_id = x.id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'person', x.id, x.created_at, 'a person was made of the row', null, jsonb_build_object('source', x.source)
  from people.master x join (select distinct person_id from l) p on p.person_id = x.id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'lead', l.id, l.created_at, 'the lead was made (' || l.source_type || ')', null,
    jsonb_build_object('source', l.source, 'importId', l.import_run_id, 'loadId', l.load_id, 'companyId', l.company_id, 'personId', l.person_id, 'status', l.status)
  from l
  union all
  select distinct 'contact', x.id, x.created_at, 'the contact was attached to the lead', null::text, jsonb_build_object('leadId', x.lead_id, 'personId', x.person_id)
  from contacts x join m on m.contact_id = x.id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'enrollment', e.id, e.created_at, 'the contact was enrolled', e.correlation_id,
    jsonb_build_object('campaignId', e.campaign_id, 'status', e.status, 'exitReason', e.exit_reason, 'planHash', e.plan_hash, 'entry', e.entry)
  from e
  union all
  select 'transition', x.id, x.created_at,
    coalesce(x.from_node_id, 'start') || ' → ' || coalesce(x.to_node_id, x.to_status) || ' (' || coalesce(x.reason, '') || ')', x.correlation_id,
    jsonb_build_object('from', x.from_node_id, 'to', x.to_node_id, 'status', x.to_status, 'reason', x.reason, 'by', x.triggered_by)
  from campaign_transitions x join e on e.id = x.contact_campaign_id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'action', x.id, x.created_at, 'scheduled: ' || x.action_type || ' ' || x.node_id || coalesce(' ' || x.watch, ''), x.correlation_id,
    jsonb_build_object('runAt', case when x.run_at < 'infinity' then x.run_at end, 'status', x.status, 'completedAt', x.completed_at)
  from scheduled_actions x join e on e.id = x.contact_campaign_id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'message', m.id, m.created_at, 'the ' || m.channel || ' of node ' || coalesce(m.node_id, '-') || ' was queued', m.correlation_id,
    jsonb_build_object('campaignId', m.campaign_id, 'nodeId', m.node_id, 'variantId', m.variant_id, 'channel', m.channel, 'address', m.to_address,
      'status', m.status, 'dedupeKey', m.dedupe_key, 'templateId', m.template_id, 'contentSha256', encode(m.content_sha256, 'hex'))
  from m
  union all
  select 'decision', m.id, (m.decision ->> 'at')::timestamptz,
    case when m.sent_at is not null then 'every check passed' else 'decided: ' || coalesce(m.hold_reason, m.status) end, m.correlation_id,
    m.decision || jsonb_build_object('reason', m.hold_reason)
  from m where m.decision ? 'at'
  union all
  select 'attempt', x.id, x.started_at, 'handed to ' || x.provider || ': ' || coalesce(x.outcome, 'under way'), m.correlation_id,
    jsonb_build_object('generation', x.generation, 'outcome', x.outcome, 'code', x.code, 'reason', x.reason, 'finishedAt', x.finished_at,
      'providerMessageId', x.provider_message_id, 'resolvedBy', x.resolved_by)
  from send_attempts x join m on m.id = x.message_id where x.tenant_id = ${ctx.tenantId}
  union all
  select 'event', v.id, v.event_at, v.event_type || case when v.machine then ' (by a machine)' else '' end, null,
    jsonb_build_object('deliveryId', v.delivery_id, 'machine', v.machine, 'code', v.code, 'reason', v.reason, 'providerEventId', v.provider_event_id)
  from v
  union all
  select 'delivery', x.id, x.received_at, 'a webhook of ' || x.provider || ' arrived', x.correlation_id,
    jsonb_build_object('status', x.status, 'bodySha256', encode(x.body_sha256, 'hex'), 'bytes', x.body_bytes, 'duplicates', x.duplicates)
  from webhook_deliveries x where x.tenant_id = ${ctx.tenantId} and x.id in (select delivery_id from v union select delivery_id from i)
  union all
  select 'inbound', i.id, i.received_at, 'an answer came from ' || i.from_address || ': ' || i.classification, i.correlation_id,
    jsonb_build_object('classification', i.classification, 'responseType', i.response_type, 'matchedBy', i.matched_by, 'deliveryId', i.delivery_id,
      'conversationId', i.conversation_id)
  from i
  union all
  select distinct 'suppression', x.id, x.suppressed_at, 'the address was suppressed: ' || x.reason, null::text,
    jsonb_build_object('reason', x.reason, 'source', x.source, 'liftedAt', x.released_at)
  from communication_suppressions x join m on m.channel = x.channel and m.suppression_key = x.address where x.tenant_id = ${ctx.tenantId}
  union all
  select 'lead_status', x.id, x.changed_at, 'the lead became ' || x.to_status, null,
    jsonb_build_object('from', x.from_status, 'to', x.to_status, 'trigger', x.trigger_type)
  from lead_status_history x join l on l.id = x.lead_id where x.tenant_id = ${ctx.tenantId}`;

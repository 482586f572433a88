/**
 * What events make of a message. Invariant: a message's state is a join over its facts. Each instant is the earliest reported, the status
 * follows from the instants alone, so any order and any number of copies of the same events end in the same state.
 */
import { sql } from "kysely";
import type { EventType, TxContext } from "../kernel/index.ts";
import { walkNode } from "../messages/index.ts";

/** A message as it is locked for its roll-up. */
export interface Target {
  readonly id: string;
  readonly enrollmentId: string | null;
  /** By which node its enrollment knows it. */
  readonly nodeId: string | null;
  readonly campaignId: string | null;
  readonly leadId: string | null;
  readonly channel: string;
  readonly toAddress: string;
  readonly status: string;
  readonly providerMessageId: string | null;
  readonly sentAt: Date | null;
  readonly deliveredAt: Date | null;
  readonly openedAt: Date | null;
  readonly clickedAt: Date | null;
  readonly repliedAt: Date | null;
  readonly bouncedAt: Date | null;
  readonly complainedAt: Date | null;
  readonly unsubscribedAt: Date | null;
  readonly failedAt: Date | null;
}

const instants = [
  "sentAt",
  "deliveredAt",
  "openedAt",
  "clickedAt",
  "repliedAt",
  "bouncedAt",
  "complainedAt",
  "unsubscribedAt",
  "failedAt",
] as const;
export type Instant = (typeof instants)[number];
export type Patch = Partial<Record<Instant, Date>> & { providerMessageId?: string };

/** Which instant an event sets; the others say only that the provider has the message. */
export const instantOf: Readonly<Partial<Record<EventType, Instant>>> = {
  sent: "sentAt",
  delivered: "deliveredAt",
  opened: "openedAt",
  clicked: "clickedAt",
  replied: "repliedAt",
  bounced: "bouncedAt",
  complained: "complainedAt",
  unsubscribed: "unsubscribedAt",
  dropped: "failedAt",
  failed: "failedAt",
};

/** Says nothing about whether the provider took the message. */
const noEvidence: readonly EventType[] = ["unknown", "resubscribed"];
export const isEvidence = (type: EventType): boolean => !noEvidence.includes(type);

/** Providers report in whole seconds, so two clocks may differ by one and rounding by another. */
const prefetchWindowMs = 2_000;

/** A person does not read within two seconds of delivery; a link scanner or an image proxy does. */
export const isPrefetch = (at: Date, deliveredAt: Date | null): boolean =>
  deliveredAt !== null && Math.abs(at.getTime() - deliveredAt.getTime()) <= prefetchWindowMs;

export const earlier = (a: Date | null | undefined, b: Date): Date => (a && a <= b ? a : b);

export interface Occurrence {
  readonly type: EventType;
  readonly at: Date;
  readonly machine: boolean;
  readonly providerMessageId: string | null;
}

/** What a batch of events adds to one message. Machine-made opens and clicks prove that it was sent and nothing more. */
export function patchOf(occurrences: readonly Occurrence[]): Patch {
  const patch: Patch = {};
  const set = (name: Instant, at: Date) => {
    patch[name] = earlier(patch[name], at);
  };
  for (const { type, at, machine, providerMessageId } of occurrences) {
    if (!isEvidence(type)) continue;
    set("sentAt", at);
    const name = instantOf[type];
    const counts = !machine || (type !== "opened" && type !== "clicked");
    if (name && counts) set(name, at);
    if (providerMessageId !== null) patch.providerMessageId ??= providerMessageId;
  }
  return patch;
}

const final: readonly string[] = ["sent", "delivered", "failed", "bounced", "complained"];

/** Most later events of a message (the fifth open, a deferral) say nothing that it does not know. */
export const saysMore = (message: Target, patch: Patch): boolean =>
  !final.includes(message.status) ||
  (message.providerMessageId === null && patch.providerMessageId !== undefined) ||
  instants.some((name) => {
    const [was, is] = [message[name], patch[name]];
    return is !== undefined && (was === null || is < was);
  });

/** Locks messages in id order. Address locks and enrollment rows come before, everywhere. */
export async function lockMessages(ctx: TxContext, ids: readonly string[]): Promise<Map<string, Target>> {
  if (ids.length === 0) return new Map();
  const { rows } = await sql<Target>`
    select m.id, m.contact_campaign_id as "enrollmentId", ${walkNode} as "nodeId", m.campaign_id as "campaignId", m.lead_id as "leadId", m.channel,
           m.to_address as "toAddress", m.status, m.provider_message_id as "providerMessageId", m.sent_at as "sentAt",
           m.delivered_at as "deliveredAt", m.opened_at as "openedAt", m.clicked_at as "clickedAt", m.replied_at as "repliedAt",
           m.bounced_at as "bouncedAt", m.complained_at as "complainedAt", m.unsubscribed_at as "unsubscribedAt", m.failed_at as "failedAt"
    from outbound_messages m where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]})
    order by m.id for no key update`.execute(ctx.db);
  return new Map(rows.map((row) => [row.id, row]));
}

/** Calls whose end was not known. */
const openStatuses: ReadonlySet<string> = new Set(["sending", "ambiguous", "accepted_unknown"]);

/**
 * Writes patches `[batch]` in one statement, or two. Evidence on a message whose call has not been answered, or never will be, makes it sent and
 * settles its attempt: a webhook that carries our id is the best answer there is.
 */
export async function writePatches(
  ctx: TxContext,
  patches: ReadonlyMap<string, Patch>,
  before: ReadonlyMap<string, Target>,
): Promise<void> {
  if (patches.size === 0) return;
  const rows = [...patches];
  const column = (name: Instant) => sql`${rows.map(([, patch]) => patch[name] ?? null)}::timestamptz[]`;
  await sql`
    update outbound_messages m
    set sent_at = least(m.sent_at, greatest(r.sent_at, m.created_at)),
        delivered_at = least(m.delivered_at, r.delivered_at),
        opened_at = least(m.opened_at, r.opened_at),
        clicked_at = least(m.clicked_at, r.clicked_at),
        replied_at = least(m.replied_at, r.replied_at),
        bounced_at = least(m.bounced_at, r.bounced_at),
        complained_at = least(m.complained_at, r.complained_at),
        unsubscribed_at = least(m.unsubscribed_at, r.unsubscribed_at),
        failed_at = least(m.failed_at, r.failed_at),
        provider_message_id = coalesce(m.provider_message_id, r.provider_message_id),
        lease_until = null,
        hold_reason = null,
        updated_at = ${ctx.now},
        status = case
          when coalesce(m.complained_at, r.complained_at) is not null then 'complained'
          when coalesce(m.bounced_at, r.bounced_at) is not null then 'bounced'
          when coalesce(m.delivered_at, r.delivered_at) is not null then 'delivered'
          when coalesce(m.failed_at, r.failed_at) is not null then 'failed'
          when coalesce(m.sent_at, r.sent_at) is not null then 'sent'
          else m.status end
    from unnest(
      ${rows.map(([id]) => id)}::text[], ${rows.map(([, patch]) => patch.providerMessageId ?? null)}::text[],
      ${sql.join(instants.map(column))}
    ) as r(id, provider_message_id, sent_at, delivered_at, opened_at, clicked_at, replied_at, bounced_at, complained_at,
           unsubscribed_at, failed_at)
    where m.tenant_id = ${ctx.tenantId} and m.id = r.id`.execute(ctx.db);
  const open = rows.filter(([id]) => openStatuses.has(before.get(id)?.status ?? ""));
  if (open.length === 0) return;
  await sql`
    update send_attempts a
    set outcome = 'accepted', resolved_by = 'webhook', resolved_at = ${ctx.now}, finished_at = coalesce(a.finished_at, ${ctx.now}),
        provider_message_id = coalesce(a.provider_message_id, m.provider_message_id)
    from outbound_messages m
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${open.map(([id]) => id)})
      and a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation
      and (a.outcome is null or a.outcome = 'ambiguous' or a.resolved_by = 'deadline')`.execute(ctx.db);
}

/**
 * The instant of delivery became known, or known better, after opens and clicks had been judged by it: they are judged again, from all
 * stored events of the messages. Rare, and the reason why the order of events does not matter.
 */
export async function judgeAgain(
  ctx: TxContext,
  messages: readonly { id: string; deliveredAt: Date }[],
): Promise<void> {
  if (messages.length === 0) return;
  const targets = sql`unnest(${messages.map((m) => m.id)}::text[], ${messages.map((m) => m.deliveredAt)}::timestamptz[]) as t(id, delivered_at)`;
  const near = sql`abs(extract(epoch from e.event_at - t.delivered_at)) <= ${prefetchWindowMs / 1000}`;
  await sql`
    update message_events e
    set machine = ${near} or (e.machine and not e.metadata ? 'prefetch'),
        metadata = case when not ${near} then e.metadata - 'prefetch'
                        when e.machine then e.metadata else e.metadata || '{"prefetch": true}' end
    from ${targets}
    where e.tenant_id = ${ctx.tenantId} and e.message_id = t.id and e.event_type in ('opened', 'clicked')
      and (not e.machine and ${near} or e.metadata ? 'prefetch' and not ${near})`.execute(ctx.db);
  await sql`
    update outbound_messages m set opened_at = f.opened_at, clicked_at = f.clicked_at
    from (
      select t.id, min(e.event_at) filter (where e.event_type = 'opened') as opened_at,
             min(e.event_at) filter (where e.event_type = 'clicked') as clicked_at
      from ${targets} left join message_events e
        on e.tenant_id = ${ctx.tenantId} and e.message_id = t.id and e.event_type in ('opened', 'clicked') and not e.machine
      group by t.id
    ) f
    where m.tenant_id = ${ctx.tenantId} and m.id = f.id`.execute(ctx.db);
}

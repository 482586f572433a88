/**
 * What people answer, heard in two halves, because whoever applies it takes the locks of addresses, enrollments and messages in one order:
 * `hear` reads and decides, `store` writes.
 *
 * Invariant: the words are classified before anything else is done with them, and an opt-out is suppressed in the transaction that stores it.
 */
import { sql } from "kysely";
import { type Channel, newId, type TxContext } from "../kernel/index.ts";
import type { ProviderInbound } from "../ports/index.ts";
import * as suppression from "../suppression/index.ts";
import { type Origin, origins, type Question } from "./match.ts";
import { classifyInbound, type InboundKind, type InboundVerdict } from "./policy.ts";

export interface InboundItem extends Question {
  readonly deliveryId: string | null;
  readonly receivedAt: Date;
  readonly correlationId: string;
  readonly inbound: ProviderInbound;
}

export interface Heard extends InboundItem {
  readonly kind: InboundKind;
  readonly verdict: InboundVerdict;
  readonly origin: Origin;
}

const providerWords = { stop: "STOP", start: "START", help: "HELP" } as const;

/** Classifies and matches. Reads only. */
export async function hear(ctx: TxContext, items: readonly InboundItem[]): Promise<Heard[]> {
  if (items.length === 0) return [];
  const verdicts = items.map(({ inbound }) =>
    classifyInbound({
      channel: inbound.channel,
      subject: inbound.subject ?? undefined,
      text: inbound.text,
      headers: inbound.headers,
      optOut: inbound.optOut === null ? undefined : providerWords[inbound.optOut],
    }),
  );
  const found = await origins(ctx, items);
  const out = await optedOut(
    ctx,
    items.filter((_, n) => verdicts[n]?.onlyIfOptedOut),
  );
  return items.flatMap((item, n) => {
    const [verdict, origin] = [verdicts[n], found[n]];
    if (!verdict || !origin) return [];
    // "YES" resumes what was stopped, and is an answer otherwise.
    const kind = verdict.onlyIfOptedOut && !out.has(nameOf(item)) ? "reply" : verdict.kind;
    return [{ ...item, kind, verdict, origin }];
  });
}

const keyOf = ({ inbound }: InboundItem): string | null => suppression.suppressionKey(inbound.channel, inbound.from);
const nameOf = (item: InboundItem): string => `${item.inbound.channel} ${keyOf(item) ?? ""}`;

async function optedOut(ctx: TxContext, items: readonly InboundItem[]): Promise<ReadonlySet<string>> {
  const targets = items.flatMap((item) => {
    const address = keyOf(item);
    return address === null ? [] : [{ channel: item.inbound.channel, address }];
  });
  const hits = await suppression.checkTargets(ctx, targets);
  return new Set(hits.filter((hit) => hit.list === "suppression").map((hit) => `${hit.channel} ${hit.address}`));
}

export interface OptOut extends suppression.Entry {
  readonly reason: "stop" | "unsubscribed";
}

/** The "no"s among what was heard: of the sender, and of the address we had written to when the answer names our message. */
export function optOutsOf(heard: readonly Heard[]): OptOut[] {
  return heard
    .filter((one) => one.kind === "opt_out")
    .flatMap(({ inbound, origin, verdict, provider, receivedAt, deliveryId }) => {
      const evidence = {
        text: verdict.newText.slice(0, 500),
        matched: verdict.matched,
        providerMessageId: inbound.providerMessageId,
        deliveryId,
        at: receivedAt.toISOString(),
      };
      const also =
        origin.matchedBy !== "address" && origin.sentTo !== null && origin.sentTo !== inbound.from
          ? [origin.sentTo]
          : [];
      return [inbound.from, ...also]
        .filter((address) => address !== "")
        .map((address) => ({
          channel: inbound.channel,
          address: address.slice(0, 320),
          reason: inbound.channel === "email" ? ("unsubscribed" as const) : ("stop" as const),
          source: provider,
          evidence,
        }));
    });
}

export interface OptIn {
  readonly channel: Channel;
  readonly address: string;
  readonly source: string;
  readonly evidence: Record<string, string | null>;
}

/**
 * The requests to be written to again that still stand: no "no" of the same address is as late or later, in this batch or before it.
 * A tie is a "no" (reordered deliveries must not undo a STOP). Call it with the addresses locked.
 */
export async function optInsOf(ctx: TxContext, heard: readonly Heard[]): Promise<OptIn[]> {
  const asked = heard.filter((one) => one.kind === "opt_in" && keyOf(one) !== null);
  if (asked.length === 0) return [];
  const { rows } = await sql<{ n: number }>`
    select w.n::int as n
    from unnest(${asked.map((one) => one.inbound.channel)}::text[], ${asked.map((one) => keyOf(one))}::text[],
                ${asked.map((one) => one.inbound.from)}::text[],
                ${asked.map((one) => one.receivedAt)}::timestamptz[]) with ordinality as w(channel, key, address, at, n)
    where not exists (
      select from communication_suppressions s
      where s.tenant_id = ${ctx.tenantId} and s.channel = w.channel and s.address = w.key and s.released_at is null
        and ${suppression.saidSince(sql`w.at`)})
    and not exists (
      select from inbound_messages i
      where i.tenant_id = ${ctx.tenantId} and i.received_at >= w.at and i.channel = w.channel and i.from_address = w.address
        and i.classification = 'opt_out')
    and not exists (
      select from message_events e
      where e.tenant_id = ${ctx.tenantId} and e.event_at >= w.at and e.channel = w.channel and e.address = w.address
        and e.event_type in ('unsubscribed', 'complained'))`.execute(ctx.db);
  const standing = asked.filter((_, n) => rows.some((row) => row.n === n + 1));
  return standing
    .filter(
      (one) =>
        !heard.some((no) => no.kind === "opt_out" && nameOf(no) === nameOf(one) && no.receivedAt >= one.receivedAt),
    )
    .map(({ inbound, provider, receivedAt, verdict }) => ({
      channel: inbound.channel,
      address: inbound.from,
      source: provider,
      evidence: {
        text: verdict.newText.slice(0, 500),
        providerMessageId: inbound.providerMessageId,
        at: receivedAt.toISOString(),
      },
    }));
}

/** Rows of `inbound_messages` and `conversations`, and what the lead's owner should see. The locks of addresses and enrollments are held. */
export async function store(ctx: TxContext, heard: readonly Heard[]): Promise<readonly string[]> {
  if (heard.length === 0) return [];
  const conversations = await openConversations(ctx, heard);
  const rows = heard.map((one) => ({
    ...one,
    id: newId("inbound", ctx.now),
    conversationId: conversations.get(`${one.inbound.channel} ${one.inbound.from}`) ?? null,
  }));
  const of = <T>(read: (row: (typeof rows)[number]) => T): T[] => rows.map(read);
  const { rows: inserted } = await sql<{ id: string }>`
    insert into inbound_messages (tenant_id, id, channel, provider, channel_config_id, provider_message_id, delivery_id, from_address, to_address,
      subject, body_text, body_html, new_text, classification, response_type, matched_by, message_id, contact_campaign_id, lead_id, contact_id,
      conversation_id, headers, received_at, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, r.*, ${ctx.now}, ${ctx.now}
    from unnest(
      ${of((r) => r.id)}::text[], ${of((r) => r.inbound.channel)}::text[], ${of((r) => r.provider)}::text[], ${of((r) => r.channelConfigId)}::text[],
      ${of((r) => r.inbound.providerMessageId)}::text[], ${of((r) => r.deliveryId)}::text[], ${of((r) => r.inbound.from)}::text[],
      ${of((r) => r.inbound.to)}::text[], ${of((r) => r.inbound.subject)}::text[], ${of((r) => r.inbound.text)}::text[],
      ${of((r) => r.inbound.html)}::text[], ${of((r) => r.verdict.newText)}::text[], ${of((r) => r.kind)}::text[],
      ${of((r) => r.verdict.responseType)}::text[], ${of((r) => r.origin.matchedBy)}::text[], ${of((r) => r.origin.messageId)}::text[],
      ${of((r) => r.origin.enrollmentId)}::text[], ${of((r) => r.origin.leadId)}::text[], ${of((r) => r.origin.contactId)}::text[],
      ${of((r) => r.conversationId)}::text[], ${of((r) => JSON.stringify(r.inbound.headers))}::jsonb[], ${of((r) => r.receivedAt)}::timestamptz[],
      ${of((r) => r.correlationId)}::text[]
    ) as r
    on conflict (tenant_id, channel_config_id, provider_message_id) do nothing
    returning id`.execute(ctx.db);
  await markLeads(ctx, heard);
  await openTasks(
    ctx,
    rows.filter((row) => row.kind === "unclear_opt_out"),
  );
  return inserted.map((row) => row.id);
}

async function openConversations(ctx: TxContext, heard: readonly Heard[]): Promise<Map<string, string>> {
  const byAddress = Map.groupBy(heard, (one) => `${one.inbound.channel} ${one.inbound.from}`);
  const rows = [...byAddress]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, group]) => {
      const known = group.find((one) => one.origin.leadId !== null) ?? group[0];
      return known ? [{ ...known, at: new Date(Math.max(...group.map((one) => one.receivedAt.getTime()))) }] : [];
    });
  const { rows: found } = await sql<{ id: string; channel: string; address: string }>`
    insert into conversations (tenant_id, id, lead_id, contact_id, channel_config_id, channel, address, last_message_at, created_at, updated_at)
    select ${ctx.tenantId}, r.*, ${ctx.now}, ${ctx.now}
    from unnest(
      ${rows.map(() => newId("conversation", ctx.now))}::text[], ${rows.map((r) => r.origin.leadId)}::text[],
      ${rows.map((r) => r.origin.contactId)}::text[], ${rows.map((r) => r.channelConfigId)}::text[],
      ${rows.map((r) => r.inbound.channel)}::text[], ${rows.map((r) => r.inbound.from)}::text[],
      ${rows.map((r) => r.at)}::timestamptz[]) as r
    on conflict (tenant_id, channel, address) do update
      set last_message_at = greatest(conversations.last_message_at, excluded.last_message_at), status = 'open',
          channel_config_id = excluded.channel_config_id,
          lead_id = coalesce(conversations.lead_id, excluded.lead_id), contact_id = coalesce(conversations.contact_id, excluded.contact_id)
    returning id, channel, address`.execute(ctx.db);
  return new Map(found.map((row) => [`${row.channel} ${row.address}`, row.id]));
}

/** When they last answered; and `dnc` for those who asked to be left alone, in words or through their provider. */
async function markLeads(ctx: TxContext, heard: readonly Heard[]): Promise<void> {
  const ids = (wanted: (one: Heard) => boolean): string[] =>
    [...new Set(heard.filter(wanted).flatMap((one) => one.origin.leadId ?? []))].toSorted();
  const answered = ids(({ kind }) => kind === "reply" || kind === "opt_out" || kind === "unclear_opt_out");
  const leaving = ids(({ kind }) => kind === "opt_out");
  if (answered.length === 0) return;
  await sql`select id from leads where tenant_id = ${ctx.tenantId} and id = any(${answered}) order by id for no key update`.execute(
    ctx.db,
  );
  await sql`
    update leads l set last_response_at = greatest(l.last_response_at, r.at)
    from (select u.id, max(u.at) as at
          from unnest(${heard.map((one) => one.origin.leadId)}::text[], ${heard.map((one) => one.receivedAt)}::timestamptz[]) as u(id, at)
          group by u.id) r
    where l.tenant_id = ${ctx.tenantId} and l.id = r.id and l.id = any(${answered})`.execute(ctx.db);
  if (leaving.length === 0) return;
  const trigger = heard.some((one) => one.kind === "opt_out" && one.inbound.optOut === "stop") ? "webhook" : "reply";
  await sql`select set_config('app.trigger', ${trigger}, true)`.execute(ctx.db);
  await sql`update leads set status = 'dnc' where tenant_id = ${ctx.tenantId} and id = any(${leaving}) and status <> 'dnc'`.execute(
    ctx.db,
  );
  await sql`select set_config('app.trigger', '', true)`.execute(ctx.db);
}

/** Was that an opt-out? A person decides; meanwhile the enrollment is paused. */
async function openTasks(ctx: TxContext, rows: readonly (Heard & { readonly id: string })[]): Promise<void> {
  if (rows.length === 0) return;
  await sql`
    insert into tasks (tenant_id, id, contact_campaign_id, lead_id, contact_id, node_id, kind, title, due_at, idempotency_key, created_at, updated_at)
    select ${ctx.tenantId}, r.id, r.enrollment_id, r.lead_id, r.contact_id, r.node_id, 'review', r.title,
           ${ctx.now}::timestamptz + interval '1 day', r.key, ${ctx.now}, ${ctx.now}
    from unnest(
      ${rows.map(() => newId("task", ctx.now))}::text[], ${rows.map((r) => r.origin.enrollmentId)}::text[], ${rows.map((r) => r.origin.leadId)}::text[],
      ${rows.map((r) => r.origin.contactId)}::text[], ${rows.map((r) => r.origin.nodeId)}::text[],
      ${rows.map((r) => `Is this an opt-out? ${r.inbound.from}: ${r.verdict.newText.slice(0, 200)}`)}::text[],
      ${rows.map((r) => `review:${r.channelConfigId}:${r.inbound.providerMessageId}`)}::text[]
    ) as r(id, enrollment_id, lead_id, contact_id, node_id, title, key)
    on conflict (tenant_id, idempotency_key) do nothing`.execute(ctx.db);
}

/**
 * Adds one to a campaign for each enrollment that answered for the first time. Call it after the engine, whose lock on the campaign
 * comes before the campaign's row.
 * @param inboundIds those just stored
 */
export async function countResponses(ctx: TxContext, inboundIds: readonly string[]): Promise<void> {
  if (inboundIds.length === 0) return;
  await sql`
    with first as materialized (
      select e.campaign_id, count(distinct e.id)::int as n
      from inbound_messages i join contact_campaigns e on e.tenant_id = i.tenant_id and e.id = i.contact_campaign_id
      where i.tenant_id = ${ctx.tenantId} and i.id = any(${inboundIds as string[]}) and i.classification = 'reply'
        and not exists (select from inbound_messages o where o.tenant_id = i.tenant_id and o.contact_campaign_id = e.id
                          and o.classification = 'reply' and o.id <> all(${inboundIds as string[]}))
      group by e.campaign_id
    ), locked as materialized (
      select c.campaign_id from marketing.campaigns c join first f on f.campaign_id = c.campaign_id
      where c.tenant_id = ${ctx.tenantId} order by c.campaign_id for no key update of c
    )
    update marketing.campaigns c set response_count = c.response_count + f.n
    from first f join locked l on l.campaign_id = f.campaign_id
    where c.tenant_id = ${ctx.tenantId} and c.campaign_id = f.campaign_id`.execute(ctx.db);
}

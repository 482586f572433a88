/**
 * Facts of providers: which of them are new, which message each is about, and their rows.
 *
 * Invariants: a provider's fact is applied once per endpoint, whatever is delivered again (`event_keys`); a fact reaches only messages of
 * the tenant whose endpoint received it, because every look-up is made inside that tenant.
 */
import { sql } from "kysely";
import { idOf, newId, type TxContext } from "../kernel/index.ts";
import type { ProviderEvent } from "../ports/index.ts";
import { suppressionKey } from "../suppression/index.ts";

export interface Fact {
  readonly channelConfigId: string;
  readonly provider: string;
  /** null: it happened here (tracking), no provider told us. */
  readonly deliveryId: string | null;
  readonly event: ProviderEvent;
}

/** A fact and the message it is about; null when it is about none of this tenant's. */
export interface Matched extends Fact {
  readonly messageId: string | null;
}

export interface FactKey {
  readonly channelConfigId: string;
  readonly eventId: string;
}

const text = (key: FactKey): string => `${key.channelConfigId} ${key.eventId}`;
export const keyOf = ({ channelConfigId, event }: Fact): FactKey => ({
  channelConfigId,
  eventId: event.providerEventId,
});

/** Claims keys, in one order everywhere. @returns a test for those that nobody had claimed before */
export async function claimKeys(ctx: TxContext, keys: readonly FactKey[]): Promise<(key: FactKey) => boolean> {
  const unique = [...new Map(keys.map((key) => [text(key), key])).entries()].toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (unique.length === 0) return () => false;
  const { rows } = await sql<FactKey>`
    insert into event_keys (tenant_id, channel_config_id, provider_event_id, created_at)
    select ${ctx.tenantId}, k.channel_config_id, k.event_id, ${ctx.now}
    from unnest(${unique.map(([, k]) => k.channelConfigId)}::text[], ${unique.map(([, k]) => k.eventId)}::text[]) as k(channel_config_id, event_id)
    on conflict do nothing
    returning channel_config_id as "channelConfigId", provider_event_id as "eventId"`.execute(ctx.db);
  const fresh = new Set(rows.map(text));
  return (key) => fresh.has(text(key));
}

const MessageId = idOf("message");

/** The local part of `<…@…>`: our message id where our own Message-ID survived, otherwise the provider's id of the send. */
function smtpIdOf({ metadata }: ProviderEvent): string | null {
  const id = metadata["smtp-id"];
  return typeof id === "string" ? (/^<?([^@<>\s]{1,200})@/.exec(id)?.[1] ?? null) : null;
}

const ownIdOf = (event: ProviderEvent): string | null =>
  event.messageId ?? MessageId.safeParse(smtpIdOf(event)).data ?? null;
const providerIdOf = (event: ProviderEvent): string | null => event.providerMessageId ?? smtpIdOf(event);

/** How long after a send a bounce without any id is still taken to be about it. */
const asyncBounceDays = 7;

/** By our id, else the provider's, else (a bounce that names neither) the last e-mail to that address. Three statements at most. */
export async function match(ctx: TxContext, facts: readonly Fact[]): Promise<Matched[]> {
  const own = new Set(await ownMessages(ctx, facts));
  const first = facts.map((fact) => {
    const id = ownIdOf(fact.event);
    return { ...fact, messageId: id !== null && own.has(id) ? id : null };
  });
  const byProvider = await providerMessages(
    ctx,
    first.filter((fact) => fact.messageId === null),
  );
  const second = first.map((fact) => ({
    ...fact,
    messageId: fact.messageId ?? byProvider.get(`${fact.provider} ${providerIdOf(fact.event) ?? ""}`) ?? null,
  }));
  const anonymous = second.filter(
    ({ messageId, event }) =>
      messageId === null && event.type === "bounced" && event.messageId === null && event.providerMessageId === null,
  );
  const latest = await latestSent(ctx, anonymous);
  return second.map((fact) => ({ ...fact, messageId: fact.messageId ?? latest.get(fact.event) ?? null }));
}

async function ownMessages(ctx: TxContext, facts: readonly Fact[]): Promise<string[]> {
  const ids = [...new Set(facts.flatMap(({ event }) => ownIdOf(event) ?? []))];
  if (ids.length === 0) return [];
  const { rows } = await sql<{ id: string }>`
    select id from outbound_messages where tenant_id = ${ctx.tenantId} and id = any(${ids})`.execute(ctx.db);
  return rows.map((row) => row.id);
}

async function providerMessages(ctx: TxContext, facts: readonly Fact[]): Promise<Map<string, string>> {
  const ids = [...new Set(facts.flatMap(({ event }) => providerIdOf(event) ?? []))];
  if (ids.length === 0) return new Map();
  const { rows } = await sql<{ id: string; provider: string; provider_message_id: string }>`
    select id, provider, provider_message_id from outbound_messages
    where tenant_id = ${ctx.tenantId} and provider = any(${[...new Set(facts.map((fact) => fact.provider))]})
      and provider_message_id = any(${ids})`.execute(ctx.db);
  return new Map(rows.map((row) => [`${row.provider} ${row.provider_message_id}`, row.id]));
}

async function latestSent(ctx: TxContext, facts: readonly Fact[]): Promise<Map<ProviderEvent, string>> {
  const wanted = facts.flatMap(({ event }) => {
    const key = event.address === null ? null : suppressionKey(event.channel, event.address);
    return key === null ? [] : [{ event, key }];
  });
  if (wanted.length === 0) return new Map();
  const { rows } = await sql<{ n: number; id: string }>`
    select w.n::int as n, m.id
    from unnest(${wanted.map((w) => w.event.channel)}::text[], ${wanted.map((w) => w.key)}::text[],
                ${wanted.map((w) => w.event.at)}::timestamptz[]) with ordinality as w(channel, key, at, n),
      lateral (select id from outbound_messages
               where tenant_id = ${ctx.tenantId} and channel = w.channel and suppression_key = w.key
                 and sent_at between w.at - make_interval(days => ${asyncBounceDays}) and w.at + interval '5 minutes'
               order by sent_at desc limit 1) m`.execute(ctx.db);
  return new Map(
    rows.flatMap((row) => {
      const found = wanted[row.n - 1];
      return found ? [[found.event, row.id] as const] : [];
    }),
  );
}

/** A fact as it will be stored: with what is known about who made it. */
export interface Stored extends Matched {
  readonly machine: boolean;
  /** Machine only because of when it happened; a better instant of delivery may take that back. */
  readonly prefetch: boolean;
  readonly enrollmentId: string | null;
}

/** One statement for the whole batch. */
export async function store(ctx: TxContext, facts: readonly Stored[]): Promise<void> {
  if (facts.length === 0) return;
  const of = <T>(read: (fact: Stored) => T): T[] => facts.map(read);
  await sql`
    insert into message_events (tenant_id, id, event_at, message_id, contact_campaign_id, delivery_id, channel_config_id, provider,
      provider_event_id, provider_message_id, event_type, channel, address, machine, code, reason, url, metadata, created_at, updated_at)
    select ${ctx.tenantId}, r.*, ${ctx.now}, ${ctx.now}
    from unnest(
      ${of(() => newId("event", ctx.now))}::text[], ${of((f) => f.event.at)}::timestamptz[], ${of((f) => f.messageId)}::text[],
      ${of((f) => f.enrollmentId)}::text[], ${of((f) => f.deliveryId)}::text[], ${of((f) => f.channelConfigId)}::text[],
      ${of((f) => f.provider)}::text[], ${of((f) => f.event.providerEventId)}::text[], ${of((f) => f.event.providerMessageId)}::text[],
      ${of((f) => f.event.type)}::text[], ${of((f) => f.event.channel)}::text[], ${of((f) => f.event.address)}::text[],
      ${of((f) => f.machine)}::boolean[], ${of((f) => f.event.code ?? null)}::text[], ${of((f) => f.event.reason ?? null)}::text[],
      ${of((f) => f.event.url ?? null)}::text[], ${of(metadataOf)}::jsonb[]
    ) as r`.execute(ctx.db);
}

const metadataOf = ({ event, prefetch }: Stored): string =>
  JSON.stringify({
    ...event.metadata,
    ...(event.bounce && { bounce: event.bounce }),
    ...(event.failure && { failure: event.failure }),
    ...(prefetch && { prefetch }),
  });

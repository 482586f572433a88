/**
 * Whom an inbound message is from and what it answers. Invariant: only this tenant's messages and contacts are looked at, so an id that
 * somebody guessed or copied from elsewhere names nothing.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import type { ProviderInbound } from "../ports/index.ts";
import { suppressionKey } from "../suppression/index.ts";

export type MatchedBy = "reference" | "plus_address" | "address";

/** What an inbound message belongs to, as far as it is known. */
export interface Origin {
  readonly matchedBy: MatchedBy | null;
  readonly messageId: string | null;
  readonly nodeId: string | null;
  readonly enrollmentId: string | null;
  readonly leadId: string | null;
  readonly contactId: string | null;
  /** To whom the answered message went; replies may come from another address. */
  readonly sentTo: string | null;
}

export interface Question {
  readonly provider: string;
  readonly channelConfigId: string;
  readonly inbound: ProviderInbound;
}

const ownId = /omsg_([0-9a-hjkmnp-tv-z]{26})/i;
const localPart = /^<?([^@<>\s]{1,200})@/;

/** Mail systems change the case of addresses; ids are upper-case. */
const ownIdIn = (text: string): string | null => {
  const found = ownId.exec(text)?.[1];
  return found === undefined ? null : `omsg_${found.toUpperCase()}`;
};

interface Candidate {
  readonly n: number;
  readonly rank: number;
  readonly by: MatchedBy;
  readonly ownId: string | null;
  readonly providerId: string | null;
}

/** What the message says about itself, best first: the reply address we made up, then the ids it refers to, nearest first. */
function candidatesOf({ inbound }: Question, n: number): Candidate[] {
  const plus = /^reply\+/i.test(inbound.to) ? ownIdIn(inbound.to) : null;
  const references = inbound.references.slice(0, 20).map((reference, at): Candidate => {
    const own = ownIdIn(reference);
    return {
      n,
      rank: at + 1,
      by: "reference",
      ownId: own,
      providerId: own === null ? (localPart.exec(reference)?.[1] ?? null) : null,
    };
  });
  return [
    ...(plus === null ? [] : [{ n, rank: 0, by: "plus_address" as const, ownId: plus, providerId: null }]),
    ...references,
  ];
}

type Row = Omit<Origin, "matchedBy"> & { readonly n: number };
const unknown: Origin = {
  matchedBy: null,
  messageId: null,
  nodeId: null,
  enrollmentId: null,
  leadId: null,
  contactId: null,
  sentTo: null,
};

const columns =
  sql.raw(`m.id as "messageId", m.node_id as "nodeId", m.contact_campaign_id as "enrollmentId", m.lead_id as "leadId",
  m.contact_id as "contactId", m.to_address as "sentTo"`);

/** Answers in the order of the questions `[batch]`: by what the message refers to, else the last message sent to its sender, else the contact. */
export async function origins(ctx: TxContext, questions: readonly Question[]): Promise<Origin[]> {
  const found = new Map<number, Origin>();
  for (const row of await byReference(ctx, questions)) found.set(row.n, row);
  const open = () => questions.map((question, n) => ({ question, n })).filter(({ n }) => !found.has(n));
  for (const row of await byAddress(ctx, open())) found.set(row.n, { ...row, matchedBy: "address" });
  for (const row of await byContact(ctx, open())) found.set(row.n, { ...row, matchedBy: "address" });
  return questions.map((_, n) => found.get(n) ?? unknown);
}

async function byReference(
  ctx: TxContext,
  questions: readonly Question[],
): Promise<(Row & { matchedBy: MatchedBy })[]> {
  const candidates = questions.flatMap(candidatesOf);
  if (candidates.length === 0) return [];
  const { rows } = await sql<Row & { matchedBy: MatchedBy }>`
    select distinct on (c.n) c.n, c.by as "matchedBy", ${columns}
    from unnest(${candidates.map((c) => c.n)}::int[], ${candidates.map((c) => c.rank)}::int[], ${candidates.map((c) => c.by)}::text[],
                ${candidates.map((c) => c.ownId)}::text[], ${candidates.map((c) => c.providerId)}::text[],
                ${candidates.map((c) => questions[c.n]?.provider ?? "")}::text[]) as c(n, rank, by, own_id, provider_id, provider),
      lateral (
        select * from outbound_messages where tenant_id = ${ctx.tenantId} and id = c.own_id
        union all
        select * from outbound_messages where tenant_id = ${ctx.tenantId} and provider = c.provider and provider_message_id = c.provider_id
      ) m
    order by c.n, c.rank, m.id desc`.execute(ctx.db);
  return rows;
}

interface Open {
  readonly question: Question;
  readonly n: number;
}

const senders = (open: readonly Open[]) =>
  open.flatMap(({ question, n }) => {
    const key = suppressionKey(question.inbound.channel, question.inbound.from);
    return key === null
      ? []
      : [{ n, channel: question.inbound.channel, key, from: question.inbound.from, account: question.channelConfigId }];
  });

/**
 * The pair of our account and their address, with the last message that is known to have been sent between them. A call whose end is unknown is
 * not among them: that somebody writes does not prove that it was accepted. Such an answer counts for the contact and its walk.
 */
async function byAddress(ctx: TxContext, open: readonly Open[]): Promise<Row[]> {
  const wanted = senders(open);
  if (wanted.length === 0) return [];
  const { rows } = await sql<Row>`
    select w.n, ${columns}
    from unnest(${wanted.map((w) => w.n)}::int[], ${wanted.map((w) => w.channel)}::text[], ${wanted.map((w) => w.key)}::text[],
                ${wanted.map((w) => w.account)}::text[]) as w(n, channel, key, account),
      lateral (select * from outbound_messages
               where tenant_id = ${ctx.tenantId} and channel = w.channel and suppression_key = w.key
                 and sent_at is not null and status <> 'accepted_unknown'
               order by (channel_config_id = w.account) desc nulls last, sent_at desc, id desc limit 1) m`.execute(
    ctx.db,
  );
  return rows;
}

/** Nobody wrote to them on this channel, yet they are known: the contact, and the walk they are on. */
async function byContact(ctx: TxContext, open: readonly Open[]): Promise<Row[]> {
  const wanted = senders(open);
  if (wanted.length === 0) return [];
  const { rows } = await sql<Row>`
    select w.n, null as "messageId", null as "nodeId", e.id as "enrollmentId", c.lead_id as "leadId", c.id as "contactId", null as "sentTo"
    from unnest(${wanted.map((w) => w.n)}::int[], ${wanted.map((w) => w.channel)}::text[], ${wanted.map((w) => w.from)}::text[])
           as w(n, channel, address),
      lateral (select k.id, k.lead_id from contact_channels a join contacts k on k.tenant_id = a.tenant_id and k.id = a.contact_id
               where a.tenant_id = ${ctx.tenantId} and a.channel = w.channel and a.address = w.address
               order by k.id desc limit 1) c
      left join lateral (select id from contact_campaigns
                         where tenant_id = ${ctx.tenantId} and contact_id = c.id and superseded_by is null
                         order by (status in ('active', 'paused')) desc, id desc limit 1) e on true`.execute(ctx.db);
  return rows;
}

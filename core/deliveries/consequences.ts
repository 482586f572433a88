/**
 * What follows from facts: addresses that must not be written to again, and what the engine hears. Pure but for the reads at the end.
 * Invariant: consent and dead mailboxes are decided by the fact alone, whatever state its message is in.
 */
import { sql } from "kysely";
import type { EnrollmentEvent } from "../campaigns/index.ts";
import type { EventType, SuppressionReason, TxContext } from "../kernel/index.ts";
import { walkNode } from "../messages/index.ts";
import type { ProviderEvent } from "../ports/index.ts";
import * as suppression from "../suppression/index.ts";
import type { Matched, Stored } from "./facts.ts";
import { instantOf, type Target } from "./rollup.ts";

/** Why this event closes its address; null when it does not. */
export function reasonOf({ type, bounce, failure }: ProviderEvent): SuppressionReason | null {
  switch (type) {
    case "complained":
      return "complaint";
    case "unsubscribed":
      return "unsubscribed";
    case "bounced":
      return bounce === "hard" ? "hard_bounce" : null;
    case "dropped":
    case "failed":
      return failure === "suppress" ? "provider" : failure === "recipient" ? "hard_bounce" : null;
    default:
      return null;
  }
}

/** Unsubscribe groups: joining one again takes back leaving that one, and nothing else. */
const groupOf = ({ metadata }: ProviderEvent): string | null => {
  const group = metadata["asm_group_id"];
  return typeof group === "number" || typeof group === "string" ? String(group) : null;
};

/** What we learn ourselves about consent comes through one door. */
const ownSource = "unsubscribe_link";

/** @param sentTo the addresses of matched messages: an event may not name one itself */
export function entriesOf(facts: readonly Matched[], sentTo: ReadonlyMap<string, string>): suppression.Entry[] {
  return facts.flatMap(({ event, provider, messageId, deliveryId }) => {
    const reason = reasonOf(event);
    const address = event.address ?? (messageId === null ? undefined : sentTo.get(messageId));
    if (reason === null || !address) return [];
    const evidence = {
      event: event.providerEventId,
      at: event.at.toISOString(),
      messageId,
      deliveryId,
      ...(event.code === undefined ? {} : { code: event.code }),
      ...(event.reason === undefined ? {} : { reason: event.reason }),
      ...(groupOf(event) === null ? {} : { group: groupOf(event) }),
    };
    return [
      {
        channel: event.channel,
        address: address.slice(0, 320),
        reason,
        source: deliveryId === null ? ownSource : provider,
        evidence,
      },
    ];
  });
}

/** Events by which a person takes back leaving a group, where exactly that is what is in force and nothing later. */
export async function rejoinsOf(ctx: TxContext, facts: readonly Matched[]): Promise<readonly Matched[]> {
  const asked = facts.filter(
    ({ event }) => event.type === "resubscribed" && event.address !== null && groupOf(event) !== null,
  );
  if (asked.length === 0) return [];
  const { rows } = await sql<{ n: number }>`
    select w.n::int as n
    from unnest(${asked.map(({ event }) => event.channel)}::text[],
                ${asked.map(({ event }) => suppression.suppressionKey(event.channel, event.address ?? ""))}::text[],
                ${asked.map(({ event }) => event.address)}::text[], ${asked.map(({ event }) => groupOf(event))}::text[],
                ${asked.map(({ event }) => event.at)}::timestamptz[]) with ordinality as w(channel, key, address, group_id, at, n)
    join communication_suppressions s on s.tenant_id = ${ctx.tenantId} and s.channel = w.channel and s.address = w.key
      and s.released_at is null and s.reason = 'unsubscribed' and s.evidence ->> 'group' = w.group_id
      and not ${suppression.saidSince(sql`w.at`)} and not s.evidence ? 'also'
    where not exists (
      -- Said again, or in another way, since: the suppression of the same kind that was there already does not tell.
      select from message_events e
      where e.tenant_id = ${ctx.tenantId} and e.channel = w.channel and e.address = w.address and e.event_type in ('unsubscribed', 'complained')
        and (e.event_at >= w.at or e.created_at >= s.created_at and e.metadata ->> 'asm_group_id' is distinct from w.group_id))
    and not exists (
      select from inbound_messages i
      where i.tenant_id = ${ctx.tenantId} and i.channel = w.channel and i.from_address = w.address and i.classification = 'opt_out'
        and i.created_at >= s.created_at)`.execute(ctx.db);
  // The others of this batch are not stored yet.
  const nos = facts.filter(({ event }) => event.type === "unsubscribed" || event.type === "complained");
  const isLater = (no: ProviderEvent, yes: ProviderEvent): boolean =>
    no.channel === yes.channel && no.address === yes.address && (no.at >= yes.at || groupOf(no) !== groupOf(yes));
  return asked
    .filter((_, n) => rows.some((row) => row.n === n + 1))
    .filter(({ event }) => !nos.some((no) => isLater(no.event, event)));
}

type MessageFact = Extract<EnrollmentEvent["event"], { type: "message" }>["event"];

const engineFact: Readonly<Partial<Record<EventType, MessageFact>>> = {
  delivered: "delivered",
  opened: "opened",
  clicked: "clicked",
  replied: "replied",
  bounced: "bounced",
  complained: "complained",
  unsubscribed: "unsubscribed",
};

const unsent = new Set(["queued", "held", "sending", "ambiguous"]);

/**
 * What the enrollments hear of facts about their messages, in the order in which it happened.
 * @param before the messages as they were locked, before the roll-up
 */
export function engineEventsOf(facts: readonly Stored[], before: ReadonlyMap<string, Target>): EnrollmentEvent[] {
  const ordered = facts.toSorted((a, b) => a.event.at.getTime() - b.event.at.getTime());
  const arrived = new Set(ordered.filter(({ event }) => event.type === "delivered").map(({ messageId }) => messageId));
  const started = new Set<string>();
  return ordered.flatMap(({ messageId, machine, event }): EnrollmentEvent[] => {
    const message = messageId === null ? undefined : before.get(messageId);
    if (!message?.enrollmentId || message.nodeId === null || event.type === "unknown" || event.type === "resubscribed")
      return [];
    const { enrollmentId, nodeId } = message;
    const at = event.at.toISOString();
    const heard: EnrollmentEvent[] = [];
    if (unsent.has(message.status) && !started.has(message.id)) {
      started.add(message.id);
      heard.push({ enrollmentId, event: { type: "sent", nodeId, at } });
    }
    const fact = engineFact[event.type];
    const name = instantOf[event.type];
    const known = name === undefined ? null : message[name];
    // Machines do not move anybody, and a fact that is known with an earlier instant was told with it.
    const news =
      !(machine && (event.type === "opened" || event.type === "clicked")) && (known === null || event.at < known);
    if (fact && news) heard.push({ enrollmentId, event: { type: "message", nodeId, event: fact, at, machine } });
    const lost =
      (event.type === "dropped" || event.type === "failed") && message.deliveredAt === null && !arrived.has(message.id);
    if (lost)
      heard.push({
        enrollmentId,
        event: { type: "send_failed", nodeId, at, reason: event.code ?? event.reason?.slice(0, 200) ?? event.type },
      });
    return heard;
  });
}

interface Walking {
  readonly enrollmentId: string;
  readonly messageId: string;
  readonly nodeId: string | null;
  readonly channel: string;
  readonly address: string;
}

/** Enrollments still under way that have written to any of these addresses: a "no" is about the address, not about one message. */
export async function walkingTo(ctx: TxContext, targets: readonly suppression.Target[]): Promise<Walking[]> {
  if (targets.length === 0) return [];
  const { rows } = await sql<Walking>`
    select e.id as "enrollmentId", m.id as "messageId", ${walkNode} as "nodeId", m.channel, m.suppression_key as address
    from unnest(${targets.map((t) => t.channel)}::text[], ${targets.map((t) => t.address)}::text[]) as t(channel, address)
    join outbound_messages m on m.tenant_id = ${ctx.tenantId} and m.channel = t.channel and m.suppression_key = t.address
    join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id and e.status in ('active', 'paused')`.execute(
    ctx.db,
  );
  return rows;
}

const factOfReason: Readonly<Partial<Record<SuppressionReason, MessageFact>>> = {
  unsubscribed: "unsubscribed",
  stop: "unsubscribed",
  complaint: "complained",
  hard_bounce: "bounced",
};

/**
 * What enrollments hear of an address that was closed: the reason, unless an event about one of their own messages says it already, and
 * the end of what was queued.
 */
export function addressEventsOf(
  ctx: TxContext,
  entries: readonly suppression.Entry[],
  walking: readonly Walking[],
  stopped: ReadonlySet<string>,
  told: readonly EnrollmentEvent[],
): EnrollmentEvent[] {
  const name = (enrollmentId: string, fact: string) => `${enrollmentId} ${fact}`;
  const known = new Set(
    told.flatMap(({ enrollmentId, event }) =>
      event.type === "message"
        ? [name(enrollmentId, event.event)]
        : event.type === "send_failed"
          ? [name(enrollmentId, "bounced")]
          : [],
    ),
  );
  const at = ctx.now.toISOString();
  const reasons = entries.flatMap((entry) => {
    const fact = factOfReason[entry.reason];
    const address = suppression.suppressionKey(entry.channel, entry.address);
    return fact && address !== null ? [{ channel: entry.channel, address, fact }] : [];
  });
  const byAddress = Map.groupBy(reasons, (one) => `${one.channel} ${one.address}`);
  const facts = walking.flatMap(({ enrollmentId, channel, address }) =>
    (byAddress.get(`${channel} ${address}`) ?? []).flatMap(({ fact }): EnrollmentEvent[] => {
      if (known.has(name(enrollmentId, fact))) return [];
      known.add(name(enrollmentId, fact));
      return [{ enrollmentId, event: { type: "message", nodeId: null, event: fact, at } }];
    }),
  );
  const ended = walking.flatMap(({ enrollmentId, messageId, nodeId }): EnrollmentEvent[] =>
    nodeId !== null && stopped.has(messageId)
      ? [{ enrollmentId, event: { type: "send_failed", nodeId, reason: "suppressed", at } }]
      : [],
  );
  return [...facts, ...ended];
}

/** Dead mailboxes are marked where addresses are kept, so that nobody enrolls them again. */
export async function markAddresses(ctx: TxContext, entries: readonly suppression.Entry[]): Promise<void> {
  const dead = entries.filter((entry) => entry.reason === "hard_bounce");
  if (dead.length > 0) {
    await sql`
      update contact_channels c set status = 'bounced'
      from (select distinct channel, address from unnest(${dead.map((e) => e.channel)}::text[], ${dead.map((e) => e.address)}::text[]) as u(channel, address)) d
      where c.tenant_id = ${ctx.tenantId} and c.channel = d.channel and c.address = d.address and c.status <> 'bounced'`.execute(
      ctx.db,
    );
  }
  const emails = (wanted: (entry: suppression.Entry) => boolean) =>
    entries.filter((entry) => entry.channel === "email" && wanted(entry)).map((entry) => entry.address);
  const bounced = emails((entry) => entry.reason === "hard_bounce");
  const left = emails((entry) => entry.reason === "unsubscribed" || entry.reason === "complaint");
  if (bounced.length > 0) await sql`select vault.f_mark_contacts(${bounced}::text[], 'bounced')`.execute(ctx.db);
  if (left.length > 0) await sql`select vault.f_mark_contacts(${left}::text[], 'unsubscribed')`.execute(ctx.db);
}

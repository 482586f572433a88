/**
 * The one path by which facts and answers take effect, whoever brought them: webhooks, replays, our own tracking links.
 *
 * Invariants: locks are taken in one order (fact keys, addresses, enrollments, campaigns' gates, messages, leads), each kind sorted, so that batches
 * about the same people queue up instead of deadlocking; and everything that follows from a fact commits with the fact.
 */
import { sql } from "kysely";
import { applyEvents, type EnrollmentEvent } from "../campaigns/index.ts";
import * as conversations from "../conversations/index.ts";
import { lockEnrollments, type TxContext } from "../kernel/index.ts";
import * as suppression from "../suppression/index.ts";
import { addressEventsOf, engineEventsOf, entriesOf, markAddresses, rejoinsOf, walkingTo } from "./consequences.ts";
import { correctable } from "./correct.ts";
import { claimKeys, type Fact, type FactKey, keyOf, type Matched, match, type Stored, store } from "./facts.ts";
import {
  earlier,
  isPrefetch,
  judgeAgain,
  lockMessages,
  type Patch,
  patchOf,
  saysMore,
  type Target,
  writePatches,
} from "./rollup.ts";

export interface Batch {
  readonly facts: readonly Fact[];
  readonly inbound: readonly conversations.InboundItem[];
  /** Facts already known are compared with what was stored of them, and put right where today's reading is better. */
  readonly correct?: boolean;
}

export interface Effects {
  /** Facts that nobody had told before. */
  readonly newEvents: number;
  readonly newInbound: number;
  readonly corrected: number;
  /** Facts that name a message of ours that is not this tenant's: stored, applied to nothing. */
  readonly strangers: readonly Matched[];
}

const inboundKey = ({ channelConfigId, inbound }: conversations.InboundItem): FactKey => ({
  channelConfigId,
  eventId: `inbound:${inbound.providerMessageId}`,
});

/** More suppressions than this do not fit one call; the address locks of a batch are taken before, all at once. */
const maxEntries = suppression.maxEntries;

/** Applies a batch in a fixed number of statements. */
export async function takeEffect(ctx: TxContext, batch: Batch): Promise<Effects> {
  const isNew = await claimKeys(ctx, [...batch.facts.map(keyOf), ...batch.inbound.map(inboundKey)]);
  const fresh = distinct(
    batch.facts.filter((fact) => isNew(keyOf(fact))),
    keyOf,
  );
  const items = distinct(
    batch.inbound.filter((item) => isNew(inboundKey(item))),
    inboundKey,
  );
  const matched = await match(ctx, fresh);
  const corrected = batch.correct
    ? await correctable(
        ctx,
        batch.facts.filter((fact) => !isNew(keyOf(fact))),
      )
    : [];
  const heard = await conversations.hear(ctx, items);
  const about = [...matched, ...corrected];
  const answers = heard.flatMap(asFact);

  const entries = [...entriesOf(about, await sentTo(ctx, about)), ...conversations.optOutsOf(heard)];
  const targets = addressesOf(entries, heard, about);
  await suppression.lockAddresses(ctx, targets);
  const walkers = () => (entries.length === 0 ? [] : walkingTo(ctx, targets));
  const messageIds = [...new Set([...about, ...answers].flatMap(({ messageId }) => messageId ?? []))];
  await lockWalks(ctx, messageIds, [
    ...(await walkers()).map((one) => one.enrollmentId),
    ...heard.flatMap((one) => one.origin.enrollmentId ?? []),
  ]);
  const stopped = await close(ctx, entries, heard, about);
  // Again: whoever held one of these enrollments may have planned a message that was stopped just now.
  const walking = await walkers();
  const before = await lockMessages(ctx, messageIds);
  const judged = judge([...matched, ...answers], before);
  const all = [...judged, ...judge(corrected, before)];
  await store(ctx, judged);
  await rollUp(ctx, all, before);

  const inboundIds = await conversations.store(ctx, heard);
  await markAddresses(ctx, entries);
  const told = [...engineEventsOf(all, before), ...unanchored(heard)];
  await applyEvents(ctx, [...told, ...addressEventsOf(ctx, entries, walking, stopped, told), ...reviews(heard)]);
  await conversations.countResponses(ctx, inboundIds);
  return {
    newEvents: matched.length,
    newInbound: inboundIds.length,
    corrected: corrected.length,
    strangers: matched.filter(({ event, messageId }) => event.messageId !== null && messageId === null),
  };
}

function distinct<T>(values: readonly T[], key: (value: T) => FactKey): T[] {
  const name = (value: T) => `${key(value).channelConfigId} ${key(value).eventId}`;
  const seen = new Set<string>();
  return values.filter((value) => !seen.has(name(value)) && seen.add(name(value)));
}

/** An answer is a fact about the message it answers. */
function asFact(one: conversations.Heard): Matched[] {
  const type = one.kind === "reply" ? ("replied" as const) : one.kind === "opt_out" ? ("unsubscribed" as const) : null;
  if (type === null || one.origin.messageId === null) return [];
  const event = {
    providerEventId: inboundKey(one).eventId,
    type,
    at: one.receivedAt,
    messageId: one.origin.messageId,
    providerMessageId: null,
    channel: one.inbound.channel,
    address: one.inbound.from,
    machine: false,
    metadata: {},
  };
  return [
    {
      channelConfigId: one.channelConfigId,
      provider: one.provider,
      deliveryId: one.deliveryId,
      event,
      messageId: one.origin.messageId,
    },
  ];
}

/** Answers of people on a walk, to no message that we know: they count for the one sent last. */
const unanchored = (heard: readonly conversations.Heard[]): EnrollmentEvent[] =>
  heard.flatMap(({ kind, origin, receivedAt }): EnrollmentEvent[] => {
    const event = kind === "reply" ? ("replied" as const) : kind === "opt_out" ? ("unsubscribed" as const) : null;
    if (event === null || origin.messageId !== null || origin.enrollmentId === null) return [];
    return [
      {
        enrollmentId: origin.enrollmentId,
        event: { type: "message", nodeId: null, event, at: receivedAt.toISOString() },
      },
    ];
  });

/** Nothing goes out on a walk while it is unclear whether the person asked to be left alone. */
const reviews = (heard: readonly conversations.Heard[]): EnrollmentEvent[] =>
  heard.flatMap(({ kind, origin }): EnrollmentEvent[] =>
    kind === "unclear_opt_out" && origin.enrollmentId !== null
      ? [{ enrollmentId: origin.enrollmentId, event: { type: "pause", reason: "unclear_opt_out" } }]
      : [],
  );

async function sentTo(ctx: TxContext, facts: readonly Matched[]): Promise<ReadonlyMap<string, string>> {
  const ids = facts.filter(({ event }) => event.address === null).flatMap(({ messageId }) => messageId ?? []);
  if (ids.length === 0) return new Map();
  const rows = await ctx.db
    .selectFrom("outbound_messages")
    .select(["id", "to_address"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "in", ids)
    .execute();
  return new Map(rows.map((row) => [row.id, row.to_address]));
}

/** The addresses whose consent these words and facts may change. */
function addressesOf(
  entries: readonly suppression.Entry[],
  heard: readonly conversations.Heard[],
  facts: readonly Matched[],
): suppression.Target[] {
  const named = [
    ...entries,
    ...heard
      .filter((one) => one.kind === "opt_in")
      .map(({ inbound }) => ({ channel: inbound.channel, address: inbound.from })),
    ...facts.flatMap(({ event }) =>
      event.type === "resubscribed" && event.address !== null
        ? [{ channel: event.channel, address: event.address }]
        : [],
    ),
  ];
  return named.flatMap(({ channel, address }) => {
    const key = suppression.suppressionKey(channel, address);
    return key === null ? [] : [{ channel, address: key }];
  });
}

/** Consent and dead mailboxes, under the locks of all addresses and enrollments concerned. @returns the messages it put an end to */
async function close(
  ctx: TxContext,
  entries: readonly suppression.Entry[],
  heard: readonly conversations.Heard[],
  facts: readonly Matched[],
): Promise<ReadonlySet<string>> {
  const stopped = new Set<string>();
  for (let from = 0; from < entries.length; from += maxEntries) {
    const added = await suppression.addMany(ctx, { entries: entries.slice(from, from + maxEntries) });
    for (const { messageId } of added.stopped) stopped.add(messageId);
  }
  await addToDnc(ctx, heard);
  for (const optIn of await conversations.optInsOf(ctx, heard)) await suppression.liftByRecipient(ctx, optIn);
  for (const { event, provider } of await rejoinsOf(ctx, facts)) {
    const evidence = { event: event.providerEventId, at: event.at.toISOString() };
    await suppression.liftByRecipient(ctx, {
      channel: event.channel,
      address: event.address ?? "",
      source: provider,
      evidence,
    });
  }
  return stopped;
}

/** A tenant may decide that STOP by text speaks for the whole organization (`settings.stopMeansDoNotCall`). */
async function addToDnc(ctx: TxContext, heard: readonly conversations.Heard[]): Promise<void> {
  const phones = heard
    .filter((one) => one.kind === "opt_out" && one.inbound.channel === "sms")
    .map((one) => one.inbound.from);
  const known = phones.filter((phone) => suppression.suppressionKey("sms", phone) !== null);
  if (known.length === 0) return;
  const { rows } = await sql<{ on: boolean }>`
    select settings @> '{"stopMeansDoNotCall": true}' as on from tenants where id = ${ctx.tenantId}`.execute(ctx.db);
  if (rows[0]?.on) await suppression.addDnc(ctx, { phones: known, reason: "stop", source: "reply" });
}

async function lockWalks(ctx: TxContext, messageIds: readonly string[], also: readonly string[]): Promise<void> {
  if (messageIds.length === 0 && also.length === 0) return;
  await lockEnrollments(
    ctx,
    sql`in (
      select contact_campaign_id from outbound_messages where tenant_id = ${ctx.tenantId} and id = any(${messageIds as string[]})
      union select unnest(${also as string[]}::text[]))`,
  );
}

/** Who made each open and click, now that it is known when the message arrived. */
function judge(facts: readonly Matched[], before: ReadonlyMap<string, Target>): Stored[] {
  const delivered = new Map<string, Date>();
  for (const [id, { deliveredAt }] of before) if (deliveredAt) delivered.set(id, deliveredAt);
  for (const { messageId, event } of facts) {
    if (messageId !== null && event.type === "delivered")
      delivered.set(messageId, earlier(delivered.get(messageId), event.at));
  }
  return facts.map((fact) => {
    const { event, messageId } = fact;
    const engagement = event.type === "opened" || event.type === "clicked";
    const near = engagement && messageId !== null && isPrefetch(event.at, delivered.get(messageId) ?? null);
    const enrollmentId = messageId === null ? null : (before.get(messageId)?.enrollmentId ?? null);
    return { ...fact, machine: event.machine || near, prefetch: near && !event.machine, enrollmentId };
  });
}

async function rollUp(ctx: TxContext, facts: readonly Stored[], before: ReadonlyMap<string, Target>): Promise<void> {
  const known = facts.filter((fact) => fact.messageId !== null && before.has(fact.messageId));
  const patches = new Map<string, Patch>();
  for (const [id, about] of Map.groupBy(known, (fact) => fact.messageId ?? "")) {
    const patch = patchOf(about.map(({ event, machine }) => ({ ...event, machine })));
    const message = before.get(id);
    if (message && Object.keys(patch).length > 0 && saysMore(message, patch)) patches.set(id, patch);
  }
  await writePatches(ctx, patches, before);
  const again = [...patches].flatMap(([id, { deliveredAt }]) => {
    const was = before.get(id);
    if (!deliveredAt || !was || (was.deliveredAt !== null && was.deliveredAt <= deliveredAt)) return [];
    // Judged by nothing so far, and nothing to judge: the common case.
    if (was.deliveredAt === null && was.openedAt === null && was.clickedAt === null) return [];
    return [{ id, deliveredAt }];
  });
  await judgeAgain(ctx, again);
}

/**
 * The way into the outbox. Invariant: at most one row per dedupe key (campaign, entry, node, canonical address), whatever calls twice;
 * a second contact with the same address gets a row too, cancelled, so that "why not" has an answer. A message that ended before it was
 * ever handed to a provider gives its key up to the next contact with that address (docs/decisions/0015).
 * Whose node was renamed has put its key aside; whether another name's message had the same step is asked by the gate (steps.ts).
 */
import { sql } from "kysely";
import type { Channel, TxContext } from "../kernel/index.ts";
import { giveBackPlaces, newId, suppressionAddress } from "../kernel/index.ts";

export interface NewMessage {
  readonly enrollmentId: string;
  readonly campaignId: string;
  /** How often this contact has entered the campaign. */
  readonly entry: number;
  readonly nodeId: string;
  readonly variantId: string | null;
  readonly planVersionId: string;
  readonly leadId: string;
  readonly contactId: string;
  readonly channel: Channel;
  readonly messageClass: "marketing" | "transactional";
  readonly senderIdentityId: string | null;
  readonly templateId: string | null;
  readonly expiresAt: Date;
  readonly correlationId: string | null;
}

/** A message that will not be sent, known at once. */
export interface NotQueued {
  readonly enrollmentId: string;
  readonly nodeId: string;
  readonly reason: "address_invalid" | "duplicate_address";
}

/**
 * Queues a batch in a fixed number of statements and rings for what is new.
 * @param messages `[batch]`, at most one per enrollment and node
 * @returns the ones that ended right here; the caller tells the engine
 */
export async function enqueue(ctx: TxContext, messages: readonly NewMessage[]): Promise<NotQueued[]> {
  if (messages.length === 0) return [];
  const addresses = await primaryAddresses(ctx, messages);
  const rows = messages.map((message) => {
    const address = addresses.get(`${message.contactId} ${message.channel}`) ?? "";
    const key = address === "" ? "" : suppressionAddress(message.channel, address);
    const dedupe = `${message.campaignId}:${message.entry}:${message.nodeId}:${key === "" ? message.enrollmentId : key}`;
    return { ...message, id: newId("message", ctx.now), address, key, dedupe };
  });
  // Two contacts with one address in the same batch: the first in order gets it.
  const seen = new Map<string, string>();
  for (const row of rows) if (!seen.has(row.dedupe)) seen.set(row.dedupe, row.enrollmentId);
  const firsts = rows.filter((row) => seen.get(row.dedupe) === row.enrollmentId);
  const inserted = new Set(await insert(ctx, firsts.map(opened)));
  const { heirs, duplicates } = await settleRepeated(
    ctx,
    rows.filter((row) => !inserted.has(row.id)),
  );
  for (const id of heirs) inserted.add(id);
  const queued = rows.filter((row) => inserted.has(row.id) && row.address !== "");
  if (queued.length > 0) ctx.bells.push({ kind: "send", tenantId: ctx.tenantId, ids: queued.map((row) => row.id) });
  return [
    ...firsts
      .filter((row) => inserted.has(row.id) && row.address === "")
      .map(({ enrollmentId, nodeId }) => ({ enrollmentId, nodeId, reason: "address_invalid" as const })),
    ...duplicates.map(({ enrollmentId, nodeId }) => ({
      enrollmentId,
      nodeId,
      reason: "duplicate_address" as const,
    })),
  ];
}

async function primaryAddresses(ctx: TxContext, messages: readonly NewMessage[]): Promise<Map<string, string>> {
  const rows = await ctx.db
    .selectFrom("contact_channels")
    .select(["contact_id", "channel", "address"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("contact_id", "in", [...new Set(messages.map((message) => message.contactId))])
    .where("status", "=", "active")
    .orderBy("is_primary")
    .orderBy("id", "desc")
    .execute();
  // Later rows win: the primary one, the oldest of several.
  return new Map(rows.map((row) => [`${row.contact_id} ${row.channel}`, row.address]));
}

interface Keyed extends NewMessage {
  readonly id: string;
  readonly address: string;
  readonly key: string;
  readonly dedupe: string;
}

/** Ended, and never claimed: no provider can have it, and nothing brings it back. `m` is the message. */
export const neverSent = sql<boolean>`(m.generation = 0 and m.status in ('cancelled', 'expired', 'failed', 'suppressed'))`;

/**
 * Messages whose key is taken. The same enrollment calling twice is no news; another one with the same address inherits the key of a
 * message that was never sent, and is a duplicate of any other.
 */
async function settleRepeated(
  ctx: TxContext,
  repeated: readonly Keyed[],
): Promise<{ readonly heirs: readonly string[]; readonly duplicates: readonly Keyed[] }> {
  if (repeated.length === 0) return { heirs: [], duplicates: [] };
  const owners = await ownersOf(ctx, repeated);
  const others = repeated.filter((row) => owners.get(row.dedupe)?.enrollmentId !== row.enrollmentId);
  // Of several with one address the first in order.
  const free = new Map<string, Keyed>();
  for (const row of others) if (owners.get(row.dedupe)?.isFree && !free.has(row.dedupe)) free.set(row.dedupe, row);
  const wanted = [...free.values()];
  if (wanted.length > 0) {
    await sql`
      with locked as materialized (
        select id from outbound_messages m
        where tenant_id = ${ctx.tenantId} and dedupe_key = any(${wanted.map((row) => row.dedupe)}) and ${neverSent}
        order by id for update
      )
      update outbound_messages m set dedupe_key = m.dedupe_key || ':given-up:' || m.id
      from locked where m.tenant_id = ${ctx.tenantId} and m.id = locked.id`.execute(ctx.db);
  }
  const heirs = new Set(await insert(ctx, wanted.map(opened)));
  const duplicates = others.filter((row) => !heirs.has(row.id));
  await insert(
    ctx,
    duplicates.map((row) => ({
      ...row,
      dedupe: `${row.dedupe}:duplicate:${row.enrollmentId}`,
      status: "cancelled",
      reason: "duplicate_address",
    })),
  );
  return { heirs: [...heirs], duplicates };
}

const opened = (row: Keyed): OutboxRow => ({
  ...row,
  status: row.address === "" ? "failed" : "queued",
  reason: row.address === "" ? "address_invalid" : null,
});

async function ownersOf(ctx: TxContext, rows: readonly Keyed[]) {
  const { rows: owners } = await sql<{ dedupe_key: string; enrollmentId: string | null; isFree: boolean }>`
    select dedupe_key, contact_campaign_id as "enrollmentId", ${neverSent} as "isFree" from outbound_messages m
    where tenant_id = ${ctx.tenantId} and dedupe_key = any(${rows.map((row) => row.dedupe)})`.execute(ctx.db);
  return new Map(owners.map((row) => [row.dedupe_key, row]));
}

interface OutboxRow extends Keyed {
  readonly status: string;
  readonly reason: string | null;
}

async function insert(ctx: TxContext, rows: readonly OutboxRow[]): Promise<string[]> {
  if (rows.length === 0) return [];
  const { rows: inserted } = await sql<{ id: string }>`
    insert into outbound_messages (tenant_id, id, campaign_id, contact_campaign_id, node_id, variant_id, plan_version_id, lead_id, contact_id,
      channel, message_class, sender_identity_id, template_id, to_address, suppression_key, dedupe_key, status, hold_reason, scheduled_for, run_at,
      expires_at, failed_at, correlation_id, created_at, updated_at)
    select ${ctx.tenantId}, r.id, r.campaign_id, r.enrollment_id, r.node_id, r.variant_id, r.plan_version_id, r.lead_id, r.contact_id, r.channel,
      r.message_class, r.sender_id, r.template_id, r.address, r.key, r.dedupe, r.status, r.reason, ${ctx.now}, ${ctx.now}, r.expires_at,
      case when r.status = 'failed' then ${ctx.now}::timestamptz end, r.correlation_id, ${ctx.now}, ${ctx.now}
    from unnest(
      ${rows.map((r) => r.id)}::text[], ${rows.map((r) => r.campaignId)}::text[], ${rows.map((r) => r.enrollmentId)}::text[],
      ${rows.map((r) => r.nodeId)}::text[], ${rows.map((r) => r.variantId)}::text[], ${rows.map((r) => r.planVersionId)}::text[],
      ${rows.map((r) => r.leadId)}::text[], ${rows.map((r) => r.contactId)}::text[], ${rows.map((r) => r.channel)}::text[],
      ${rows.map((r) => r.messageClass)}::text[], ${rows.map((r) => r.senderIdentityId)}::text[], ${rows.map((r) => r.templateId)}::text[],
      ${rows.map((r) => r.address)}::text[], ${rows.map((r) => r.key)}::text[], ${rows.map((r) => r.dedupe)}::text[],
      ${rows.map((r) => r.status)}::text[], ${rows.map((r) => r.reason)}::text[], ${rows.map((r) => r.expiresAt)}::timestamptz[],
      ${rows.map((r) => r.correlationId)}::text[]
    ) with ordinality as r(id, campaign_id, enrollment_id, node_id, variant_id, plan_version_id, lead_id, contact_id, channel, message_class,
      sender_id, template_id, address, key, dedupe, status, reason, expires_at, correlation_id, n)
    order by r.n
    on conflict (tenant_id, dedupe_key) do nothing
    returning id`.execute(ctx.db);
  return inserted.map((row) => row.id);
}

/** Cancels what has not been handed to a provider. A message being sent, or sent, is beyond reach. @returns how many */
export async function cancelUnsent(ctx: TxContext, enrollmentIds: readonly string[], reason: string): Promise<number> {
  if (enrollmentIds.length === 0) return 0;
  const { rows } = await sql<{ decision: unknown }>`
    update outbound_messages set status = 'cancelled', hold_reason = 'enrollment_not_active', last_error = ${reason}, updated_at = ${ctx.now}
    where tenant_id = ${ctx.tenantId} and contact_campaign_id = any(${enrollmentIds as string[]}) and status in ('queued', 'held')
    returning case when decision ? 'places' then decision end as decision`.execute(ctx.db);
  await giveBackPlaces(
    ctx,
    rows.map((row) => row.decision),
  );
  return rows.length;
}

/**
 * Adding a "no": the row, and the end of everything queued for the address, in one transaction under the address lock.
 * Invariant: an address has at most one active suppression; its first reason stays, and a later no of another kind is noted on it, so
 * that lifting the first cannot forget the second.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  channels,
  command,
  DomainError,
  giveBackPlaces,
  lockEnrollments,
  newId,
  reach,
  type SuppressionReason,
  suppressionReasons,
  type TxContext,
} from "../kernel/index.ts";
import { lockAddresses, type Target } from "./locks.ts";
import { suppressionKey } from "./policy.ts";

/** More than this in one transaction would hold too many locks at once. */
export const maxEntries = 1_000;

export const Entry = z.object({
  channel: z.enum(channels),
  /** As it came; compared in canonical form. */
  address: z.string().min(1).max(320),
  reason: z.enum(suppressionReasons),
  /** What told us: `api`, `import`, `twilio`, `unsubscribe_link`, … */
  source: z.string().trim().min(1).max(100),
  /** What proves it later: the message, the text, the request's time. */
  evidence: z.record(z.string(), z.json()).default({}),
});
export type Entry = z.output<typeof Entry>;

/** What a no put an end to. */
export interface Stopped {
  readonly messageId: string;
  readonly contactCampaignId: string | null;
  readonly channel: string;
  readonly address: string;
}

export interface Added {
  /** Suppressions that did not exist before. */
  readonly added: readonly {
    readonly id: string;
    readonly channel: string;
    readonly address: string;
    readonly seq: string;
  }[];
  /** Addresses (canonical) that were suppressed already. */
  readonly existing: number;
  /** Entries whose address is none of its channel: nothing to suppress. */
  readonly invalid: readonly { readonly index: number; readonly address: string }[];
  /** Queued and held messages that will never be sent, with the enrollments they belong to. */
  readonly stopped: readonly Stopped[];
  /** Claimed before this no: their one call to the provider may still happen (F-50). */
  readonly inFlight: readonly Stopped[];
}

/** @throws DomainError `suppression.address_invalid` when the address is none of its channel */
export const add = command(Entry, async (ctx, entry): Promise<Added> => {
  const result = await addEntries(ctx, [entry]);
  if (result.invalid.length > 0) {
    const message = `address: not an address of channel ${entry.channel}.`;
    throw new DomainError("invalid", "suppression.address_invalid", message, {
      fields: [{ path: "address", value: entry.address, message: `expected an address of channel ${entry.channel}` }],
    });
  }
  return result;
});

/** Up to 1,000 at once, in a fixed number of statements. An entry that is no address is reported and does not spoil the rest. */
export const addMany = command(
  z.object({ entries: z.array(Entry).max(maxEntries) }),
  async (ctx, { entries }): Promise<Added> => addEntries(ctx, entries),
);

interface Known extends Entry {
  readonly key: string;
}

async function addEntries(ctx: TxContext, entries: readonly Entry[]): Promise<Added> {
  const invalid: { index: number; address: string }[] = [];
  const known = new Map<string, Known>();
  const further: Known[] = [];
  for (const [index, entry] of entries.entries()) {
    const key = suppressionKey(entry.channel, entry.address);
    if (key === null) {
      invalid.push({ index, address: entry.address });
      continue;
    }
    const name = `${entry.channel} ${key}`;
    // The first of one batch gives the reason; one of another kind is noted like any later no.
    if (known.has(name)) further.push({ ...entry, key });
    else known.set(name, { ...entry, key });
  }
  if (known.size === 0) return { added: [], existing: 0, invalid, stopped: [], inFlight: [] };
  const targets: Target[] = [...known.values()].map(({ channel, key }) => ({ channel, address: key }));
  await lockAddresses(ctx, targets);
  reach("suppression.locked");
  const added = await insert(ctx, [...known.values()]);
  const isNew = new Set(added.map(({ channel, address }) => `${channel} ${address}`));
  const repeated = [...known].flatMap(([name, entry]) => (isNew.has(name) ? [] : [entry]));
  await note(ctx, [...repeated, ...further]);
  const { stopped, inFlight } = await stopQueued(ctx, targets, "suppressed");
  reach("suppression.adding");
  return { added, existing: repeated.length, invalid, stopped, inFlight };
}

async function insert(ctx: TxContext, entries: readonly Known[]): Promise<Added["added"]> {
  const actor = `${ctx.actor.type}:${ctx.actor.id}`;
  const { rows } = await sql<Added["added"][number]>`
    insert into communication_suppressions
      (tenant_id, id, channel, address, reason, source, evidence, suppressed_at, created_by, created_at)
    select ${ctx.tenantId}, e.id, e.channel, e.address, e.reason, e.source, e.evidence, ${ctx.now}, ${actor}, ${ctx.now}
    from unnest(
      ${entries.map(() => newId("suppression", ctx.now))}::text[], ${entries.map((e) => e.channel)}::text[],
      ${entries.map((e) => e.key)}::text[], ${entries.map((e) => e.reason)}::text[], ${entries.map((e) => e.source)}::text[],
      ${entries.map((e) => JSON.stringify(e.evidence))}::jsonb[]
    ) as e(id, channel, address, reason, source, evidence)
    on conflict (tenant_id, channel, address) where released_at is null do nothing
    returning id, channel, address, seq::text as seq`.execute(ctx.db);
  return rows;
}

/** A no of a kind that the active row does not carry yet is added to its evidence under `also`; the same kind again changes nothing. */
async function note(ctx: TxContext, entries: readonly Known[]): Promise<void> {
  if (entries.length === 0) return;
  // From the entries to the rows, one look-up each: without statistics the planner would rather join the tenant's rows
  // with each other. (By ctid: under the address lock no row moves.)
  await sql`
    with given as materialized (
      select distinct on (u.channel, u.address, u.reason) u.channel, u.address, u.reason,
             jsonb_build_object('reason', u.reason, 'source', u.source, 'evidence', u.evidence, 'at', ${ctx.now}::timestamptz) as note
      from unnest(
        ${entries.map((e) => e.channel)}::text[], ${entries.map((e) => e.key)}::text[], ${entries.map((e) => e.reason)}::text[],
        ${entries.map((e) => e.source)}::text[], ${entries.map((e) => JSON.stringify(e.evidence))}::jsonb[]
      ) with ordinality as u(channel, address, reason, source, evidence, n)
      order by u.channel, u.address, u.reason, u.n
    ), news as materialized (
      select x.at_row, jsonb_agg(g.note) as notes
      from given g, lateral (
        select s.ctid as at_row, s.reason, s.evidence from communication_suppressions s
        where s.tenant_id = ${ctx.tenantId} and s.channel = g.channel and s.address = g.address and s.released_at is null limit 1
      ) x
      where x.reason <> g.reason
        and not coalesce(x.evidence -> 'also', '[]') @> jsonb_build_array(jsonb_build_object('reason', g.reason))
      group by x.at_row
    )
    update communication_suppressions s
    set evidence = jsonb_set(s.evidence, '{also}', coalesce(s.evidence -> 'also', '[]') || n.notes)
    from news n where s.tenant_id = ${ctx.tenantId} and s.ctid = n.at_row`.execute(ctx.db);
}

/** Ends what is queued or held for the addresses. The caller holds their locks. */
export async function stopQueued(
  ctx: TxContext,
  targets: readonly Target[],
  reason: "suppressed" | "dnc",
): Promise<Pick<Added, "stopped" | "inFlight">> {
  const wanted = sql`unnest(${targets.map((t) => t.channel)}::text[], ${targets.map((t) => t.address)}::text[]) as t(channel, address)`;
  // Who ends an enrollment cancels what it has queued, and who pauses a campaign holds it.
  await lockEnrollments(
    ctx,
    sql`in (
      select m.contact_campaign_id from outbound_messages m join ${wanted} on m.channel = t.channel and m.suppression_key = t.address
      where m.tenant_id = ${ctx.tenantId} and m.status in ('queued', 'held'))`,
  );
  const { rows: ended } = await sql<Stopped & { decision: unknown }>`
    update outbound_messages m set status = 'suppressed', hold_reason = ${reason}, lease_until = null
    from ${wanted}
    where m.tenant_id = ${ctx.tenantId} and m.channel = t.channel and m.suppression_key = t.address
      and m.status in ('queued', 'held')
    returning m.id as "messageId", m.contact_campaign_id as "contactCampaignId", m.channel, m.suppression_key as address,
      case when m.decision ? 'places' then m.decision end as decision`.execute(ctx.db);
  await giveBackPlaces(
    ctx,
    ended.map((one) => one.decision),
  );
  const stopped = ended.map(({ decision: _, ...one }): Stopped => one);
  const inFlight = await sql<Stopped>`
    select m.id as "messageId", m.contact_campaign_id as "contactCampaignId", m.channel, m.suppression_key as address
    from outbound_messages m join ${wanted} on m.channel = t.channel and m.suppression_key = t.address
    where m.tenant_id = ${ctx.tenantId} and m.status = 'sending'`.execute(ctx.db);
  return { stopped, inFlight: inFlight.rows };
}

/** Every kind of no that an active row stands for: its first reason and those noted later. */
export function reasonsOf(row: { readonly reason: string; readonly evidence: unknown }): SuppressionReason[] {
  const also = z
    .object({ also: z.array(z.object({ reason: z.enum(suppressionReasons) })).default([]) })
    .safeParse(row.evidence);
  const all = [row.reason, ...(also.data?.also ?? []).map(({ reason }) => reason)];
  return z.array(z.enum(suppressionReasons)).parse([...new Set(all)]);
}

/**
 * Asking whether an address may be contacted: now, for a whole batch, or at an instant in the past.
 * Invariant: "suppressed" is an answer, not an error, and it names its row. Only an answer read under the address lock
 * (`lockAddresses`) holds until a message is claimed.
 */
import { type RawBuilder, sql } from "kysely";
import * as z from "zod";
import {
  type Channel,
  channels,
  decodeCursor,
  Instant,
  Page,
  paged,
  query,
  suppressionReasons,
  type TxContext,
} from "../kernel/index.ts";
import type { Target } from "./locks.ts";
import { dncChannels, suppressionKey } from "./policy.ts";

/** Why one address must not be contacted on one channel. */
export interface Hit {
  readonly channel: Channel;
  /** Canonical. */
  readonly address: string;
  readonly list: "suppression" | "dnc";
  readonly id: string;
  /** The first reason of a suppression; for do-not-call whatever was noted there. */
  readonly reason: string | null;
  readonly since: Date;
  readonly seq: string;
}

/**
 * The gate's question, in one statement: which of these canonical addresses are suppressed, or on the organization's do-not-call list.
 * A text that was answered with STOP closes the phone for calls as well (47 CFR 64.1200(a)(10)). A suppression comes before do-not-call.
 */
export async function checkTargets(
  ctx: Pick<TxContext, "db" | "tenantId" | "organizationId">,
  targets: readonly Target[],
): Promise<Hit[]> {
  if (targets.length === 0) return [];
  const { rows } = await sql<Hit>`
    with t as materialized (
      select distinct channel, address
      from unnest(${targets.map((t) => t.channel)}::text[], ${targets.map((t) => t.address)}::text[]) as u(channel, address)
    ), hits as (
      select t.channel, t.address, 'suppression' as list, s.id, s.reason, s.suppressed_at as since, s.seq, s.channel <> t.channel as second
      from t join communication_suppressions s
        on s.tenant_id = ${ctx.tenantId} and s.released_at is null and s.address = t.address
       and (s.channel = t.channel or (t.channel = 'call' and s.channel = 'sms' and
            (s.reason = 'stop' or s.evidence @> '{"also":[{"reason":"stop"}]}')))
      union all
      select t.channel, t.address, 'dnc', d.id, d.reason, d.added_at, d.seq, true
      from t join dnc_list d
        on d.organization_id = ${ctx.organizationId} and d.phone_number = t.address and d.lifted_at is null
      where t.channel = any(${dncChannels as string[]}::text[])
    )
    select distinct on (channel, address) channel, address, list, id, reason, since, seq::text as seq
    from hits order by channel, address, second, list desc`.execute(ctx.db);
  return rows;
}

/**
 * SQL: was the no of suppression `s` said at this instant or later? By its evidence where that gives an instant as we write it; evidence is
 * whatever its bringer gave, so it is compared as text and never cast.
 */
export const saidSince = (at: RawBuilder<unknown>) => sql`
  case when s.evidence ->> 'at' ~ '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$'
       then (s.evidence ->> 'at') collate "C" >= to_char(${at} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
       else s.suppressed_at >= ${at} end`;

/** Also as a query string has it: `true`, `false`, `1`, `0`, … */
export const Flag = z.union([z.boolean(), z.stringbool()]);

const Address = z.object({ channel: z.enum(channels), address: z.string().min(1).max(320) });

export type Check =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly hit: Hit }
  /** Not an address of that channel at all. */
  | { readonly allowed: false; readonly hit: null };

export const check = query(Address, async (ctx, { channel, address }): Promise<Check> => {
  const key = suppressionKey(channel, address);
  if (key === null) return { allowed: false, hit: null };
  const [hit] = await checkTargets(ctx, [{ channel, address: key }]);
  return hit ? { allowed: false, hit } : { allowed: true };
});

/** Answers in the order of the question. */
export const checkMany = query(
  z.object({ targets: z.array(Address).max(10_000) }),
  async (ctx, { targets }): Promise<Check[]> => {
    const keyed = targets.map((target) => ({ ...target, key: suppressionKey(target.channel, target.address) }));
    const known = keyed.flatMap(({ channel, key }) => (key === null ? [] : [{ channel, address: key }]));
    const hits = new Map(
      (await checkTargets(ctx, known)).map((hit) => [`${hit.channel} ${hit.address}`, hit] as const),
    );
    return keyed.map(({ channel, key }): Check => {
      if (key === null) return { allowed: false, hit: null };
      const hit = hits.get(`${channel} ${key}`);
      return hit ? { allowed: false, hit } : { allowed: true };
    });
  },
);

export interface Suppression {
  readonly id: string;
  readonly channel: string;
  readonly address: string;
  readonly reason: string;
  readonly source: string;
  readonly evidence: unknown;
  readonly seq: string;
  readonly suppressedAt: Date;
  readonly createdBy: string | null;
  readonly releasedAt: Date | null;
  readonly releasedBy: string | null;
  readonly releaseNote: string | null;
}

const columns = [
  "id",
  "channel",
  "address",
  "reason",
  "source",
  "evidence",
  "seq",
  "suppressed_at as suppressedAt",
  "created_by as createdBy",
  "released_at as releasedAt",
  "released_by as releasedBy",
  "release_note as releaseNote",
] as const;

/** The suppression in force for an address at an instant, or null: what we knew when we sent. */
export const asOf = query(
  Address.extend({ at: Instant }),
  async (ctx, { channel, address, at }): Promise<Suppression | null> => {
    const key = suppressionKey(channel, address);
    if (key === null) return null;
    const row = await ctx.db
      .selectFrom("communication_suppressions")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .where("channel", "=", channel)
      .where("address", "=", key)
      .where("suppressed_at", "<=", at)
      .where((eb) => eb.or([eb("released_at", "is", null), eb("released_at", ">", at)]))
      .orderBy("seq", "desc")
      .limit(1)
      .executeTakeFirst();
    return row ?? null;
  },
);

/** Newest first. `active: false` lists what was lifted. */
export const list = query(
  Page.extend({
    channel: z.enum(channels).optional(),
    address: z.string().max(320).optional(),
    reason: z.enum(suppressionReasons).optional(),
    active: Flag.optional(),
  }),
  async (ctx, { limit, cursor, channel, address, reason, active }) => {
    const before = decodeCursor(cursor);
    // Without a channel an address is looked for in the form of any of them.
    const keys = address === undefined ? [] : channels.map((name) => suppressionKey(name, address) ?? address);
    const rows: Suppression[] = await ctx.db
      .selectFrom("communication_suppressions")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .$if(channel !== undefined, (qb) => qb.where("channel", "=", channel ?? ""))
      .$if(address !== undefined, (qb) => qb.where("address", "in", [...new Set(keys)]))
      .$if(reason !== undefined, (qb) => qb.where("reason", "=", reason ?? ""))
      .$if(active !== undefined, (qb) => qb.where("released_at", active ? "is" : "is not", null))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

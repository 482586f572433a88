/**
 * Gives every message that passed the gate its place under the tenant's rate limits: locks the limits (in id order, so that two workers
 * never wait for each other in a circle), allocates in memory, writes the usage back in one statement.
 */
import { sql } from "kysely";
import { emailDomain, type TxContext } from "../kernel/index.ts";
import type { Candidate, StoredTurn } from "./facts.ts";
import type { Verdict } from "./gate.ts";
import { type Applied, giveBack, type Limit, type Place, type Turn, takeTurn, Usage } from "./rate.ts";

interface LimitRow {
  readonly id: string;
  readonly scope: "tenant" | "sender" | "channel" | "domain";
  readonly scope_id: string;
  readonly channel: string;
  readonly max_count: number;
  readonly window_seconds: number;
}

interface Judged {
  readonly row: Candidate;
  readonly verdict: Verdict;
}

/** What a limit's scope is compared with, and what it counts separately. */
export interface RateSubject {
  readonly channel: string;
  readonly senderId: string | null;
  readonly accountId: string | null;
  readonly address: string;
}

/** The limits that bind one message. A domain limit of `*` counts every recipient domain for itself. */
export function appliedTo(limits: readonly LimitRow[], subject: RateSubject): Applied[] {
  const domain = subject.channel === "email" ? emailDomain(subject.address) : "";
  return limits.flatMap((limit) => {
    if (limit.channel !== subject.channel) return [];
    const as: Limit = { id: limit.id, maxCount: limit.max_count, windowSeconds: limit.window_seconds };
    const key =
      limit.scope === "tenant"
        ? ""
        : limit.scope === "sender"
          ? (subject.senderId ?? "")
          : limit.scope === "channel"
            ? (subject.accountId ?? "")
            : domain;
    const matches =
      limit.scope === "tenant" ||
      (limit.scope_id === "*" || limit.scope_id === "" ? key !== "" : limit.scope_id === key);
    return matches ? [{ limit: as, key }] : [];
  });
}

export type { LimitRow };

const subjectOf = (row: Candidate): RateSubject => ({
  channel: row.channel,
  senderId: row.sender?.id ?? null,
  accountId: row.channel_config?.id ?? null,
  address: row.to_address,
});

/** A message's turn as its last decision has it. */
export const turnOf = (decision: StoredTurn | null): Turn | null =>
  decision?.slot === undefined
    ? null
    : { slot: new Date(decision.slot), places: decision.places ?? [], taken: decision.taken ?? false };

/**
 * Turns `send` into `hold` for what must wait for a later window. The order of `judged` is the order in which places are given. What
 * another rule holds or ends gives its place back first; held, it keeps its seniority.
 */
export async function allocate<T extends Judged>(ctx: TxContext, judged: readonly T[]): Promise<T[]> {
  const concerned = judged.filter(({ row, verdict }) => verdict.kind === "send" || turnOf(row.decision) !== null);
  if (concerned.length === 0) return [...judged];
  const { rows: limits } = await sql<LimitRow>`
    select id, scope, scope_id, channel, max_count, window_seconds from send_rate_limits
    where tenant_id = ${ctx.tenantId} and enabled and channel = any(${[...new Set(concerned.map((one) => one.row.channel))]})
    order by id for update`.execute(ctx.db);
  if (limits.length === 0) return [...judged];
  const usage = await loadUsage(ctx, asked(limits, concerned));
  for (const { row, verdict } of judged) if (verdict.kind !== "send") giveBack(usage, turnOf(row.decision), ctx.now);
  const result = judged.map((one) => {
    const { row, verdict } = one;
    if (verdict.kind === "end") return one;
    if (verdict.kind === "hold") {
      const slot = row.decision?.slot;
      return slot === undefined ? one : { ...one, verdict: { ...verdict, facts: { ...verdict.facts, slot } } };
    }
    return { ...one, verdict: place(ctx, row, verdict, appliedTo(limits, subjectOf(row)), usage) };
  });
  await storeUsage(ctx, usage);
  return result;
}

function place(
  ctx: TxContext,
  row: Candidate,
  verdict: Extract<Verdict, { kind: "send" }>,
  applied: readonly Applied[],
  usage: Usage,
): Verdict {
  const turn = takeTurn(usage, applied, turnOf(row.decision), ctx.now, row.expires_at);
  if (turn !== null && turn.slot <= ctx.now) return verdict;
  if (turn === null) {
    const detail = "no place is left before the message expires";
    return { kind: "hold", reason: "rate_limit", until: row.expires_at, detail, facts: verdict.facts };
  }
  const slot = turn.slot.toISOString();
  return {
    kind: "hold",
    reason: "rate_limit",
    until: turn.slot,
    detail: `the rate limit has room from ${slot}`,
    facts: { ...verdict.facts, slot, places: turn.places, taken: turn.taken },
  };
}

/** What these messages may take a place in or give one back to. A limit may count thousands of domains; a batch names a few. */
function asked(limits: readonly LimitRow[], concerned: readonly Judged[]): Pick<Place, "limit" | "key">[] {
  const all = concerned.flatMap(({ row }) => [
    ...appliedTo(limits, subjectOf(row)).map(({ limit, key }) => ({ limit: limit.id, key })),
    ...(turnOf(row.decision)?.places ?? []),
  ]);
  return [...new Map(all.map(({ limit, key }) => [`${limit}\u001f${key}`, { limit, key }])).values()];
}

async function loadUsage(ctx: TxContext, places: readonly Pick<Place, "limit" | "key">[]): Promise<Usage> {
  const usage = new Usage();
  const { rows } = await sql<{ limit_id: string; key: string; window_start: Date; used: number; reserved: number }>`
    select w.limit_id, w.key, w.window_start, w.used, w.reserved
    from unnest(${places.map(({ limit }) => limit)}::text[], ${places.map(({ key }) => key)}::text[]) as p(limit_id, key)
    join send_rate_limits l on l.tenant_id = ${ctx.tenantId} and l.id = p.limit_id
    join send_rate_windows w on w.tenant_id = ${ctx.tenantId} and w.limit_id = p.limit_id and w.key = p.key
      and w.window_start > ${ctx.now}::timestamptz - make_interval(secs => l.window_seconds)`.execute(ctx.db);
  for (const row of rows) usage.load(row.limit_id, row.key, row.window_start, row.used, row.reserved);
  return usage;
}

async function storeUsage(ctx: TxContext, usage: Usage): Promise<void> {
  const changes = usage.changes();
  if (changes.length === 0) return;
  await sql`
    with changes as materialized (
      select * from unnest(${changes.map((c) => c.limitId)}::text[], ${changes.map((c) => c.key)}::text[], ${changes.map((c) => c.windowStart)}::timestamptz[],
        ${changes.map((c) => c.used)}::int[], ${changes.map((c) => c.reserved)}::int[]) with ordinality as r(limit_id, key, window_start, used, reserved, n)
    ), locked as materialized (
      -- In the order in which everybody locks windows.
      select w.limit_id from send_rate_windows w join changes c using (limit_id, key, window_start)
      where w.tenant_id = ${ctx.tenantId} order by w.limit_id, w.key, w.window_start for update of w
    ), made as (
      -- Differences, because what ends meanwhile gives back without waiting for the limits.
      update send_rate_windows w set used = greatest(0, w.used + c.used), reserved = greatest(0, w.reserved + c.reserved)
      from changes c, (select count(*) from locked) l where w.tenant_id = ${ctx.tenantId} and w.limit_id = c.limit_id and w.key = c.key and w.window_start = c.window_start
      returning c.n
    )
    insert into send_rate_windows (tenant_id, limit_id, key, window_start, used, reserved)
    select ${ctx.tenantId}, c.limit_id, c.key, c.window_start, greatest(0, c.used), greatest(0, c.reserved)
    from changes c where c.n not in (select n from made) order by c.n`.execute(ctx.db);
}

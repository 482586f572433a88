/**
 * Gives every message that passed the gate its place under the tenant's rate limits: locks the limits (in id order, so that two workers
 * never wait for each other in a circle), allocates in memory, writes the usage back in one statement.
 */
import { sql } from "kysely";
import { emailDomain, type TxContext } from "../kernel/index.ts";
import type { Candidate } from "./facts.ts";
import type { Verdict } from "./gate.ts";
import { type Applied, holdsSlot, type Limit, reserve, Usage } from "./rate.ts";

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

/** Turns `send` into `hold` for what must wait for a later window. The order of `judged` is the order in which places are given. */
export async function allocate<T extends Judged>(ctx: TxContext, judged: readonly T[]): Promise<T[]> {
  const passing = judged.filter((one) => one.verdict.kind === "send");
  if (passing.length === 0) return [...judged];
  const { rows: limits } = await sql<LimitRow>`
    select id, scope, scope_id, channel, max_count, window_seconds from send_rate_limits
    where tenant_id = ${ctx.tenantId} and enabled and channel = any(${[...new Set(passing.map((one) => one.row.channel))]})
    order by id for update`.execute(ctx.db);
  if (limits.length === 0) return [...judged];
  const usage = await loadUsage(ctx, limits);
  const result = judged.map((one) => {
    if (one.verdict.kind !== "send") return one;
    const verdict = place(ctx, one.row, one.verdict, appliedTo(limits, subjectOf(one.row)), usage);
    return { ...one, verdict };
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
  const reserved = row.decision?.slot === undefined ? null : new Date(row.decision.slot);
  if (applied.length === 0 || (reserved !== null && holdsSlot(reserved, applied, ctx.now))) return verdict;
  const slot = reserve(usage, applied, ctx.now, row.expires_at);
  if (slot !== null && slot <= ctx.now) return verdict;
  const detail =
    slot === null
      ? "no place is left before the message expires"
      : `the rate limit has room from ${slot.toISOString()}`;
  return {
    kind: "hold",
    reason: "rate_limit",
    until: slot ?? row.expires_at,
    detail,
    facts: slot === null ? verdict.facts : { ...verdict.facts, slot: slot.toISOString() },
  };
}

async function loadUsage(ctx: TxContext, limits: readonly LimitRow[]): Promise<Usage> {
  const usage = new Usage();
  const { rows } = await sql<{ limit_id: string; key: string; window_start: Date; used: number }>`
    select w.limit_id, w.key, w.window_start, w.used from send_rate_windows w join send_rate_limits l on l.tenant_id = w.tenant_id and l.id = w.limit_id
    where w.tenant_id = ${ctx.tenantId} and w.limit_id = any(${limits.map((limit) => limit.id)})
      and w.window_start > ${ctx.now}::timestamptz - make_interval(secs => l.window_seconds)`.execute(ctx.db);
  for (const row of rows) usage.load(row.limit_id, row.key, row.window_start, row.used);
  return usage;
}

async function storeUsage(ctx: TxContext, usage: Usage): Promise<void> {
  const changes = usage.changes();
  if (changes.length === 0) return;
  await sql`
    insert into send_rate_windows (tenant_id, limit_id, key, window_start, used)
    select ${ctx.tenantId}, r.limit_id, r.key, r.window_start, r.used
    from unnest(${changes.map((c) => c.limitId)}::text[], ${changes.map((c) => c.key)}::text[], ${changes.map((c) => c.windowStart)}::timestamptz[],
      ${changes.map((c) => c.used)}::int[]) as r(limit_id, key, window_start, used)
    on conflict (tenant_id, limit_id, key, window_start) do update set used = excluded.used`.execute(ctx.db);
}

/** What a run measured, from the same records as the judgement: how ambiguous sends ended, how soon the dead were replaced, how soon a STOP worked. */
import type { FaultDatabase } from "./database.ts";

type Query = FaultDatabase["query"];

export interface Spread {
  readonly n: number;
  /** Seconds; null when nothing was measured. */
  readonly p50: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

export interface Ambiguous {
  readonly how: string;
  readonly n: number;
  /** Of these, how many the provider had accepted. */
  readonly accepted: number;
}

export interface LateStop {
  readonly delivery: string;
  readonly received: Date;
  readonly answered: Date;
  /** From the answer to the last claim. */
  readonly seconds: number;
  /** `running 10:16:35.631 w0.535`: when it was taken up and let go, and by whom. */
  readonly moves: readonly string[];
}

export interface Figures {
  readonly planned: number;
  readonly accepted: number;
  readonly byStatus: Readonly<Record<string, number>>;
  readonly ambiguous: readonly Ambiguous[];
  /** From the death of a worker to the next claim (or the end) of a row it held, by kind of work. */
  readonly recovery: Readonly<Record<string, Spread>>;
  /** From the 2xx for a STOP to the last claim of a message to that address; 0 when there was none after it. */
  readonly stop: {
    readonly all: Spread;
    /** Of those whose address still had messages that the STOP ended or came too late for. */
    readonly pending: Spread;
    readonly claimedAfterwards: number;
    /** The worst of those, with what befell the delivery that said STOP. */
    readonly late: readonly LateStop[];
  };
  readonly webhooks: number;
  readonly repeated: number;
  readonly largeBodies: number;
}

const spread = (
  seconds: string,
) => `count(*)::int as n, percentile_cont(0.5) within group (order by ${seconds})::float8 as p50,
  percentile_cont(0.99) within group (order by ${seconds})::float8 as p99, max(${seconds})::float8 as max`;

const empty: Spread = { n: 0, p50: null, p99: null, max: null };

/**
 * A row was abandoned when the worker that moved it into its lease died before anybody moved it again. What came next (another claim, an
 * ambiguous end, a webhook that settled it) is its recovery.
 */
const abandoned = `
  with moves as (
    select m.*, lead(m.at) over w as next_at, lead(m.worker) over w as next_worker
    from archive.referee_moves m window w as (partition by m.kind, m.tenant, m.row_id order by m.n)
  ), orphans as (
    select m.kind, extract(epoch from m.next_at - d.at) as seconds
    from moves m join archive.referee_deaths d on d.worker = m.worker and d.at >= m.at and d.at < m.next_at
    where m.to_status in ('running', 'sending')
  )`;

const stops = `
  with answered as (
    select d.tenant_id, i.channel, i.from_address as address, min(g.at) as at,
      (array_agg(d.id order by g.at))[1] as delivery, (array_agg(d.received_at order by g.at))[1] as received
    from inbound_messages i
    join webhook_deliveries d on d.tenant_id = i.tenant_id and d.id = i.delivery_id
    join archive.referee_bodies b on b.tenant = d.tenant_id and b.id = d.id
    join archive.referee_gateway g on g.channel_config_id = b.channel_config_id and g.sha256 = b.sha256 and g.target = b.target
    where i.classification = 'opt_out'
    group by d.tenant_id, i.channel, i.from_address
  ), claims as materialized (
    select o.tenant_id, o.channel, o.to_address as address, max(m.at) as at
    from archive.referee_moves m join outbound_messages o on o.tenant_id = m.tenant and o.id = m.row_id
    where m.kind = 'messages' and m.to_status = 'sending' group by 1, 2, 3
  ), endings as materialized (
    select distinct tenant_id, channel, to_address as address from outbound_messages where status = 'suppressed'
  ), measured as (
    select s.*, greatest(0, extract(epoch from c.at - s.at)) as seconds, e.address is not null as ended_some
    from answered s left join claims c using (tenant_id, channel, address) left join endings e using (tenant_id, channel, address)
  )`;

const rounded = (row: Spread | undefined): Spread => {
  const to = (value: number | null) => (value === null ? null : Math.round(value * 1000) / 1000);
  return row === undefined ? empty : { n: row.n, p50: to(row.p50), p99: to(row.p99), max: to(row.max) };
};

export async function measure(query: Query): Promise<Figures> {
  const [totals] = await query<{
    planned: number;
    accepted: number;
    webhooks: number;
    repeated: number;
    large: number;
  }>(`
    select (select count(*)::int from outbound_messages) as planned, (select count(*)::int from archive.referee_accepts) as accepted,
      (select count(*)::int from webhook_deliveries) as webhooks, (select coalesce(sum(duplicates), 0)::int from webhook_deliveries) as repeated,
      (select count(*)::int from webhook_deliveries where body_key is not null) as large`);
  const statuses = await query<{ status: string; n: number }>(
    "select status, count(*)::int as n from outbound_messages group by status order by status",
  );
  const ambiguous = await query<Ambiguous>(`
    with doubtful as (
      select a.*, m.status, exists (select from archive.referee_accepts r where r.message_id = a.message_id) as was_accepted
      from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      where a.outcome = 'ambiguous' or a.resolved_by is not null or a.reason = 'the worker did not come back'
    )
    select case when resolved_by = 'webhook' then 'by a webhook' when resolved_by = 'lookup' then 'by asking the provider'
                when resolved_by = 'deadline' then 'aged to accepted_unknown' when outcome = 'accepted' then 'by its own late answer'
                else 'open: ' || status end as how,
      count(*)::int as n, count(*) filter (where was_accepted)::int as accepted
    from doubtful group by 1 order by 1`);
  const recovery = await query<Spread & { kind: string }>(
    `${abandoned} select kind, ${spread("seconds")} from orphans group by kind
     union all select 'all', ${spread("seconds")} from orphans order by 1`,
  );
  const [all] = await query<Spread>(`${stops} select ${spread("seconds")} from measured`);
  const [pending] = await query<Spread>(
    `${stops} select ${spread("seconds")} from measured where ended_some or seconds > 0`,
  );
  const [after] = await query<{ n: number }>(`${stops} select count(*)::int as n from measured where seconds > 0`);
  const late = await query<LateStop>(`${stops}
    select s.delivery, s.received, s.at as answered, s.seconds::float8 as seconds, array(
      select m.to_status || ' ' || to_char(m.at, 'HH24:MI:SS.MS') || ' ' || m.worker from archive.referee_moves m
      where m.kind = 'deliveries' and m.tenant = s.tenant_id and m.row_id = s.delivery order by m.n) as moves
    from measured s where s.seconds > 0 order by s.seconds desc limit 20`);
  return {
    planned: totals?.planned ?? 0,
    accepted: totals?.accepted ?? 0,
    byStatus: Object.fromEntries(statuses.map(({ status, n }) => [status, n])),
    ambiguous,
    recovery: Object.fromEntries(recovery.map(({ kind, ...row }) => [kind, rounded(row)])),
    stop: { all: rounded(all), pending: rounded(pending), claimedAfterwards: after?.n ?? 0, late },
    webhooks: totals?.webhooks ?? 0,
    repeated: totals?.repeated ?? 0,
    largeBodies: totals?.large ?? 0,
  };
}

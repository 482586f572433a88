/** Events into one table and the status of their messages in another: one statement per batch, or two per event. No plans, no consent. */
import type pg from "pg";
import { messageIdArgument } from "../core/providers/sendgrid/message-id.ts";
import type { Addressed, SendgridEvent } from "./sendgrid-batch.ts";

export async function createBaseline(raw: pg.ClientBase): Promise<void> {
  await raw.query(`
    create table sent (id bigint generated always as identity primary key, tenant_id int not null, status text not null default 'sent',
      rank smallint not null default 1, last_event_at timestamptz, delivered_at timestamptz, opened_at timestamptz);
    create table events (id bigint generated always as identity primary key, tenant_id int not null, provider text not null,
      event_id text not null, message_id bigint, type text not null, event_at timestamptz not null, payload jsonb not null,
      unique (tenant_id, provider, event_id));
    create index on events (message_id)`);
}

export async function fillBaseline(raw: pg.ClientBase, count: number): Promise<Addressed[]> {
  const { rows } = await raw.query<{ id: string }>(
    "insert into sent (tenant_id) select 7 from generate_series(1, $1::int) returning id",
    [count],
  );
  await raw.query("vacuum analyze sent");
  return rows.map(({ id }) => ({ id, address: `person${id}@example.com` }));
}

const ranks: Readonly<Record<string, number>> = { delivered: 2, open: 3, click: 4, bounce: 5, spamreport: 6 };

const read = (body: Uint8Array): SendgridEvent[] => JSON.parse(Buffer.from(body).toString("utf8")) as SendgridEvent[];

const batch = `
  with stored as (
    insert into events (tenant_id, provider, event_id, message_id, type, event_at, payload)
    select 7, 'sendgrid', e, m, t, to_timestamp(s), p from unnest($1::text[], $2::bigint[], $3::text[], $4::float8[], $5::jsonb[]) u(e, m, t, s, p)
    on conflict do nothing returning event_id, message_id, type, event_at
  ), news as (
    select s.message_id, max(u.r) as rank, max(s.event_at) as last, min(s.event_at) filter (where s.type = 'delivered') as delivered,
      min(s.event_at) filter (where s.type = 'open') as opened
    from stored s join unnest($1::text[], $6::int[]) u(e, r) on u.e = s.event_id group by s.message_id
  )
  update sent m set rank = greatest(m.rank, n.rank), last_event_at = greatest(m.last_event_at, n.last),
    status = (array['sent', 'delivered', 'opened', 'clicked', 'bounced', 'complained'])[greatest(m.rank, n.rank)],
    delivered_at = least(m.delivered_at, n.delivered), opened_at = least(m.opened_at, n.opened)
  from news n where m.id = n.message_id`;

export async function storeBatch(raw: pg.ClientBase, body: Uint8Array): Promise<void> {
  const events = read(body);
  await raw.query({
    name: "store-batch",
    text: batch,
    values: [
      events.map((one) => one.sg_event_id),
      events.map((one) => one[messageIdArgument]),
      events.map((one) => one.event),
      events.map((one) => one.timestamp),
      events.map((one) => JSON.stringify(one)),
      events.map((one) => ranks[one.event] ?? 1),
    ],
  });
}

export async function storeRows(raw: pg.ClientBase, body: Uint8Array): Promise<void> {
  await raw.query("begin");
  for (const one of read(body)) {
    const { rowCount } = await raw.query({
      name: "store-one",
      text: `insert into events (tenant_id, provider, event_id, message_id, type, event_at, payload)
        values (7, 'sendgrid', $1, $2, $3, to_timestamp($4), $5) on conflict do nothing`,
      values: [one.sg_event_id, one[messageIdArgument], one.event, one.timestamp, one],
    });
    if (rowCount === 0) continue;
    await raw.query({
      name: "roll-up-one",
      text: `update sent set rank = greatest(rank, $2), last_event_at = greatest(last_event_at, to_timestamp($3)),
        status = (array['sent', 'delivered', 'opened', 'clicked', 'bounced', 'complained'])[greatest(rank, $2)],
        delivered_at = case when $4 = 'delivered' then least(delivered_at, to_timestamp($3)) else delivered_at end,
        opened_at = case when $4 = 'open' then least(opened_at, to_timestamp($3)) else opened_at end
        where id = $1`,
      values: [one[messageIdArgument], ranks[one.event] ?? 1, one.timestamp, one.event],
    });
  }
  await raw.query("commit");
}

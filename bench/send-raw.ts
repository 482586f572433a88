/**
 * The sender somebody would write by hand if speed were all: claim with the suppression check in one statement, a token bucket per tenant,
 * the call, one statement for the results. No attempt rows, no gate, no templates, no enrollments, no audit.
 */
import type pg from "pg";
import { Pool } from "undici";

const claim = `
  with due as materialized (
    select id from outbox where status = 'pending' and run_at <= now() order by run_at, id limit $1 for update skip locked
  ), taken as (
    update outbox o set status = 'sending', attempts = attempts + 1, locked_until = now() + interval '60 seconds'
    from due where o.id = due.id returning o.id, o.tenant_id, o.channel, o.dedupe_key, o.to_addr, o.body
  )
  select t.*, s.addr is not null as suppressed
  from taken t left join suppressions s on s.tenant_id = t.tenant_id and s.channel = t.channel and s.addr = t.to_addr`;
// Locked in one order first: a bare multi-row update deadlocks between workers.
const takeTokens = `
  with k as materialized (select l.tenant_id from tenant_limits l where l.tenant_id = any($1::int[]) order by l.tenant_id for update)
  update tenant_limits l set tokens = least(cap, tokens + extract(epoch from now() - at) * rate) - w.n, at = now()
  from k join unnest($1::int[], $2::int[]) w(t, n) on w.t = k.tenant_id
  where l.tenant_id = k.tenant_id and least(cap, tokens + extract(epoch from now() - at) * rate) >= w.n`;
const store = `
  update outbox o set status = x.s, provider_message_id = x.p, sent_at = now()
  from unnest($1::bigint[], $2::text[], $3::text[]) x(id, s, p) where o.id = x.id and o.status = 'sending'`;

interface Row {
  readonly id: string;
  readonly tenant_id: number;
  readonly to_addr: string;
  readonly dedupe_key: string;
  readonly body: unknown;
  readonly suppressed: boolean;
}

export async function createOutbox(raw: pg.Pool): Promise<void> {
  await raw.query(`
    create table outbox (id bigint generated always as identity primary key, tenant_id int not null, channel text not null,
      dedupe_key text not null, to_addr text not null, body jsonb not null, status text not null default 'pending',
      run_at timestamptz not null default now(), attempts smallint not null default 0, locked_until timestamptz,
      provider_message_id text, sent_at timestamptz);
    create index on outbox (run_at, id) where status = 'pending';
    create unique index on outbox (tenant_id, dedupe_key);
    create table suppressions (tenant_id int, channel text, addr text, primary key (tenant_id, channel, addr));
    insert into suppressions select g % 100, 'email', 'user' || (g * 37) || '@elsewhere.example' from generate_series(1, 200000) g;
    create table tenant_limits (tenant_id int primary key, tokens float8 not null, cap float8 not null, rate float8 not null,
      at timestamptz not null default now()) with (fillfactor = 50);
    insert into tenant_limits select g, 1e9, 1e9, 1e9, now() from generate_series(0, 99) g`);
  await raw.query("vacuum analyze suppressions");
}

export async function fillOutbox(raw: pg.Pool, count: number): Promise<void> {
  await raw.query("truncate outbox");
  await raw.query(
    `insert into outbox (tenant_id, channel, dedupe_key, to_addr, body)
     select g % 100, 'email', 'd' || g, 'user' || g || '@example.com', $2 from generate_series(1, $1::int) g`,
    [
      count,
      JSON.stringify({
        subject: "Hello Grace",
        html: "<p>Good to meet you, Grace.</p>",
        text: "Good to meet you, Grace.",
        from: "a@b.co",
      }),
    ],
  );
  await raw.query("vacuum analyze outbox");
}

export interface RawOptions {
  readonly batch: number;
  readonly workers: number;
  readonly parallelCalls: number;
}

/** @returns messages sent */
export async function sendRaw(
  raw: pg.Pool,
  origin: string,
  { batch, workers, parallelCalls }: RawOptions,
): Promise<number> {
  const http = new Pool(origin, { connections: 64 });
  const call = async (row: Row): Promise<string | null> => {
    const { headers, body } = await http.request({
      method: "POST",
      path: "/v3/mail/send",
      headers: { "content-type": "application/json", authorization: "Bearer x" },
      body: JSON.stringify({
        to: row.to_addr,
        custom_args: { outbox_id: row.id, dedupe: row.dedupe_key },
        content: row.body,
      }),
    });
    await body.dump();
    return String(headers["x-message-id"]);
  };
  let done = 0;
  const worker = async (): Promise<void> => {
    const client = await raw.connect();
    try {
      for (;;) {
        const { rows } = await client.query<Row>({ name: "claim", text: claim, values: [batch] });
        if (rows.length === 0) return;
        const sending = rows.filter((row) => !row.suppressed);
        const tenants = [...Map.groupBy(sending, (row) => row.tenant_id)].toSorted(([a], [b]) => a - b);
        await client.query({
          name: "tokens",
          text: takeTokens,
          values: [tenants.map(([id]) => id), tenants.map(([, group]) => group.length)],
        });
        const ids = new Map<string, string | null>();
        const waiting = sending.values();
        const lane = async (): Promise<void> => {
          for (const row of waiting) ids.set(row.id, await call(row));
        };
        await Promise.all(Array.from({ length: parallelCalls }, lane));
        await client.query({
          name: "store",
          text: store,
          values: [
            rows.map((r) => r.id),
            rows.map((r) => (r.suppressed ? "suppressed" : "sent")),
            rows.map((r) => ids.get(r.id) ?? null),
          ],
        });
        done += rows.length;
      }
    } finally {
      client.release();
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  await http.close();
  return done;
}

/**
 * `promote`: rows of a list, read and normalised already, until they are golden records with lead, contact, addresses, history and audit;
 * against the hand-written pair of statements that stores a row and upserts one contact, and against the same records made row by row.
 */
import { randomBytes } from "node:crypto";
import type pg from "pg";
import { createNormalizer, type IntakeRow } from "../core/intake/index.ts";
import { takeIn } from "../core/intake/store.ts";
import { type Context, transact } from "../core/kernel/context.ts";
import { interleave, type Rig, rate, workingHour } from "./rig.ts";
import { newTenant } from "./tenants.ts";

/** Rows of a transaction, as core/intake/run.ts takes them. */
const chunk = 1_000;
/** About three people a company, as in bought lists. */
const perCompany = 3;

let made = 0;

function newRows(count: number): IntakeRow[] {
  const normalize = createNormalizer({ sourceType: "csv_import" });
  return Array.from({ length: count }, (_, index) => {
    const n = ++made;
    const company = Math.floor(n / perCompany);
    const raw = {
      email: `person${n}@company${company}.example`,
      first_name: `First${n}`,
      last_name: `Last${n}`,
      phone: `+1212${String(2_000_000 + n)}`,
      company: `Company ${company}`,
      title: "VP Sales",
      city: "Springfield",
      state: "IL",
      country: "US",
    };
    return normalize({ row: index + 1, raw, size: 0 });
  });
}

export async function promoteLines(rig: Rig): Promise<void> {
  const chunks = rig.quick ? 4 : 20;
  const tenant = await newTenant(rig);
  const slow = await newTenant(rig);
  const byHand = await rig.superuser("product");
  const raw = await rig.raw.connect();
  try {
    await createRaw(raw, rig.quick ? 100_000 : 1_000_000);
    // The first chunks meet empty tables, which every list after them does not.
    for (let n = 0; n < 3; n++) await promote(tenant, newRows(chunk));
    const values = await interleave(rig, "promote", {
      outrider: () => timed(chunks, (rows) => promote(tenant, rows)),
      raw: () => timed(chunks, (rows) => promoteRaw(raw, rows)),
      rows: () => timed(1, (rows) => promoteByRow(byHand, slow.tenantId, rows)),
    });
    rig.line({ name: "promote", value: values.outrider, unit: "rows/s", baseline: values.raw });
    rig.line({ name: "promote-row-by-row", value: values.outrider, unit: "rows/s", baseline: values.rows });
  } finally {
    raw.release();
    await byHand.end();
  }
}

/** Making the rows is not part of it. */
async function timed(chunks: number, work: (rows: readonly IntakeRow[]) => Promise<void>): Promise<number> {
  const given = Array.from({ length: chunks }, () => newRows(chunk));
  return rate(async () => {
    for (const rows of given) await work(rows);
    return chunks * chunk;
  });
}

async function promote(tenant: Context, rows: readonly IntakeRow[]): Promise<void> {
  await transact(tenant, async (ctx) => {
    const { promoted } = await takeIn(ctx, rows, "bench", "bench", true);
    if (promoted !== rows.length) throw new Error(`${promoted} of ${rows.length} rows were promoted`);
  });
}

async function createRaw(raw: pg.PoolClient, known: number): Promise<void> {
  await raw.query(`
    create table intake_raw (id bigint generated always as identity primary key, tenant_id int not null, source text not null,
      hash bytea not null, payload jsonb not null, is_dup boolean not null, status text not null default 'new',
      received_at timestamptz not null default now());
    create table intake_seen (tenant_id int not null, hash bytea not null, last_seen timestamptz not null, primary key (tenant_id, hash));
    create table golden (id uuid primary key default uuidv7(), tenant_id int not null, email text not null, first_name text, last_name text,
      phone text, company text, attrs jsonb not null default '{}', created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(), unique (tenant_id, email))`);
  await raw.query(
    "insert into golden (tenant_id, email, first_name) select n % 20, 'known' || n || '@example.com', 'F' || n from generate_series(1, $1::int) n",
    [known],
  );
  await raw.query("vacuum analyze golden");
}

const storeRaw = `
  with given as materialized (
    select s, sha256(convert_to(s, 'UTF8')) as h from unnest($1::text[]) u(s)
  ), fresh as (
    insert into intake_seen (tenant_id, hash, last_seen) select 1, h, now() from (select distinct h from given order by h) d
    on conflict (tenant_id, hash) do update set last_seen = excluded.last_seen where intake_seen.last_seen < now() - interval '30 days'
    returning hash
  )
  insert into intake_raw (tenant_id, source, hash, payload, is_dup)
  select 1, 'csv', g.h, g.s::jsonb, f.hash is null from given g left join fresh f on f.hash = g.h returning id, is_dup`;

const upsertGolden = `
  insert into golden as c (tenant_id, email, first_name, last_name, phone, company)
  select distinct on (e) 1, e, f, l, p, co from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) u(e, f, l, p, co) order by e
  on conflict (tenant_id, email) do update set first_name = coalesce(excluded.first_name, c.first_name),
    last_name = coalesce(excluded.last_name, c.last_name), phone = coalesce(excluded.phone, c.phone),
    company = coalesce(excluded.company, c.company), updated_at = now()
  returning id`;

async function promoteRaw(raw: pg.PoolClient, rows: readonly IntakeRow[]): Promise<void> {
  const column = (name: string) => rows.map(({ raw: given }) => given[name]);
  await raw.query("begin");
  await raw.query({ name: "store-raw", text: storeRaw, values: [rows.map(({ raw: given }) => JSON.stringify(given))] });
  await raw.query({
    name: "upsert-golden",
    text: upsertGolden,
    values: [column("email"), column("first_name"), column("last_name"), column("phone"), column("company")],
  });
  await raw.query("commit");
}

/** What a first version of this would do: the same tables, a statement per record, one transaction. No row-level security, no audit. */
async function promoteByRow(client: pg.Client, tenantId: string, rows: readonly IntakeRow[]): Promise<void> {
  const run = randomBytes(6).toString("hex");
  const query = async (name: string, text: string, values: readonly unknown[]): Promise<Record<string, unknown>> => {
    const { rows: found } = await client.query({ name, text, values: [...values] });
    return found[0] ?? {};
  };
  await client.query("begin");
  await client.query("select set_config('app.tenant_id', $1, true)", [tenantId]);
  for (const { raw, email } of rows) {
    const known = await query(
      "known",
      `select load_id from intake.raw_loads where tenant_id = $1 and email = $2 and created_at > $3::timestamptz - interval '30 days' limit 1`,
      [tenantId, email, workingHour],
    );
    if (known["load_id"] !== undefined) continue;
    const { load_id: load } = await query(
      "load",
      "insert into intake.raw_loads (tenant_id, batch_id, source, raw_data, email) values ($1, $2, 'bench', $3, $4) returning load_id",
      [tenantId, run, JSON.stringify(raw), email],
    );
    const { id: company } = await query(
      "company",
      `insert into company.master (tenant_id, domain, name) values ($1, split_part($2, '@', 2), $3)
       on conflict (tenant_id, domain) do update set name = excluded.name returning id`,
      [tenantId, email, raw["company"]],
    );
    const { id: person } = await query(
      "person",
      `insert into people.master (tenant_id, email, first_name, last_name, title, company_id, phone, state, country, source, load_id)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'bench', $10)
       on conflict (tenant_id, email) do update set first_name = excluded.first_name, last_name = excluded.last_name returning id`,
      [
        tenantId,
        email,
        raw["first_name"],
        raw["last_name"],
        raw["title"],
        company,
        raw["phone"],
        raw["state"],
        raw["country"],
        load,
      ],
    );
    const { id: lead } = await query(
      "lead",
      `insert into leads (tenant_id, organization_id, source_type, load_id, company_id, person_id, first_name, last_name, phone_number, email)
       select $1, organization_id, 'csv_import', $2, $3, $4, $5, $6, $7, $8 from tenants where id = $1 returning id`,
      [tenantId, load, company, person, raw["first_name"], raw["last_name"], raw["phone"], email],
    );
    const { id: contact } = await query(
      "contact",
      `insert into contacts (tenant_id, lead_id, person_id, first_name, last_name, primary_phone, primary_email, source_type)
       values ($1, $2, $3, $4, $5, $6, $7, 'csv_import') returning id`,
      [tenantId, lead, person, raw["first_name"], raw["last_name"], raw["phone"], email],
    );
    for (const [channel, address] of [
      ["email", email],
      ["sms", raw["phone"]],
    ]) {
      await query(
        "channel",
        "insert into contact_channels (tenant_id, contact_id, channel, address) values ($1, $2, $3, $4) returning id",
        [tenantId, contact, channel, address],
      );
    }
    await query(
      "promoted",
      "update intake.raw_loads set status = 'promoted', promoted_at = app_now() where tenant_id = $1 and load_id = $2",
      [tenantId, load],
    );
  }
  await client.query("commit");
}

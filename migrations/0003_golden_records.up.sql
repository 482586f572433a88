-- Golden records: what we believe about companies and people after validating and merging everything that came in.
-- The application reads them; only the functions of schema vault write them, so that every change leaves history.

create table company.master (
  tenant_id      text not null references tenants (id) on delete cascade,
  id             text not null default new_id('com') check (starts_with(id, 'com_')),
  domain         text not null check (domain = lower(domain)),
  name           text,
  industry       text,
  employee_count integer check (employee_count >= 0),
  revenue        numeric,
  location       text,
  linkedin_url   text,
  website        text,
  -- field → {source, load_id, at}: which row of which source gave the value in force
  provenance     jsonb not null default '{}',
  created_at     timestamptz not null default app_now(),
  updated_at     timestamptz not null default app_now(),
  enriched_at    timestamptz,
  status         text not null default 'active' check (status in ('active', 'inactive', 'archived')),
  primary key (tenant_id, id)
);
create unique index idx_company_domain on company.master (tenant_id, domain);
create index idx_company_name on company.master (tenant_id, name);
create index idx_company_industry on company.master (tenant_id, industry);
select protect('company.master', 'select');

create table company.history (
  tenant_id      text not null,
  history_id     text not null default new_id('chist') check (starts_with(history_id, 'chist_')),
  company_id     text not null,
  changed_fields jsonb not null,
  old_values     jsonb not null,
  new_values     jsonb not null,
  changed_by     text,
  changed_at     timestamptz not null default app_now(),
  primary key (tenant_id, history_id),
  foreign key (tenant_id, company_id) references company.master (tenant_id, id) on delete cascade
);
create index company_history_company_idx on company.history (tenant_id, company_id, changed_at);
select protect('company.history', 'select');

create table people.master (
  tenant_id        text not null references tenants (id) on delete cascade,
  id               text not null default new_id('per') check (starts_with(id, 'per_')),
  email            text not null check (email = lower(email)),
  name             text,
  first_name       text,
  last_name        text,
  title            text,
  company_id       text,
  linkedin_url     text,
  phone            text,
  location         text,
  seniority        text,
  department       text,
  -- evidence of where the person is: quiet hours are checked in every zone these allow
  time_zone        text,
  postal_code      text,
  state            text,
  country          text,
  source           text not null,
  tags             jsonb not null default '[]',
  custom_fields    jsonb not null default '{}',
  load_id          text,
  score            numeric(5, 2) not null default 0 check (score between 0 and 100),
  last_activity_at timestamptz,
  provenance       jsonb not null default '{}',
  created_at       timestamptz not null default app_now(),
  updated_at       timestamptz not null default app_now(),
  enriched_at      timestamptz,
  status           text not null default 'active' check (status in ('active', 'inactive', 'bounced', 'unsubscribed')),
  primary key (tenant_id, id),
  foreign key (tenant_id, company_id) references company.master (tenant_id, id) on delete set null (company_id)
);
-- Seed 002 gives people.master and vault.contacts an index each on the same facts; one of each serves both.
create unique index idx_people_email on people.master (tenant_id, email);
create index idx_people_company_id on people.master (tenant_id, company_id);
create index idx_people_linkedin_url on people.master (tenant_id, linkedin_url) where linkedin_url is not null;
create index idx_contacts_source on people.master (tenant_id, source);
create index idx_contacts_created_at on people.master (tenant_id, created_at desc);
create index idx_contacts_score on people.master (tenant_id, score desc);
create index idx_contacts_status on people.master (tenant_id, status);
select protect('people.master', 'select');

create table people.history (
  tenant_id      text not null,
  history_id     text not null default new_id('phist') check (starts_with(history_id, 'phist_')),
  person_id      text not null,
  changed_fields jsonb not null,
  old_values     jsonb not null,
  new_values     jsonb not null,
  changed_by     text,
  changed_at     timestamptz not null default app_now(),
  primary key (tenant_id, history_id),
  foreign key (tenant_id, person_id) references people.master (tenant_id, id) on delete cascade
);
create index people_history_person_idx on people.history (tenant_id, person_id, changed_at);
select protect('people.history', 'select');

create table people.intelligence (
  tenant_id     text not null references tenants (id) on delete cascade,
  id            text not null default new_id('intel') check (starts_with(id, 'intel_')),
  person_id     text not null,
  linkedin_data jsonb not null,
  skills        text[],
  experience    jsonb,
  education     jsonb,
  fetched_at    timestamptz not null default app_now(),
  stale_at      timestamptz not null default app_now() + interval '30 days',
  superseded_by text,
  primary key (tenant_id, id),
  foreign key (tenant_id, person_id) references people.master (tenant_id, id) on delete cascade,
  foreign key (tenant_id, superseded_by) references people.intelligence (tenant_id, id)
);
create unique index people_intelligence_current on people.intelligence (tenant_id, person_id) where superseded_by is null;
select protect('people.intelligence', 'select, insert, update');

-- History is written by the table itself: whichever function changes a golden record, the old values stay. Whole statements at
-- a time, so that a promotion of a thousand rows costs one insert here.
create function company.record_history() returns trigger language plpgsql as $$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  insert into company.history (tenant_id, history_id, company_id, changed_fields, old_values, new_values, changed_by, changed_at)
  -- Materialized: otherwise a whole row becomes jsonb once per field of it.
  with pairs as materialized (
    select tenant_id, id, to_jsonb(o) as was, to_jsonb(n) as is_now from new_rows n join old_rows o using (tenant_id, id)
  )
  select n.tenant_id, row_id('chist', t, row_number() over (), tail), n.id, to_jsonb(array_agg(f.key)), jsonb_object_agg(f.key, f.old),
         jsonb_object_agg(f.key, f.new), nullif(current_setting('app.actor', true), ''), at
  from pairs n,
       lateral (select k.key, n.was -> k.key as old, k.value as new from jsonb_each(n.is_now) k
                where k.key not in ('updated_at', 'provenance') and k.value is distinct from n.was -> k.key) f
  group by n.tenant_id, n.id;
  return null;
end $$;
create trigger record_history after update on company.master
  referencing old table as old_rows new table as new_rows
  for each statement execute function company.record_history();

create function people.record_history() returns trigger language plpgsql as $$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  insert into people.history (tenant_id, history_id, person_id, changed_fields, old_values, new_values, changed_by, changed_at)
  -- Materialized: otherwise a whole row becomes jsonb once per field of it.
  with pairs as materialized (
    select tenant_id, id, to_jsonb(o) as was, to_jsonb(n) as is_now from new_rows n join old_rows o using (tenant_id, id)
  )
  select n.tenant_id, row_id('phist', t, row_number() over (), tail), n.id, to_jsonb(array_agg(f.key)), jsonb_object_agg(f.key, f.old),
         jsonb_object_agg(f.key, f.new), nullif(current_setting('app.actor', true), ''), at
  from pairs n,
       lateral (select k.key, n.was -> k.key as old, k.value as new from jsonb_each(n.is_now) k
                where k.key not in ('updated_at', 'provenance', 'load_id', 'last_activity_at')
                  and k.value is distinct from n.was -> k.key) f
  group by n.tenant_id, n.id;
  return null;
end $$;
create trigger record_history after update on people.master
  referencing old table as old_rows new table as new_rows
  for each statement execute function people.record_history();
-- History rows are written on behalf of whoever changed the record, who has no right to write them directly.
-- Without nested loops: the plan is kept, and one made when a single record changed would compare each of a thousand with each.
alter function company.record_history() security definer set search_path = pg_catalog, public, pg_temp set enable_nestloop = off;
alter function people.record_history() security definer set search_path = pg_catalog, public, pg_temp set enable_nestloop = off;

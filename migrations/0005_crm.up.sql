-- The CRM around a lead: seeds 000, 001, 003 and 004 each had a table `leads`; this is their union. Contacts are the individuals
-- attached to a lead, contact_channels their addresses. Changes of a lead write their own audit rows.

create table leads (
  tenant_id                 text not null,
  id                        text not null default new_id('lead') check (starts_with(id, 'lead_')),
  organization_id           text not null,
  user_id                   text,
  sector_id                 text,
  -- how it came in; never changes
  source_type               text not null check (source_type in ('csv_import', 'api', 'enrichment', 'manual', 'intake', 'inbound')),
  source_id                 text,
  import_run_id             text,
  load_id                   text,
  -- which marketing effort it is owed to
  source                    text,
  company_id                text,
  person_id                 text,
  company_name              text,
  contact_name              text,
  first_name                text,
  last_name                 text,
  name                      text generated always as (
    coalesce(nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), ''), contact_name, company_name)) stored,
  phone                     text,
  mobile_phone              text,
  phone_number              text check (phone_number ~ '^\+[1-9][0-9]{6,14}$'),
  email                     text check (email = lower(email)),
  phones                    jsonb not null default '[]',
  emails                    jsonb not null default '[]',
  address                   text,
  city                      text,
  state                     text,
  zip                       text,
  county                    text,
  country                   text,
  sic_code                  text,
  sic_description           text,
  employee_count            integer,
  annual_revenue            bigint,
  website                   text,
  enrichment_status         text default 'pending' check (enrichment_status in ('pending', 'in_progress', 'completed', 'failed')),
  last_enriched_at          timestamptz,
  enrichment_artifact_id    text,
  status                    text not null default 'new' check (status in
    ('new', 'contacted', 'qualified', 'nurturing', 'hot', 'cold', 'converted', 'recruited', 'dnc')),
  campaign_status           text check (campaign_status in ('initial', 'retarget', 'follow_up', 'nurture', 'ghost')),
  attempt_count             integer not null default 0,
  last_attempt_at           timestamptz,
  last_response_at          timestamptz,
  last_contact_date         timestamptz generated always as (greatest(last_attempt_at, last_response_at)) stored,
  priority_score            integer not null default 0,
  is_decision_maker         boolean not null default false,
  property_owner_likelihood text,
  lead_score                integer not null default 0 check (lead_score between 0 and 100),
  score                     integer generated always as (lead_score) stored,
  lead_score_factors        jsonb,
  raw_data                  jsonb,
  tags                      text[] not null default '{}',
  flags                     jsonb not null default '{}',
  created_at                timestamptz not null default app_now(),
  updated_at                timestamptz not null default app_now(),
  deleted_at                timestamptz,
  primary key (tenant_id, id),
  -- The organization is the tenant's own: one look-up that says both.
  foreign key (tenant_id, organization_id) references tenants (id, organization_id) on delete cascade,
  foreign key (tenant_id, user_id) references actors (tenant_id, id) on delete set null (user_id),
  foreign key (tenant_id, company_id) references company.master (tenant_id, id) on delete set null (company_id),
  foreign key (tenant_id, person_id) references people.master (tenant_id, id) on delete set null (person_id)
);
create index leads_tenant_idx on leads (tenant_id, created_at desc);
create index leads_sector_idx on leads (tenant_id, sector_id) where sector_id is not null;
create index leads_enrichment_idx on leads (tenant_id, enrichment_status);
create index idx_leads_user_id on leads (tenant_id, user_id) where user_id is not null and deleted_at is null;
create index idx_leads_status on leads (tenant_id, status) where deleted_at is null;
create index idx_leads_lead_score on leads (tenant_id, lead_score desc) where deleted_at is null;
create index idx_leads_tags on leads using gin (tags);
create index idx_leads_search_name on leads using gin ((coalesce(first_name, '') || ' ' || coalesce(last_name, '')) gin_trgm_ops);
create index leads_person_idx on leads (tenant_id, person_id) where deleted_at is null;
create index leads_email_idx on leads (tenant_id, email) where deleted_at is null;
-- Seed 004 wants one phone number per organization. Per tenant here: across tenants, one tenant's row would refuse another's.
create unique index idx_leads_phone_unique on leads (tenant_id, phone_number) where deleted_at is null;
select protect('leads', 'select, insert, update');
-- Seed 004's name for the same trigger.
alter trigger touch_updated_at on leads rename to trigger_leads_updated_at;

create table contacts (
  tenant_id             text not null,
  id                    text not null default new_id('contact') check (starts_with(id, 'contact_')),
  lead_id               text not null,
  person_id             text,
  first_name            text,
  last_name             text,
  full_name             text,
  title                 text,
  phones                jsonb not null default '[]',
  emails                jsonb not null default '[]',
  primary_phone         text,
  primary_email         text,
  linkedin_url          text,
  twitter_url           text,
  date_of_birth         date,
  age                   integer,
  address_history       jsonb not null default '[]',
  time_zone             text,
  postal_code           text,
  state                 text,
  country               text,
  custom_fields         jsonb not null default '{}',
  source_type           text not null,
  skiptrace_artifact_id text,
  status                text not null default 'active' check (status in ('active', 'inactive')),
  created_at            timestamptz not null default app_now(),
  updated_at            timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade,
  foreign key (tenant_id, person_id) references people.master (tenant_id, id) on delete set null (person_id)
);
create index contacts_lead_idx on contacts (tenant_id, lead_id);
create unique index contacts_person_unique on contacts (tenant_id, lead_id, person_id) where person_id is not null;
select protect('contacts', 'select, insert, update');

create table contact_channels (
  tenant_id   text not null,
  id          text not null default new_id('chn') check (starts_with(id, 'chn_')),
  contact_id  text not null,
  channel     text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram', 'call', 'linkedin')),
  address     text not null,
  is_primary  boolean not null default true,
  is_verified boolean not null default false,
  status      text not null default 'active' check (status in ('active', 'invalid', 'bounced')),
  source      text,
  created_at  timestamptz not null default app_now(),
  updated_at  timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, contact_id, channel, address),
  foreign key (tenant_id, contact_id) references contacts (tenant_id, id) on delete cascade
);
create index contact_channels_address_idx on contact_channels (tenant_id, channel, address);
select protect('contact_channels', 'select, insert, update');

create table lead_audit_log (
  tenant_id  text not null,
  id         text not null default new_id('lal') check (starts_with(id, 'lal_')),
  lead_id    text not null,
  field_name text not null,
  old_value  text,
  new_value  text,
  changed_by text,
  changed_at timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade
);
create index lead_audit_log_lead_idx on lead_audit_log (tenant_id, lead_id, changed_at);
select protect('lead_audit_log', 'select');

create table lead_status_history (
  tenant_id    text not null,
  id           text not null default new_id('lsh') check (starts_with(id, 'lsh_')),
  lead_id      text not null,
  from_status  text,
  to_status    text not null,
  trigger_type text not null check (trigger_type in ('manual', 'automation', 'webhook', 'scoring', 'import', 'reply', 'system')),
  stage_order  integer not null,
  changed_at   timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade
);
create index lead_status_history_lead_idx on lead_status_history (tenant_id, lead_id, changed_at);
create index lead_status_history_changed_idx on lead_status_history (tenant_id, changed_at);
select protect('lead_status_history', 'select');

create table lead_score_history (
  tenant_id     text not null,
  id            text not null default new_id('lsc') check (starts_with(id, 'lsc_')),
  lead_id       text not null,
  score         integer not null check (score between 0 and 100),
  factors       jsonb not null,
  calculated_at timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade
);
create index lead_score_history_lead_idx on lead_score_history (tenant_id, lead_id, calculated_at);
select protect('lead_score_history', 'select, insert');

create table lead_assignments (
  tenant_id    text not null references tenants (id) on delete cascade,
  id           text not null default new_id('lasn') check (starts_with(id, 'lasn_')),
  lead_id      text not null,
  from_user_id text,
  to_user_id   text not null,
  strategy     text not null check (strategy in ('round_robin', 'load_balanced', 'manual', 'rule')),
  assigned_at  timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade,
  foreign key (tenant_id, from_user_id) references actors (tenant_id, id),
  foreign key (tenant_id, to_user_id) references actors (tenant_id, id)
);
create index lead_assignments_lead_idx on lead_assignments (tenant_id, lead_id, assigned_at);
select protect('lead_assignments', 'select, insert');

create table segments (
  tenant_id    text not null references tenants (id) on delete cascade,
  id           text not null default new_id('seg') check (starts_with(id, 'seg_')),
  user_id      text,
  name         text not null,
  filter       jsonb not null,
  lead_count   integer not null default 0,
  counted_at   timestamptz,
  created_at   timestamptz not null default app_now(),
  updated_at   timestamptz not null default app_now(),
  deleted_at   timestamptz,
  primary key (tenant_id, id),
  foreign key (tenant_id, user_id) references actors (tenant_id, id) on delete set null (user_id)
);
create unique index segments_name_unique on segments (tenant_id, name) where deleted_at is null;
select protect('segments', 'select, insert, update');

create table lead_source_costs (
  tenant_id  text not null references tenants (id) on delete cascade,
  id         text not null default new_id('cost') check (starts_with(id, 'cost_')),
  user_id    text,
  source     text not null,
  period     text not null check (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
  cost_usd   numeric(10, 2) not null check (cost_usd >= 0),
  created_at timestamptz not null default app_now(),
  updated_at timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, user_id) references actors (tenant_id, id) on delete set null (user_id)
);
create unique index lead_source_costs_unique on lead_source_costs (tenant_id, source, period, coalesce(user_id, ''));
select protect('lead_source_costs', 'select, insert, update');

-- Where a status stands in the funnel; the order seed 004's conversion query asks for.
create function lead_stage_order(p_status text) returns integer language sql immutable parallel safe as $$
  select array_position(array['new', 'contacted', 'nurturing', 'cold', 'qualified', 'hot', 'converted', 'recruited', 'dnc'], p_status)
$$;

-- What made the change: set_config('app.trigger', …) by the caller, `system` when nobody said.
create function current_trigger_type() returns text language sql stable as $$
  select coalesce(nullif(current_setting('app.trigger', true), ''),
                  case when current_setting('app.actor', true) like 'user:%' then 'manual' else 'system' end)
$$;

create function record_lead_insert() returns trigger language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  made_by text := current_trigger_type();
begin
  insert into lead_status_history (tenant_id, id, lead_id, from_status, to_status, trigger_type, stage_order, changed_at)
  select tenant_id, row_id('lsh', t, row_number() over (), tail), id, null, status, made_by, lead_stage_order(status), at from new_rows;
  return null;
end $$;
create trigger record_insert after insert on leads
  referencing new table as new_rows for each statement execute function record_lead_insert();

-- Written out column by column, from the catalogue: making jsonb of whole rows to compare them cost more than the rest of an update. (Arrays
-- and not VALUES, which PostgreSQL compiles anew for each row.) A later migration that adds a column to leads calls audit_lead_columns() again. Without nested loops, because the plan is kept, and one made when
-- a single lead changed would compare each of a thousand with each.
create function audit_lead_columns() returns void language plpgsql as $make$
declare
  audited text[] := array(
    select a.attname from pg_attribute a
    where a.attrelid = 'leads'::regclass and a.attnum > 0 and not a.attisdropped and a.attname not in
      ('updated_at', 'name', 'score', 'last_contact_date', 'attempt_count', 'last_attempt_at', 'last_response_at')
    order by a.attnum);
begin
  execute format($sql$
create or replace function record_lead_update() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set enable_nestloop = off as $$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  made_by text := current_trigger_type();
  actor text := nullif(current_setting('app.actor', true), '');
begin
  insert into lead_audit_log (tenant_id, id, lead_id, field_name, old_value, new_value, changed_by, changed_at)
  select n.tenant_id, row_id('lal', t, row_number() over (), tail), n.id, f.name, f.was, f.is_now, actor, at
  from new_rows n join old_rows o using (tenant_id, id), unnest(
    %1$L::text[],
    array[
      %2$s],
    array[
      %3$s]) f(name, was, is_now)
  where f.was is not null or f.is_now is not null;
  insert into lead_status_history (tenant_id, id, lead_id, from_status, to_status, trigger_type, stage_order, changed_at)
  select n.tenant_id, row_id('lsh', t, row_number() over (), tail), n.id, o.status, n.status, made_by, lead_stage_order(n.status), at
  from new_rows n join old_rows o using (tenant_id, id) where n.status <> o.status;
  return null;
end $$
$sql$, audited,
    (select string_agg(format('case when o.%1$I is distinct from n.%1$I then to_jsonb(o.%1$I) #>> ''{}'' end', c), E',\n      ' order by i)
     from unnest(audited) with ordinality u(c, i)),
    (select string_agg(format('case when o.%1$I is distinct from n.%1$I then to_jsonb(n.%1$I) #>> ''{}'' end', c), E',\n      ' order by i)
     from unnest(audited) with ordinality u(c, i)));
end $make$;
revoke execute on function audit_lead_columns from public;
select audit_lead_columns();
create trigger record_update after update on leads
  referencing old table as old_rows new table as new_rows for each statement execute function record_lead_update();

-- Where a lead came from is fact, not state.
create function keep_lead_source() returns trigger language plpgsql as $$
begin
  if (new.source_type, new.source_id, new.import_run_id) is distinct from (old.source_type, old.source_id, old.import_run_id)
     and not (old.source_id is null and old.import_run_id is null and new.source_type = old.source_type) then
    raise exception 'source_type, source_id and import_run_id of lead % cannot change', old.id using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger keep_source before update of source_type, source_id, import_run_id on leads
  for each row execute function keep_lead_source();

create view lead_point_of_contacts with (security_invoker = true) as select * from contacts;
grant select on lead_point_of_contacts to outrider_app;

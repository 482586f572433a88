-- The two doors of intake. Both run with the owner's rights but under the caller's tenant: row-level security is forced, so neither
-- can touch another tenant's rows whatever it is given.

-- One ingest or promotion per tenant at a time: the duplicate check of the second must see the rows of the first, and two promotions of
-- one person must not make two leads of it.
create function intake.lock_tenant(p_tenant text) returns void language sql set search_path = pg_catalog, public, pg_temp as $$
  select pg_advisory_xact_lock(hashtextextended('intake' || chr(31) || p_tenant, 0))
$$;

-- The functions below read every table by key, so `enable_seqscan = off`: their plans are cached, and one made while a table was small must
-- still be right when it has grown. (Planning each call anew instead, `plan_cache_mode = force_custom_plan`, also planned the query of
-- every foreign key of every row: half of the time of a promotion.)

-- Stores rows and says per row, in the order given, what became of it: pending, duplicate or failed. With p_promoted the good ones are
-- stored as promoted already: whoever says so promotes them before the transaction ends.
create function intake.store_rows(p_rows jsonb[], p_emails text[], p_meta jsonb[], p_source text, p_batch_id text, p_promoted boolean)
returns table (n bigint, load_id text, verdict text, problem text)
language plpgsql rows 1000 set search_path = pg_catalog, public, pg_temp set jit = off set enable_seqscan = off as $$
declare
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  if tenant is null then raise exception 'no tenant set' using errcode = 'insufficient_privilege'; end if;
  if coalesce(trim(p_source), '') = '' then raise exception 'p_source is empty' using errcode = 'invalid_parameter_value'; end if;
  if coalesce(trim(p_batch_id), '') = '' then raise exception 'p_batch_id is empty' using errcode = 'invalid_parameter_value'; end if;
  perform intake.lock_tenant(tenant);

  return query
  with given as materialized (
    select g.raw, g.email, coalesce(g.meta, '{}') as meta, g.n, row_id('load', t, g.n, tail) as id,
           coalesce(g.meta ->> 'problem', case when g.email is null then 'email is missing or cannot be one' end) as problem
    from unnest(p_rows, p_emails, p_meta) with ordinality g(raw, email, meta, n)
  ), earlier as materialized (
    -- A look-up per address, whatever the statistics say: on a table that was never analysed the planner would rather read the whole
    -- tenant per call, and each chunk of a list would cost more than the one before. (The || keeps it from walking the primary key.)
    select g.email, l.load_id
    from (select distinct h.email from given h where h.email is not null) g, lateral (
      select min(r.load_id || '') as load_id from intake.raw_loads r
      where r.tenant_id = tenant and r.email = g.email and r.created_at > at - interval '30 days' and r.status in ('pending', 'promoted')) l
    where l.load_id is not null
  ), judged as materialized (
    -- A refused row claims no address: the good row behind it is the first.
    select g.*, coalesce(e.load_id, case when g.problem is null and f.n < g.n then f.id end) as repeats,
           case when g.problem is not null then 'failed' when e.load_id is not null or f.n < g.n then 'duplicate' else 'pending' end as verdict
    from given g
    left join earlier e on e.email = g.email
    left join (select distinct on (h.email) h.email, h.n, h.id from given h where h.problem is null order by h.email, h.n) f
      on f.email = g.email
  ), stored as (
    insert into intake.raw_loads (tenant_id, load_id, batch_id, source, raw_data, email, status, created_at, promoted_at, metadata)
    select tenant, j.id, p_batch_id, p_source, j.raw, j.email,
           case when p_promoted and j.verdict = 'pending' then 'promoted' else j.verdict end, at,
           case when p_promoted and j.verdict = 'pending' then at end,
           j.meta || jsonb_strip_nulls(jsonb_build_object(
             'reason', case j.verdict when 'failed' then j.problem when 'duplicate' then 'duplicate_30_days' end,
             'repeats', case j.verdict when 'duplicate' then j.repeats end))
    from judged j order by j.n
  ), logged as (
    insert into intake.audit_log (tenant_id, log_id, action, load_id, details, timestamp)
    select tenant, row_id('log', t, j.n, tail), 'contact_ingested', j.id, jsonb_build_object('status', j.verdict, 'batch_id', p_batch_id), at
    from judged j
    union all
    select tenant, row_id('log', t, 0, tail), 'batch_processed', null,
           jsonb_build_object('batch_id', p_batch_id, 'inserted', count(*) filter (where j.verdict = 'pending'),
                              'duplicates', count(*) filter (where j.verdict = 'duplicate'),
                              'failed', count(*) filter (where j.verdict = 'failed')), at
    from judged j
  )
  select j.n, j.id, j.verdict, j.problem from judged j order by j.n;
end $$;
revoke execute on function intake.store_rows from public;

-- Rows whose address was normalised by the caller (the application: libphonenumber, IDN). `p_meta` holds per row what the caller
-- found: {row, fields: canonical values, problem: why it must be refused, warnings, source_type}. Returns one row per load in the
-- order given and then the summary, whose load_id is null. With p_promote the good rows become golden records at once (below), and the
-- summary's counts are those of the promotion.
create function intake.f_ingest_rows(p_rows jsonb[], p_emails text[], p_meta jsonb[], p_source text, p_batch_id text,
                                     p_promote boolean default false)
returns table (load_id text, status text, message text, promoted_count int, updated_count int)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  ids text[];
  verdicts text[];
  problems text[];
  promoted int := 0;
  updated int := 0;
begin
  select array_agg(s.load_id order by s.n), array_agg(s.verdict order by s.n), array_agg(s.problem order by s.n)
  into ids, verdicts, problems from intake.store_rows(p_rows, p_emails, p_meta, p_source, p_batch_id, p_promote) s;
  if p_promote and 'pending' = any (verdicts) then
    select p.promoted_count, p.updated_count into promoted, updated
    from vault.promote_loads(array(select l.id from unnest(ids, verdicts) l(id, verdict) where l.verdict = 'pending'), true) p;
  end if;
  return query
  select l.id, case l.verdict when 'failed' then 'error' else 'success' end,
         case l.verdict when 'pending' then 'ingested' when 'duplicate' then 'duplicate of the last 30 days' else l.problem end, null::int, null::int
  from unnest(ids, verdicts, problems) l(id, verdict, problem);
  return query
  select null::text, 'success', format('%s inserted, %s skipped (%s duplicates, %s refused)', count(*) filter (where v = 'pending'),
                                       count(*) filter (where v <> 'pending'), count(*) filter (where v = 'duplicate'),
                                       count(*) filter (where v = 'failed')), promoted, updated
  from unnest(verdicts) v;
end $$;

-- Seed 002's door: rows as they are; the address is taken from the row.
create function intake.f_ingest_json(p_rows jsonb[], p_source text, p_batch_id text)
returns table (load_id text, status text, message text)
language sql security definer set search_path = pg_catalog, public, pg_temp as $$
  select r.load_id, r.status, r.message from intake.f_ingest_rows(
    p_rows,
    array(select case when e ~ '^[^@\s]{1,64}@(?=[^@\s]{3,255}$)[^@\s]+\.[^@\s]+$' then e end
          from unnest(p_rows) with ordinality r(raw, n), lower(trim(r.raw ->> 'email')) e order by r.n),
    array_fill(null::jsonb, array[cardinality(p_rows)]), p_source, p_batch_id) r
$$;

-- The value in force after a new one arrived: the newest that says something, except that what a person entered by hand is only
-- changed by a person.
create function vault.survives(p_old text, p_new text, p_provenance jsonb, p_source text) returns text
language sql immutable parallel safe as $$
  select case when p_new is null or p_new = '' then p_old
              when p_old is not null and p_provenance ->> 'source' = 'manual' and p_source <> 'manual' then p_old
              else p_new end
$$;

-- A text of a row: trimmed, short enough for every index, null when there is none.
create function vault.said(p_fields jsonb, p_key text) returns text language sql immutable parallel safe as $$
  select nullif(trim(left(p_fields ->> p_key, 500)), '')
$$;

-- Where values come from. '*' stands for the last load; what was entered by hand is also noted per field, which is what protects it.
create function vault.origin_of_each(p_origin jsonb, p_values jsonb) returns jsonb language sql immutable parallel safe as $$
  select coalesce(jsonb_object_agg(k.key, p_origin -> '*'), '{}') from jsonb_object_keys(jsonb_strip_nulls(p_values)) k(key)
$$;
-- Stable, as jsonb_build_object is: what claims to be more than its body is not inlined.
create function vault.origin(p_source text, p_load text, p_at timestamptz) returns jsonb language sql stable parallel safe as $$
  select jsonb_build_object('*', jsonb_build_object('source', p_source, 'load_id', p_load, 'at', p_at))
$$;

-- The loads to promote: of these the pending ones (null: all, 10,000 at most), locked; with p_stored exactly these, which this transaction
-- has stored. `is_last`: of several with one address, the one that speaks. A function for its `rows`: a planner that takes a thousand loads
-- for one joins them in nested loops, a million steps each.
create function intake.loads_to_promote(p_tenant text, p_load_ids text[], p_stored boolean)
returns table (at_row tid, load_id text, email text, source text, raw_data jsonb, f jsonb, is_normalized boolean, metadata jsonb,
               is_last boolean, n bigint)
language plpgsql rows 1000 set search_path = pg_catalog, public, pg_temp as $$
begin
  if p_load_ids is null then
    return query
    select l.ctid, l.load_id, l.email, l.source, l.raw_data, coalesce(l.metadata -> 'fields', l.raw_data), l.metadata ? 'fields', l.metadata,
           row_number() over (partition by l.email order by l.load_id desc) = 1, row_number() over (order by l.load_id)
    from (select r.ctid, r.* from intake.raw_loads r
          where r.tenant_id = p_tenant and r.status = 'pending' order by r.load_id limit 10000 for update) l;
  elsif not p_stored then
    return query
    select l.ctid, l.load_id, l.email, l.source, l.raw_data, coalesce(l.metadata -> 'fields', l.raw_data), l.metadata ? 'fields', l.metadata,
           row_number() over (partition by l.email order by l.load_id desc) = 1, row_number() over (order by l.load_id)
    from (select r.ctid, r.* from intake.raw_loads r
          where r.tenant_id = p_tenant and r.status = 'pending' and r.load_id = any (p_load_ids)
          order by r.load_id limit 10000 for update) l;
  else
    -- Stored together, so no address is there twice, and nobody else sees them.
    return query
    select r.ctid, r.load_id, r.email, r.source, r.raw_data, coalesce(r.metadata -> 'fields', r.raw_data), r.metadata ? 'fields', r.metadata,
           true, row_number() over (order by r.load_id)
    from intake.raw_loads r where r.tenant_id = p_tenant and r.load_id = any (p_load_ids);
  end if;
end $$;
revoke execute on function intake.loads_to_promote from public;

-- Counts what was never counted: for a table without statistics every index on tenant_id looks as good as the right one, and the first
-- list of a new deployment would read all of its own rows again per look-up. Once per table; autovacuum does it from then on.
create function vault.learn_sizes() returns void language plpgsql set search_path = pg_catalog, public as $$
declare unknown regclass;
begin
  for unknown in select c.oid from pg_class c
                 where c.oid = any (array['intake.raw_loads', 'company.master', 'people.master', 'leads', 'contacts', 'contact_channels',
                                          'consents']::regclass[])
                   and c.reltuples <= 0 and pg_relation_size(c.oid) >= 65536 order by c.oid loop
    execute format('analyze %s', unknown);
  end loop;
end $$;
revoke execute on function vault.learn_sizes from public;

-- Loads become golden records: company, person, lead, contact, channels, consent, all in one statement. p_stored: they are of this
-- transaction and marked as promoted already.
create function vault.promote_loads(p_load_ids text[], p_stored boolean)
returns table (promoted_count int, updated_count int, failed_count int, message text)
language plpgsql set search_path = pg_catalog, public, pg_temp set jit = off set enable_seqscan = off as $$
declare
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  organization text := nullif(current_setting('app.organization_id', true), '');
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  freemail constant text[] := array['gmail.com', 'googlemail.com', 'yahoo.com', 'hotmail.com', 'outlook.com', 'live.com', 'icloud.com',
    'aol.com', 'gmx.de', 'gmx.net', 'web.de', 'proton.me', 'protonmail.com', 'mail.com', 'yandex.ru', 'qq.com', '163.com'];
begin
  if tenant is null or organization is null then raise exception 'no tenant set' using errcode = 'insufficient_privilege'; end if;
  perform intake.lock_tenant(tenant);
  perform vault.learn_sizes();
  perform set_config('app.trigger', 'import', true);

  return query
  with locked as materialized (
    select * from intake.loads_to_promote(tenant, p_load_ids, p_stored)
  ), incoming as materialized (
    -- A row that the application normalised has named its company's domain, or knows of none.
    select load_id, email, source, raw_data, f, metadata, n,
           vault.said(f, 'first_name') as first_name, vault.said(f, 'last_name') as last_name,
           coalesce(vault.said(f, 'name'), nullif(concat_ws(' ', vault.said(f, 'first_name'), vault.said(f, 'last_name')), '')) as name,
           vault.said(f, 'title') as title,
           case when f ->> 'phone' ~ '^\+[1-9][0-9]{6,14}$' then f ->> 'phone' end as phone,
           vault.said(f, 'company') as company,
           lower(coalesce(vault.said(f, 'domain'),
                 case when not is_normalized and split_part(email, '@', 2) <> all (freemail) then split_part(email, '@', 2) end)) as domain
    from locked where is_last
  ),
  -- companies, one row per domain: the last load that named one speaks for it
  company_in as (
    select distinct on (i.domain) i.domain, i.company, i.f, i.source, i.load_id, i.n
    from incoming i where i.domain is not null order by i.domain, i.load_id desc
  ), company_up as (
    insert into company.master as c (tenant_id, id, domain, name, industry, employee_count, revenue, location, linkedin_url, website,
                                     provenance, created_at, updated_at)
    select tenant, row_id('com', t, i.n, tail), i.domain, i.company, v.industry, v.employee_count, v.revenue, v.location, v.linkedin_url, v.website,
           vault.origin(i.source, i.load_id, at) || case when i.source = 'manual' then vault.origin_of_each(
             vault.origin(i.source, i.load_id, at), to_jsonb(v) || jsonb_build_object('name', i.company)) else '{}' end, at, at
    from company_in i, lateral (
      select vault.said(i.f, 'industry') as industry,
             case when i.f ->> 'employee_count' ~ '^\d{1,9}$' then (i.f ->> 'employee_count')::int end as employee_count,
             case when i.f ->> 'revenue' ~ '^\d{1,15}(\.\d+)?$' then (i.f ->> 'revenue')::numeric end as revenue,
             vault.said(i.f, 'company_location') as location, vault.said(i.f, 'company_linkedin_url') as linkedin_url,
             vault.said(i.f, 'website') as website) v
    order by i.domain
    on conflict (tenant_id, domain) do update set
      name = vault.survives(c.name, excluded.name, c.provenance -> 'name', excluded.provenance #>> '{*,source}'),
      industry = vault.survives(c.industry, excluded.industry, c.provenance -> 'industry', excluded.provenance #>> '{*,source}'),
      employee_count = vault.survives(c.employee_count::text, excluded.employee_count::text, c.provenance -> 'employee_count',
                                      excluded.provenance #>> '{*,source}')::int,
      revenue = vault.survives(c.revenue::text, excluded.revenue::text, c.provenance -> 'revenue', excluded.provenance #>> '{*,source}')::numeric,
      location = vault.survives(c.location, excluded.location, c.provenance -> 'location', excluded.provenance #>> '{*,source}'),
      linkedin_url = vault.survives(c.linkedin_url, excluded.linkedin_url, c.provenance -> 'linkedin_url', excluded.provenance #>> '{*,source}'),
      website = vault.survives(c.website, excluded.website, c.provenance -> 'website', excluded.provenance #>> '{*,source}'),
      provenance = c.provenance || excluded.provenance
    -- Most rows of a list repeat what is known about their company: no row version, no history for those.
    where excluded.provenance #>> '{*,source}' = 'manual'
       or (coalesce(excluded.name, c.name), coalesce(excluded.industry, c.industry), coalesce(excluded.employee_count, c.employee_count),
           coalesce(excluded.revenue, c.revenue), coalesce(excluded.location, c.location),
           coalesce(excluded.linkedin_url, c.linkedin_url), coalesce(excluded.website, c.website))
          is distinct from (c.name, c.industry, c.employee_count, c.revenue, c.location, c.linkedin_url, c.website)
    returning c.id, c.domain
  ), companies as materialized (
    select domain, id from company_up
    union all
    select i.domain, c.id
    from company_in i, lateral (select m.id from company.master m where m.tenant_id = tenant and m.domain = i.domain limit 1) c
    where not exists (select from company_up u where u.domain = i.domain)
  ),
  -- people
  person_up as (
    insert into people.master as p (tenant_id, id, email, name, first_name, last_name, title, company_id, linkedin_url, phone, location,
                                    seniority, department, time_zone, postal_code, state, country, source, tags, custom_fields, load_id,
                                    last_activity_at, provenance, created_at, updated_at)
    select tenant, row_id('per', t, i.n, tail), i.email, i.name, i.first_name, i.last_name, i.title, c.id, v.linkedin_url,
           i.phone, v.location, v.seniority, v.department, v.time_zone, v.postal_code, v.state, v.country,
           i.source, case jsonb_typeof(i.f -> 'tags') when 'array' then i.f -> 'tags' else '[]' end,
           case jsonb_typeof(i.f -> 'custom_fields') when 'object' then i.f -> 'custom_fields' else '{}' end,
           i.load_id, at,
           vault.origin(i.source, i.load_id, at) || case when i.source = 'manual' then vault.origin_of_each(
             vault.origin(i.source, i.load_id, at), to_jsonb(v) || jsonb_build_object('name', i.name, 'first_name', i.first_name,
             'last_name', i.last_name, 'title', i.title, 'phone', i.phone, 'company_id', c.id)) else '{}' end, at, at
    from incoming i left join companies c on c.domain = i.domain, lateral (
      select vault.said(i.f, 'linkedin_url') as linkedin_url, vault.said(i.f, 'location') as location, vault.said(i.f, 'seniority') as seniority,
             vault.said(i.f, 'department') as department, vault.said(i.f, 'time_zone') as time_zone,
             vault.said(i.f, 'postal_code') as postal_code, vault.said(i.f, 'state') as state, vault.said(i.f, 'country') as country) v
    order by i.email
    on conflict (tenant_id, email) do update set
      name = vault.survives(p.name, excluded.name, p.provenance -> 'name', excluded.source),
      first_name = vault.survives(p.first_name, excluded.first_name, p.provenance -> 'first_name', excluded.source),
      last_name = vault.survives(p.last_name, excluded.last_name, p.provenance -> 'last_name', excluded.source),
      title = vault.survives(p.title, excluded.title, p.provenance -> 'title', excluded.source),
      company_id = vault.survives(p.company_id, excluded.company_id, p.provenance -> 'company_id', excluded.source),
      linkedin_url = vault.survives(p.linkedin_url, excluded.linkedin_url, p.provenance -> 'linkedin_url', excluded.source),
      phone = vault.survives(p.phone, excluded.phone, p.provenance -> 'phone', excluded.source),
      location = vault.survives(p.location, excluded.location, p.provenance -> 'location', excluded.source),
      seniority = vault.survives(p.seniority, excluded.seniority, p.provenance -> 'seniority', excluded.source),
      department = vault.survives(p.department, excluded.department, p.provenance -> 'department', excluded.source),
      time_zone = vault.survives(p.time_zone, excluded.time_zone, p.provenance -> 'time_zone', excluded.source),
      postal_code = vault.survives(p.postal_code, excluded.postal_code, p.provenance -> 'postal_code', excluded.source),
      state = vault.survives(p.state, excluded.state, p.provenance -> 'state', excluded.source),
      country = vault.survives(p.country, excluded.country, p.provenance -> 'country', excluded.source),
      tags = (select coalesce(jsonb_agg(distinct tag), '[]') from jsonb_array_elements(p.tags || excluded.tags) tag),
      custom_fields = p.custom_fields || excluded.custom_fields,
      load_id = excluded.load_id,
      last_activity_at = at,
      provenance = p.provenance || excluded.provenance
    returning p.id, p.email, p.company_id, p.name, p.first_name, p.last_name, p.title, p.phone, p.linkedin_url, p.time_zone,
              p.postal_code, p.state, p.country, p.custom_fields, p.tags, (xmax = 0) as is_new
  ), people_now as materialized (
    select u.*, i.load_id, i.source, i.company, i.domain, i.f, i.raw_data, i.metadata, i.n,
           -- Consent is for the number it was given with, not for another one that stayed in force.
           u.phone = i.phone and lower(i.f ->> 'sms_consent') in ('true', 'yes', 'y', '1') as gives_consent,
           row_number() over (partition by u.phone order by i.n) as phone_nth
    from person_up u join incoming i on i.email = u.email
  ),
  -- leads: one live lead per person; a phone that another lead already has stays on the contact only
  lead_old as materialized (
    select p.id as person_id, l.id from people_now p, lateral (
      select x.id from leads x where x.tenant_id = tenant and x.person_id = p.id and x.deleted_at is null limit 1) l
    where not p.is_new
  ), lead_new as (
    insert into leads (tenant_id, id, organization_id, source_type, source_id, import_run_id, load_id, source, company_id, person_id,
                       company_name, first_name, last_name, contact_name, phone, phone_number, email, emails, phones, city, state, zip,
                       country, website, raw_data, tags, created_at, updated_at)
    select tenant, row_id('lead', t, p.n, tail), organization, coalesce(p.metadata ->> 'source_type', 'intake'), p.load_id,
           p.metadata ->> 'import_id', p.load_id, p.source, p.company_id, p.id, p.company, p.first_name, p.last_name, p.name,
           coalesce(p.raw_data ->> 'phone', p.phone),
           case when p.phone_nth = 1 and (select x.id from leads x where x.tenant_id = tenant and x.phone_number = p.phone
                                            and x.deleted_at is null limit 1) is null then p.phone end,
           p.email, jsonb_build_array(p.email), case when p.phone is null then '[]' else jsonb_build_array(p.phone) end,
           vault.said(p.f, 'city'), p.state, p.postal_code, p.country, vault.said(p.f, 'website'), p.raw_data,
           array(select jsonb_array_elements_text(p.tags)), at, at
    from people_now p where not exists (select from lead_old o where o.person_id = p.id)
    order by p.n
    returning id, person_id
  ), lead_ids as materialized (
    select person_id, id from lead_old union all select person_id, id from lead_new
  ),
  contact_up as (
    insert into contacts as k (tenant_id, id, lead_id, person_id, first_name, last_name, full_name, title, phones, emails, primary_phone,
                               primary_email, linkedin_url, time_zone, postal_code, state, country, custom_fields, source_type,
                               created_at, updated_at)
    select tenant, row_id('contact', t, p.n, tail), l.id, p.id, p.first_name, p.last_name, p.name, p.title,
           case when p.phone is null then '[]' else jsonb_build_array(p.phone) end, jsonb_build_array(p.email), p.phone, p.email,
           p.linkedin_url, p.time_zone, p.postal_code, p.state, p.country,
           p.custom_fields || jsonb_strip_nulls(jsonb_build_object('company', p.company)),
           coalesce(p.metadata ->> 'source_type', 'intake'), at, at
    from people_now p join lead_ids l on l.person_id = p.id
    order by p.n
    on conflict (tenant_id, lead_id, person_id) where person_id is not null do update set
      first_name = excluded.first_name, last_name = excluded.last_name, full_name = excluded.full_name, title = excluded.title,
      primary_phone = coalesce(excluded.primary_phone, k.primary_phone),
      linkedin_url = excluded.linkedin_url, phones = (select coalesce(jsonb_agg(distinct v), '[]') from jsonb_array_elements(k.phones || excluded.phones) v),
      time_zone = excluded.time_zone, postal_code = excluded.postal_code, state = excluded.state, country = excluded.country,
      custom_fields = k.custom_fields || excluded.custom_fields
    returning k.id, k.person_id
  ), channel_rows as materialized (
    select c.id as contact_id, p.n * 2 + v.nth as n, v.channel, v.address, p.source, p.is_new
    from contact_up c join people_now p on p.id = c.person_id,
         lateral (values (0, 'email', p.email), (1, 'sms', p.phone)) v(nth, channel, address)
    where v.address is not null
  ), demoted as (
    -- The address in force is the primary one; those it replaces stay, as others.
    update contact_channels k set is_primary = false
    where k.ctid = any (array(
      select o.ctid from channel_rows r, lateral (
        select x.ctid from contact_channels x
        where x.tenant_id = tenant and x.contact_id = r.contact_id and x.channel = r.channel and x.address <> r.address and x.is_primary
        limit 100) o
      where not r.is_new))
  ), channels as (
    insert into contact_channels as k (tenant_id, id, contact_id, channel, address, source, created_at, updated_at)
    select tenant, row_id('chn', t, r.n, tail), r.contact_id, r.channel, r.address, r.source, at, at
    from channel_rows r
    on conflict (tenant_id, contact_id, channel, address) do update set is_primary = true where not k.is_primary
  ), consent as (
    insert into consents (tenant_id, id, contact_id, channel, address, basis, text, source, granted_at, created_at)
    select tenant, row_id('cons', t, p.n, tail), c.id, 'sms', p.phone, 'express_written', p.f ->> 'sms_consent_text', p.source, at, at
    from contact_up c join people_now p on p.id = c.person_id
    -- A list does not say when it was given: it never outranks a consent that was taken back.
    where p.gives_consent
      and (select x.id from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone limit 1) is null
  ), done as (
    update intake.raw_loads l set status = 'promoted', promoted_at = at
    where not p_stored and l.ctid = any (array(select k.at_row from locked k)) and l.tenant_id = tenant
  ), logged as (
    insert into intake.audit_log (tenant_id, log_id, action, load_id, contact_id, details, timestamp)
    select tenant, row_id('log', t, p.n, tail), case when p.is_new then 'contact_promoted' else 'contact_updated' end, p.load_id, p.id,
           jsonb_build_object('email', p.email) || case
             when p.gives_consent
               and exists (select from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone and x.revoked_at is not null)
               and not exists (select from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone and x.revoked_at is null)
             then '{"sms_consent": "not recorded: it was revoked before"}'::jsonb else '{}'::jsonb end, at
    from people_now p
  )
  select (select count(*) from people_now p where p.is_new)::int, (select count(*) from people_now p where not p.is_new)::int,
         0, format('%s promoted, %s updated, %s loads done', (select count(*) from people_now p where p.is_new),
                   (select count(*) from people_now p where not p.is_new), (select count(*) from locked));
end $$;

revoke execute on function vault.promote_loads from public;

-- Null: every pending load of the tenant (10,000 at most a call). Loads that are not pending are left alone, so calling twice changes nothing.
create function vault.f_promote_contacts(p_load_ids text[] default null)
returns table (promoted_count int, updated_count int, failed_count int, message text)
language sql security definer set search_path = pg_catalog, public, pg_temp as $$
  select * from vault.promote_loads(p_load_ids, false)
$$;

-- What webhooks tell about an address reaches the golden record (bounced, unsubscribed), set-wise.
create function vault.f_mark_contacts(p_emails text[], p_status text) returns int
language sql security definer set search_path = pg_catalog, public, pg_temp as $$
  with marked as (
    update people.master p set status = p_status
    where p.tenant_id = nullif(current_setting('app.tenant_id', true), '') and p.email = any (p_emails) and p.status <> p_status
    returning p.id, p.email
  ), logged as (
    insert into intake.audit_log (tenant_id, action, contact_id, details)
    select current_setting('app.tenant_id', true), 'contact_updated', id, jsonb_build_object('status', p_status) from marked
  )
  select count(*)::int from marked
$$;

revoke execute on function intake.f_ingest_rows, intake.f_ingest_json, vault.f_promote_contacts, vault.f_mark_contacts from public;
grant execute on function intake.f_ingest_rows, intake.f_ingest_json, vault.f_promote_contacts, vault.f_mark_contacts to outrider_app;

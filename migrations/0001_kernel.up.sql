-- role: admin
-- The ground everything else stands on: who may do what, which clock counts, how ids are made, how a table becomes a tenant table.
--
-- Three roles. `outrider_owner` owns every object and cannot log in; `outrider_app` is what handlers connect as: it owns
-- nothing, bypasses nothing and is therefore subject to every policy; `outrider_sweeper` may see that work is due, and nothing
-- about whom it concerns. Later migrations run as `outrider_owner`.

do $$
declare r text;
begin
  foreach r in array array['outrider_owner', 'outrider_sweeper'] loop
    if not exists (select from pg_roles where rolname = r) then
      execute format('create role %I nologin nobypassrls', r);
    end if;
    execute format('grant %I to %I', r, current_user);
  end loop;
  if not exists (select from pg_roles where rolname = 'outrider_app') then
    create role outrider_app login nobypassrls;
  end if;
exception when duplicate_object or unique_violation then null; -- another database of this cluster is migrated at the same moment
end $$;

-- random_page_cost: what is hot lies in memory or on a solid-state disk. With PostgreSQL's default of 4, made for turning disks, a batch of
-- 100 rows by primary key is written by reading the whole table (measured at 3,000 messages: docs/performance.md).
-- The time-outs: a worker that was frozen, or whose connection is half open, must not keep the locks of addresses and campaigns, for a STOP
-- waits for them. The server ends a statement when the driver has given it up, too (core/db/connect.ts).
do $$
declare name text; value text;
begin
  for name, value in values ('random_page_cost', '1.1'), ('idle_in_transaction_session_timeout', '15s'), ('statement_timeout', '30s') loop
    if not exists (select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole, unnest(s.setconfig) c
                   where r.rolname = 'outrider_app' and s.setdatabase = 0 and starts_with(c, name || '=')) then
      execute format('alter role outrider_app set %I = %L', name, value);
    end if;
  end loop;
exception
  when unique_violation then null; -- another database of this cluster is migrated at the same moment
  when insufficient_privilege then null; -- slower, and locks of the frozen last until their connection ends
end $$;

do $$
begin
  execute format('grant create, connect on database %I to outrider_owner', current_database());
  execute format('grant connect on database %I to outrider_app', current_database());
end $$;

-- Nobody but the owner makes objects in public.
revoke create on schema public from public;
grant usage, create on schema public to outrider_owner;
grant usage on schema public to outrider_app;
-- The sweeper's functions live in public and belong to it, so it needs to be allowed to own something there.
grant usage, create on schema public to outrider_sweeper;

create extension if not exists pg_trgm with schema public;

do $$
declare s text;
begin
  foreach s in array array['intake', 'vault', 'company', 'people', 'marketing', 'bit', 'ple'] loop
    execute format('create schema if not exists %I authorization outrider_owner', s);
    execute format('grant usage on schema %I to outrider_app', s);
  end loop;
end $$;
-- What `down` finds with rows in it goes here instead of being lost.
create schema if not exists archive authorization outrider_owner;

set local role outrider_owner;

comment on schema bit is 'Business intelligence: reporting views';
comment on schema ple is 'People lead enrichment: enrichment views';

-- One row: what this database is for, and its clock. Time stands still at `clock_at` when it is set; production refuses that.
create table deployment (
  singleton   boolean primary key default true check (singleton),
  environment text not null default 'production' check (environment in ('production', 'local', 'test')),
  clock_at    timestamptz,
  constraint deployment_real_clock check (clock_at is null or environment <> 'production')
);
insert into deployment default values;
grant select on deployment to outrider_app, outrider_sweeper;

-- The one clock. A transaction that began with begin_tenant carries it along; anything else looks it up.
create function app_now() returns timestamptz language plpgsql stable parallel safe as $$
declare carried text := current_setting('app.clock', true);
begin
  if carried = 'real' then return clock_timestamp(); end if;
  if carried <> '' then return carried::timestamptz; end if;
  return coalesce((select clock_at from deployment), clock_timestamp());
end $$;

-- Stops the clock at an instant, or lets it run again (null). The check on `deployment` refuses it in production.
create function set_app_clock(p_at timestamptz) returns void language sql as $$
  update deployment set clock_at = p_at
$$;
revoke execute on function set_app_clock from public;

-- The ten leading characters of a ULID: milliseconds since 1970 in Crockford's base 32. plpgsql, because an SQL function that cannot be
-- inlined starts an executor per call: 60 µs instead of 4, which column defaults pay per row.
create function ulid_time(p_at timestamptz) returns text language plpgsql immutable strict parallel safe as $$
declare
  ms bigint := floor(extract(epoch from p_at) * 1000)::bigint;
  digits text := '';
begin
  for i in 1..10 loop
    digits := substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (ms & 31)::int + 1, 1) || digits;
    ms := ms >> 5;
  end loop;
  return digits;
end $$;

-- An id from a prepared time part: cheap enough for set-based statements, because it is one expression and therefore inlined. With an
-- ordinal the ids of one statement sort in that order; 40 random bits keep two statements of one millisecond apart, 64 without one.
create function make_id(p_prefix text, p_time text, p_ordinal bigint default null) returns text
language sql volatile parallel safe as $$
  select p_prefix || '_' || p_time || upper(
    case when p_ordinal is null then right(gen_random_uuid()::text, 12) || right(gen_random_uuid()::text, 4)
         else lpad(to_hex(p_ordinal), 6, '0') || right(gen_random_uuid()::text, 10) end)
$$;

-- The ids of one statement, where even that is too dear: the 40 random bits are drawn once (id_tail) and the ordinals tell the rows apart.
create function id_tail() returns text language sql volatile parallel safe as $$
  select upper(right(gen_random_uuid()::text, 10))
$$;
create function row_id(p_prefix text, p_time text, p_ordinal bigint, p_tail text) returns text language sql immutable parallel safe as $$
  select p_prefix || '_' || p_time || upper(lpad(to_hex(p_ordinal), 6, '0')) || p_tail
$$;

-- One id, for column defaults and single rows.
create function new_id(p_prefix text) returns text language sql volatile as $$
  select make_id(p_prefix, ulid_time(app_now()))
$$;

-- jsonb of bytes that may hold anything; null when they hold something else.
create function try_jsonb(p_bytes bytea) returns jsonb language plpgsql immutable as $$
begin
  return convert_from(p_bytes, 'UTF8')::jsonb;
exception when others then
  return null;
end $$;

create function touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := app_now();
  return new;
end $$;

-- Makes a table a tenant table: row-level security that the owner cannot skip, one policy for all verbs, only the rights named
-- in p_privileges, updated_at kept by trigger where there is such a column. p_key is tenant_id, or organization_id for what is
-- shared across the tenants of an organization; p_setting where the setting has another name than the column.
create function protect(p_table regclass, p_privileges text, p_key text default 'tenant_id', p_setting text default null) returns void
language plpgsql as $$
declare
  setting text := coalesce(p_setting, 'app.' || p_key);
begin
  execute format('alter table %s enable row level security', p_table);
  execute format('alter table %s force row level security', p_table);
  execute format(
    'create policy tenant_isolation_policy on %s using (%I = nullif(current_setting(%L, true), ''''))
       with check (%I = nullif(current_setting(%L, true), ''''))', p_table, p_key, setting, p_key, setting);
  if p_privileges <> '' then
    execute format('grant %s on %s to outrider_app', p_privileges, p_table);
  end if;
  -- A partition has its parent's triggers.
  if exists (select from pg_attribute where attrelid = p_table and attname = 'updated_at' and not attisdropped)
     and not exists (select from pg_class where oid = p_table and relispartition) then
    -- A statement that says when needs no call per row.
    execute format('create trigger touch_updated_at before update on %s for each row
      when (new.updated_at is not distinct from old.updated_at) execute function touch_updated_at()', p_table);
  end if;
end $$;

-- For `down`: drops a table, after copying its rows, if it has any, to schema archive under a name that says whose and when. A copy
-- rather than the table itself: its defaults, checks, indexes, policies and partitions would tie it to functions that go next.
create function archive_table(p_table regclass) returns void language plpgsql as $$
declare
  filled boolean;
  target text := (select case when n.nspname = 'public' then '' else n.nspname || '_' end || c.relname
                  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = p_table)
                 || '_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS');
begin
  execute format('lock table %s in access exclusive mode', p_table);
  execute format('alter table %s no force row level security', p_table);
  execute format('select exists (select from %s)', p_table) into filled;
  if filled then
    execute format('create table archive.%I as select * from %s', target, p_table);
  end if;
  execute format('drop table %s cascade', p_table);
end $$;

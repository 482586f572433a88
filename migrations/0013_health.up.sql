-- role: admin
-- The health check names the latest migration, so that an installation that was deployed but not migrated is seen at once.
-- The table belongs to the migrator, which makes it before the first migration runs.
grant select on kysely_migration to outrider_app;

set local role outrider_owner;

-- What the hourly examination of a tenant's data found, so that "was it looked at, and when" has an answer. Counts, rules and ids only.
create table doctor_runs (
  tenant_id  text not null references tenants (id) on delete cascade,
  ran_at     timestamptz not null default app_now(),
  checks     integer not null,
  -- rules that would have taken too long
  skipped    text[] not null default '{}',
  violations integer not null,
  -- [{id, violations, sample}] of the broken ones
  broken     jsonb not null default '[]',
  primary key (tenant_id, ran_at)
);
select protect('doctor_runs', 'select, insert, delete');
grant select (tenant_id, ran_at) on doctor_runs to outrider_sweeper;
create policy sweeper_due on doctor_runs for select to outrider_sweeper using (true);

reset role;

-- Every tenant, the one that was examined longest ago first: whom the last run had no time for is the next one's first.
create function tenants_by_examination() returns setof text
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  select t.id from tenants t, lateral (select max(d.ran_at) as at from doctor_runs d where d.tenant_id = t.id) last
  order by last.at nulls first, t.id
$$;
alter function tenants_by_examination() owner to outrider_sweeper;
revoke execute on function tenants_by_examination from public;
grant execute on function tenants_by_examination to outrider_app;

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

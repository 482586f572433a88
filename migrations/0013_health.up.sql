-- role: admin
-- The health check names the latest migration, so that an installation that was deployed but not migrated is seen at once.
-- The table belongs to the migrator, which makes it before the first migration runs.
grant select on kysely_migration to outrider_app;

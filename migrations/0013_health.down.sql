-- role: admin
revoke select on kysely_migration from outrider_app;
set local role outrider_owner;
select archive_table('doctor_runs');

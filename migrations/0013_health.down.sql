-- role: admin
revoke select on kysely_migration from outrider_app;
drop function tenants_by_examination();
set local role outrider_owner;
drop policy sweeper_due on doctor_runs;
revoke all on doctor_runs from outrider_sweeper;
revoke select (tenant_id, ran_at) on doctor_runs from outrider_sweeper;
select archive_table('doctor_runs');

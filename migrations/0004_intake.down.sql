select archive_table('intake.audit_log'), archive_table('intake.raw_loads'), archive_table('imports');
select archive_table('artifacts');

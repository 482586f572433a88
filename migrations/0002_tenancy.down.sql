drop view users;
drop function begin_tenant(text, text, text);
select archive_table('idempotency_keys'), archive_table('budget_transactions'), archive_table('channel_configs'),
       archive_table('system_config'), archive_table('api_keys');
select archive_table('actors');
select archive_table('tenants');
select archive_table('organizations');

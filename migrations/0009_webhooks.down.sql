select archive_table('webhook_refusals'), archive_table('webhook_deliveries');
drop function keep_delivery();

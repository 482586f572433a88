select archive_table('tracked_links'), archive_table('send_rate_windows'), archive_table('inbound_messages'), archive_table('event_keys');
select archive_table('send_rate_limits'), archive_table('conversations');
drop function ensure_event_partition(timestamptz);
select archive_table('message_events');
select archive_table('send_attempts');
select archive_table('outbound_messages');

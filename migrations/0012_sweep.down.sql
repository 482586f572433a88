-- role: admin
drop function tenant_ids();
drop function api_key_tenant(bytea);
drop function endpoint_tenant(text, text);
drop function due_work(text, int, int);
set local role outrider_owner;
drop policy sweeper_lookup on tenants;
drop policy sweeper_lookup on channel_configs;
drop policy sweeper_lookup on api_keys;
drop policy sweeper_due on outbound_messages;
drop policy sweeper_due on imports;
drop policy sweeper_due on scheduled_actions;
drop policy sweeper_due on webhook_deliveries;
revoke all on webhook_deliveries, scheduled_actions, imports, outbound_messages, api_keys, channel_configs, tenants from outrider_sweeper;
revoke select (tenant_id, id, status, run_at, lease_until) on webhook_deliveries, scheduled_actions, imports, outbound_messages from outrider_sweeper;
revoke select (tenant_id, id, key_hash, revoked_at, expires_at) on api_keys from outrider_sweeper;
revoke select (tenant_id, id, provider, status) on channel_configs from outrider_sweeper;
revoke select (id, status) on tenants from outrider_sweeper;
drop table sweep_state;

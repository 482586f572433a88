-- Every HTTP request a provider made, as bytes: what cannot be parsed today may be tomorrow, and what was misread can be read again.

create table webhook_deliveries (
  tenant_id         text not null references tenants (id) on delete cascade,
  id                text not null default new_id('whd') check (starts_with(id, 'whd_')),
  channel_config_id text not null,
  provider          text not null,
  -- path and query as called
  target            text not null,
  headers           jsonb not null default '{}',
  -- inline below 100 KiB, as it came or compressed; else in object storage, as it came
  body              bytea,
  body_encoding     text not null default 'identity' check (body_encoding in ('identity', 'br')),
  body_key          text,
  body_bytes        integer not null,
  -- over target and body: the same request again is the same delivery
  body_sha256       bytea not null,
  signature         text,
  signature_valid   boolean not null default true,
  -- how often the provider delivered this again
  duplicates        integer not null default 0,
  received_at       timestamptz not null default app_now(),
  status            text not null default 'pending' check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
  run_at            timestamptz not null default app_now(),
  attempts          int not null default 0,
  lease_until       timestamptz,
  generation        int not null default 0,
  last_error        text,
  completed_at      timestamptz,
  event_count       integer,
  inbound_count     integer,
  -- single events that could not be read: [{index, reason}]; index -1 is the whole body
  problems          jsonb not null default '[]',
  replays           integer not null default 0,
  correlation_id    text not null,
  created_at        timestamptz not null default app_now(),
  updated_at        timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, channel_config_id, body_sha256),
  foreign key (tenant_id, channel_config_id) references channel_configs (tenant_id, id),
  check (num_nonnulls(body, body_key) = 1),
  check (body_encoding = 'identity' or body is not null)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- Bodies are compressed where they are written, or not at all; TOAST should not try again.
alter table webhook_deliveries alter column body set storage external;
create index webhook_deliveries_ready on webhook_deliveries (run_at) include (tenant_id, id) where status = 'pending';
create index webhook_deliveries_running on webhook_deliveries (lease_until) include (tenant_id, id) where status = 'running';
create index webhook_deliveries_failed on webhook_deliveries (tenant_id) where status = 'failed';
create index webhook_events_tenant_idx on webhook_deliveries (tenant_id, received_at desc);
select protect('webhook_deliveries', 'select, insert, update');

-- What was sent stays as it was sent; only what we make of it changes.
create function keep_delivery() returns trigger language plpgsql as $$
begin
  raise exception 'a webhook delivery cannot be rewritten' using errcode = 'integrity_constraint_violation';
end $$;
create trigger keep_delivery before update of body, body_encoding, body_key, body_sha256, target, headers, received_at on webhook_deliveries
  for each row execute function keep_delivery();

-- Requests refused before anything was stored: a counter, since a forger must not be able to fill a table.
create table webhook_refusals (
  tenant_id         text not null references tenants (id) on delete cascade,
  channel_config_id text not null,
  day               date not null,
  reason            text not null,
  count             integer not null default 1,
  last_at           timestamptz not null default app_now(),
  primary key (tenant_id, channel_config_id, day, reason),
  foreign key (tenant_id, channel_config_id) references channel_configs (tenant_id, id) on delete cascade
);
select protect('webhook_refusals', 'select, insert, update');

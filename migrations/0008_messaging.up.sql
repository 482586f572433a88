-- The outbox. `outbound_messages` is the only thing that decides whether something is sent; `send_attempts` has one row per call to
-- a provider, written before the call; `message_events` has one row per fact a provider told us.

create table outbound_messages (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('omsg') check (starts_with(id, 'omsg_')),
  campaign_id         text,
  contact_campaign_id text,
  node_id             text,
  variant_id          text,
  plan_version_id     text,
  lead_id             text,
  contact_id          text,
  channel             text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  message_class       text not null default 'marketing' check (message_class in ('marketing', 'transactional')),
  channel_config_id   text,
  sender_identity_id  text,
  -- as it will be given to the provider; suppression_key is its canonical form
  to_address          text not null,
  suppression_key     text not null,
  template_id         text,
  subject             text,
  -- what the template saw, so that the exact text can be made again; content_sha256 proves that it is the same
  variables           jsonb,
  content_sha256      bytea,
  -- at most one accept for each of these
  dedupe_key          text not null,
  status              text not null default 'queued' check (status in ('queued', 'held', 'sending', 'ambiguous', 'accepted_unknown',
                        'sent', 'delivered', 'bounced', 'failed', 'complained', 'suppressed', 'cancelled', 'expired')),
  hold_reason         text,
  -- the facts the last decision was made on
  decision            jsonb,
  scheduled_for       timestamptz not null default app_now(),
  run_at              timestamptz not null default app_now(),
  expires_at          timestamptz not null,
  attempts            int not null default 0,
  lease_until         timestamptz,
  generation          int not null default 0,
  last_error          text,
  -- drawn under the address lock when it was claimed
  claim_seq           bigint,
  provider            text,
  provider_message_id text,
  sent_at             timestamptz,
  delivered_at        timestamptz,
  opened_at           timestamptz,
  clicked_at          timestamptz,
  replied_at          timestamptz,
  bounced_at          timestamptz,
  complained_at       timestamptz,
  unsubscribed_at     timestamptz,
  failed_at           timestamptz,
  correlation_id      text,
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, dedupe_key),
  foreign key (tenant_id, contact_campaign_id) references contact_campaigns (tenant_id, id) on delete cascade,
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade,
  foreign key (tenant_id, channel_config_id) references channel_configs (tenant_id, id),
  foreign key (tenant_id, sender_identity_id) references email_sender_identities (tenant_id, id) on delete set null (sender_identity_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index outbound_messages_ready on outbound_messages (run_at) include (tenant_id, id) where status in ('queued', 'held');
create index outbound_messages_sending on outbound_messages (lease_until) include (tenant_id, id) where status = 'sending';
create index outbound_messages_ambiguous on outbound_messages (run_at) include (tenant_id, id) where status = 'ambiguous';
create index idx_outbound_messages_provider_lookup on outbound_messages (provider, provider_message_id) where provider_message_id is not null;
-- Serves STOP (what is queued for this address) and the frequency cap (what was sent to it).
create index outbound_messages_address_idx on outbound_messages (tenant_id, channel, suppression_key, sent_at);
create index outbound_messages_enrollment_idx on outbound_messages (tenant_id, contact_campaign_id);
-- With sent_at, so that what a campaign has sent is counted in the index.
create index outbound_messages_campaign_idx on outbound_messages (tenant_id, campaign_id, id) include (sent_at);
-- Seed 000's name: the attempts made to reach a lead are these rows.
create index attempt_logs_lead_idx on outbound_messages (tenant_id, lead_id);
select protect('outbound_messages', 'select, insert, update');

create table send_attempts (
  tenant_id           text not null,
  id                  text not null default new_id('att') check (starts_with(id, 'att_')),
  message_id          text not null,
  generation          int not null,
  claim_seq           bigint not null,
  provider            text not null,
  -- null while the call runs
  outcome             text check (outcome in ('accepted', 'rejected', 'deferred', 'ambiguous', 'abandoned')),
  code                text,
  reason              text,
  provider_message_id text,
  started_at          timestamptz not null default app_now(),
  deadline_at         timestamptz not null,
  finished_at         timestamptz,
  -- how an ambiguous attempt was settled: webhook, lookup, deadline
  resolved_by         text check (resolved_by in ('webhook', 'lookup', 'deadline')),
  resolved_at         timestamptz,
  primary key (tenant_id, id),
  unique (tenant_id, message_id, generation),
  foreign key (tenant_id, message_id) references outbound_messages (tenant_id, id) on delete cascade
) with (fillfactor = 60); -- room for the outcome beside what was written before the call
select protect('send_attempts', 'select, insert, update');

-- Facts. Partitioned by month from the start, since adding that later rewrites the table.
create table message_events (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('mev') check (starts_with(id, 'mev_')),
  event_at            timestamptz not null,
  message_id          text,
  contact_campaign_id text,
  delivery_id         text,
  channel_config_id   text,
  provider            text not null,
  provider_event_id   text not null,
  provider_message_id text,
  event_type          text not null check (event_type in ('queued', 'sent', 'delivered', 'deferred', 'bounced', 'dropped', 'failed',
                        'opened', 'clicked', 'replied', 'complained', 'unsubscribed', 'resubscribed', 'unknown')),
  channel             text not null,
  address             text,
  -- made by a privacy proxy or a link scanner: a fact, but not engagement
  machine             boolean not null default false,
  code                text,
  reason              text,
  url                 text,
  metadata            jsonb not null default '{}',
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id, event_at)
) partition by range (event_at);
create index idx_message_events_tenant_event_time on message_events (tenant_id, event_at desc);
create index message_events_message_idx on message_events (tenant_id, message_id, event_at);
select protect('message_events', 'select, insert, update');
create table message_events_default partition of message_events default;
select protect('message_events_default', '');

-- Makes the partition of the month that holds p_at, idempotently. The default partition catches what no month was made for.
create function ensure_event_partition(p_at timestamptz) returns void language plpgsql
security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  first date := date_trunc('month', p_at at time zone 'UTC')::date;
  name text := 'message_events_' || to_char(first, 'YYYY_MM');
begin
  if to_regclass('public.' || name) is not null then return; end if;
  perform pg_advisory_xact_lock(hashtext('ensure_event_partition'));
  if to_regclass('public.' || name) is not null then return; end if;
  execute format('create table public.%I partition of public.message_events for values from (%L) to (%L)', name,
                 first::timestamp at time zone 'UTC', (first + interval '1 month') at time zone 'UTC');
  perform protect(('public.' || name)::regclass, '');
exception when check_violation then
  null; -- the default partition holds rows of this month already; they stay where they are
end $$;

revoke execute on function ensure_event_partition from public;
grant execute on function ensure_event_partition to outrider_app;

-- Which provider facts are known. Not partitioned, so that a redelivery with another time is still the same fact.
create table event_keys (
  tenant_id         text not null references tenants (id) on delete cascade,
  channel_config_id text not null,
  provider_event_id text not null,
  created_at        timestamptz not null default app_now(),
  primary key (tenant_id, channel_config_id, provider_event_id)
);
select protect('event_keys', 'select, insert');

create table conversations (
  tenant_id         text not null references tenants (id) on delete cascade,
  id                text not null default new_id('conv') check (starts_with(id, 'conv_')),
  lead_id           text,
  contact_id        text,
  -- the account it was last heard on
  channel_config_id text,
  channel           text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  address           text not null,
  whatsapp_id       text,
  sms_id            text,
  messenger_id      text,
  instagram_id      text,
  channel_metadata  jsonb not null default '{}',
  status            text not null default 'open' check (status in ('open', 'closed')),
  last_message_at   timestamptz not null default app_now(),
  created_at        timestamptz not null default app_now(),
  updated_at        timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, channel, address),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade,
  foreign key (tenant_id, contact_id) references contacts (tenant_id, id) on delete set null (contact_id),
  foreign key (tenant_id, channel_config_id) references channel_configs (tenant_id, id)
);
create index conversations_lead_idx on conversations (tenant_id, lead_id);
create index conversations_status_idx on conversations (tenant_id, status);
create index conversations_created_at_idx on conversations (tenant_id, created_at);
select protect('conversations', 'select, insert, update');

create table inbound_messages (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('imsg') check (starts_with(id, 'imsg_')),
  channel             text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  provider            text not null,
  channel_config_id   text not null,
  provider_message_id text not null,
  delivery_id         text,
  from_address        text not null,
  to_address          text not null,
  subject             text,
  body_text           text not null,
  body_html           text,
  -- without quotes and signature: what was classified
  new_text            text not null,
  classification      text not null check (classification in
                        ('opt_out', 'opt_in', 'help', 'auto_reply', 'reply', 'bounce_report', 'unclear_opt_out')),
  response_type       text check (response_type in ('positive', 'negative', 'neutral', 'dnc')),
  matched_by          text check (matched_by in ('reference', 'plus_address', 'address')),
  message_id          text,
  contact_campaign_id text,
  lead_id             text,
  contact_id          text,
  conversation_id     text,
  headers             jsonb not null default '{}',
  received_at         timestamptz not null default app_now(),
  correlation_id      text,
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, channel_config_id, provider_message_id),
  foreign key (tenant_id, message_id) references outbound_messages (tenant_id, id) on delete set null (message_id),
  foreign key (tenant_id, conversation_id) references conversations (tenant_id, id) on delete set null (conversation_id)
);
create index inbound_messages_enrollment_idx on inbound_messages (tenant_id, contact_campaign_id);
create index inbound_messages_received_idx on inbound_messages (tenant_id, received_at desc);
select protect('inbound_messages', 'select, insert, update');

create table send_rate_limits (
  tenant_id      text not null references tenants (id) on delete cascade,
  id             text not null default new_id('srl') check (starts_with(id, 'srl_')),
  scope          text not null check (scope in ('tenant', 'sender', 'channel', 'domain')),
  -- the sender's or channel's id, the recipient's domain, * for any domain, empty for the tenant
  scope_id       text not null default '',
  channel        text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  max_count      integer not null check (max_count > 0),
  window_seconds integer not null check (window_seconds between 1 and 2592000),
  enabled        boolean not null default true,
  created_at     timestamptz not null default app_now(),
  updated_at     timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, scope, scope_id, channel, window_seconds)
);
select protect('send_rate_limits', 'select, insert, update');

-- How much of a window is taken, and how much is kept for messages that wait for it. `key` tells apart what one limit counts separately (each domain of scope domain, *).
create table send_rate_windows (
  tenant_id    text not null,
  limit_id     text not null,
  key          text not null,
  window_start timestamptz not null,
  used         integer not null check (used >= 0),
  reserved     integer not null default 0 check (reserved >= 0),
  primary key (tenant_id, limit_id, key, window_start),
  foreign key (tenant_id, limit_id) references send_rate_limits (tenant_id, id) on delete cascade
) with (fillfactor = 50);
select protect('send_rate_windows', 'select, insert, update, delete');

-- Targets of click tracking. A link in a message carries an id and a signature, never a URL: there is nothing to redirect openly.
create table tracked_links (
  tenant_id  text not null references tenants (id) on delete cascade,
  id         text not null default new_id('lnk') check (starts_with(id, 'lnk_')),
  url        text not null check (url ~* '^https?://'),
  url_sha256 bytea not null,
  created_at timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, url_sha256)
);
select protect('tracked_links', 'select, insert');

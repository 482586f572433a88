-- Who is who: organizations hold tenants, tenants hold everything else. An organization's tenants share do-not-call and
-- configuration; nothing more.

create table organizations (
  id         text primary key default new_id('org') check (starts_with(id, 'org_')),
  name       text not null,
  created_at timestamptz not null default app_now(),
  updated_at timestamptz not null default app_now()
);
select protect('organizations', 'select', 'id', 'app.organization_id');

create table tenants (
  id              text primary key default new_id('tenant') check (starts_with(id, 'tenant_')),
  organization_id text not null references organizations (id),
  name            text not null,
  slug            text not null unique,
  plan            text default 'free',
  settings        jsonb not null default '{}',
  status          text not null default 'active' check (status in ('active', 'suspended')),
  suspended_at    timestamptz,
  created_at      timestamptz not null default app_now(),
  updated_at      timestamptz not null default app_now(),
  unique (id, organization_id)
);
-- Not its organization and not its slug: whoever could move a tenant to another organization would read that one's rows.
select protect('tenants', 'select, update (name, settings, status, suspended_at, updated_at)', 'id', 'app.tenant_id');

create table actors (
  tenant_id      text not null references tenants (id) on delete cascade,
  id             text not null default new_id('actor') check (starts_with(id, 'actor_')),
  type           text not null check (type in ('user', 'system', 'automation')),
  email          text check (email = lower(email)),
  name           text,
  role           text default 'member',
  last_active_at timestamptz,
  created_at     timestamptz not null default app_now(),
  primary key (tenant_id, id)
);
create index actors_tenant_idx on actors (tenant_id);
create unique index actors_email_unique on actors (tenant_id, email) where email is not null;
select protect('actors', 'select, insert, update');

-- A key is shown once; what is kept is its SHA-256 (128 random bits need no slow hash) and the first characters, for people.
create table api_keys (
  tenant_id    text not null references tenants (id) on delete cascade,
  id           text not null default new_id('key') check (starts_with(id, 'key_')),
  actor_id     text not null,
  name         text not null,
  prefix       text not null,
  key_hash     bytea not null check (octet_length(key_hash) = 32),
  scopes       text[] not null,
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz,
  created_at   timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, key_hash),
  foreign key (tenant_id, actor_id) references actors (tenant_id, id) on delete cascade
);
create index api_keys_hash_idx on api_keys (key_hash);
select protect('api_keys', 'select, insert, update');

create table system_config (
  organization_id text not null references organizations (id) on delete cascade,
  id              text not null default new_id('cfg') check (starts_with(id, 'cfg_')),
  tenant_id       text,
  config_key      text not null,
  config_value    jsonb not null,
  created_at      timestamptz not null default app_now(),
  updated_at      timestamptz not null default app_now(),
  primary key (organization_id, id),
  unique (organization_id, config_key),
  foreign key (tenant_id, organization_id) references tenants (id, organization_id) on delete set null (tenant_id)
);
select protect('system_config', 'select, insert, update', 'organization_id');

-- A tenant's account at a provider. `api_credentials` is a sealed envelope (AES-256-GCM), never a plain secret.
create table channel_configs (
  tenant_id       text not null references tenants (id) on delete cascade,
  id              text not null default new_id('chc') check (starts_with(id, 'chc_')),
  channel         text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  provider        text not null check (provider in ('sendgrid', 'twilio', 'meta', 'signalhouse')),
  name            text not null,
  settings        jsonb not null default '{}',
  api_credentials text not null,
  status          text not null default 'active' check (status in ('active', 'degraded', 'disabled')),
  status_reason   text,
  created_at      timestamptz not null default app_now(),
  updated_at      timestamptz not null default app_now(),
  primary key (tenant_id, id)
);
create index channel_configs_channel_idx on channel_configs (tenant_id, channel) where status = 'active';
-- Seed 003 wants every table of its own found by status and by age.
create index channel_configs_status_idx on channel_configs (tenant_id, status);
create index channel_configs_created_at_idx on channel_configs (tenant_id, created_at);
select protect('channel_configs', 'select, insert, update');

create table budget_transactions (
  tenant_id         text not null references tenants (id) on delete cascade,
  id                text not null default new_id('btx') check (starts_with(id, 'btx_')),
  user_id           text,
  transaction_type  text not null check (transaction_type in ('deposit', 'charge', 'refund', 'adjustment')),
  amount_usd        numeric(14, 4) not null,
  balance_after_usd numeric(14, 4) not null,
  reference         text,
  created_at        timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, user_id) references actors (tenant_id, id)
);
select protect('budget_transactions', 'select, insert');

-- The answer to a POST, kept for its Idempotency-Key: the same key with the same request gets the same answer.
create table idempotency_keys (
  tenant_id       text not null references tenants (id) on delete cascade,
  key             text not null check (length(key) between 1 and 255),
  request_hash    bytea not null,
  response_status int,
  response_body   jsonb,
  created_at      timestamptz not null default app_now(),
  expires_at      timestamptz not null,
  primary key (tenant_id, key)
);
select protect('idempotency_keys', 'select, insert, update, delete');

-- Opens a transaction for one tenant: everything after it in the transaction sees that tenant's rows, the rows of its
-- organization, and one instant. Null results: there is no such tenant.
create function begin_tenant(p_tenant text, p_actor text, p_correlation text, out now timestamptz, out organization_id text)
language plpgsql as $$
begin
  perform set_config('app.tenant_id', p_tenant, true),
          set_config('app.actor', p_actor, true),
          set_config('app.correlation_id', p_correlation, true),
          set_config('app.clock', coalesce((select clock_at::text from deployment), 'real'), true);
  select t.organization_id into organization_id from tenants t where t.id = p_tenant;
  perform set_config('app.organization_id', coalesce(organization_id, ''), true);
  now := app_now();
end $$;

-- The same people under seed 001's name.
create view users with (security_invoker = true) as
  select tenant_id, id, email, name, role, last_active_at, created_at from actors where type = 'user';
grant select on users to outrider_app;

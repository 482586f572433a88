-- Who must not be contacted, and what was consented to. Rows are lifted, never deleted: "why did we stop" is an audit question.
-- Every suppression and every claim of a message draws from one sequence while it holds the address lock, so that the order of
-- the two is a fact that can be checked afterwards (no claim after a covering suppression).

create sequence compliance_seq;
grant usage on sequence compliance_seq to outrider_app;

-- The lock both sides take: a STOP that commits before a claim always wins.
create function address_lock_key(p_tenant text, p_channel text, p_address text) returns bigint
language sql immutable strict parallel safe as $$
  select hashtextextended(p_tenant || chr(31) || p_channel || chr(31) || p_address, 0)
$$;

create table communication_suppressions (
  tenant_id     text not null references tenants (id) on delete cascade,
  id            text not null default new_id('sup') check (starts_with(id, 'sup_')),
  channel       text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram', 'call', 'linkedin')),
  -- canonical form (kernel/address.ts suppressionAddress), or hmac:… after an erasure
  address       text not null,
  reason        text not null check (reason in ('unsubscribed', 'stop', 'complaint', 'hard_bounce', 'provider', 'manual', 'erasure')),
  source        text not null,
  evidence      jsonb not null default '{}',
  seq           bigint not null default nextval('compliance_seq'),
  suppressed_at timestamptz not null default app_now(),
  released_at   timestamptz,
  released_by   text,
  release_note  text,
  created_by    text,
  created_at    timestamptz not null default app_now(),
  updated_at    timestamptz not null default app_now(),
  primary key (tenant_id, id)
);
create unique index communication_suppressions_active on communication_suppressions (tenant_id, channel, address)
  where released_at is null;
create index communication_suppressions_released on communication_suppressions (tenant_id, released_at) where released_at is not null;
create index communication_suppressions_address_idx on communication_suppressions (tenant_id, channel, address, seq);
select protect('communication_suppressions', 'select, insert, update');

-- Do-not-call numbers, shared by the tenants of an organization.
create table dnc_list (
  organization_id text not null references organizations (id) on delete cascade,
  id              text not null default new_id('dnc') check (starts_with(id, 'dnc_')),
  tenant_id       text,
  phone_number    text not null check (phone_number ~ '^\+[1-9][0-9]{6,14}$'),
  reason          text,
  source          text,
  seq             bigint not null default nextval('compliance_seq'),
  added_at        timestamptz not null default app_now(),
  added_by        text,
  lifted_at       timestamptz,
  lifted_by       text,
  primary key (organization_id, id),
  foreign key (tenant_id, organization_id) references tenants (id, organization_id) on delete set null (tenant_id)
);
create unique index dnc_list_phone_unique on dnc_list (organization_id, phone_number) where lifted_at is null;
select protect('dnc_list', 'select, insert, update', 'organization_id');
alter policy tenant_isolation_policy on dnc_list rename to org_dnc_policy;

create function is_on_dnc_list(p_phone text, p_organization_id text) returns boolean language sql stable as $$
  select exists (select from dnc_list
                 where organization_id = p_organization_id and phone_number = p_phone and lifted_at is null)
$$;

create table consents (
  tenant_id    text not null references tenants (id) on delete cascade,
  id           text not null default new_id('cons') check (starts_with(id, 'cons_')),
  contact_id   text,
  channel      text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram', 'call', 'linkedin')),
  address      text not null,
  basis        text not null check (basis in ('express_written', 'express', 'existing_relationship', 'legitimate_interest')),
  text         text,
  source       text not null,
  ip           text,
  form_version text,
  granted_at   timestamptz not null default app_now(),
  revoked_at   timestamptz,
  created_by   text,
  created_at   timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, contact_id) references contacts (tenant_id, id) on delete set null (contact_id)
);
create index consents_address_idx on consents (tenant_id, channel, address) where revoked_at is null;
select protect('consents', 'select, insert, update');

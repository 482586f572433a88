-- Campaigns: a plan (immutable, one row per distinct hash), the contacts walking it, and the timed work that moves them.

create table marketing.campaigns (
  tenant_id       text not null references tenants (id) on delete cascade,
  campaign_id     text not null default new_id('mcmp') check (starts_with(campaign_id, 'mcmp_')),
  name            text not null,
  type            text not null default 'cold_outreach' check (type in ('cold_outreach', 'nurture', 'follow_up')),
  status          text not null default 'draft' check (status in ('draft', 'active', 'paused', 'completed', 'stopped')),
  plan_version_id text,
  target_count    integer,
  -- Seed 002's column. Not maintained: all workers would queue for one row. What was sent is counted in outbound_messages when it is asked for.
  sent_count      integer not null default 0,
  response_count  integer not null default 0,
  -- sender, quiet hours, authoring form: what the author chose beside the plan
  settings        jsonb not null default '{}',
  created_by      text,
  created_at      timestamptz not null default app_now(),
  updated_at      timestamptz not null default app_now(),
  started_at      timestamptz,
  ended_at        timestamptz,
  primary key (tenant_id, campaign_id)
);
create index campaigns_status_idx on marketing.campaigns (tenant_id, status);
select protect('marketing.campaigns', 'select, insert, update');

create table campaign_plan_versions (
  tenant_id      text not null references tenants (id) on delete cascade,
  id             text not null default new_id('cpv') check (starts_with(id, 'cpv_')),
  campaign_id    text not null,
  version_number integer not null,
  plan_version   text not null default '1.0',
  plan_json      jsonb not null,
  plan_hash      text not null check (plan_hash ~ '^[0-9a-f]{64}$'),
  created_by     text,
  reason         text,
  created_at     timestamptz not null default app_now(),
  updated_at     timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, campaign_id, plan_hash),
  unique (tenant_id, campaign_id, version_number),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade
);
-- Seed 001 puts this index on contact_campaigns.plan_json; the plan lives here, once.
create index idx_contact_campaigns_plan_gin on campaign_plan_versions using gin (plan_json);
select protect('campaign_plan_versions', 'select, insert');

-- What nodes of one version are called in another, as those who moved enrollments have said; from the first change of a name on, also of those
-- that keep theirs. Two messages of a campaign stand for the same step when these names lead from one to the other; the gate asks that before
-- it lets a step go to an address.
create table node_renames (
  tenant_id       text not null references tenants (id) on delete cascade,
  campaign_id     text not null,
  from_version_id text not null,
  from_node       text not null,
  to_version_id   text not null,
  to_node         text not null,
  created_at      timestamptz not null default app_now(),
  primary key (tenant_id, campaign_id, from_version_id, to_version_id, from_node, to_node),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade,
  foreign key (tenant_id, from_version_id) references campaign_plan_versions (tenant_id, id) on delete cascade,
  foreign key (tenant_id, to_version_id) references campaign_plan_versions (tenant_id, id) on delete cascade
);
select protect('node_renames', 'select, insert');
alter table marketing.campaigns add foreign key (tenant_id, plan_version_id) references campaign_plan_versions (tenant_id, id);

-- A version says what was in force; changing it would change what happened.
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is immutable', tg_table_name using errcode = 'integrity_constraint_violation';
end $$;
create trigger immutable before update on campaign_plan_versions for each row execute function refuse_change();

create table email_sender_identities (
  tenant_id          text not null references tenants (id) on delete cascade,
  id                 text not null default new_id('esi') check (starts_with(id, 'esi_')),
  user_id            text not null,
  channel_config_id  text,
  from_email         text not null check (from_email = lower(from_email)),
  from_name          text not null,
  reply_to           text,
  domain             text not null,
  sendgrid_sender_id text,
  validation_status  text not null default 'pending' check (validation_status in ('pending', 'verified', 'failed')),
  last_validated_at  timestamptz,
  dedicated_ip_pool  text,
  is_default         boolean not null default false,
  created_at         timestamptz not null default app_now(),
  updated_at         timestamptz not null default app_now(),
  primary key (tenant_id, id),
  constraint tenant_email_unique unique (tenant_id, from_email),
  foreign key (tenant_id, user_id) references actors (tenant_id, id) on delete cascade,
  foreign key (tenant_id, channel_config_id) references channel_configs (tenant_id, id)
);
create unique index email_sender_identities_default on email_sender_identities (tenant_id) where is_default;
select protect('email_sender_identities', 'select, insert, update');

-- One contact walking one plan. `state` is the engine's whole memory of the walk.
create table contact_campaigns (
  tenant_id          text not null references tenants (id) on delete cascade,
  id                 text not null default new_id('ccmp') check (starts_with(id, 'ccmp_')),
  campaign_id        text not null,
  lead_id            text not null,
  contact_id         text not null,
  channel            text not null check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram', 'call', 'linkedin')),
  status             text not null default 'draft' check (status in ('draft', 'active', 'paused', 'completed', 'stopped', 'error')),
  current_node_id    text,
  plan_version_id    text not null,
  plan_version       text not null default '1.0',
  plan_hash          text not null,
  sender_identity_id text,
  state              jsonb not null default '{}',
  -- how often this contact has entered this campaign: part of every dedupe key, so that entering again may send again
  entry              integer not null default 1,
  exit_reason        text,
  superseded_by      text,
  correlation_id     text,
  started_at         timestamptz,
  completed_at       timestamptz,
  created_at         timestamptz not null default app_now(),
  updated_at         timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, campaign_id, contact_id, entry),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade,
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade,
  foreign key (tenant_id, contact_id) references contacts (tenant_id, id) on delete cascade,
  foreign key (tenant_id, plan_version_id) references campaign_plan_versions (tenant_id, id),
  foreign key (tenant_id, sender_identity_id) references email_sender_identities (tenant_id, id) on delete set null (sender_identity_id),
  foreign key (tenant_id, superseded_by) references contact_campaigns (tenant_id, id) deferrable initially deferred
) with (fillfactor = 80);
-- A contact walks one plan per channel at a time; what came before is superseded, not lost.
create unique index contact_channel_unique on contact_campaigns (tenant_id, contact_id, channel) where superseded_by is null;
create index contact_campaigns_status_idx on contact_campaigns (tenant_id, status);
create index contact_campaigns_campaign_idx on contact_campaigns (tenant_id, campaign_id, id);
-- Is anybody still walking? Asked whenever somebody arrives at an end.
create index contact_campaigns_open_idx on contact_campaigns (tenant_id, campaign_id) where status in ('draft', 'active', 'paused');
select protect('contact_campaigns', 'select, insert, update');

create table campaign_transitions (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('ctr') check (starts_with(id, 'ctr_')),
  campaign_id         text not null,
  -- null: the campaign itself changed
  contact_campaign_id text,
  from_status         text,
  to_status           text not null,
  from_node_id        text,
  to_node_id          text,
  reason              text,
  triggered_by        text not null,
  correlation_id      text,
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade,
  foreign key (tenant_id, contact_campaign_id) references contact_campaigns (tenant_id, id) on delete cascade
);
create index campaign_transitions_enrollment_idx on campaign_transitions (tenant_id, contact_campaign_id, id);
create index campaign_transitions_campaign_idx on campaign_transitions (tenant_id, campaign_id) where contact_campaign_id is null;
select protect('campaign_transitions', 'select, insert');

-- An action stays pending while a worker has it (lease_until says how long): pausing and cancelling find it where it was, and the claim
-- touches no index.
create table scheduled_actions (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('sact') check (starts_with(id, 'sact_')),
  campaign_id         text not null,
  contact_campaign_id text not null,
  action_type         text not null check (action_type in ('node', 'timeout')),
  node_id             text not null,
  -- for a timeout: which absence it watches for (no_open, no_click, no_reply)
  watch               text,
  status              text not null default 'pending' check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
  run_at              timestamptz not null,
  -- while its campaign is paused, run_at is infinity and this is when it was due
  paused_run_at       timestamptz,
  attempts            int not null default 0,
  lease_until         timestamptz,
  generation          int not null default 0,
  last_error          text,
  completed_at        timestamptz,
  -- one action per enrollment, node visit and watch, whatever calls twice
  idempotency_key     text not null,
  correlation_id      text,
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, idempotency_key),
  foreign key (tenant_id, contact_campaign_id) references contact_campaigns (tenant_id, id) on delete cascade
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- Not tenant first: the sweep asks what is due for anybody.
create index idx_scheduled_actions_ready on scheduled_actions (status, run_at) include (tenant_id, id) where status = 'pending';
create index scheduled_actions_failed on scheduled_actions (tenant_id) where status = 'failed';
create index scheduled_actions_enrollment_idx on scheduled_actions (tenant_id, contact_campaign_id) where status = 'pending';
create index scheduled_actions_campaign_idx on scheduled_actions (tenant_id, campaign_id) where status = 'pending';
select protect('scheduled_actions', 'select, insert, update');

create table email_templates (
  tenant_id     text not null references tenants (id) on delete cascade,
  id            text not null default new_id('tmpl') check (starts_with(id, 'tmpl_')),
  name          text not null,
  channel       text not null default 'email' check (channel in ('email', 'sms', 'whatsapp', 'messenger', 'instagram')),
  subject       text,
  body_html     text,
  body_text     text,
  variables     text[] not null default '{}',
  version       integer not null default 1,
  superseded_by text,
  created_by    text,
  created_at    timestamptz not null default app_now(),
  updated_at    timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, name, version),
  foreign key (tenant_id, superseded_by) references email_templates (tenant_id, id) deferrable initially deferred
);
create unique index email_templates_current on email_templates (tenant_id, name) where superseded_by is null;
create index email_templates_created_at_idx on email_templates (tenant_id, created_at);
select protect('email_templates', 'select, insert, update');

-- What a person has to do because a plan says so (call, LinkedIn, check a reply that was unclear).
create table tasks (
  tenant_id           text not null references tenants (id) on delete cascade,
  id                  text not null default new_id('task') check (starts_with(id, 'task_')),
  contact_campaign_id text,
  lead_id             text,
  contact_id          text,
  node_id             text,
  kind                text not null check (kind in ('call', 'linkedin', 'review', 'other')),
  title               text not null,
  assignee_id         text,
  status              text not null default 'open' check (status in ('open', 'done', 'cancelled')),
  due_at              timestamptz,
  done_at             timestamptz,
  idempotency_key     text not null,
  created_at          timestamptz not null default app_now(),
  updated_at          timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, idempotency_key),
  foreign key (tenant_id, contact_campaign_id) references contact_campaigns (tenant_id, id) on delete cascade,
  foreign key (tenant_id, lead_id) references leads (tenant_id, id) on delete cascade
);
create index tasks_enrollment_idx on tasks (tenant_id, contact_campaign_id);
select protect('tasks', 'select, insert, update');

-- A simulation is an artifact of numbers: what a plan would send to whom, when, and what it would hold back and why.
create table campaign_simulations (
  tenant_id    text not null references tenants (id) on delete cascade,
  id           text not null default new_id('sim') check (starts_with(id, 'sim_')),
  campaign_id  text not null,
  plan_hash    text not null,
  -- hash over every simulated send: two runs with the same input have the same
  sends_hash   text not null,
  starts_at    timestamptz not null,
  contacts     integer not null,
  sends        integer not null,
  summary      jsonb not null,
  created_by   text,
  created_at   timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade
);
select protect('campaign_simulations', 'select, insert');

create table simulated_sends (
  tenant_id     text not null,
  simulation_id text not null,
  ordinal       integer not null,
  contact_id    text not null,
  node_id       text not null,
  variant_id    text,
  channel       text not null,
  address       text not null,
  at            timestamptz,
  -- sent, or the gate's reason for the end it came to
  verdict       text not null,
  detail        jsonb,
  primary key (tenant_id, simulation_id, ordinal),
  foreign key (tenant_id, simulation_id) references campaign_simulations (tenant_id, id) on delete cascade
);
select protect('simulated_sends', 'select, insert');

create table marketing.attribution (
  tenant_id         text not null references tenants (id) on delete cascade,
  id                text not null default new_id('attr') check (starts_with(id, 'attr_')),
  person_id         text not null,
  campaign_id       text,
  conversion_type   text not null check (conversion_type in ('meeting', 'demo', 'signup', 'sale')),
  converted_at      timestamptz not null,
  value             numeric,
  source_touchpoint text,
  final_touchpoint  text,
  created_at        timestamptz not null default app_now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, person_id) references people.master (tenant_id, id) on delete cascade,
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id)
);
select protect('marketing.attribution', 'select, insert');

create table marketing.feedback_reports (
  tenant_id   text not null references tenants (id) on delete cascade,
  id          text not null default new_id('fbr') check (starts_with(id, 'fbr_')),
  campaign_id text not null,
  report_date date not null,
  metrics     jsonb not null,
  insights    text,
  created_at  timestamptz not null default app_now(),
  primary key (tenant_id, id),
  unique (tenant_id, campaign_id, report_date),
  foreign key (tenant_id, campaign_id) references marketing.campaigns (tenant_id, campaign_id) on delete cascade
);
select protect('marketing.feedback_reports', 'select, insert, update');

-- Made by npm run gen from the migrated database. Do not edit; review its changes.

-- Roles

role outrider_app login inherit nobypassrls set random_page_cost=1.1, idle_in_transaction_session_timeout=15s, statement_timeout=30s;

role outrider_owner nologin inherit nobypassrls;

role outrider_sweeper nologin inherit nobypassrls;


-- Extensions

extension pg_trgm in public;


-- Schemas

schema "bit" owner outrider_owner;
-- Business intelligence: reporting views
grant usage to outrider_app;

schema company owner outrider_owner;
grant usage to outrider_app;

schema intake owner outrider_owner;
grant usage to outrider_app;

schema marketing owner outrider_owner;
grant usage to outrider_app;

schema people owner outrider_owner;
grant usage to outrider_app;

schema ple owner outrider_owner;
-- People lead enrichment: enrichment views
grant usage to outrider_app;

schema public owner pg_database_owner;
-- standard public schema
grant create, usage to outrider_owner;
grant create, usage to outrider_sweeper;
grant usage to outrider_app;
grant usage to public;

schema vault owner outrider_owner;
grant usage to outrider_app;


-- Sequences

sequence public.compliance_seq as bigint start 1 increment 1;
grant usage to outrider_app;


-- Tables

table company.history owner outrider_owner (
  tenant_id text not null
  history_id text not null default new_id('chist'::text)
  company_id text not null
  changed_fields jsonb not null
  old_values jsonb not null
  new_values jsonb not null
  changed_by text
  changed_at timestamp with time zone not null default app_now()
  constraint history_pkey PRIMARY KEY (tenant_id, history_id)
  constraint history_tenant_id_company_id_fkey FOREIGN KEY (tenant_id, company_id) REFERENCES company.master(tenant_id, id) ON DELETE CASCADE
  constraint history_history_id_check CHECK (starts_with(history_id, 'chist_'::text))
);
CREATE INDEX company_history_company_idx ON company.history USING btree (tenant_id, company_id, changed_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table company.master owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('com'::text)
  domain text not null
  name text
  industry text
  employee_count integer
  revenue numeric
  location text
  linkedin_url text
  website text
  provenance jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  enriched_at timestamp with time zone
  status text not null default 'active'::text
  constraint master_pkey PRIMARY KEY (tenant_id, id)
  constraint master_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint master_domain_check CHECK ((domain = lower(domain)))
  constraint master_employee_count_check CHECK ((employee_count >= 0))
  constraint master_id_check CHECK (starts_with(id, 'com_'::text))
  constraint master_status_check CHECK ((status = ANY (ARRAY['active'::text, 'inactive'::text, 'archived'::text])))
);
CREATE UNIQUE INDEX idx_company_domain ON company.master USING btree (tenant_id, domain);
CREATE INDEX idx_company_industry ON company.master USING btree (tenant_id, industry);
CREATE INDEX idx_company_name ON company.master USING btree (tenant_id, name);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER record_history AFTER UPDATE ON company.master REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION company.record_history();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON company.master FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant select to outrider_app;

table intake.audit_log owner outrider_owner (
  tenant_id text not null
  log_id text not null default new_id('log'::text)
  action text not null
  load_id text
  contact_id text
  details jsonb not null default '{}'::jsonb
  "timestamp" timestamp with time zone not null default app_now()
  constraint audit_log_pkey PRIMARY KEY (tenant_id, log_id)
  constraint audit_log_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint audit_log_log_id_check CHECK (starts_with(log_id, 'log_'::text))
);
CREATE INDEX audit_log_contact_idx ON intake.audit_log USING btree (tenant_id, contact_id) WHERE (contact_id IS NOT NULL);
CREATE INDEX audit_log_load_idx ON intake.audit_log USING btree (tenant_id, load_id) WHERE (load_id IS NOT NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table intake.raw_loads owner outrider_owner (
  tenant_id text not null
  load_id text not null default new_id('load'::text)
  batch_id text not null
  source text not null
  raw_data jsonb not null
  email text
  status text not null default 'pending'::text
  created_at timestamp with time zone not null default app_now()
  promoted_at timestamp with time zone
  metadata jsonb not null default '{}'::jsonb
  constraint raw_loads_pkey PRIMARY KEY (tenant_id, load_id)
  constraint raw_loads_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint raw_loads_email_check CHECK ((email = lower(email)))
  constraint raw_loads_load_id_check CHECK (starts_with(load_id, 'load_'::text))
  constraint raw_loads_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'promoted'::text, 'failed'::text, 'duplicate'::text])))
);
CREATE INDEX idx_raw_loads_batch_id ON intake.raw_loads USING btree (tenant_id, batch_id);
CREATE INDEX idx_raw_loads_created_at ON intake.raw_loads USING btree (tenant_id, created_at DESC);
CREATE INDEX idx_raw_loads_raw_data_email ON intake.raw_loads USING btree (tenant_id, email, created_at) WHERE (email IS NOT NULL);
CREATE INDEX idx_raw_loads_source ON intake.raw_loads USING btree (tenant_id, source);
CREATE INDEX idx_raw_loads_status ON intake.raw_loads USING btree (tenant_id, status) WHERE (status <> 'promoted'::text);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table marketing.attribution owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('attr'::text)
  person_id text not null
  campaign_id text
  conversion_type text not null
  converted_at timestamp with time zone not null
  value numeric
  source_touchpoint text
  final_touchpoint text
  created_at timestamp with time zone not null default app_now()
  constraint attribution_pkey PRIMARY KEY (tenant_id, id)
  constraint attribution_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id)
  constraint attribution_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint attribution_tenant_id_person_id_fkey FOREIGN KEY (tenant_id, person_id) REFERENCES people.master(tenant_id, id) ON DELETE CASCADE
  constraint attribution_conversion_type_check CHECK ((conversion_type = ANY (ARRAY['meeting'::text, 'demo'::text, 'signup'::text, 'sale'::text])))
  constraint attribution_id_check CHECK (starts_with(id, 'attr_'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table marketing.campaigns owner outrider_owner (
  tenant_id text not null
  campaign_id text not null default new_id('mcmp'::text)
  name text not null
  type text not null default 'cold_outreach'::text
  status text not null default 'draft'::text
  plan_version_id text
  target_count integer
  sent_count integer not null default 0
  response_count integer not null default 0
  settings jsonb not null default '{}'::jsonb
  created_by text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  started_at timestamp with time zone
  ended_at timestamp with time zone
  constraint campaigns_pkey PRIMARY KEY (tenant_id, campaign_id)
  constraint campaigns_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint campaigns_tenant_id_plan_version_id_fkey FOREIGN KEY (tenant_id, plan_version_id) REFERENCES campaign_plan_versions(tenant_id, id)
  constraint campaigns_campaign_id_check CHECK (starts_with(campaign_id, 'mcmp_'::text))
  constraint campaigns_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'active'::text, 'paused'::text, 'completed'::text, 'stopped'::text])))
  constraint campaigns_type_check CHECK ((type = ANY (ARRAY['cold_outreach'::text, 'nurture'::text, 'follow_up'::text])))
);
CREATE INDEX campaigns_status_idx ON marketing.campaigns USING btree (tenant_id, status);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON marketing.campaigns FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table marketing.feedback_reports owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('fbr'::text)
  campaign_id text not null
  report_date date not null
  metrics jsonb not null
  insights text
  created_at timestamp with time zone not null default app_now()
  constraint feedback_reports_pkey PRIMARY KEY (tenant_id, id)
  constraint feedback_reports_tenant_id_campaign_id_report_date_key UNIQUE (tenant_id, campaign_id, report_date)
  constraint feedback_reports_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint feedback_reports_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint feedback_reports_id_check CHECK (starts_with(id, 'fbr_'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table people.history owner outrider_owner (
  tenant_id text not null
  history_id text not null default new_id('phist'::text)
  person_id text not null
  changed_fields jsonb not null
  old_values jsonb not null
  new_values jsonb not null
  changed_by text
  changed_at timestamp with time zone not null default app_now()
  constraint history_pkey PRIMARY KEY (tenant_id, history_id)
  constraint history_tenant_id_person_id_fkey FOREIGN KEY (tenant_id, person_id) REFERENCES people.master(tenant_id, id) ON DELETE CASCADE
  constraint history_history_id_check CHECK (starts_with(history_id, 'phist_'::text))
);
CREATE INDEX people_history_person_idx ON people.history USING btree (tenant_id, person_id, changed_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table people.intelligence owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('intel'::text)
  person_id text not null
  linkedin_data jsonb not null
  skills text[]
  experience jsonb
  education jsonb
  fetched_at timestamp with time zone not null default app_now()
  stale_at timestamp with time zone not null default (app_now() + '30 days'::interval)
  superseded_by text
  constraint intelligence_pkey PRIMARY KEY (tenant_id, id)
  constraint intelligence_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint intelligence_tenant_id_person_id_fkey FOREIGN KEY (tenant_id, person_id) REFERENCES people.master(tenant_id, id) ON DELETE CASCADE
  constraint intelligence_tenant_id_superseded_by_fkey FOREIGN KEY (tenant_id, superseded_by) REFERENCES people.intelligence(tenant_id, id)
  constraint intelligence_id_check CHECK (starts_with(id, 'intel_'::text))
);
CREATE UNIQUE INDEX people_intelligence_current ON people.intelligence USING btree (tenant_id, person_id) WHERE (superseded_by IS NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table people.master owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('per'::text)
  email text not null
  name text
  first_name text
  last_name text
  title text
  company_id text
  linkedin_url text
  phone text
  location text
  seniority text
  department text
  time_zone text
  postal_code text
  state text
  country text
  source text not null
  tags jsonb not null default '[]'::jsonb
  custom_fields jsonb not null default '{}'::jsonb
  load_id text
  score numeric(5,2) not null default 0
  last_activity_at timestamp with time zone
  provenance jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  enriched_at timestamp with time zone
  status text not null default 'active'::text
  constraint master_pkey PRIMARY KEY (tenant_id, id)
  constraint master_tenant_id_company_id_fkey FOREIGN KEY (tenant_id, company_id) REFERENCES company.master(tenant_id, id) ON DELETE SET NULL (company_id)
  constraint master_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint master_email_check CHECK ((email = lower(email)))
  constraint master_id_check CHECK (starts_with(id, 'per_'::text))
  constraint master_score_check CHECK (((score >= (0)::numeric) AND (score <= (100)::numeric)))
  constraint master_status_check CHECK ((status = ANY (ARRAY['active'::text, 'inactive'::text, 'bounced'::text, 'unsubscribed'::text])))
);
CREATE INDEX idx_contacts_created_at ON people.master USING btree (tenant_id, created_at DESC);
CREATE INDEX idx_contacts_score ON people.master USING btree (tenant_id, score DESC);
CREATE INDEX idx_contacts_source ON people.master USING btree (tenant_id, source);
CREATE INDEX idx_contacts_status ON people.master USING btree (tenant_id, status);
CREATE INDEX idx_people_company_id ON people.master USING btree (tenant_id, company_id);
CREATE UNIQUE INDEX idx_people_email ON people.master USING btree (tenant_id, email);
CREATE INDEX idx_people_linkedin_url ON people.master USING btree (tenant_id, linkedin_url) WHERE (linkedin_url IS NOT NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER record_history AFTER UPDATE ON people.master REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION people.record_history();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON people.master FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant select to outrider_app;

table public.actors owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('actor'::text)
  type text not null
  email text
  name text
  role text default 'member'::text
  last_active_at timestamp with time zone
  created_at timestamp with time zone not null default app_now()
  constraint actors_pkey PRIMARY KEY (tenant_id, id)
  constraint actors_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint actors_email_check CHECK ((email = lower(email)))
  constraint actors_id_check CHECK (starts_with(id, 'actor_'::text))
  constraint actors_type_check CHECK ((type = ANY (ARRAY['user'::text, 'system'::text, 'automation'::text])))
);
CREATE UNIQUE INDEX actors_email_unique ON public.actors USING btree (tenant_id, email) WHERE (email IS NOT NULL);
CREATE INDEX actors_tenant_idx ON public.actors USING btree (tenant_id);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table public.api_keys owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('key'::text)
  actor_id text not null
  name text not null
  prefix text not null
  key_hash bytea not null
  scopes text[] not null
  expires_at timestamp with time zone
  last_used_at timestamp with time zone
  revoked_at timestamp with time zone
  created_at timestamp with time zone not null default app_now()
  constraint api_keys_pkey PRIMARY KEY (tenant_id, id)
  constraint api_keys_tenant_id_key_hash_key UNIQUE (tenant_id, key_hash)
  constraint api_keys_tenant_id_actor_id_fkey FOREIGN KEY (tenant_id, actor_id) REFERENCES actors(tenant_id, id) ON DELETE CASCADE
  constraint api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint api_keys_id_check CHECK (starts_with(id, 'key_'::text))
  constraint api_keys_key_hash_check CHECK ((octet_length(key_hash) = 32))
);
CREATE INDEX api_keys_hash_idx ON public.api_keys USING btree (key_hash);
row security enabled and forced;
policy sweeper_lookup permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;
grant select (tenant_id, id, key_hash, expires_at, revoked_at) to outrider_sweeper;

table public.artifacts owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('art'::text)
  pipeline_run_id text
  block_execution_id text
  correlation_id text
  parent_artifact_ids text[]
  artifact_type text not null
  mime_type text default 'application/json'::text
  storage_type text not null default 'object'::text
  inline_data jsonb
  object_path text
  size_bytes bigint
  checksum text
  version integer not null default 1
  superseded_by text
  metadata jsonb default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  constraint artifacts_pkey PRIMARY KEY (tenant_id, id)
  constraint artifacts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint artifacts_tenant_id_superseded_by_fkey FOREIGN KEY (tenant_id, superseded_by) REFERENCES artifacts(tenant_id, id)
  constraint artifacts_check CHECK (
CASE storage_type
    WHEN 'inline'::text THEN (inline_data IS NOT NULL)
    ELSE (object_path IS NOT NULL)
END)
  constraint artifacts_id_check CHECK (starts_with(id, 'art_'::text))
  constraint artifacts_storage_type_check CHECK ((storage_type = ANY (ARRAY['inline'::text, 'object'::text])))
);
CREATE INDEX artifacts_correlation_idx ON public.artifacts USING btree (tenant_id, correlation_id);
CREATE INDEX artifacts_run_idx ON public.artifacts USING btree (tenant_id, pipeline_run_id) WHERE (pipeline_run_id IS NOT NULL);
CREATE INDEX artifacts_tenant_idx ON public.artifacts USING btree (tenant_id);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.budget_transactions owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('btx'::text)
  user_id text
  transaction_type text not null
  amount_usd numeric(14,4) not null
  balance_after_usd numeric(14,4) not null
  reference text
  created_at timestamp with time zone not null default app_now()
  constraint budget_transactions_pkey PRIMARY KEY (tenant_id, id)
  constraint budget_transactions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint budget_transactions_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES actors(tenant_id, id)
  constraint budget_transactions_id_check CHECK (starts_with(id, 'btx_'::text))
  constraint budget_transactions_transaction_type_check CHECK ((transaction_type = ANY (ARRAY['deposit'::text, 'charge'::text, 'refund'::text, 'adjustment'::text])))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.campaign_plan_versions owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('cpv'::text)
  campaign_id text not null
  version_number integer not null
  plan_version text not null default '1.0'::text
  plan_json jsonb not null
  plan_hash text not null
  created_by text
  reason text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint campaign_plan_versions_pkey PRIMARY KEY (tenant_id, id)
  constraint campaign_plan_versions_tenant_id_campaign_id_plan_hash_key UNIQUE (tenant_id, campaign_id, plan_hash)
  constraint campaign_plan_versions_tenant_id_campaign_id_version_number_key UNIQUE (tenant_id, campaign_id, version_number)
  constraint campaign_plan_versions_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint campaign_plan_versions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint campaign_plan_versions_id_check CHECK (starts_with(id, 'cpv_'::text))
  constraint campaign_plan_versions_plan_hash_check CHECK ((plan_hash ~ '^[0-9a-f]{64}$'::text))
);
CREATE INDEX idx_contact_campaigns_plan_gin ON public.campaign_plan_versions USING gin (plan_json);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER immutable BEFORE UPDATE ON public.campaign_plan_versions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.campaign_plan_versions FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select to outrider_app;

table public.campaign_simulations owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('sim'::text)
  campaign_id text not null
  plan_hash text not null
  sends_hash text not null
  starts_at timestamp with time zone not null
  contacts integer not null
  sends integer not null
  summary jsonb not null
  created_by text
  created_at timestamp with time zone not null default app_now()
  constraint campaign_simulations_pkey PRIMARY KEY (tenant_id, id)
  constraint campaign_simulations_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint campaign_simulations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint campaign_simulations_id_check CHECK (starts_with(id, 'sim_'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.campaign_transitions owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('ctr'::text)
  campaign_id text not null
  contact_campaign_id text
  from_status text
  to_status text not null
  from_node_id text
  to_node_id text
  reason text
  triggered_by text not null
  correlation_id text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint campaign_transitions_pkey PRIMARY KEY (tenant_id, id)
  constraint campaign_transitions_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint campaign_transitions_tenant_id_contact_campaign_id_fkey FOREIGN KEY (tenant_id, contact_campaign_id) REFERENCES contact_campaigns(tenant_id, id) ON DELETE CASCADE
  constraint campaign_transitions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint campaign_transitions_id_check CHECK (starts_with(id, 'ctr_'::text))
);
CREATE INDEX campaign_transitions_campaign_idx ON public.campaign_transitions USING btree (tenant_id, campaign_id) WHERE (contact_campaign_id IS NULL);
CREATE INDEX campaign_transitions_enrollment_idx ON public.campaign_transitions USING btree (tenant_id, contact_campaign_id, id);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.campaign_transitions FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select to outrider_app;

table public.channel_configs owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('chc'::text)
  channel text not null
  provider text not null
  name text not null
  settings jsonb not null default '{}'::jsonb
  api_credentials text not null
  status text not null default 'active'::text
  status_reason text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint channel_configs_pkey PRIMARY KEY (tenant_id, id)
  constraint channel_configs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint channel_configs_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint channel_configs_id_check CHECK (starts_with(id, 'chc_'::text))
  constraint channel_configs_provider_check CHECK ((provider = ANY (ARRAY['sendgrid'::text, 'twilio'::text, 'meta'::text, 'signalhouse'::text])))
  constraint channel_configs_status_check CHECK ((status = ANY (ARRAY['active'::text, 'degraded'::text, 'disabled'::text])))
);
CREATE INDEX channel_configs_channel_idx ON public.channel_configs USING btree (tenant_id, channel) WHERE (status = 'active'::text);
CREATE INDEX channel_configs_created_at_idx ON public.channel_configs USING btree (tenant_id, created_at);
CREATE INDEX channel_configs_status_idx ON public.channel_configs USING btree (tenant_id, status);
row security enabled and forced;
policy sweeper_lookup permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.channel_configs FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;
grant select (tenant_id, id, provider, status) to outrider_sweeper;

table public.communication_suppressions owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('sup'::text)
  channel text not null
  address text not null
  reason text not null
  source text not null
  evidence jsonb not null default '{}'::jsonb
  seq bigint not null default nextval('compliance_seq'::regclass)
  suppressed_at timestamp with time zone not null default app_now()
  released_at timestamp with time zone
  released_by text
  release_note text
  created_by text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint communication_suppressions_pkey PRIMARY KEY (tenant_id, id)
  constraint communication_suppressions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint communication_suppressions_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text, 'call'::text, 'linkedin'::text])))
  constraint communication_suppressions_id_check CHECK (starts_with(id, 'sup_'::text))
  constraint communication_suppressions_reason_check CHECK ((reason = ANY (ARRAY['unsubscribed'::text, 'stop'::text, 'complaint'::text, 'hard_bounce'::text, 'provider'::text, 'manual'::text, 'erasure'::text])))
);
CREATE UNIQUE INDEX communication_suppressions_active ON public.communication_suppressions USING btree (tenant_id, channel, address) WHERE (released_at IS NULL);
CREATE INDEX communication_suppressions_address_idx ON public.communication_suppressions USING btree (tenant_id, channel, address, seq);
CREATE INDEX communication_suppressions_released ON public.communication_suppressions USING btree (tenant_id, released_at) WHERE (released_at IS NOT NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.communication_suppressions FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.consents owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('cons'::text)
  contact_id text
  channel text not null
  address text not null
  basis text not null
  text text
  source text not null
  ip text
  form_version text
  granted_at timestamp with time zone not null default app_now()
  revoked_at timestamp with time zone
  created_by text
  created_at timestamp with time zone not null default app_now()
  constraint consents_pkey PRIMARY KEY (tenant_id, id)
  constraint consents_tenant_id_contact_id_fkey FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts(tenant_id, id) ON DELETE SET NULL (contact_id)
  constraint consents_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint consents_basis_check CHECK ((basis = ANY (ARRAY['express_written'::text, 'express'::text, 'existing_relationship'::text, 'legitimate_interest'::text])))
  constraint consents_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text, 'call'::text, 'linkedin'::text])))
  constraint consents_id_check CHECK (starts_with(id, 'cons_'::text))
);
CREATE INDEX consents_address_idx ON public.consents USING btree (tenant_id, channel, address) WHERE (revoked_at IS NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table public.contact_campaigns owner outrider_owner with fillfactor=80 (
  tenant_id text not null
  id text not null default new_id('ccmp'::text)
  campaign_id text not null
  lead_id text not null
  contact_id text not null
  channel text not null
  status text not null default 'draft'::text
  current_node_id text
  plan_version_id text not null
  plan_version text not null default '1.0'::text
  plan_hash text not null
  sender_identity_id text
  state jsonb not null default '{}'::jsonb
  entry integer not null default 1
  exit_reason text
  superseded_by text
  correlation_id text
  started_at timestamp with time zone
  completed_at timestamp with time zone
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint contact_campaigns_pkey PRIMARY KEY (tenant_id, id)
  constraint contact_campaigns_tenant_id_campaign_id_contact_id_entry_key UNIQUE (tenant_id, campaign_id, contact_id, entry)
  constraint contact_campaigns_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint contact_campaigns_tenant_id_contact_id_fkey FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts(tenant_id, id) ON DELETE CASCADE
  constraint contact_campaigns_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint contact_campaigns_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint contact_campaigns_tenant_id_plan_version_id_fkey FOREIGN KEY (tenant_id, plan_version_id) REFERENCES campaign_plan_versions(tenant_id, id)
  constraint contact_campaigns_tenant_id_sender_identity_id_fkey FOREIGN KEY (tenant_id, sender_identity_id) REFERENCES email_sender_identities(tenant_id, id) ON DELETE SET NULL (sender_identity_id)
  constraint contact_campaigns_tenant_id_superseded_by_fkey FOREIGN KEY (tenant_id, superseded_by) REFERENCES contact_campaigns(tenant_id, id) DEFERRABLE INITIALLY DEFERRED
  constraint contact_campaigns_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text, 'call'::text, 'linkedin'::text])))
  constraint contact_campaigns_id_check CHECK (starts_with(id, 'ccmp_'::text))
  constraint contact_campaigns_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'active'::text, 'paused'::text, 'completed'::text, 'stopped'::text, 'error'::text])))
);
CREATE INDEX contact_campaigns_campaign_idx ON public.contact_campaigns USING btree (tenant_id, campaign_id, id);
CREATE INDEX contact_campaigns_open_idx ON public.contact_campaigns USING btree (tenant_id, campaign_id) WHERE (status = ANY (ARRAY['draft'::text, 'active'::text, 'paused'::text]));
CREATE INDEX contact_campaigns_status_idx ON public.contact_campaigns USING btree (tenant_id, status);
CREATE UNIQUE INDEX contact_channel_unique ON public.contact_campaigns USING btree (tenant_id, contact_id, channel) WHERE (superseded_by IS NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.contact_campaigns FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.contact_channels owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('chn'::text)
  contact_id text not null
  channel text not null
  address text not null
  is_primary boolean not null default true
  is_verified boolean not null default false
  status text not null default 'active'::text
  source text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint contact_channels_pkey PRIMARY KEY (tenant_id, id)
  constraint contact_channels_tenant_id_contact_id_channel_address_key UNIQUE (tenant_id, contact_id, channel, address)
  constraint contact_channels_tenant_id_contact_id_fkey FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts(tenant_id, id) ON DELETE CASCADE
  constraint contact_channels_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text, 'call'::text, 'linkedin'::text])))
  constraint contact_channels_id_check CHECK (starts_with(id, 'chn_'::text))
  constraint contact_channels_status_check CHECK ((status = ANY (ARRAY['active'::text, 'invalid'::text, 'bounced'::text])))
);
CREATE INDEX contact_channels_address_idx ON public.contact_channels USING btree (tenant_id, channel, address);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.contact_channels FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.contacts owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('contact'::text)
  lead_id text not null
  person_id text
  first_name text
  last_name text
  full_name text
  title text
  phones jsonb not null default '[]'::jsonb
  emails jsonb not null default '[]'::jsonb
  primary_phone text
  primary_email text
  linkedin_url text
  twitter_url text
  date_of_birth date
  age integer
  address_history jsonb not null default '[]'::jsonb
  time_zone text
  postal_code text
  state text
  country text
  custom_fields jsonb not null default '{}'::jsonb
  source_type text not null
  skiptrace_artifact_id text
  status text not null default 'active'::text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint contacts_pkey PRIMARY KEY (tenant_id, id)
  constraint contacts_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint contacts_tenant_id_person_id_fkey FOREIGN KEY (tenant_id, person_id) REFERENCES people.master(tenant_id, id) ON DELETE SET NULL (person_id)
  constraint contacts_id_check CHECK (starts_with(id, 'contact_'::text))
  constraint contacts_status_check CHECK ((status = ANY (ARRAY['active'::text, 'inactive'::text])))
);
CREATE INDEX contacts_lead_idx ON public.contacts USING btree (tenant_id, lead_id);
CREATE UNIQUE INDEX contacts_person_unique ON public.contacts USING btree (tenant_id, lead_id, person_id) WHERE (person_id IS NOT NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.contacts FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.conversations owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('conv'::text)
  lead_id text
  contact_id text
  channel_config_id text
  channel text not null
  address text not null
  whatsapp_id text
  sms_id text
  messenger_id text
  instagram_id text
  channel_metadata jsonb not null default '{}'::jsonb
  status text not null default 'open'::text
  last_message_at timestamp with time zone not null default app_now()
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint conversations_pkey PRIMARY KEY (tenant_id, id)
  constraint conversations_tenant_id_channel_address_key UNIQUE (tenant_id, channel, address)
  constraint conversations_tenant_id_channel_config_id_fkey FOREIGN KEY (tenant_id, channel_config_id) REFERENCES channel_configs(tenant_id, id)
  constraint conversations_tenant_id_contact_id_fkey FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts(tenant_id, id) ON DELETE SET NULL (contact_id)
  constraint conversations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint conversations_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint conversations_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint conversations_id_check CHECK (starts_with(id, 'conv_'::text))
  constraint conversations_status_check CHECK ((status = ANY (ARRAY['open'::text, 'closed'::text])))
);
CREATE INDEX conversations_created_at_idx ON public.conversations USING btree (tenant_id, created_at);
CREATE INDEX conversations_lead_idx ON public.conversations USING btree (tenant_id, lead_id);
CREATE INDEX conversations_status_idx ON public.conversations USING btree (tenant_id, status);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.conversations FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.deployment owner outrider_owner (
  singleton boolean not null default true
  environment text not null default 'production'::text
  clock_at timestamp with time zone
  constraint deployment_pkey PRIMARY KEY (singleton)
  constraint deployment_environment_check CHECK ((environment = ANY (ARRAY['production'::text, 'local'::text, 'test'::text])))
  constraint deployment_real_clock CHECK (((clock_at IS NULL) OR (environment <> 'production'::text)))
  constraint deployment_singleton_check CHECK (singleton)
);
-- no row security
grant select to outrider_app;
grant select to outrider_sweeper;

table public.dnc_list owner outrider_owner (
  organization_id text not null
  id text not null default new_id('dnc'::text)
  tenant_id text
  phone_number text not null
  reason text
  source text
  seq bigint not null default nextval('compliance_seq'::regclass)
  added_at timestamp with time zone not null default app_now()
  added_by text
  lifted_at timestamp with time zone
  lifted_by text
  constraint dnc_list_pkey PRIMARY KEY (organization_id, id)
  constraint dnc_list_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id) ON DELETE CASCADE
  constraint dnc_list_tenant_id_organization_id_fkey FOREIGN KEY (tenant_id, organization_id) REFERENCES tenants(id, organization_id) ON DELETE SET NULL (tenant_id)
  constraint dnc_list_id_check CHECK (starts_with(id, 'dnc_'::text))
  constraint dnc_list_phone_number_check CHECK ((phone_number ~ '^\+[1-9][0-9]{6,14}$'::text))
);
CREATE UNIQUE INDEX dnc_list_phone_unique ON public.dnc_list USING btree (organization_id, phone_number) WHERE (lifted_at IS NULL);
row security enabled and forced;
policy org_dnc_policy permissive for all to public using ((organization_id = NULLIF(current_setting('app.organization_id'::text, true), ''::text))) with check ((organization_id = NULLIF(current_setting('app.organization_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table public.doctor_runs owner outrider_owner (
  tenant_id text not null
  ran_at timestamp with time zone not null default app_now()
  checks integer not null
  skipped text[] not null default '{}'::text[]
  violations integer not null
  broken jsonb not null default '[]'::jsonb
  constraint doctor_runs_pkey PRIMARY KEY (tenant_id, ran_at)
  constraint doctor_runs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
);
row security enabled and forced;
policy sweeper_due permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant delete, insert, select to outrider_app;
grant select (tenant_id, ran_at) to outrider_sweeper;

table public.email_sender_identities owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('esi'::text)
  user_id text not null
  channel_config_id text
  from_email text not null
  from_name text not null
  reply_to text
  domain text not null
  sendgrid_sender_id text
  validation_status text not null default 'pending'::text
  last_validated_at timestamp with time zone
  dedicated_ip_pool text
  is_default boolean not null default false
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint email_sender_identities_pkey PRIMARY KEY (tenant_id, id)
  constraint tenant_email_unique UNIQUE (tenant_id, from_email)
  constraint email_sender_identities_tenant_id_channel_config_id_fkey FOREIGN KEY (tenant_id, channel_config_id) REFERENCES channel_configs(tenant_id, id)
  constraint email_sender_identities_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint email_sender_identities_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES actors(tenant_id, id) ON DELETE CASCADE
  constraint email_sender_identities_from_email_check CHECK ((from_email = lower(from_email)))
  constraint email_sender_identities_id_check CHECK (starts_with(id, 'esi_'::text))
  constraint email_sender_identities_validation_status_check CHECK ((validation_status = ANY (ARRAY['pending'::text, 'verified'::text, 'failed'::text])))
);
CREATE UNIQUE INDEX email_sender_identities_default ON public.email_sender_identities USING btree (tenant_id) WHERE is_default;
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.email_sender_identities FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.email_templates owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('tmpl'::text)
  name text not null
  channel text not null default 'email'::text
  subject text
  body_html text
  body_text text
  variables text[] not null default '{}'::text[]
  version integer not null default 1
  superseded_by text
  created_by text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint email_templates_pkey PRIMARY KEY (tenant_id, id)
  constraint email_templates_tenant_id_name_version_key UNIQUE (tenant_id, name, version)
  constraint email_templates_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint email_templates_tenant_id_superseded_by_fkey FOREIGN KEY (tenant_id, superseded_by) REFERENCES email_templates(tenant_id, id) DEFERRABLE INITIALLY DEFERRED
  constraint email_templates_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint email_templates_id_check CHECK (starts_with(id, 'tmpl_'::text))
);
CREATE INDEX email_templates_created_at_idx ON public.email_templates USING btree (tenant_id, created_at);
CREATE UNIQUE INDEX email_templates_current ON public.email_templates USING btree (tenant_id, name) WHERE (superseded_by IS NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.email_templates FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.event_keys owner outrider_owner (
  tenant_id text not null
  channel_config_id text not null
  provider_event_id text not null
  created_at timestamp with time zone not null default app_now()
  constraint event_keys_pkey PRIMARY KEY (tenant_id, channel_config_id, provider_event_id)
  constraint event_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.idempotency_keys owner outrider_owner (
  tenant_id text not null
  key text not null
  request_hash bytea not null
  response_status integer
  response_body jsonb
  created_at timestamp with time zone not null default app_now()
  expires_at timestamp with time zone not null
  constraint idempotency_keys_pkey PRIMARY KEY (tenant_id, key)
  constraint idempotency_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255)))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant delete, insert, select, update to outrider_app;

table public.imports owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('imp'::text)
  file_name text
  source text not null
  format text not null
  artifact_id text not null
  options jsonb not null default '{}'::jsonb
  status text not null default 'pending'::text
  run_at timestamp with time zone not null default app_now()
  attempts integer not null default 0
  lease_until timestamp with time zone
  generation integer not null default 0
  last_error text
  completed_at timestamp with time zone
  rows_read bigint not null default 0
  rows_accepted bigint not null default 0
  rows_duplicate bigint not null default 0
  rows_rejected bigint not null default 0
  rows_promoted bigint not null default 0
  rows_warned bigint not null default 0
  size_bytes bigint
  bytes_read bigint not null default 0
  created_by text
  correlation_id text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint imports_pkey PRIMARY KEY (tenant_id, id)
  constraint imports_tenant_id_artifact_id_fkey FOREIGN KEY (tenant_id, artifact_id) REFERENCES artifacts(tenant_id, id)
  constraint imports_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint imports_format_check CHECK ((format = ANY (ARRAY['csv'::text, 'json'::text, 'ndjson'::text])))
  constraint imports_id_check CHECK (starts_with(id, 'imp_'::text))
  constraint imports_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE INDEX imports_ready ON public.imports USING btree (tenant_id, run_at, id) WHERE (status = 'pending'::text);
CREATE INDEX imports_running ON public.imports USING btree (lease_until) WHERE (status = 'running'::text);
row security enabled and forced;
policy sweeper_due permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.imports FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;
grant select (tenant_id, id, status, run_at, lease_until) to outrider_sweeper;

table public.inbound_messages owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('imsg'::text)
  channel text not null
  provider text not null
  channel_config_id text not null
  provider_message_id text not null
  delivery_id text
  from_address text not null
  to_address text not null
  subject text
  body_text text not null
  body_html text
  new_text text not null
  classification text not null
  response_type text
  matched_by text
  message_id text
  contact_campaign_id text
  lead_id text
  contact_id text
  conversation_id text
  headers jsonb not null default '{}'::jsonb
  received_at timestamp with time zone not null default app_now()
  correlation_id text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint inbound_messages_pkey PRIMARY KEY (tenant_id, id)
  constraint inbound_messages_tenant_id_channel_config_id_provider_messa_key UNIQUE (tenant_id, channel_config_id, provider_message_id)
  constraint inbound_messages_tenant_id_conversation_id_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations(tenant_id, id) ON DELETE SET NULL (conversation_id)
  constraint inbound_messages_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint inbound_messages_tenant_id_message_id_fkey FOREIGN KEY (tenant_id, message_id) REFERENCES outbound_messages(tenant_id, id) ON DELETE SET NULL (message_id)
  constraint inbound_messages_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint inbound_messages_classification_check CHECK ((classification = ANY (ARRAY['opt_out'::text, 'opt_in'::text, 'help'::text, 'auto_reply'::text, 'reply'::text, 'bounce_report'::text, 'unclear_opt_out'::text])))
  constraint inbound_messages_id_check CHECK (starts_with(id, 'imsg_'::text))
  constraint inbound_messages_matched_by_check CHECK ((matched_by = ANY (ARRAY['reference'::text, 'plus_address'::text, 'address'::text])))
  constraint inbound_messages_response_type_check CHECK ((response_type = ANY (ARRAY['positive'::text, 'negative'::text, 'neutral'::text, 'dnc'::text])))
);
CREATE INDEX inbound_messages_enrollment_idx ON public.inbound_messages USING btree (tenant_id, contact_campaign_id);
CREATE INDEX inbound_messages_received_idx ON public.inbound_messages USING btree (tenant_id, received_at DESC);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.inbound_messages FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.lead_assignments owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lasn'::text)
  lead_id text not null
  from_user_id text
  to_user_id text not null
  strategy text not null
  assigned_at timestamp with time zone not null default app_now()
  constraint lead_assignments_pkey PRIMARY KEY (tenant_id, id)
  constraint lead_assignments_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint lead_assignments_tenant_id_from_user_id_fkey FOREIGN KEY (tenant_id, from_user_id) REFERENCES actors(tenant_id, id)
  constraint lead_assignments_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint lead_assignments_tenant_id_to_user_id_fkey FOREIGN KEY (tenant_id, to_user_id) REFERENCES actors(tenant_id, id)
  constraint lead_assignments_id_check CHECK (starts_with(id, 'lasn_'::text))
  constraint lead_assignments_strategy_check CHECK ((strategy = ANY (ARRAY['round_robin'::text, 'load_balanced'::text, 'manual'::text, 'rule'::text])))
);
CREATE INDEX lead_assignments_lead_idx ON public.lead_assignments USING btree (tenant_id, lead_id, assigned_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.lead_audit_log owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lal'::text)
  lead_id text not null
  field_name text not null
  old_value text
  new_value text
  changed_by text
  changed_at timestamp with time zone not null default app_now()
  constraint lead_audit_log_pkey PRIMARY KEY (tenant_id, id)
  constraint lead_audit_log_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint lead_audit_log_id_check CHECK (starts_with(id, 'lal_'::text))
);
CREATE INDEX lead_audit_log_lead_idx ON public.lead_audit_log USING btree (tenant_id, lead_id, changed_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table public.lead_score_history owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lsc'::text)
  lead_id text not null
  score integer not null
  factors jsonb not null
  calculated_at timestamp with time zone not null default app_now()
  constraint lead_score_history_pkey PRIMARY KEY (tenant_id, id)
  constraint lead_score_history_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint lead_score_history_id_check CHECK (starts_with(id, 'lsc_'::text))
  constraint lead_score_history_score_check CHECK (((score >= 0) AND (score <= 100)))
);
CREATE INDEX lead_score_history_lead_idx ON public.lead_score_history USING btree (tenant_id, lead_id, calculated_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.lead_source_costs owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('cost'::text)
  user_id text
  source text not null
  period text not null
  cost_usd numeric(10,2) not null
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint lead_source_costs_pkey PRIMARY KEY (tenant_id, id)
  constraint lead_source_costs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint lead_source_costs_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES actors(tenant_id, id) ON DELETE SET NULL (user_id)
  constraint lead_source_costs_cost_usd_check CHECK ((cost_usd >= (0)::numeric))
  constraint lead_source_costs_id_check CHECK (starts_with(id, 'cost_'::text))
  constraint lead_source_costs_period_check CHECK ((period ~ '^\d{4}-(0[1-9]|1[0-2])$'::text))
);
CREATE UNIQUE INDEX lead_source_costs_unique ON public.lead_source_costs USING btree (tenant_id, source, period, COALESCE(user_id, ''::text));
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.lead_source_costs FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.lead_status_history owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lsh'::text)
  lead_id text not null
  from_status text
  to_status text not null
  trigger_type text not null
  stage_order integer not null
  changed_at timestamp with time zone not null default app_now()
  constraint lead_status_history_pkey PRIMARY KEY (tenant_id, id)
  constraint lead_status_history_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint lead_status_history_id_check CHECK (starts_with(id, 'lsh_'::text))
  constraint lead_status_history_trigger_type_check CHECK ((trigger_type = ANY (ARRAY['manual'::text, 'automation'::text, 'webhook'::text, 'scoring'::text, 'import'::text, 'reply'::text, 'system'::text])))
);
CREATE INDEX lead_status_history_changed_idx ON public.lead_status_history USING btree (tenant_id, changed_at);
CREATE INDEX lead_status_history_lead_idx ON public.lead_status_history USING btree (tenant_id, lead_id, changed_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant select to outrider_app;

table public.leads owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lead'::text)
  organization_id text not null
  user_id text
  sector_id text
  source_type text not null
  source_id text
  import_run_id text
  load_id text
  source text
  company_id text
  person_id text
  company_name text
  contact_name text
  first_name text
  last_name text
  name text generated always as (COALESCE(NULLIF(TRIM(BOTH FROM ((COALESCE(first_name, ''::text) || ' '::text) || COALESCE(last_name, ''::text))), ''::text), contact_name, company_name)) stored
  phone text
  mobile_phone text
  phone_number text
  email text
  phones jsonb not null default '[]'::jsonb
  emails jsonb not null default '[]'::jsonb
  address text
  city text
  state text
  zip text
  county text
  country text
  sic_code text
  sic_description text
  employee_count integer
  annual_revenue bigint
  website text
  enrichment_status text default 'pending'::text
  last_enriched_at timestamp with time zone
  enrichment_artifact_id text
  status text not null default 'new'::text
  campaign_status text
  attempt_count integer not null default 0
  last_attempt_at timestamp with time zone
  last_response_at timestamp with time zone
  last_contact_date timestamp with time zone generated always as (GREATEST(last_attempt_at, last_response_at)) stored
  priority_score integer not null default 0
  is_decision_maker boolean not null default false
  property_owner_likelihood text
  lead_score integer not null default 0
  score integer generated always as (lead_score) stored
  lead_score_factors jsonb
  raw_data jsonb
  tags text[] not null default '{}'::text[]
  flags jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  deleted_at timestamp with time zone
  constraint leads_pkey PRIMARY KEY (tenant_id, id)
  constraint leads_tenant_id_company_id_fkey FOREIGN KEY (tenant_id, company_id) REFERENCES company.master(tenant_id, id) ON DELETE SET NULL (company_id)
  constraint leads_tenant_id_organization_id_fkey FOREIGN KEY (tenant_id, organization_id) REFERENCES tenants(id, organization_id) ON DELETE CASCADE
  constraint leads_tenant_id_person_id_fkey FOREIGN KEY (tenant_id, person_id) REFERENCES people.master(tenant_id, id) ON DELETE SET NULL (person_id)
  constraint leads_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES actors(tenant_id, id) ON DELETE SET NULL (user_id)
  constraint leads_campaign_status_check CHECK ((campaign_status = ANY (ARRAY['initial'::text, 'retarget'::text, 'follow_up'::text, 'nurture'::text, 'ghost'::text])))
  constraint leads_email_check CHECK ((email = lower(email)))
  constraint leads_enrichment_status_check CHECK ((enrichment_status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'completed'::text, 'failed'::text])))
  constraint leads_id_check CHECK (starts_with(id, 'lead_'::text))
  constraint leads_lead_score_check CHECK (((lead_score >= 0) AND (lead_score <= 100)))
  constraint leads_phone_number_check CHECK ((phone_number ~ '^\+[1-9][0-9]{6,14}$'::text))
  constraint leads_source_type_check CHECK ((source_type = ANY (ARRAY['csv_import'::text, 'api'::text, 'enrichment'::text, 'manual'::text, 'intake'::text, 'inbound'::text])))
  constraint leads_status_check CHECK ((status = ANY (ARRAY['new'::text, 'contacted'::text, 'qualified'::text, 'nurturing'::text, 'hot'::text, 'cold'::text, 'converted'::text, 'recruited'::text, 'dnc'::text])))
);
CREATE INDEX idx_leads_lead_score ON public.leads USING btree (tenant_id, lead_score DESC) WHERE (deleted_at IS NULL);
CREATE UNIQUE INDEX idx_leads_phone_unique ON public.leads USING btree (tenant_id, phone_number) WHERE (deleted_at IS NULL);
CREATE INDEX idx_leads_search_name ON public.leads USING gin ((((COALESCE(first_name, ''::text) || ' '::text) || COALESCE(last_name, ''::text))) gin_trgm_ops);
CREATE INDEX idx_leads_status ON public.leads USING btree (tenant_id, status) WHERE (deleted_at IS NULL);
CREATE INDEX idx_leads_tags ON public.leads USING gin (tags);
CREATE INDEX idx_leads_user_id ON public.leads USING btree (tenant_id, user_id) WHERE ((user_id IS NOT NULL) AND (deleted_at IS NULL));
CREATE INDEX leads_email_idx ON public.leads USING btree (tenant_id, email) WHERE (deleted_at IS NULL);
CREATE INDEX leads_enrichment_idx ON public.leads USING btree (tenant_id, enrichment_status);
CREATE INDEX leads_person_idx ON public.leads USING btree (tenant_id, person_id) WHERE (deleted_at IS NULL);
CREATE INDEX leads_sector_idx ON public.leads USING btree (tenant_id, sector_id) WHERE (sector_id IS NOT NULL);
CREATE INDEX leads_tenant_idx ON public.leads USING btree (tenant_id, created_at DESC);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER keep_source BEFORE UPDATE OF source_type, source_id, import_run_id ON public.leads FOR EACH ROW EXECUTE FUNCTION keep_lead_source();
CREATE TRIGGER record_insert AFTER INSERT ON public.leads REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION record_lead_insert();
CREATE TRIGGER record_update AFTER UPDATE ON public.leads REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION record_lead_update();
CREATE TRIGGER trigger_leads_updated_at BEFORE UPDATE ON public.leads FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.message_events owner outrider_owner partition by RANGE (event_at) (
  tenant_id text not null
  id text not null default new_id('mev'::text)
  event_at timestamp with time zone not null
  message_id text
  contact_campaign_id text
  delivery_id text
  channel_config_id text
  provider text not null
  provider_event_id text not null
  provider_message_id text
  event_type text not null
  channel text not null
  address text
  machine boolean not null default false
  code text
  reason text
  url text
  metadata jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint message_events_pkey PRIMARY KEY (tenant_id, id, event_at)
  constraint message_events_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint message_events_event_type_check CHECK ((event_type = ANY (ARRAY['queued'::text, 'sent'::text, 'delivered'::text, 'deferred'::text, 'bounced'::text, 'dropped'::text, 'failed'::text, 'opened'::text, 'clicked'::text, 'replied'::text, 'complained'::text, 'unsubscribed'::text, 'resubscribed'::text, 'unknown'::text])))
  constraint message_events_id_check CHECK (starts_with(id, 'mev_'::text))
);
CREATE INDEX idx_message_events_tenant_event_time ON ONLY public.message_events USING btree (tenant_id, event_at DESC);
CREATE INDEX message_events_message_idx ON ONLY public.message_events USING btree (tenant_id, message_id, event_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.message_events FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.message_events_default owner outrider_owner default partition of message_events (
  tenant_id text not null
  id text not null default new_id('mev'::text)
  event_at timestamp with time zone not null
  message_id text
  contact_campaign_id text
  delivery_id text
  channel_config_id text
  provider text not null
  provider_event_id text not null
  provider_message_id text
  event_type text not null
  channel text not null
  address text
  machine boolean not null default false
  code text
  reason text
  url text
  metadata jsonb not null default '{}'::jsonb
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint message_events_default_pkey PRIMARY KEY (tenant_id, id, event_at)
  constraint message_events_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint message_events_event_type_check CHECK ((event_type = ANY (ARRAY['queued'::text, 'sent'::text, 'delivered'::text, 'deferred'::text, 'bounced'::text, 'dropped'::text, 'failed'::text, 'opened'::text, 'clicked'::text, 'replied'::text, 'complained'::text, 'unsubscribed'::text, 'resubscribed'::text, 'unknown'::text])))
  constraint message_events_id_check CHECK (starts_with(id, 'mev_'::text))
);
CREATE INDEX message_events_default_tenant_id_event_at_idx ON public.message_events_default USING btree (tenant_id, event_at DESC);
CREATE INDEX message_events_default_tenant_id_message_id_event_at_idx ON public.message_events_default USING btree (tenant_id, message_id, event_at);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.message_events_default FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();

table public.node_renames owner outrider_owner (
  tenant_id text not null
  campaign_id text not null
  from_version_id text not null
  from_node text not null
  to_version_id text not null
  to_node text not null
  created_at timestamp with time zone not null default app_now()
  constraint node_renames_pkey PRIMARY KEY (tenant_id, campaign_id, from_version_id, to_version_id, from_node, to_node)
  constraint node_renames_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint node_renames_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint node_renames_tenant_id_from_version_id_fkey FOREIGN KEY (tenant_id, from_version_id) REFERENCES campaign_plan_versions(tenant_id, id) ON DELETE CASCADE
  constraint node_renames_tenant_id_to_version_id_fkey FOREIGN KEY (tenant_id, to_version_id) REFERENCES campaign_plan_versions(tenant_id, id) ON DELETE CASCADE
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.organizations owner outrider_owner (
  id text not null default new_id('org'::text)
  name text not null
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint organizations_pkey PRIMARY KEY (id)
  constraint organizations_id_check CHECK (starts_with(id, 'org_'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((id = NULLIF(current_setting('app.organization_id'::text, true), ''::text))) with check ((id = NULLIF(current_setting('app.organization_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.organizations FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant select to outrider_app;

table public.outbound_messages owner outrider_owner with fillfactor=80, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0 (
  tenant_id text not null
  id text not null default new_id('omsg'::text)
  campaign_id text
  contact_campaign_id text
  node_id text
  variant_id text
  plan_version_id text
  lead_id text
  contact_id text
  channel text not null
  message_class text not null default 'marketing'::text
  channel_config_id text
  sender_identity_id text
  to_address text not null
  suppression_key text not null
  template_id text
  subject text
  variables jsonb
  content_sha256 bytea
  dedupe_key text not null
  status text not null default 'queued'::text
  hold_reason text
  decision jsonb
  scheduled_for timestamp with time zone not null default app_now()
  run_at timestamp with time zone not null default app_now()
  expires_at timestamp with time zone not null
  attempts integer not null default 0
  lease_until timestamp with time zone
  generation integer not null default 0
  last_error text
  claim_seq bigint
  provider text
  provider_message_id text
  sent_at timestamp with time zone
  delivered_at timestamp with time zone
  opened_at timestamp with time zone
  clicked_at timestamp with time zone
  replied_at timestamp with time zone
  bounced_at timestamp with time zone
  complained_at timestamp with time zone
  unsubscribed_at timestamp with time zone
  failed_at timestamp with time zone
  correlation_id text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  walk_node_id text
  constraint outbound_messages_pkey PRIMARY KEY (tenant_id, id)
  constraint outbound_messages_tenant_id_dedupe_key_key UNIQUE (tenant_id, dedupe_key)
  constraint outbound_messages_tenant_id_campaign_id_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES marketing.campaigns(tenant_id, campaign_id) ON DELETE CASCADE
  constraint outbound_messages_tenant_id_channel_config_id_fkey FOREIGN KEY (tenant_id, channel_config_id) REFERENCES channel_configs(tenant_id, id)
  constraint outbound_messages_tenant_id_contact_campaign_id_fkey FOREIGN KEY (tenant_id, contact_campaign_id) REFERENCES contact_campaigns(tenant_id, id) ON DELETE CASCADE
  constraint outbound_messages_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint outbound_messages_tenant_id_sender_identity_id_fkey FOREIGN KEY (tenant_id, sender_identity_id) REFERENCES email_sender_identities(tenant_id, id) ON DELETE SET NULL (sender_identity_id)
  constraint outbound_messages_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint outbound_messages_id_check CHECK (starts_with(id, 'omsg_'::text))
  constraint outbound_messages_message_class_check CHECK ((message_class = ANY (ARRAY['marketing'::text, 'transactional'::text])))
  constraint outbound_messages_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'held'::text, 'sending'::text, 'ambiguous'::text, 'accepted_unknown'::text, 'sent'::text, 'delivered'::text, 'bounced'::text, 'failed'::text, 'complained'::text, 'suppressed'::text, 'cancelled'::text, 'expired'::text])))
);
CREATE INDEX attempt_logs_lead_idx ON public.outbound_messages USING btree (tenant_id, lead_id);
CREATE INDEX idx_outbound_messages_provider_lookup ON public.outbound_messages USING btree (provider, provider_message_id) WHERE (provider_message_id IS NOT NULL);
CREATE INDEX outbound_messages_address_idx ON public.outbound_messages USING btree (tenant_id, channel, suppression_key, sent_at);
CREATE INDEX outbound_messages_ambiguous ON public.outbound_messages USING btree (tenant_id, run_at, id) WHERE (status = 'ambiguous'::text);
CREATE INDEX outbound_messages_campaign_idx ON public.outbound_messages USING btree (tenant_id, campaign_id, id) INCLUDE (sent_at);
CREATE INDEX outbound_messages_enrollment_idx ON public.outbound_messages USING btree (tenant_id, contact_campaign_id);
CREATE INDEX outbound_messages_ready ON public.outbound_messages USING btree (tenant_id, run_at, id) WHERE (status = ANY (ARRAY['queued'::text, 'held'::text]));
CREATE INDEX outbound_messages_sending ON public.outbound_messages USING btree (lease_until) INCLUDE (tenant_id, id) WHERE (status = 'sending'::text);
row security enabled and forced;
policy sweeper_due permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.outbound_messages FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;
grant select (tenant_id, id, status, run_at, lease_until) to outrider_sweeper;

table public.scheduled_actions owner outrider_owner with fillfactor=80, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0 (
  tenant_id text not null
  id text not null default new_id('sact'::text)
  campaign_id text not null
  contact_campaign_id text not null
  action_type text not null
  node_id text not null
  watch text
  status text not null default 'pending'::text
  run_at timestamp with time zone not null
  paused_run_at timestamp with time zone
  attempts integer not null default 0
  lease_until timestamp with time zone
  generation integer not null default 0
  last_error text
  completed_at timestamp with time zone
  idempotency_key text not null
  correlation_id text
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint scheduled_actions_pkey PRIMARY KEY (tenant_id, id)
  constraint scheduled_actions_tenant_id_idempotency_key_key UNIQUE (tenant_id, idempotency_key)
  constraint scheduled_actions_tenant_id_contact_campaign_id_fkey FOREIGN KEY (tenant_id, contact_campaign_id) REFERENCES contact_campaigns(tenant_id, id) ON DELETE CASCADE
  constraint scheduled_actions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint scheduled_actions_action_type_check CHECK ((action_type = ANY (ARRAY['node'::text, 'timeout'::text])))
  constraint scheduled_actions_id_check CHECK (starts_with(id, 'sact_'::text))
  constraint scheduled_actions_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE INDEX idx_scheduled_actions_ready ON public.scheduled_actions USING btree (tenant_id, run_at, id) WHERE (status = 'pending'::text);
CREATE INDEX scheduled_actions_campaign_idx ON public.scheduled_actions USING btree (tenant_id, campaign_id) WHERE (status = 'pending'::text);
CREATE INDEX scheduled_actions_enrollment_idx ON public.scheduled_actions USING btree (tenant_id, contact_campaign_id) WHERE (status = 'pending'::text);
CREATE INDEX scheduled_actions_failed ON public.scheduled_actions USING btree (tenant_id) WHERE (status = 'failed'::text);
row security enabled and forced;
policy sweeper_due permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.scheduled_actions FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;
grant select (tenant_id, id, status, run_at, lease_until) to outrider_sweeper;

table public.segments owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('seg'::text)
  user_id text
  name text not null
  filter jsonb not null
  lead_count integer not null default 0
  counted_at timestamp with time zone
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  deleted_at timestamp with time zone
  constraint segments_pkey PRIMARY KEY (tenant_id, id)
  constraint segments_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint segments_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES actors(tenant_id, id) ON DELETE SET NULL (user_id)
  constraint segments_id_check CHECK (starts_with(id, 'seg_'::text))
);
CREATE UNIQUE INDEX segments_name_unique ON public.segments USING btree (tenant_id, name) WHERE (deleted_at IS NULL);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.segments FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.send_attempts owner outrider_owner with fillfactor=60 (
  tenant_id text not null
  id text not null default new_id('att'::text)
  message_id text not null
  generation integer not null
  claim_seq bigint not null
  provider text not null
  outcome text
  code text
  reason text
  provider_message_id text
  started_at timestamp with time zone not null default app_now()
  deadline_at timestamp with time zone not null
  finished_at timestamp with time zone
  resolved_by text
  resolved_at timestamp with time zone
  constraint send_attempts_pkey PRIMARY KEY (tenant_id, id)
  constraint send_attempts_tenant_id_message_id_generation_key UNIQUE (tenant_id, message_id, generation)
  constraint send_attempts_tenant_id_message_id_fkey FOREIGN KEY (tenant_id, message_id) REFERENCES outbound_messages(tenant_id, id) ON DELETE CASCADE
  constraint send_attempts_id_check CHECK (starts_with(id, 'att_'::text))
  constraint send_attempts_outcome_check CHECK ((outcome = ANY (ARRAY['accepted'::text, 'rejected'::text, 'deferred'::text, 'ambiguous'::text, 'abandoned'::text])))
  constraint send_attempts_resolved_by_check CHECK ((resolved_by = ANY (ARRAY['webhook'::text, 'lookup'::text, 'deadline'::text])))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;

table public.send_rate_limits owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('srl'::text)
  scope text not null
  scope_id text not null default ''::text
  channel text not null
  max_count integer not null
  window_seconds integer not null
  enabled boolean not null default true
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint send_rate_limits_pkey PRIMARY KEY (tenant_id, id)
  constraint send_rate_limits_tenant_id_scope_scope_id_channel_window_se_key UNIQUE (tenant_id, scope, scope_id, channel, window_seconds)
  constraint send_rate_limits_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint send_rate_limits_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'sms'::text, 'whatsapp'::text, 'messenger'::text, 'instagram'::text])))
  constraint send_rate_limits_id_check CHECK (starts_with(id, 'srl_'::text))
  constraint send_rate_limits_max_count_check CHECK ((max_count > 0))
  constraint send_rate_limits_scope_check CHECK ((scope = ANY (ARRAY['tenant'::text, 'sender'::text, 'channel'::text, 'domain'::text])))
  constraint send_rate_limits_window_seconds_check CHECK (((window_seconds >= 1) AND (window_seconds <= 2592000)))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.send_rate_limits FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.send_rate_windows owner outrider_owner with fillfactor=50 (
  tenant_id text not null
  limit_id text not null
  key text not null
  window_start timestamp with time zone not null
  used integer not null
  reserved integer not null default 0
  constraint send_rate_windows_pkey PRIMARY KEY (tenant_id, limit_id, key, window_start)
  constraint send_rate_windows_tenant_id_limit_id_fkey FOREIGN KEY (tenant_id, limit_id) REFERENCES send_rate_limits(tenant_id, id) ON DELETE CASCADE
  constraint send_rate_windows_reserved_check CHECK ((reserved >= 0))
  constraint send_rate_windows_used_check CHECK ((used >= 0))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant delete, insert, select, update to outrider_app;

table public.simulated_sends owner outrider_owner (
  tenant_id text not null
  simulation_id text not null
  ordinal integer not null
  contact_id text not null
  node_id text not null
  variant_id text
  channel text not null
  address text not null
  at timestamp with time zone
  verdict text not null
  detail jsonb
  constraint simulated_sends_pkey PRIMARY KEY (tenant_id, simulation_id, ordinal)
  constraint simulated_sends_tenant_id_simulation_id_fkey FOREIGN KEY (tenant_id, simulation_id) REFERENCES campaign_simulations(tenant_id, id) ON DELETE CASCADE
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.sweep_state owner outrider_owner (
  kind text not null
  swept_until timestamp with time zone not null default '-infinity'::timestamp with time zone
  full_pass_at timestamp with time zone not null default '-infinity'::timestamp with time zone
  behind jsonb not null default '{}'::jsonb
  constraint sweep_state_pkey PRIMARY KEY (kind)
);
-- no row security
grant insert, select, update to outrider_sweeper;

table public.system_config owner outrider_owner (
  organization_id text not null
  id text not null default new_id('cfg'::text)
  tenant_id text
  config_key text not null
  config_value jsonb not null
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint system_config_pkey PRIMARY KEY (organization_id, id)
  constraint system_config_organization_id_config_key_key UNIQUE (organization_id, config_key)
  constraint system_config_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id) ON DELETE CASCADE
  constraint system_config_tenant_id_organization_id_fkey FOREIGN KEY (tenant_id, organization_id) REFERENCES tenants(id, organization_id) ON DELETE SET NULL (tenant_id)
  constraint system_config_id_check CHECK (starts_with(id, 'cfg_'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((organization_id = NULLIF(current_setting('app.organization_id'::text, true), ''::text))) with check ((organization_id = NULLIF(current_setting('app.organization_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.system_config FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.tasks owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('task'::text)
  contact_campaign_id text
  lead_id text
  contact_id text
  node_id text
  kind text not null
  title text not null
  assignee_id text
  status text not null default 'open'::text
  due_at timestamp with time zone
  done_at timestamp with time zone
  idempotency_key text not null
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint tasks_pkey PRIMARY KEY (tenant_id, id)
  constraint tasks_tenant_id_idempotency_key_key UNIQUE (tenant_id, idempotency_key)
  constraint tasks_tenant_id_contact_campaign_id_fkey FOREIGN KEY (tenant_id, contact_campaign_id) REFERENCES contact_campaigns(tenant_id, id) ON DELETE CASCADE
  constraint tasks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint tasks_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES leads(tenant_id, id) ON DELETE CASCADE
  constraint tasks_id_check CHECK (starts_with(id, 'task_'::text))
  constraint tasks_kind_check CHECK ((kind = ANY (ARRAY['call'::text, 'linkedin'::text, 'review'::text, 'other'::text])))
  constraint tasks_status_check CHECK ((status = ANY (ARRAY['open'::text, 'done'::text, 'cancelled'::text])))
);
CREATE INDEX tasks_enrollment_idx ON public.tasks USING btree (tenant_id, contact_campaign_id);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.tasks FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;

table public.tenants owner outrider_owner (
  id text not null default new_id('tenant'::text)
  organization_id text not null
  name text not null
  slug text not null
  plan text default 'free'::text
  settings jsonb not null default '{}'::jsonb
  status text not null default 'active'::text
  suspended_at timestamp with time zone
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  waking jsonb not null default '{}'::jsonb
  constraint tenants_pkey PRIMARY KEY (id)
  constraint tenants_id_organization_id_key UNIQUE (id, organization_id)
  constraint tenants_slug_key UNIQUE (slug)
  constraint tenants_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations(id)
  constraint tenants_id_check CHECK (starts_with(id, 'tenant_'::text))
  constraint tenants_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text])))
);
CREATE INDEX tenants_waking ON public.tenants USING btree (id) WHERE (waking <> '{}'::jsonb);
row security enabled and forced;
policy sweeper_lookup permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.tenants FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant select to outrider_app;
grant select (id, status, waking) to outrider_sweeper;
grant update (name, settings, status, suspended_at, updated_at, waking) to outrider_app;

table public.tracked_links owner outrider_owner (
  tenant_id text not null
  id text not null default new_id('lnk'::text)
  url text not null
  url_sha256 bytea not null
  created_at timestamp with time zone not null default app_now()
  constraint tracked_links_pkey PRIMARY KEY (tenant_id, id)
  constraint tracked_links_tenant_id_url_sha256_key UNIQUE (tenant_id, url_sha256)
  constraint tracked_links_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint tracked_links_id_check CHECK (starts_with(id, 'lnk_'::text))
  constraint tracked_links_url_check CHECK ((url ~* '^https?://'::text))
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select to outrider_app;

table public.webhook_deliveries owner outrider_owner with fillfactor=90, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0 (
  tenant_id text not null
  id text not null default new_id('whd'::text)
  channel_config_id text not null
  provider text not null
  target text not null
  headers jsonb not null default '{}'::jsonb
  body bytea
  body_encoding text not null default 'identity'::text
  body_key text
  body_bytes integer not null
  body_sha256 bytea not null
  signature text
  signature_valid boolean not null default true
  duplicates integer not null default 0
  received_at timestamp with time zone not null default app_now()
  status text not null default 'pending'::text
  run_at timestamp with time zone not null default app_now()
  attempts integer not null default 0
  lease_until timestamp with time zone
  generation integer not null default 0
  last_error text
  completed_at timestamp with time zone
  event_count integer
  inbound_count integer
  problems jsonb not null default '[]'::jsonb
  replays integer not null default 0
  correlation_id text not null
  created_at timestamp with time zone not null default app_now()
  updated_at timestamp with time zone not null default app_now()
  constraint webhook_deliveries_pkey PRIMARY KEY (tenant_id, id)
  constraint webhook_deliveries_tenant_id_channel_config_id_body_sha256_key UNIQUE (tenant_id, channel_config_id, body_sha256)
  constraint webhook_deliveries_tenant_id_channel_config_id_fkey FOREIGN KEY (tenant_id, channel_config_id) REFERENCES channel_configs(tenant_id, id)
  constraint webhook_deliveries_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
  constraint webhook_deliveries_body_encoding_check CHECK ((body_encoding = ANY (ARRAY['identity'::text, 'br'::text])))
  constraint webhook_deliveries_check CHECK ((num_nonnulls(body, body_key) = 1))
  constraint webhook_deliveries_check1 CHECK (((body_encoding = 'identity'::text) OR (body IS NOT NULL)))
  constraint webhook_deliveries_id_check CHECK (starts_with(id, 'whd_'::text))
  constraint webhook_deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE INDEX webhook_deliveries_failed ON public.webhook_deliveries USING btree (tenant_id) WHERE (status = 'failed'::text);
CREATE INDEX webhook_deliveries_ready ON public.webhook_deliveries USING btree (tenant_id, run_at, id) WHERE (status = 'pending'::text);
CREATE INDEX webhook_deliveries_running ON public.webhook_deliveries USING btree (lease_until) INCLUDE (tenant_id, id) WHERE (status = 'running'::text);
CREATE INDEX webhook_events_tenant_idx ON public.webhook_deliveries USING btree (tenant_id, received_at DESC);
row security enabled and forced;
policy sweeper_due permissive for select to outrider_sweeper using (true);
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
CREATE TRIGGER keep_delivery BEFORE UPDATE OF body, body_encoding, body_key, body_sha256, target, headers, received_at ON public.webhook_deliveries FOR EACH ROW EXECUTE FUNCTION keep_delivery();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON public.webhook_deliveries FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION touch_updated_at();
grant insert, select, update to outrider_app;
grant select (tenant_id, id, status, run_at, lease_until) to outrider_sweeper;

table public.webhook_refusals owner outrider_owner (
  tenant_id text not null
  channel_config_id text not null
  day date not null
  reason text not null
  count integer not null default 1
  last_at timestamp with time zone not null default app_now()
  constraint webhook_refusals_pkey PRIMARY KEY (tenant_id, channel_config_id, day, reason)
  constraint webhook_refusals_tenant_id_channel_config_id_fkey FOREIGN KEY (tenant_id, channel_config_id) REFERENCES channel_configs(tenant_id, id) ON DELETE CASCADE
  constraint webhook_refusals_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
);
row security enabled and forced;
policy tenant_isolation_policy permissive for all to public using ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))) with check ((tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text)));
grant insert, select, update to outrider_app;


-- Views

view company.slot owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    load_id AS id,
    COALESCE(lower(metadata #>> '{fields,domain}'::text[]), lower(raw_data ->> 'domain'::text), split_part(email, '@'::text, 2)) AS domain,
    raw_data,
        CASE status
            WHEN 'pending'::text THEN 'pending'::text
            WHEN 'promoted'::text THEN 'validated'::text
            ELSE 'rejected'::text
        END AS validation_status,
    created_at,
    promoted_at
   FROM intake.raw_loads l;
grant select to outrider_app;

view marketing.outreach_history owner outrider_owner with security_invoker=true as
 SELECT m.tenant_id,
    m.id,
    c.person_id,
    m.campaign_id,
        CASE m.channel
            WHEN 'sms'::text THEN 'phone'::text
            WHEN 'whatsapp'::text THEN 'phone'::text
            ELSE m.channel
        END AS channel,
        CASE
            WHEN row_number() OVER (PARTITION BY m.tenant_id, m.contact_campaign_id ORDER BY m.id) = 1 THEN 'initial'::text
            ELSE 'follow_up'::text
        END AS message_type,
    m.sent_at,
    m.opened_at,
    m.replied_at,
        CASE
            WHEN m.bounced_at IS NOT NULL THEN 'bounced'::text
            WHEN m.replied_at IS NOT NULL THEN 'replied'::text
            WHEN m.opened_at IS NOT NULL THEN 'opened'::text
            ELSE 'sent'::text
        END AS status
   FROM outbound_messages m
     JOIN contacts c ON c.tenant_id = m.tenant_id AND c.id = m.contact_id
  WHERE m.sent_at IS NOT NULL AND c.person_id IS NOT NULL
UNION ALL
 SELECT i.tenant_id,
    i.id,
    c.person_id,
    e.campaign_id,
        CASE i.channel
            WHEN 'sms'::text THEN 'phone'::text
            ELSE i.channel
        END AS channel,
    'reply'::text AS message_type,
    i.received_at AS sent_at,
    NULL::timestamp with time zone AS opened_at,
    i.received_at AS replied_at,
    'replied'::text AS status
   FROM inbound_messages i
     JOIN contacts c ON c.tenant_id = i.tenant_id AND c.id = i.contact_id
     LEFT JOIN contact_campaigns e ON e.tenant_id = i.tenant_id AND e.id = i.contact_campaign_id
  WHERE c.person_id IS NOT NULL;
grant select to outrider_app;

view people.slot owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    load_id AS id,
    email,
    raw_data,
        CASE status
            WHEN 'pending'::text THEN 'pending'::text
            WHEN 'promoted'::text THEN 'validated'::text
            ELSE 'rejected'::text
        END AS validation_status,
    created_at,
    promoted_at
   FROM intake.raw_loads l;
grant select to outrider_app;

view public.attempt_logs owner outrider_owner with security_invoker=true as
 SELECT m.tenant_id,
    m.id,
    m.lead_id,
    m.contact_id,
    COALESCE(l.campaign_status, 'initial'::text) AS campaign_context,
    row_number() OVER (PARTITION BY m.tenant_id, m.lead_id ORDER BY m.id)::integer AS attempt_number,
    m.channel,
    'outbound'::text AS direction,
    COALESCE(m.template_id, m.node_id) AS template_used,
    NULL::text AS message_artifact_id,
        CASE
            WHEN m.replied_at IS NOT NULL THEN 'responded'::text
            WHEN m.status = ANY (ARRAY['bounced'::text, 'failed'::text, 'suppressed'::text, 'cancelled'::text, 'expired'::text]) THEN 'failed'::text
            WHEN m.delivered_at IS NOT NULL THEN 'delivered'::text
            WHEN m.sent_at IS NOT NULL THEN 'sent'::text
            ELSE 'queued'::text
        END AS status,
    m.delivered_at,
    m.replied_at AS responded_at,
    NULL::text AS response_type,
    NULL::text AS response_artifact_id,
    NULL::text AS pipeline_run_id,
    m.correlation_id,
    m.created_at
   FROM outbound_messages m
     JOIN leads l ON l.tenant_id = m.tenant_id AND l.id = m.lead_id
UNION ALL
 SELECT i.tenant_id,
    i.id,
    i.lead_id,
    i.contact_id,
    COALESCE(l.campaign_status, 'initial'::text) AS campaign_context,
    row_number() OVER (PARTITION BY i.tenant_id, i.lead_id ORDER BY i.id)::integer AS attempt_number,
    i.channel,
    'inbound'::text AS direction,
    NULL::text AS template_used,
    NULL::text AS message_artifact_id,
    'responded'::text AS status,
    NULL::timestamp with time zone AS delivered_at,
    i.received_at AS responded_at,
    i.response_type,
    NULL::text AS response_artifact_id,
    NULL::text AS pipeline_run_id,
    i.correlation_id,
    i.created_at
   FROM inbound_messages i
     JOIN leads l ON l.tenant_id = i.tenant_id AND l.id = i.lead_id;
grant select to outrider_app;

view public.email_campaigns owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    campaign_id AS id,
    name,
    status,
    (( SELECT count(*) AS count
           FROM outbound_messages m
          WHERE m.tenant_id = c.tenant_id AND m.campaign_id = c.campaign_id AND m.channel = 'email'::text AND m.sent_at IS NOT NULL))::integer AS emails_sent,
    (( SELECT count(*) AS count
           FROM outbound_messages m
          WHERE m.tenant_id = c.tenant_id AND m.campaign_id = c.campaign_id AND m.channel = 'email'::text AND m.opened_at IS NOT NULL))::integer AS emails_opened,
    settings -> 'audience'::text AS target_audience,
    settings AS metadata,
    created_at,
    updated_at
   FROM marketing.campaigns c;
grant select to outrider_app;

view public.email_sequence_steps owner outrider_owner with security_invoker=true as
 SELECT c.tenant_id,
    (c.campaign_id || ':'::text) || (s.node ->> 'id'::text) AS id,
    c.campaign_id AS email_campaign_id,
    s.node ->> 'templateId'::text AS template_id,
    s.n::integer AS step_order,
    COALESCE(( SELECT EXTRACT(epoch FROM (w.value ->> 'duration'::text)::interval) AS "extract"
           FROM jsonb_array_elements(v.plan_json -> 'nodes'::text) w(value)
          WHERE (w.value ->> 'type'::text) = 'wait'::text AND (w.value ->> 'to'::text) = (s.node ->> 'id'::text)
         LIMIT 1), 0::numeric) / 3600::numeric AS delay_hours,
    s.node -> 'transitions'::text AS conditions,
    v.created_at,
    v.updated_at
   FROM marketing.campaigns c
     JOIN campaign_plan_versions v ON v.tenant_id = c.tenant_id AND v.id = c.plan_version_id,
    LATERAL jsonb_array_elements(v.plan_json -> 'nodes'::text) WITH ORDINALITY s(node, n)
  WHERE (s.node ->> 'type'::text) = 'send'::text AND (s.node ->> 'channel'::text) = 'email'::text;
grant select to outrider_app;

view public.emails_sent owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    id,
    id AS tracking_id,
    campaign_id AS email_campaign_id,
    node_id AS step_id,
    template_id,
    lead_id,
    id AS outbound_message_id,
        CASE
            WHEN complained_at IS NOT NULL THEN 'complained'::text
            WHEN unsubscribed_at IS NOT NULL THEN 'unsubscribed'::text
            WHEN bounced_at IS NOT NULL THEN 'bounced'::text
            WHEN failed_at IS NOT NULL THEN 'failed'::text
            WHEN replied_at IS NOT NULL THEN 'replied'::text
            WHEN clicked_at IS NOT NULL THEN 'clicked'::text
            WHEN opened_at IS NOT NULL THEN 'opened'::text
            WHEN delivered_at IS NOT NULL THEN 'delivered'::text
            WHEN sent_at IS NOT NULL THEN 'sent'::text
            ELSE status
        END AS status,
    sent_at,
    delivered_at,
    opened_at,
    clicked_at,
    replied_at,
    bounced_at,
    decision AS metadata,
    created_at,
    updated_at
   FROM outbound_messages m
  WHERE channel = 'email'::text;
grant select to outrider_app;

view public.lead_point_of_contacts owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    id,
    lead_id,
    person_id,
    first_name,
    last_name,
    full_name,
    title,
    phones,
    emails,
    primary_phone,
    primary_email,
    linkedin_url,
    twitter_url,
    date_of_birth,
    age,
    address_history,
    time_zone,
    postal_code,
    state,
    country,
    custom_fields,
    source_type,
    skiptrace_artifact_id,
    status,
    created_at,
    updated_at
   FROM contacts;
grant select to outrider_app;

view public.lead_sequence_enrollments owner outrider_owner with security_invoker=true as
 SELECT e.tenant_id,
    e.id,
    e.lead_id,
    e.campaign_id AS sequence_id,
    COALESCE((e.state ->> 'stepCount'::text)::integer, 0) AS current_step,
        CASE e.status
            WHEN 'draft'::text THEN 'active'::text
            WHEN 'error'::text THEN 'stopped'::text
            ELSE e.status
        END AS status,
    e.created_at AS enrolled_at,
    ( SELECT min(a.run_at) AS min
           FROM scheduled_actions a
          WHERE a.tenant_id = e.tenant_id AND a.contact_campaign_id = e.id AND a.status = 'pending'::text) AS next_step_scheduled_at
   FROM contact_campaigns e
     JOIN marketing.campaigns c ON c.tenant_id = e.tenant_id AND c.campaign_id = e.campaign_id
  WHERE c.type = 'nurture'::text AND e.superseded_by IS NULL;
grant select to outrider_app;

view public.messages owner outrider_owner with security_invoker=true as
 SELECT m.tenant_id,
    m.id,
    v.id AS conversation_id,
    'outbound'::text AS direction,
    m.channel,
    m.subject,
    NULL::text AS body,
    m.to_address AS address,
    m.status,
    m.id AS outbound_message_id,
    NULL::text AS inbound_message_id,
    COALESCE(m.sent_at, m.created_at) AS sent_at,
    m.created_at
   FROM outbound_messages m
     LEFT JOIN conversations v ON v.tenant_id = m.tenant_id AND v.channel = m.channel AND v.address = m.to_address
UNION ALL
 SELECT i.tenant_id,
    i.id,
    i.conversation_id,
    'inbound'::text AS direction,
    i.channel,
    i.subject,
    i.body_text AS body,
    i.from_address AS address,
    i.classification AS status,
    i.message_id AS outbound_message_id,
    i.id AS inbound_message_id,
    i.received_at AS sent_at,
    i.created_at
   FROM inbound_messages i;
grant select to outrider_app;

view public.nurture_sequences owner outrider_owner with security_invoker=true as
 SELECT c.tenant_id,
    c.campaign_id AS id,
    c.name,
    c.settings ->> 'description'::text AS description,
    v.plan_json -> 'nodes'::text AS steps,
    c.status = 'active'::text AS active,
    c.created_at,
    c.updated_at
   FROM marketing.campaigns c
     JOIN campaign_plan_versions v ON v.tenant_id = c.tenant_id AND v.id = c.plan_version_id
  WHERE c.type = 'nurture'::text;
grant select to outrider_app;

view public.users owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    id,
    email,
    name,
    role,
    last_active_at,
    created_at
   FROM actors
  WHERE type = 'user'::text;
grant select to outrider_app;

view public.webhook_events owner outrider_owner with security_invoker=true as
 SELECT tenant_id,
    id,
    provider AS source,
        CASE
            WHEN inbound_count > 0 THEN provider || '.inbound'::text
            ELSE provider || '.status'::text
        END AS event_type,
    correlation_id,
    COALESCE(try_jsonb(body), '{}'::jsonb) AS payload,
    headers,
    signature,
    signature_valid,
    completed_at AS processed_at,
    NULL::text AS pipeline_run_id,
    received_at
   FROM webhook_deliveries d;
grant select to outrider_app;

view vault.contacts owner outrider_owner with security_invoker=true as
 SELECT p.tenant_id,
    p.id AS contact_id,
    p.email,
    p.name,
    p.phone,
    c.name AS company,
    p.title,
    p.source,
    p.tags,
    p.custom_fields,
    p.load_id,
    p.created_at,
    p.updated_at,
    p.last_activity_at,
    p.score,
    p.status
   FROM people.master p
     LEFT JOIN company.master c ON c.tenant_id = p.tenant_id AND c.id = p.company_id;
grant select to outrider_app;


-- Functions

-- owner outrider_owner
CREATE OR REPLACE FUNCTION company.record_history()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_nestloop TO 'off'
AS $function$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  insert into company.history (tenant_id, history_id, company_id, changed_fields, old_values, new_values, changed_by, changed_at)
  -- Materialized: otherwise a whole row becomes jsonb once per field of it.
  with pairs as materialized (
    select tenant_id, id, to_jsonb(o) as was, to_jsonb(n) as is_now from new_rows n join old_rows o using (tenant_id, id)
  )
  select n.tenant_id, row_id('chist', t, row_number() over (), tail), n.id, to_jsonb(array_agg(f.key)), jsonb_object_agg(f.key, f.old),
         jsonb_object_agg(f.key, f.new), nullif(current_setting('app.actor', true), ''), at
  from pairs n,
       lateral (select k.key, n.was -> k.key as old, k.value as new from jsonb_each(n.is_now) k
                where k.key not in ('updated_at', 'provenance') and k.value is distinct from n.was -> k.key) f
  group by n.tenant_id, n.id;
  return null;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION intake.f_ingest_json(p_rows jsonb[], p_source text, p_batch_id text)
 RETURNS TABLE(load_id text, status text, message text)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select r.load_id, r.status, r.message from intake.f_ingest_rows(
    p_rows,
    array(select case when e ~ '^[^@\s]{1,64}@(?=[^@\s]{3,255}$)[^@\s]+\.[^@\s]+$' then e end
          from unnest(p_rows) with ordinality r(raw, n), lower(trim(r.raw ->> 'email')) e order by r.n),
    array_fill(null::jsonb, array[cardinality(p_rows)]), p_source, p_batch_id) r
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION intake.f_ingest_rows(p_rows jsonb[], p_emails text[], p_meta jsonb[], p_source text, p_batch_id text, p_promote boolean DEFAULT false)
 RETURNS TABLE(load_id text, status text, message text, promoted_count integer, updated_count integer)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  ids text[];
  verdicts text[];
  problems text[];
  promoted int := 0;
  updated int := 0;
begin
  select array_agg(s.load_id order by s.n), array_agg(s.verdict order by s.n), array_agg(s.problem order by s.n)
  into ids, verdicts, problems from intake.store_rows(p_rows, p_emails, p_meta, p_source, p_batch_id, p_promote) s;
  if p_promote and 'pending' = any (verdicts) then
    select p.promoted_count, p.updated_count into promoted, updated
    from vault.promote_loads(array(select l.id from unnest(ids, verdicts) l(id, verdict) where l.verdict = 'pending'), true) p;
  end if;
  return query
  select l.id, case l.verdict when 'failed' then 'error' else 'success' end,
         case l.verdict when 'pending' then 'ingested' when 'duplicate' then 'duplicate of the last 30 days' else l.problem end, null::int, null::int
  from unnest(ids, verdicts, problems) l(id, verdict, problem);
  return query
  select null::text, 'success', format('%s inserted, %s skipped (%s duplicates, %s refused)', count(*) filter (where v = 'pending'),
                                       count(*) filter (where v <> 'pending'), count(*) filter (where v = 'duplicate'),
                                       count(*) filter (where v = 'failed')), promoted, updated
  from unnest(verdicts) v;
end $function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION intake.loads_to_promote(p_tenant text, p_load_ids text[], p_stored boolean)
 RETURNS TABLE(at_row tid, load_id text, email text, source text, raw_data jsonb, f jsonb, is_normalized boolean, metadata jsonb, is_last boolean, n bigint)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
begin
  if p_load_ids is null then
    return query
    select l.ctid, l.load_id, l.email, l.source, l.raw_data, coalesce(l.metadata -> 'fields', l.raw_data), l.metadata ? 'fields', l.metadata,
           row_number() over (partition by l.email order by l.load_id desc) = 1, row_number() over (order by l.load_id)
    from (select r.ctid, r.* from intake.raw_loads r
          where r.tenant_id = p_tenant and r.status = 'pending' order by r.load_id limit 10000 for update) l;
  elsif not p_stored then
    return query
    select l.ctid, l.load_id, l.email, l.source, l.raw_data, coalesce(l.metadata -> 'fields', l.raw_data), l.metadata ? 'fields', l.metadata,
           row_number() over (partition by l.email order by l.load_id desc) = 1, row_number() over (order by l.load_id)
    from (select r.ctid, r.* from intake.raw_loads r
          where r.tenant_id = p_tenant and r.status = 'pending' and r.load_id = any (p_load_ids)
          order by r.load_id limit 10000 for update) l;
  else
    -- Stored together, so no address is there twice, and nobody else sees them.
    return query
    select r.ctid, r.load_id, r.email, r.source, r.raw_data, coalesce(r.metadata -> 'fields', r.raw_data), r.metadata ? 'fields', r.metadata,
           true, row_number() over (order by r.load_id)
    from intake.raw_loads r where r.tenant_id = p_tenant and r.load_id = any (p_load_ids);
  end if;
end $function$;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION intake.lock_tenant(p_tenant text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select pg_advisory_xact_lock(hashtextextended('intake' || chr(31) || p_tenant, 0))
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION intake.store_rows(p_rows jsonb[], p_emails text[], p_meta jsonb[], p_source text, p_batch_id text, p_promoted boolean)
 RETURNS TABLE(n bigint, load_id text, verdict text, problem text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
declare
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  if tenant is null then raise exception 'no tenant set' using errcode = 'insufficient_privilege'; end if;
  if coalesce(trim(p_source), '') = '' then raise exception 'p_source is empty' using errcode = 'invalid_parameter_value'; end if;
  if coalesce(trim(p_batch_id), '') = '' then raise exception 'p_batch_id is empty' using errcode = 'invalid_parameter_value'; end if;
  perform intake.lock_tenant(tenant);

  return query
  with given as materialized (
    select g.raw, g.email, coalesce(g.meta, '{}') as meta, g.n, row_id('load', t, g.n, tail) as id,
           coalesce(g.meta ->> 'problem', case when g.email is null then 'email is missing or cannot be one' end) as problem
    from unnest(p_rows, p_emails, p_meta) with ordinality g(raw, email, meta, n)
  ), earlier as materialized (
    -- A look-up per address, whatever the statistics say: on a table that was never analysed the planner would rather read the whole
    -- tenant per call, and each chunk of a list would cost more than the one before. (The || keeps it from walking the primary key.)
    select g.email, l.load_id
    from (select distinct h.email from given h where h.email is not null) g, lateral (
      select min(r.load_id || '') as load_id from intake.raw_loads r
      where r.tenant_id = tenant and r.email = g.email and r.created_at > at - interval '30 days' and r.status in ('pending', 'promoted')) l
    where l.load_id is not null
  ), judged as materialized (
    -- A refused row claims no address: the good row behind it is the first.
    select g.*, coalesce(e.load_id, case when g.problem is null and f.n < g.n then f.id end) as repeats,
           case when g.problem is not null then 'failed' when e.load_id is not null or f.n < g.n then 'duplicate' else 'pending' end as verdict
    from given g
    left join earlier e on e.email = g.email
    left join (select distinct on (h.email) h.email, h.n, h.id from given h where h.problem is null order by h.email, h.n) f
      on f.email = g.email
  ), stored as (
    insert into intake.raw_loads (tenant_id, load_id, batch_id, source, raw_data, email, status, created_at, promoted_at, metadata)
    select tenant, j.id, p_batch_id, p_source, j.raw, j.email,
           case when p_promoted and j.verdict = 'pending' then 'promoted' else j.verdict end, at,
           case when p_promoted and j.verdict = 'pending' then at end,
           j.meta || jsonb_strip_nulls(jsonb_build_object(
             'reason', case j.verdict when 'failed' then j.problem when 'duplicate' then 'duplicate_30_days' end,
             'repeats', case j.verdict when 'duplicate' then j.repeats end))
    from judged j order by j.n
  ), logged as (
    insert into intake.audit_log (tenant_id, log_id, action, load_id, details, timestamp)
    select tenant, row_id('log', t, j.n, tail), 'contact_ingested', j.id, jsonb_build_object('status', j.verdict, 'batch_id', p_batch_id), at
    from judged j
    union all
    select tenant, row_id('log', t, 0, tail), 'batch_processed', null,
           jsonb_build_object('batch_id', p_batch_id, 'inserted', count(*) filter (where j.verdict = 'pending'),
                              'duplicates', count(*) filter (where j.verdict = 'duplicate'),
                              'failed', count(*) filter (where j.verdict = 'failed')), at
    from judged j
  )
  select j.n, j.id, j.verdict, j.problem from judged j order by j.n;
end $function$;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION people.record_history()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_nestloop TO 'off'
AS $function$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
begin
  insert into people.history (tenant_id, history_id, person_id, changed_fields, old_values, new_values, changed_by, changed_at)
  -- Materialized: otherwise a whole row becomes jsonb once per field of it.
  with pairs as materialized (
    select tenant_id, id, to_jsonb(o) as was, to_jsonb(n) as is_now from new_rows n join old_rows o using (tenant_id, id)
  )
  select n.tenant_id, row_id('phist', t, row_number() over (), tail), n.id, to_jsonb(array_agg(f.key)), jsonb_object_agg(f.key, f.old),
         jsonb_object_agg(f.key, f.new), nullif(current_setting('app.actor', true), ''), at
  from pairs n,
       lateral (select k.key, n.was -> k.key as old, k.value as new from jsonb_each(n.is_now) k
                where k.key not in ('updated_at', 'provenance', 'load_id', 'last_activity_at')
                  and k.value is distinct from n.was -> k.key) f
  group by n.tenant_id, n.id;
  return null;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.address_lock_key(p_tenant text, p_channel text, p_address text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
  select hashtextextended(p_tenant || chr(31) || p_channel || chr(31) || p_address, 0)
$function$;
grant execute to public;

-- owner outrider_sweeper
CREATE OR REPLACE FUNCTION public.api_key_tenant(p_hash bytea)
 RETURNS TABLE(tenant_id text, id text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select k.tenant_id, k.id from api_keys k
  where k.key_hash = p_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > app_now())
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.app_now()
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
AS $function$
declare carried text := current_setting('app.clock', true);
begin
  if carried = 'real' then return clock_timestamp(); end if;
  if carried <> '' then return carried::timestamptz; end if;
  return coalesce((select clock_at from deployment), clock_timestamp());
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.archive_table(p_table regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  filled boolean;
  target text := (select case when n.nspname = 'public' then '' else n.nspname || '_' end || c.relname
                  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = p_table)
                 || '_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS');
begin
  execute format('lock table %s in access exclusive mode', p_table);
  execute format('alter table %s no force row level security', p_table);
  execute format('select exists (select from %s)', p_table) into filled;
  if filled then
    execute format('create table archive.%I as select * from %s', target, p_table);
  end if;
  execute format('drop table %s cascade', p_table);
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.audit_lead_columns()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  audited text[] := array(
    select a.attname from pg_attribute a
    where a.attrelid = 'leads'::regclass and a.attnum > 0 and not a.attisdropped and a.attname not in
      ('updated_at', 'name', 'score', 'last_contact_date', 'attempt_count', 'last_attempt_at', 'last_response_at')
    order by a.attnum);
begin
  execute format($sql$
create or replace function record_lead_update() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set enable_nestloop = off as $$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  made_by text := current_trigger_type();
  actor text := nullif(current_setting('app.actor', true), '');
begin
  insert into lead_audit_log (tenant_id, id, lead_id, field_name, old_value, new_value, changed_by, changed_at)
  select n.tenant_id, row_id('lal', t, row_number() over (), tail), n.id, f.name, f.was, f.is_now, actor, at
  from new_rows n join old_rows o using (tenant_id, id), unnest(
    %1$L::text[],
    array[
      %2$s],
    array[
      %3$s]) f(name, was, is_now)
  where f.was is not null or f.is_now is not null;
  insert into lead_status_history (tenant_id, id, lead_id, from_status, to_status, trigger_type, stage_order, changed_at)
  select n.tenant_id, row_id('lsh', t, row_number() over (), tail), n.id, o.status, n.status, made_by, lead_stage_order(n.status), at
  from new_rows n join old_rows o using (tenant_id, id) where n.status <> o.status;
  return null;
end $$
$sql$, audited,
    (select string_agg(format('case when o.%1$I is distinct from n.%1$I then to_jsonb(o.%1$I) #>> ''{}'' end', c), E',\n      ' order by i)
     from unnest(audited) with ordinality u(c, i)),
    (select string_agg(format('case when o.%1$I is distinct from n.%1$I then to_jsonb(n.%1$I) #>> ''{}'' end', c), E',\n      ' order by i)
     from unnest(audited) with ordinality u(c, i)));
end $function$;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.begin_tenant(p_tenant text, p_actor text, p_correlation text, OUT now timestamp with time zone, OUT organization_id text)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
begin
  perform set_config('app.tenant_id', p_tenant, true),
          set_config('app.actor', p_actor, true),
          set_config('app.correlation_id', p_correlation, true),
          set_config('app.clock', coalesce((select clock_at::text from deployment), 'real'), true);
  select t.organization_id into organization_id from tenants t where t.id = p_tenant;
  perform set_config('app.organization_id', coalesce(organization_id, ''), true);
  now := app_now();
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.current_trigger_type()
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(nullif(current_setting('app.trigger', true), ''),
                  case when current_setting('app.actor', true) like 'user:%' then 'manual' else 'system' end)
$function$;
grant execute to public;

-- owner outrider_sweeper
CREATE OR REPLACE FUNCTION public.due_work(p_kind text, p_limit integer, p_full_pass_seconds integer DEFAULT 10)
 RETURNS TABLE(tenant_id text, id text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  at timestamptz := app_now();
  reached timestamptz := at;
  is_full boolean;
  low timestamptz;
  behind_before jsonb;
  behind_now jsonb;
  waiting text;
  leased text;
  work text;
  due text;
  those text[];
  share int;
  taken int;
  cut int;
begin
  if p_kind = 'wake' then
    return query select t.id, t.id from tenants t where t.waking <> '{}'
      order by (select min(w.value) from jsonb_each_text(t.waking) w), t.id limit p_limit;
    return;
  end if;
  if p_kind = 'expired' then
    return query select m.tenant_id, m.id from outbound_messages m where m.status = 'sending' and m.lease_until <= at order by m.lease_until limit p_limit;
    return;
  end if;
  insert into sweep_state (kind) values (p_kind) on conflict do nothing;
  -- Two sweeps at once: the second finds the row taken and has nothing to do.
  -- A last look that lies in the future was made by a clock that has been set back since: it says nothing.
  select s.full_pass_at <= at - make_interval(secs => p_full_pass_seconds) or s.full_pass_at > at, s.swept_until, s.behind
  into is_full, low, behind_before from sweep_state s where s.kind = p_kind for update skip locked;
  if not found then return; end if;
  if is_full then low := '-infinity'; behind_before := '{}'; end if;

  work := case p_kind when 'deliveries' then 'webhook_deliveries' when 'actions' then 'scheduled_actions' when 'imports' then 'imports'
                      when 'send' then 'outbound_messages' when 'reconcile' then 'outbound_messages' end;
  if work is null then raise exception 'unknown kind of work %', p_kind using errcode = 'invalid_parameter_value'; end if;
  waiting := case p_kind when 'send' then 'status in (''queued'', ''held'')' when 'reconcile' then 'status = ''ambiguous''' else 'status = ''pending''' end;
  leased := case when p_kind in ('deliveries', 'imports') then 'status = ''running''' end;
  -- One tenant's oldest, at most $4. In the order of the index, or a planner that expects many of them reads the table from its beginning.
  due := format('(select w.tenant_id, w.id, w.run_at from %I w where w.tenant_id = t.id and %s
    and w.run_at >= coalesce(($3 ->> t.id)::timestamptz, $1) and w.run_at <= $2 order by w.tenant_id, w.run_at, w.id limit $4)', work, waiting);

  execute format('select array_agg(t.id) from tenants t, lateral %s d', due) into those using low, at, behind_before, 1;
  behind_now := '{}';
  if those is not null then
    share := greatest(1, p_limit / cardinality(those));
    -- Each round shares out what the last one left over. Four leave next to nothing, and the next sweep begins anew.
    for round in 1..4 loop
      execute format('select sum(c.n), count(*) filter (where c.n = $4), coalesce(jsonb_object_agg(t.id, c.latest) filter (where c.n = $4), ''{}'')
        from unnest($5) t(id), lateral (select count(*) as n, max(d.run_at) as latest from %s d) c', due)
        into taken, cut, behind_now using low, at, behind_before, share, those;
      exit when cut = 0 or p_limit - taken < cut or round = 4;
      share := share + (p_limit - taken) / cut;
    end loop;
    return query execute format('select d.tenant_id, d.id from unnest($5) t(id), lateral %s d order by d.run_at, d.id limit $6', due)
      using low, at, behind_before, share, those, p_limit;
  end if;
  if leased is not null then
    return query execute format('select w.tenant_id, w.id from %I w where %s and w.lease_until <= $1 order by w.lease_until limit 1000', work, leased)
      using at;
  end if;
  -- More tenants than rows allowed: who had no turn is looked for from the same instant again.
  if cardinality(those) > p_limit then reached := low; behind_now := behind_before; end if;
  update sweep_state s set swept_until = reached, behind = behind_now, full_pass_at = case when is_full then at else s.full_pass_at end
  where s.kind = p_kind;
end $function$;
grant execute to outrider_app;

-- owner outrider_sweeper
CREATE OR REPLACE FUNCTION public.endpoint_tenant(p_provider text, p_id text)
 RETURNS text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select c.tenant_id from channel_configs c where c.id = p_id and c.provider = p_provider
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.ensure_event_partition(p_at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
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
end $function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.id_tail()
 RETURNS text
 LANGUAGE sql
 PARALLEL SAFE
AS $function$
  select upper(right(gen_random_uuid()::text, 10))
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.is_on_dnc_list(p_phone text, p_organization_id text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select exists (select from dnc_list
                 where organization_id = p_organization_id and phone_number = p_phone and lifted_at is null)
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.keep_delivery()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'a webhook delivery cannot be rewritten' using errcode = 'integrity_constraint_violation';
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.keep_lead_source()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if (new.source_type, new.source_id, new.import_run_id) is distinct from (old.source_type, old.source_id, old.import_run_id)
     and not (old.source_id is null and old.import_run_id is null and new.source_type = old.source_type) then
    raise exception 'source_type, source_id and import_run_id of lead % cannot change', old.id using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.lead_stage_order(p_status text)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select array_position(array['new', 'contacted', 'nurturing', 'cold', 'qualified', 'hot', 'converted', 'recruited', 'dnc'], p_status)
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.make_id(p_prefix text, p_time text, p_ordinal bigint DEFAULT NULL::bigint)
 RETURNS text
 LANGUAGE sql
 PARALLEL SAFE
AS $function$
  select p_prefix || '_' || p_time || upper(
    case when p_ordinal is null then right(gen_random_uuid()::text, 12) || right(gen_random_uuid()::text, 4)
         else lpad(to_hex(p_ordinal), 6, '0') || right(gen_random_uuid()::text, 10) end)
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.new_id(p_prefix text)
 RETURNS text
 LANGUAGE sql
AS $function$
  select make_id(p_prefix, ulid_time(app_now()))
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.protect(p_table regclass, p_privileges text, p_key text DEFAULT 'tenant_id'::text, p_setting text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  setting text := coalesce(p_setting, 'app.' || p_key);
begin
  execute format('alter table %s enable row level security', p_table);
  execute format('alter table %s force row level security', p_table);
  execute format(
    'create policy tenant_isolation_policy on %s using (%I = nullif(current_setting(%L, true), ''''))
       with check (%I = nullif(current_setting(%L, true), ''''))', p_table, p_key, setting, p_key, setting);
  if p_privileges <> '' then
    execute format('grant %s on %s to outrider_app', p_privileges, p_table);
  end if;
  -- A partition has its parent's triggers.
  if exists (select from pg_attribute where attrelid = p_table and attname = 'updated_at' and not attisdropped)
     and not exists (select from pg_class where oid = p_table and relispartition) then
    -- A statement that says when needs no call per row.
    execute format('create trigger touch_updated_at before update on %s for each row
      when (new.updated_at is not distinct from old.updated_at) execute function touch_updated_at()', p_table);
  end if;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.record_lead_insert()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  made_by text := current_trigger_type();
begin
  insert into lead_status_history (tenant_id, id, lead_id, from_status, to_status, trigger_type, stage_order, changed_at)
  select tenant_id, row_id('lsh', t, row_number() over (), tail), id, null, status, made_by, lead_stage_order(status), at from new_rows;
  return null;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.record_lead_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET enable_nestloop TO 'off'
AS $function$
declare
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  made_by text := current_trigger_type();
  actor text := nullif(current_setting('app.actor', true), '');
begin
  insert into lead_audit_log (tenant_id, id, lead_id, field_name, old_value, new_value, changed_by, changed_at)
  select n.tenant_id, row_id('lal', t, row_number() over (), tail), n.id, f.name, f.was, f.is_now, actor, at
  from new_rows n join old_rows o using (tenant_id, id), unnest(
    '{tenant_id,id,organization_id,user_id,sector_id,source_type,source_id,import_run_id,load_id,source,company_id,person_id,company_name,contact_name,first_name,last_name,phone,mobile_phone,phone_number,email,phones,emails,address,city,state,zip,county,country,sic_code,sic_description,employee_count,annual_revenue,website,enrichment_status,last_enriched_at,enrichment_artifact_id,status,campaign_status,priority_score,is_decision_maker,property_owner_likelihood,lead_score,lead_score_factors,raw_data,tags,flags,created_at,deleted_at}'::text[],
    array[
      case when o.tenant_id is distinct from n.tenant_id then to_jsonb(o.tenant_id) #>> '{}' end,
      case when o.id is distinct from n.id then to_jsonb(o.id) #>> '{}' end,
      case when o.organization_id is distinct from n.organization_id then to_jsonb(o.organization_id) #>> '{}' end,
      case when o.user_id is distinct from n.user_id then to_jsonb(o.user_id) #>> '{}' end,
      case when o.sector_id is distinct from n.sector_id then to_jsonb(o.sector_id) #>> '{}' end,
      case when o.source_type is distinct from n.source_type then to_jsonb(o.source_type) #>> '{}' end,
      case when o.source_id is distinct from n.source_id then to_jsonb(o.source_id) #>> '{}' end,
      case when o.import_run_id is distinct from n.import_run_id then to_jsonb(o.import_run_id) #>> '{}' end,
      case when o.load_id is distinct from n.load_id then to_jsonb(o.load_id) #>> '{}' end,
      case when o.source is distinct from n.source then to_jsonb(o.source) #>> '{}' end,
      case when o.company_id is distinct from n.company_id then to_jsonb(o.company_id) #>> '{}' end,
      case when o.person_id is distinct from n.person_id then to_jsonb(o.person_id) #>> '{}' end,
      case when o.company_name is distinct from n.company_name then to_jsonb(o.company_name) #>> '{}' end,
      case when o.contact_name is distinct from n.contact_name then to_jsonb(o.contact_name) #>> '{}' end,
      case when o.first_name is distinct from n.first_name then to_jsonb(o.first_name) #>> '{}' end,
      case when o.last_name is distinct from n.last_name then to_jsonb(o.last_name) #>> '{}' end,
      case when o.phone is distinct from n.phone then to_jsonb(o.phone) #>> '{}' end,
      case when o.mobile_phone is distinct from n.mobile_phone then to_jsonb(o.mobile_phone) #>> '{}' end,
      case when o.phone_number is distinct from n.phone_number then to_jsonb(o.phone_number) #>> '{}' end,
      case when o.email is distinct from n.email then to_jsonb(o.email) #>> '{}' end,
      case when o.phones is distinct from n.phones then to_jsonb(o.phones) #>> '{}' end,
      case when o.emails is distinct from n.emails then to_jsonb(o.emails) #>> '{}' end,
      case when o.address is distinct from n.address then to_jsonb(o.address) #>> '{}' end,
      case when o.city is distinct from n.city then to_jsonb(o.city) #>> '{}' end,
      case when o.state is distinct from n.state then to_jsonb(o.state) #>> '{}' end,
      case when o.zip is distinct from n.zip then to_jsonb(o.zip) #>> '{}' end,
      case when o.county is distinct from n.county then to_jsonb(o.county) #>> '{}' end,
      case when o.country is distinct from n.country then to_jsonb(o.country) #>> '{}' end,
      case when o.sic_code is distinct from n.sic_code then to_jsonb(o.sic_code) #>> '{}' end,
      case when o.sic_description is distinct from n.sic_description then to_jsonb(o.sic_description) #>> '{}' end,
      case when o.employee_count is distinct from n.employee_count then to_jsonb(o.employee_count) #>> '{}' end,
      case when o.annual_revenue is distinct from n.annual_revenue then to_jsonb(o.annual_revenue) #>> '{}' end,
      case when o.website is distinct from n.website then to_jsonb(o.website) #>> '{}' end,
      case when o.enrichment_status is distinct from n.enrichment_status then to_jsonb(o.enrichment_status) #>> '{}' end,
      case when o.last_enriched_at is distinct from n.last_enriched_at then to_jsonb(o.last_enriched_at) #>> '{}' end,
      case when o.enrichment_artifact_id is distinct from n.enrichment_artifact_id then to_jsonb(o.enrichment_artifact_id) #>> '{}' end,
      case when o.status is distinct from n.status then to_jsonb(o.status) #>> '{}' end,
      case when o.campaign_status is distinct from n.campaign_status then to_jsonb(o.campaign_status) #>> '{}' end,
      case when o.priority_score is distinct from n.priority_score then to_jsonb(o.priority_score) #>> '{}' end,
      case when o.is_decision_maker is distinct from n.is_decision_maker then to_jsonb(o.is_decision_maker) #>> '{}' end,
      case when o.property_owner_likelihood is distinct from n.property_owner_likelihood then to_jsonb(o.property_owner_likelihood) #>> '{}' end,
      case when o.lead_score is distinct from n.lead_score then to_jsonb(o.lead_score) #>> '{}' end,
      case when o.lead_score_factors is distinct from n.lead_score_factors then to_jsonb(o.lead_score_factors) #>> '{}' end,
      case when o.raw_data is distinct from n.raw_data then to_jsonb(o.raw_data) #>> '{}' end,
      case when o.tags is distinct from n.tags then to_jsonb(o.tags) #>> '{}' end,
      case when o.flags is distinct from n.flags then to_jsonb(o.flags) #>> '{}' end,
      case when o.created_at is distinct from n.created_at then to_jsonb(o.created_at) #>> '{}' end,
      case when o.deleted_at is distinct from n.deleted_at then to_jsonb(o.deleted_at) #>> '{}' end],
    array[
      case when o.tenant_id is distinct from n.tenant_id then to_jsonb(n.tenant_id) #>> '{}' end,
      case when o.id is distinct from n.id then to_jsonb(n.id) #>> '{}' end,
      case when o.organization_id is distinct from n.organization_id then to_jsonb(n.organization_id) #>> '{}' end,
      case when o.user_id is distinct from n.user_id then to_jsonb(n.user_id) #>> '{}' end,
      case when o.sector_id is distinct from n.sector_id then to_jsonb(n.sector_id) #>> '{}' end,
      case when o.source_type is distinct from n.source_type then to_jsonb(n.source_type) #>> '{}' end,
      case when o.source_id is distinct from n.source_id then to_jsonb(n.source_id) #>> '{}' end,
      case when o.import_run_id is distinct from n.import_run_id then to_jsonb(n.import_run_id) #>> '{}' end,
      case when o.load_id is distinct from n.load_id then to_jsonb(n.load_id) #>> '{}' end,
      case when o.source is distinct from n.source then to_jsonb(n.source) #>> '{}' end,
      case when o.company_id is distinct from n.company_id then to_jsonb(n.company_id) #>> '{}' end,
      case when o.person_id is distinct from n.person_id then to_jsonb(n.person_id) #>> '{}' end,
      case when o.company_name is distinct from n.company_name then to_jsonb(n.company_name) #>> '{}' end,
      case when o.contact_name is distinct from n.contact_name then to_jsonb(n.contact_name) #>> '{}' end,
      case when o.first_name is distinct from n.first_name then to_jsonb(n.first_name) #>> '{}' end,
      case when o.last_name is distinct from n.last_name then to_jsonb(n.last_name) #>> '{}' end,
      case when o.phone is distinct from n.phone then to_jsonb(n.phone) #>> '{}' end,
      case when o.mobile_phone is distinct from n.mobile_phone then to_jsonb(n.mobile_phone) #>> '{}' end,
      case when o.phone_number is distinct from n.phone_number then to_jsonb(n.phone_number) #>> '{}' end,
      case when o.email is distinct from n.email then to_jsonb(n.email) #>> '{}' end,
      case when o.phones is distinct from n.phones then to_jsonb(n.phones) #>> '{}' end,
      case when o.emails is distinct from n.emails then to_jsonb(n.emails) #>> '{}' end,
      case when o.address is distinct from n.address then to_jsonb(n.address) #>> '{}' end,
      case when o.city is distinct from n.city then to_jsonb(n.city) #>> '{}' end,
      case when o.state is distinct from n.state then to_jsonb(n.state) #>> '{}' end,
      case when o.zip is distinct from n.zip then to_jsonb(n.zip) #>> '{}' end,
      case when o.county is distinct from n.county then to_jsonb(n.county) #>> '{}' end,
      case when o.country is distinct from n.country then to_jsonb(n.country) #>> '{}' end,
      case when o.sic_code is distinct from n.sic_code then to_jsonb(n.sic_code) #>> '{}' end,
      case when o.sic_description is distinct from n.sic_description then to_jsonb(n.sic_description) #>> '{}' end,
      case when o.employee_count is distinct from n.employee_count then to_jsonb(n.employee_count) #>> '{}' end,
      case when o.annual_revenue is distinct from n.annual_revenue then to_jsonb(n.annual_revenue) #>> '{}' end,
      case when o.website is distinct from n.website then to_jsonb(n.website) #>> '{}' end,
      case when o.enrichment_status is distinct from n.enrichment_status then to_jsonb(n.enrichment_status) #>> '{}' end,
      case when o.last_enriched_at is distinct from n.last_enriched_at then to_jsonb(n.last_enriched_at) #>> '{}' end,
      case when o.enrichment_artifact_id is distinct from n.enrichment_artifact_id then to_jsonb(n.enrichment_artifact_id) #>> '{}' end,
      case when o.status is distinct from n.status then to_jsonb(n.status) #>> '{}' end,
      case when o.campaign_status is distinct from n.campaign_status then to_jsonb(n.campaign_status) #>> '{}' end,
      case when o.priority_score is distinct from n.priority_score then to_jsonb(n.priority_score) #>> '{}' end,
      case when o.is_decision_maker is distinct from n.is_decision_maker then to_jsonb(n.is_decision_maker) #>> '{}' end,
      case when o.property_owner_likelihood is distinct from n.property_owner_likelihood then to_jsonb(n.property_owner_likelihood) #>> '{}' end,
      case when o.lead_score is distinct from n.lead_score then to_jsonb(n.lead_score) #>> '{}' end,
      case when o.lead_score_factors is distinct from n.lead_score_factors then to_jsonb(n.lead_score_factors) #>> '{}' end,
      case when o.raw_data is distinct from n.raw_data then to_jsonb(n.raw_data) #>> '{}' end,
      case when o.tags is distinct from n.tags then to_jsonb(n.tags) #>> '{}' end,
      case when o.flags is distinct from n.flags then to_jsonb(n.flags) #>> '{}' end,
      case when o.created_at is distinct from n.created_at then to_jsonb(n.created_at) #>> '{}' end,
      case when o.deleted_at is distinct from n.deleted_at then to_jsonb(n.deleted_at) #>> '{}' end]) f(name, was, is_now)
  where f.was is not null or f.is_now is not null;
  insert into lead_status_history (tenant_id, id, lead_id, from_status, to_status, trigger_type, stage_order, changed_at)
  select n.tenant_id, row_id('lsh', t, row_number() over (), tail), n.id, o.status, n.status, made_by, lead_stage_order(n.status), at
  from new_rows n join old_rows o using (tenant_id, id) where n.status <> o.status;
  return null;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception '% is immutable', tg_table_name using errcode = 'integrity_constraint_violation';
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.row_id(p_prefix text, p_time text, p_ordinal bigint, p_tail text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select p_prefix || '_' || p_time || upper(lpad(to_hex(p_ordinal), 6, '0')) || p_tail
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.set_app_clock(p_at timestamp with time zone)
 RETURNS void
 LANGUAGE sql
AS $function$
  update deployment set clock_at = p_at
$function$;

-- owner outrider_sweeper
CREATE OR REPLACE FUNCTION public.tenant_ids()
 RETURNS SETOF text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select t.id from tenants t order by t.id
$function$;
grant execute to outrider_app;

-- owner outrider_sweeper
CREATE OR REPLACE FUNCTION public.tenants_by_examination()
 RETURNS SETOF text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select t.id from tenants t, lateral (select max(d.ran_at) as at from doctor_runs d where d.tenant_id = t.id) last
  order by last.at nulls first, t.id
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.touch_updated_at()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  new.updated_at := app_now();
  return new;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.try_jsonb(p_bytes bytea)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
begin
  return convert_from(p_bytes, 'UTF8')::jsonb;
exception when others then
  return null;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION public.ulid_time(p_at timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
declare
  ms bigint := floor(extract(epoch from p_at) * 1000)::bigint;
  digits text := '';
begin
  for i in 1..10 loop
    digits := substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (ms & 31)::int + 1, 1) || digits;
    ms := ms >> 5;
  end loop;
  return digits;
end $function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.f_mark_contacts(p_emails text[], p_status text)
 RETURNS integer
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  with marked as (
    update people.master p set status = p_status
    where p.tenant_id = nullif(current_setting('app.tenant_id', true), '') and p.email = any (p_emails) and p.status <> p_status
    returning p.id, p.email
  ), logged as (
    insert into intake.audit_log (tenant_id, action, contact_id, details)
    select current_setting('app.tenant_id', true), 'contact_updated', id, jsonb_build_object('status', p_status) from marked
  )
  select count(*)::int from marked
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.f_promote_contacts(p_load_ids text[] DEFAULT NULL::text[])
 RETURNS TABLE(promoted_count integer, updated_count integer, failed_count integer, message text)
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $function$
  select * from vault.promote_loads(p_load_ids, false)
$function$;
grant execute to outrider_app;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.learn_sizes()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public'
AS $function$
declare unknown regclass;
begin
  for unknown in select c.oid from pg_class c
                 where c.oid = any (array['intake.raw_loads', 'company.master', 'people.master', 'leads', 'contacts', 'contact_channels',
                                          'consents']::regclass[])
                   and c.reltuples <= 0 and pg_relation_size(c.oid) >= 65536 order by c.oid loop
    execute format('analyze %s', unknown);
  end loop;
end $function$;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.origin(p_source text, p_load text, p_at timestamp with time zone)
 RETURNS jsonb
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  select jsonb_build_object('*', jsonb_build_object('source', p_source, 'load_id', p_load, 'at', p_at))
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.origin_of_each(p_origin jsonb, p_values jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select coalesce(jsonb_object_agg(k.key, p_origin -> '*'), '{}') from jsonb_object_keys(jsonb_strip_nulls(p_values)) k(key)
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.promote_loads(p_load_ids text[], p_stored boolean)
 RETURNS TABLE(promoted_count integer, updated_count integer, failed_count integer, message text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'public', 'pg_temp'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
declare
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  organization text := nullif(current_setting('app.organization_id', true), '');
  at timestamptz := app_now();
  t text := ulid_time(at);
  tail text := id_tail();
  freemail constant text[] := array['gmail.com', 'googlemail.com', 'yahoo.com', 'hotmail.com', 'outlook.com', 'live.com', 'icloud.com',
    'aol.com', 'gmx.de', 'gmx.net', 'web.de', 'proton.me', 'protonmail.com', 'mail.com', 'yandex.ru', 'qq.com', '163.com'];
begin
  if tenant is null or organization is null then raise exception 'no tenant set' using errcode = 'insufficient_privilege'; end if;
  perform intake.lock_tenant(tenant);
  perform vault.learn_sizes();
  perform set_config('app.trigger', 'import', true);

  return query
  with locked as materialized (
    select * from intake.loads_to_promote(tenant, p_load_ids, p_stored)
  ), incoming as materialized (
    -- A row that the application normalised has named its company's domain, or knows of none.
    select load_id, email, source, raw_data, f, metadata, n,
           vault.said(f, 'first_name') as first_name, vault.said(f, 'last_name') as last_name,
           coalesce(vault.said(f, 'name'), nullif(concat_ws(' ', vault.said(f, 'first_name'), vault.said(f, 'last_name')), '')) as name,
           vault.said(f, 'title') as title,
           case when f ->> 'phone' ~ '^\+[1-9][0-9]{6,14}$' then f ->> 'phone' end as phone,
           vault.said(f, 'company') as company,
           lower(coalesce(vault.said(f, 'domain'),
                 case when not is_normalized and split_part(email, '@', 2) <> all (freemail) then split_part(email, '@', 2) end)) as domain
    from locked where is_last
  ),
  -- companies, one row per domain: the last load that named one speaks for it
  company_in as (
    select distinct on (i.domain) i.domain, i.company, i.f, i.source, i.load_id, i.n
    from incoming i where i.domain is not null order by i.domain, i.load_id desc
  ), company_up as (
    insert into company.master as c (tenant_id, id, domain, name, industry, employee_count, revenue, location, linkedin_url, website,
                                     provenance, created_at, updated_at)
    select tenant, row_id('com', t, i.n, tail), i.domain, i.company, v.industry, v.employee_count, v.revenue, v.location, v.linkedin_url, v.website,
           vault.origin(i.source, i.load_id, at) || case when i.source = 'manual' then vault.origin_of_each(
             vault.origin(i.source, i.load_id, at), to_jsonb(v) || jsonb_build_object('name', i.company)) else '{}' end, at, at
    from company_in i, lateral (
      select vault.said(i.f, 'industry') as industry,
             case when i.f ->> 'employee_count' ~ '^\d{1,9}$' then (i.f ->> 'employee_count')::int end as employee_count,
             case when i.f ->> 'revenue' ~ '^\d{1,15}(\.\d+)?$' then (i.f ->> 'revenue')::numeric end as revenue,
             vault.said(i.f, 'company_location') as location, vault.said(i.f, 'company_linkedin_url') as linkedin_url,
             vault.said(i.f, 'website') as website) v
    order by i.domain
    on conflict (tenant_id, domain) do update set
      name = vault.survives(c.name, excluded.name, c.provenance -> 'name', excluded.provenance #>> '{*,source}'),
      industry = vault.survives(c.industry, excluded.industry, c.provenance -> 'industry', excluded.provenance #>> '{*,source}'),
      employee_count = vault.survives(c.employee_count::text, excluded.employee_count::text, c.provenance -> 'employee_count',
                                      excluded.provenance #>> '{*,source}')::int,
      revenue = vault.survives(c.revenue::text, excluded.revenue::text, c.provenance -> 'revenue', excluded.provenance #>> '{*,source}')::numeric,
      location = vault.survives(c.location, excluded.location, c.provenance -> 'location', excluded.provenance #>> '{*,source}'),
      linkedin_url = vault.survives(c.linkedin_url, excluded.linkedin_url, c.provenance -> 'linkedin_url', excluded.provenance #>> '{*,source}'),
      website = vault.survives(c.website, excluded.website, c.provenance -> 'website', excluded.provenance #>> '{*,source}'),
      provenance = c.provenance || excluded.provenance
    -- Most rows of a list repeat what is known about their company: no row version, no history for those.
    where excluded.provenance #>> '{*,source}' = 'manual'
       or (coalesce(excluded.name, c.name), coalesce(excluded.industry, c.industry), coalesce(excluded.employee_count, c.employee_count),
           coalesce(excluded.revenue, c.revenue), coalesce(excluded.location, c.location),
           coalesce(excluded.linkedin_url, c.linkedin_url), coalesce(excluded.website, c.website))
          is distinct from (c.name, c.industry, c.employee_count, c.revenue, c.location, c.linkedin_url, c.website)
    returning c.id, c.domain
  ), companies as materialized (
    select domain, id from company_up
    union all
    select i.domain, c.id
    from company_in i, lateral (select m.id from company.master m where m.tenant_id = tenant and m.domain = i.domain limit 1) c
    where not exists (select from company_up u where u.domain = i.domain)
  ),
  -- people
  person_up as (
    insert into people.master as p (tenant_id, id, email, name, first_name, last_name, title, company_id, linkedin_url, phone, location,
                                    seniority, department, time_zone, postal_code, state, country, source, tags, custom_fields, load_id,
                                    last_activity_at, provenance, created_at, updated_at)
    select tenant, row_id('per', t, i.n, tail), i.email, i.name, i.first_name, i.last_name, i.title, c.id, v.linkedin_url,
           i.phone, v.location, v.seniority, v.department, v.time_zone, v.postal_code, v.state, v.country,
           i.source, case jsonb_typeof(i.f -> 'tags') when 'array' then i.f -> 'tags' else '[]' end,
           case jsonb_typeof(i.f -> 'custom_fields') when 'object' then i.f -> 'custom_fields' else '{}' end,
           i.load_id, at,
           vault.origin(i.source, i.load_id, at) || case when i.source = 'manual' then vault.origin_of_each(
             vault.origin(i.source, i.load_id, at), to_jsonb(v) || jsonb_build_object('name', i.name, 'first_name', i.first_name,
             'last_name', i.last_name, 'title', i.title, 'phone', i.phone, 'company_id', c.id)) else '{}' end, at, at
    from incoming i left join companies c on c.domain = i.domain, lateral (
      select vault.said(i.f, 'linkedin_url') as linkedin_url, vault.said(i.f, 'location') as location, vault.said(i.f, 'seniority') as seniority,
             vault.said(i.f, 'department') as department, vault.said(i.f, 'time_zone') as time_zone,
             vault.said(i.f, 'postal_code') as postal_code, vault.said(i.f, 'state') as state, vault.said(i.f, 'country') as country) v
    order by i.email
    on conflict (tenant_id, email) do update set
      name = vault.survives(p.name, excluded.name, p.provenance -> 'name', excluded.source),
      first_name = vault.survives(p.first_name, excluded.first_name, p.provenance -> 'first_name', excluded.source),
      last_name = vault.survives(p.last_name, excluded.last_name, p.provenance -> 'last_name', excluded.source),
      title = vault.survives(p.title, excluded.title, p.provenance -> 'title', excluded.source),
      company_id = vault.survives(p.company_id, excluded.company_id, p.provenance -> 'company_id', excluded.source),
      linkedin_url = vault.survives(p.linkedin_url, excluded.linkedin_url, p.provenance -> 'linkedin_url', excluded.source),
      phone = vault.survives(p.phone, excluded.phone, p.provenance -> 'phone', excluded.source),
      location = vault.survives(p.location, excluded.location, p.provenance -> 'location', excluded.source),
      seniority = vault.survives(p.seniority, excluded.seniority, p.provenance -> 'seniority', excluded.source),
      department = vault.survives(p.department, excluded.department, p.provenance -> 'department', excluded.source),
      time_zone = vault.survives(p.time_zone, excluded.time_zone, p.provenance -> 'time_zone', excluded.source),
      postal_code = vault.survives(p.postal_code, excluded.postal_code, p.provenance -> 'postal_code', excluded.source),
      state = vault.survives(p.state, excluded.state, p.provenance -> 'state', excluded.source),
      country = vault.survives(p.country, excluded.country, p.provenance -> 'country', excluded.source),
      tags = (select coalesce(jsonb_agg(distinct tag), '[]') from jsonb_array_elements(p.tags || excluded.tags) tag),
      custom_fields = p.custom_fields || excluded.custom_fields,
      load_id = excluded.load_id,
      last_activity_at = at,
      provenance = p.provenance || excluded.provenance
    returning p.id, p.email, p.company_id, p.name, p.first_name, p.last_name, p.title, p.phone, p.linkedin_url, p.time_zone,
              p.postal_code, p.state, p.country, p.custom_fields, p.tags, (xmax = 0) as is_new
  ), people_now as materialized (
    select u.*, i.load_id, i.source, i.company, i.domain, i.f, i.raw_data, i.metadata, i.n,
           -- Consent is for the number it was given with, not for another one that stayed in force.
           u.phone = i.phone and lower(i.f ->> 'sms_consent') in ('true', 'yes', 'y', '1') as gives_consent,
           row_number() over (partition by u.phone order by i.n) as phone_nth
    from person_up u join incoming i on i.email = u.email
  ),
  -- leads: one live lead per person; a phone that another lead already has stays on the contact only
  lead_old as materialized (
    select p.id as person_id, l.id from people_now p, lateral (
      select x.id from leads x where x.tenant_id = tenant and x.person_id = p.id and x.deleted_at is null limit 1) l
    where not p.is_new
  ), lead_new as (
    insert into leads (tenant_id, id, organization_id, source_type, source_id, import_run_id, load_id, source, company_id, person_id,
                       company_name, first_name, last_name, contact_name, phone, phone_number, email, emails, phones, city, state, zip,
                       country, website, raw_data, tags, created_at, updated_at)
    select tenant, row_id('lead', t, p.n, tail), organization, coalesce(p.metadata ->> 'source_type', 'intake'), p.load_id,
           p.metadata ->> 'import_id', p.load_id, p.source, p.company_id, p.id, p.company, p.first_name, p.last_name, p.name,
           coalesce(p.raw_data ->> 'phone', p.phone),
           case when p.phone_nth = 1 and (select x.id from leads x where x.tenant_id = tenant and x.phone_number = p.phone
                                            and x.deleted_at is null limit 1) is null then p.phone end,
           p.email, jsonb_build_array(p.email), case when p.phone is null then '[]' else jsonb_build_array(p.phone) end,
           vault.said(p.f, 'city'), p.state, p.postal_code, p.country, vault.said(p.f, 'website'), p.raw_data,
           array(select jsonb_array_elements_text(p.tags)), at, at
    from people_now p where not exists (select from lead_old o where o.person_id = p.id)
    order by p.n
    returning id, person_id
  ), lead_ids as materialized (
    select person_id, id from lead_old union all select person_id, id from lead_new
  ),
  contact_up as (
    insert into contacts as k (tenant_id, id, lead_id, person_id, first_name, last_name, full_name, title, phones, emails, primary_phone,
                               primary_email, linkedin_url, time_zone, postal_code, state, country, custom_fields, source_type,
                               created_at, updated_at)
    select tenant, row_id('contact', t, p.n, tail), l.id, p.id, p.first_name, p.last_name, p.name, p.title,
           case when p.phone is null then '[]' else jsonb_build_array(p.phone) end, jsonb_build_array(p.email), p.phone, p.email,
           p.linkedin_url, p.time_zone, p.postal_code, p.state, p.country,
           p.custom_fields || jsonb_strip_nulls(jsonb_build_object('company', p.company)),
           coalesce(p.metadata ->> 'source_type', 'intake'), at, at
    from people_now p join lead_ids l on l.person_id = p.id
    order by p.n
    on conflict (tenant_id, lead_id, person_id) where person_id is not null do update set
      first_name = excluded.first_name, last_name = excluded.last_name, full_name = excluded.full_name, title = excluded.title,
      primary_phone = coalesce(excluded.primary_phone, k.primary_phone),
      linkedin_url = excluded.linkedin_url, phones = (select coalesce(jsonb_agg(distinct v), '[]') from jsonb_array_elements(k.phones || excluded.phones) v),
      time_zone = excluded.time_zone, postal_code = excluded.postal_code, state = excluded.state, country = excluded.country,
      custom_fields = k.custom_fields || excluded.custom_fields
    returning k.id, k.person_id
  ), channel_rows as materialized (
    select c.id as contact_id, p.n * 2 + v.nth as n, v.channel, v.address, p.source, p.is_new
    from contact_up c join people_now p on p.id = c.person_id,
         lateral (values (0, 'email', p.email), (1, 'sms', p.phone)) v(nth, channel, address)
    where v.address is not null
  ), demoted as (
    -- The address in force is the primary one; those it replaces stay, as others.
    update contact_channels k set is_primary = false
    where k.ctid = any (array(
      select o.ctid from channel_rows r, lateral (
        select x.ctid from contact_channels x
        where x.tenant_id = tenant and x.contact_id = r.contact_id and x.channel = r.channel and x.address <> r.address and x.is_primary
        limit 100) o
      where not r.is_new))
  ), channels as (
    insert into contact_channels as k (tenant_id, id, contact_id, channel, address, source, created_at, updated_at)
    select tenant, row_id('chn', t, r.n, tail), r.contact_id, r.channel, r.address, r.source, at, at
    from channel_rows r
    on conflict (tenant_id, contact_id, channel, address) do update set is_primary = true where not k.is_primary
  ), consent as (
    insert into consents (tenant_id, id, contact_id, channel, address, basis, text, source, granted_at, created_at)
    select tenant, row_id('cons', t, p.n, tail), c.id, 'sms', p.phone, 'express_written', p.f ->> 'sms_consent_text', p.source, at, at
    from contact_up c join people_now p on p.id = c.person_id
    -- A list does not say when it was given: it never outranks a consent that was taken back.
    where p.gives_consent
      and (select x.id from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone limit 1) is null
  ), done as (
    update intake.raw_loads l set status = 'promoted', promoted_at = at
    where not p_stored and l.ctid = any (array(select k.at_row from locked k)) and l.tenant_id = tenant
  ), logged as (
    insert into intake.audit_log (tenant_id, log_id, action, load_id, contact_id, details, timestamp)
    select tenant, row_id('log', t, p.n, tail), case when p.is_new then 'contact_promoted' else 'contact_updated' end, p.load_id, p.id,
           jsonb_build_object('email', p.email) || case
             when p.gives_consent
               and exists (select from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone and x.revoked_at is not null)
               and not exists (select from consents x where x.tenant_id = tenant and x.channel = 'sms' and x.address = p.phone and x.revoked_at is null)
             then '{"sms_consent": "not recorded: it was revoked before"}'::jsonb else '{}'::jsonb end, at
    from people_now p
  )
  select (select count(*) from people_now p where p.is_new)::int, (select count(*) from people_now p where not p.is_new)::int,
         0, format('%s promoted, %s updated, %s loads done', (select count(*) from people_now p where p.is_new),
                   (select count(*) from people_now p where not p.is_new), (select count(*) from locked));
end $function$;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.said(p_fields jsonb, p_key text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select nullif(trim(left(p_fields ->> p_key, 500)), '')
$function$;
grant execute to public;

-- owner outrider_owner
CREATE OR REPLACE FUNCTION vault.survives(p_old text, p_new text, p_provenance jsonb, p_source text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select case when p_new is null or p_new = '' then p_old
              when p_old is not null and p_provenance ->> 'source' = 'manual' and p_source <> 'manual' then p_old
              else p_new end
$function$;
grant execute to public;

-- role: admin
-- What may look across tenants, and how little it sees: that work is due, and whose. Functions owned by outrider_sweeper, which holds
-- rights on ids, states and times of the work tables and on nothing else.

set local role outrider_owner;

-- How far each sweep has looked. A sweep asks only for what became due since then (the dead head of the index stays unread, also
-- while an old snapshot keeps vacuum away), and every full_pass_seconds for everything that is due.
create table sweep_state (
  kind         text primary key,
  swept_until  timestamptz not null default '-infinity',
  full_pass_at timestamptz not null default '-infinity'
);
grant select, insert, update on sweep_state to outrider_sweeper;

grant select (tenant_id, id, status, run_at, lease_until) on webhook_deliveries, scheduled_actions, imports to outrider_sweeper;
grant select (tenant_id, id, status, run_at, lease_until) on outbound_messages to outrider_sweeper;
grant select (tenant_id, id, key_hash, revoked_at, expires_at) on api_keys to outrider_sweeper;
grant select (tenant_id, id, provider, status) on channel_configs to outrider_sweeper;
grant select (id, status) on tenants to outrider_sweeper;

create policy sweeper_due on webhook_deliveries for select to outrider_sweeper using (true);
create policy sweeper_due on scheduled_actions for select to outrider_sweeper using (true);
create policy sweeper_due on imports for select to outrider_sweeper using (true);
create policy sweeper_due on outbound_messages for select to outrider_sweeper using (true);
create policy sweeper_lookup on api_keys for select to outrider_sweeper using (true);
create policy sweeper_lookup on channel_configs for select to outrider_sweeper using (true);
create policy sweeper_lookup on tenants for select to outrider_sweeper using (true);

reset role;

-- Due work of one kind, across tenants, oldest first. Kinds: deliveries, actions, imports, send, reconcile.
-- A look takes up where the last one ended; a full pass finds again what was rung for and not done, because its bell was lost or its worker
-- died (an action keeps its lease while it is pending). In AWS, where a look comes once a minute, each is a full pass.
create function due_work(p_kind text, p_limit int, p_full_pass_seconds int default 10)
returns table (tenant_id text, id text)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  at timestamptz := app_now();
  low timestamptz;
  waiting text;
  leased text;
  work text;
  found_rows int;
  reached timestamptz := at;
begin
  insert into sweep_state (kind) values (p_kind) on conflict do nothing;
  -- Two sweeps at once: the second finds the row taken and has nothing to do.
  -- A last look that lies in the future was made by a clock that has been set back since: it says nothing.
  select case when s.full_pass_at <= at - make_interval(secs => p_full_pass_seconds) or s.full_pass_at > at then '-infinity' else s.swept_until end
  into low from sweep_state s where s.kind = p_kind for update skip locked;
  if not found then return; end if;

  work := case p_kind when 'deliveries' then 'webhook_deliveries' when 'actions' then 'scheduled_actions' when 'imports' then 'imports'
                      when 'send' then 'outbound_messages' when 'reconcile' then 'outbound_messages' end;
  if work is null then raise exception 'unknown kind of work %', p_kind using errcode = 'invalid_parameter_value'; end if;
  waiting := case p_kind when 'send' then 'status in (''queued'', ''held'')' when 'reconcile' then 'status = ''ambiguous''' else 'status = ''pending''' end;
  leased := case p_kind when 'send' then null when 'actions' then null when 'reconcile' then 'status = ''sending''' else 'status = ''running''' end;

  return query execute format(
    'select w.tenant_id, w.id from %I w where %s and w.run_at >= $1 and w.run_at <= $2 order by w.run_at, w.id limit $3', work, waiting)
    using low, at, p_limit;
  get diagnostics found_rows = row_count;
  if found_rows = p_limit then
    -- More is due than one sweep may ring for: the next one goes on where this one stopped.
    execute format(
      'select max(d.run_at) from (select w.run_at from %I w where %s and w.run_at >= $1 and w.run_at <= $2 order by w.run_at, w.id limit $3) d',
      work, waiting) into reached using low, at, p_limit;
  end if;
  if leased is not null then
    return query execute format('select w.tenant_id, w.id from %I w where %s and w.lease_until <= $1 order by w.lease_until limit 1000', work, leased)
      using at;
  end if;
  update sweep_state s set swept_until = reached, full_pass_at = case when low = '-infinity' then at else s.full_pass_at end where s.kind = p_kind;
end $$;

-- Which tenant a webhook path belongs to. Nothing else is known before the signature is checked. A disabled account sends nothing, but its
-- recipients still answer: their STOP is about the tenant, not about the account.
create function endpoint_tenant(p_provider text, p_id text) returns text
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  select c.tenant_id from channel_configs c where c.id = p_id and c.provider = p_provider
$$;

-- Which tenant an API key opens, by the SHA-256 of the key.
create function api_key_tenant(p_hash bytea) returns table (tenant_id text, id text)
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  select k.tenant_id, k.id from api_keys k
  where k.key_hash = p_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > app_now())
$$;

-- Every tenant, for maintenance that goes through them one by one.
create function tenant_ids() returns setof text
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  select t.id from tenants t order by t.id
$$;

alter function due_work(text, int, int) owner to outrider_sweeper;
alter function endpoint_tenant(text, text) owner to outrider_sweeper;
alter function api_key_tenant(bytea) owner to outrider_sweeper;
alter function tenant_ids() owner to outrider_sweeper;
revoke execute on function due_work, endpoint_tenant, api_key_tenant, tenant_ids from public;
grant execute on function due_work, endpoint_tenant, api_key_tenant, tenant_ids to outrider_app;

-- role: admin
create or replace function due_work(p_kind text, p_limit int, p_full_pass_seconds int default 10)
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

set local role outrider_owner;
drop index imports_ready;
create index imports_ready on imports (run_at) where status = 'pending';
drop index webhook_deliveries_ready;
create index webhook_deliveries_ready on webhook_deliveries (run_at) include (tenant_id, id) where status = 'pending';
drop index idx_scheduled_actions_ready;
create index idx_scheduled_actions_ready on scheduled_actions (status, run_at) include (tenant_id, id) where status = 'pending';
drop index outbound_messages_ambiguous;
create index outbound_messages_ambiguous on outbound_messages (run_at) include (tenant_id, id) where status = 'ambiguous';
drop index outbound_messages_ready;
create index outbound_messages_ready on outbound_messages (run_at) include (tenant_id, id) where status in ('queued', 'held');
alter table sweep_state drop column behind;
revoke select (waking) on tenants from outrider_sweeper;
drop index tenants_waking;
alter table tenants drop column waking;

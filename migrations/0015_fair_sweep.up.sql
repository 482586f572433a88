-- role: admin
-- A sweep that gives every tenant its share, and held messages that wait for the act that ends their hold.

set local role outrider_owner;

-- What of a tenant's held messages is being woken: reason → when it was mended. Whoever mends wakes the first ones; the sweep wakes the rest.
alter table tenants add column waking jsonb not null default '{}';
create index tenants_waking on tenants (id) where waking <> '{}';
grant update (waking) on tenants to outrider_app;
grant select (waking) on tenants to outrider_sweeper;

-- Of which tenants the last look left something behind, and from when on: {tenant: instant}.
alter table sweep_state add column behind jsonb not null default '{}';

-- Tenant first: what is due is asked of each tenant by itself, so that a million due rows of one are not read for another's few.
drop index outbound_messages_ready;
create index outbound_messages_ready on outbound_messages (tenant_id, run_at, id) where status in ('queued', 'held');
drop index outbound_messages_ambiguous;
create index outbound_messages_ambiguous on outbound_messages (tenant_id, run_at, id) where status = 'ambiguous';
drop index idx_scheduled_actions_ready;
create index idx_scheduled_actions_ready on scheduled_actions (tenant_id, run_at, id) where status = 'pending';
drop index webhook_deliveries_ready;
create index webhook_deliveries_ready on webhook_deliveries (tenant_id, run_at, id) where status = 'pending';
drop index imports_ready;
create index imports_ready on imports (tenant_id, run_at, id) where status = 'pending';

reset role;

-- Due work of one kind, across tenants. Kinds: deliveries, actions, imports, send, reconcile; expired: sends whose worker died, which nobody
-- has to find among those that wait; wake: tenants whose held messages are being woken.
-- Nobody takes more than an equal share while others wait; what some do not need is shared out among the rest. Of each tenant the oldest first.
-- A look takes up where the last one ended; a full pass finds again what was rung for and not done, because its bell was lost or its worker
-- died (an action keeps its lease while it is pending). In AWS, where a look comes once a minute, each is a full pass.
create or replace function due_work(p_kind text, p_limit int, p_full_pass_seconds int default 10)
returns table (tenant_id text, id text)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
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
end $$;

-- The other seeds' names for what the tables above hold. Each fact is written once; a view only calls it what that seed called it.
-- security_invoker everywhere: a view must not see more than whoever asks.

create view vault.contacts with (security_invoker = true) as
  select p.tenant_id, p.id as contact_id, p.email, p.name, p.phone, c.name as company, p.title, p.source, p.tags, p.custom_fields,
         p.load_id, p.created_at, p.updated_at, p.last_activity_at, p.score, p.status
  from people.master p left join company.master c on c.tenant_id = p.tenant_id and c.id = p.company_id;

-- Staging as seed 002 draws it: a slot per raw load, by what became of its validation.
create view people.slot with (security_invoker = true) as
  select l.tenant_id, l.load_id as id, l.email, l.raw_data,
         case l.status when 'pending' then 'pending' when 'promoted' then 'validated' else 'rejected' end as validation_status,
         l.created_at, l.promoted_at
  from intake.raw_loads l;
create view company.slot with (security_invoker = true) as
  select l.tenant_id, l.load_id as id,
         coalesce(lower(l.metadata #>> '{fields,domain}'), lower(l.raw_data ->> 'domain'), split_part(l.email, '@', 2)) as domain, l.raw_data,
         case l.status when 'pending' then 'pending' when 'promoted' then 'validated' else 'rejected' end as validation_status,
         l.created_at, l.promoted_at
  from intake.raw_loads l;

create view webhook_events with (security_invoker = true) as
  select d.tenant_id, d.id, d.provider as source,
         case when d.inbound_count > 0 then d.provider || '.inbound' else d.provider || '.status' end as event_type,
         d.correlation_id, coalesce(try_jsonb(d.body), '{}') as payload, d.headers, d.signature, d.signature_valid,
         d.completed_at as processed_at, null::text as pipeline_run_id, d.received_at
  from webhook_deliveries d;

create view emails_sent with (security_invoker = true) as
  select m.tenant_id, m.id, m.id as tracking_id, m.campaign_id as email_campaign_id, m.node_id as step_id, m.template_id, m.lead_id,
         m.id as outbound_message_id,
         case when m.complained_at is not null then 'complained' when m.unsubscribed_at is not null then 'unsubscribed'
              when m.bounced_at is not null then 'bounced' when m.failed_at is not null then 'failed'
              when m.replied_at is not null then 'replied' when m.clicked_at is not null then 'clicked'
              when m.opened_at is not null then 'opened' when m.delivered_at is not null then 'delivered'
              when m.sent_at is not null then 'sent' else m.status end as status,
         m.sent_at, m.delivered_at, m.opened_at, m.clicked_at, m.replied_at, m.bounced_at, m.decision as metadata,
         m.created_at, m.updated_at
  from outbound_messages m where m.channel = 'email';

create view attempt_logs with (security_invoker = true) as
  select m.tenant_id, m.id, m.lead_id, m.contact_id, coalesce(l.campaign_status, 'initial') as campaign_context,
         (row_number() over (partition by m.tenant_id, m.lead_id order by m.id))::int as attempt_number,
         m.channel, 'outbound' as direction, coalesce(m.template_id, m.node_id) as template_used, null::text as message_artifact_id,
         case when m.replied_at is not null then 'responded' when m.status in ('bounced', 'failed', 'suppressed', 'cancelled', 'expired') then 'failed'
              when m.delivered_at is not null then 'delivered' when m.sent_at is not null then 'sent' else 'queued' end as status,
         m.delivered_at, m.replied_at as responded_at, null::text as response_type, null::text as response_artifact_id,
         null::text as pipeline_run_id, m.correlation_id, m.created_at
  from outbound_messages m join leads l on l.tenant_id = m.tenant_id and l.id = m.lead_id
  union all
  select i.tenant_id, i.id, i.lead_id, i.contact_id, coalesce(l.campaign_status, 'initial'),
         (row_number() over (partition by i.tenant_id, i.lead_id order by i.id))::int, i.channel, 'inbound', null, null, 'responded',
         null, i.received_at, i.response_type, null, null, i.correlation_id, i.created_at
  from inbound_messages i join leads l on l.tenant_id = i.tenant_id and l.id = i.lead_id;

create view marketing.outreach_history with (security_invoker = true) as
  select m.tenant_id, m.id, c.person_id, m.campaign_id,
         case m.channel when 'sms' then 'phone' when 'whatsapp' then 'phone' else m.channel end as channel,
         case when row_number() over (partition by m.tenant_id, m.contact_campaign_id order by m.id) = 1 then 'initial' else 'follow_up' end
           as message_type,
         m.sent_at, m.opened_at, m.replied_at,
         case when m.bounced_at is not null then 'bounced' when m.replied_at is not null then 'replied'
              when m.opened_at is not null then 'opened' else 'sent' end as status
  from outbound_messages m join contacts c on c.tenant_id = m.tenant_id and c.id = m.contact_id
  where m.sent_at is not null and c.person_id is not null
  union all
  select i.tenant_id, i.id, c.person_id, e.campaign_id, case i.channel when 'sms' then 'phone' else i.channel end, 'reply',
         i.received_at, null, i.received_at, 'replied'
  from inbound_messages i join contacts c on c.tenant_id = i.tenant_id and c.id = i.contact_id
       left join contact_campaigns e on e.tenant_id = i.tenant_id and e.id = i.contact_campaign_id
  where c.person_id is not null;

create view messages with (security_invoker = true) as
  select m.tenant_id, m.id, v.id as conversation_id, 'outbound' as direction, m.channel, m.subject, null::text as body,
         m.to_address as address, m.status, m.id as outbound_message_id, null::text as inbound_message_id,
         coalesce(m.sent_at, m.created_at) as sent_at, m.created_at
  from outbound_messages m left join conversations v on v.tenant_id = m.tenant_id and v.channel = m.channel and v.address = m.to_address
  union all
  select i.tenant_id, i.id, i.conversation_id, 'inbound', i.channel, i.subject, i.body_text, i.from_address, i.classification, i.message_id,
         i.id, i.received_at, i.created_at
  from inbound_messages i;

create view email_campaigns with (security_invoker = true) as
  select c.tenant_id, c.campaign_id as id, c.name, c.status,
         (select count(*) from outbound_messages m where m.tenant_id = c.tenant_id and m.campaign_id = c.campaign_id
            and m.channel = 'email' and m.sent_at is not null)::int as emails_sent,
         (select count(*) from outbound_messages m where m.tenant_id = c.tenant_id and m.campaign_id = c.campaign_id
            and m.channel = 'email' and m.opened_at is not null)::int as emails_opened,
         c.settings -> 'audience' as target_audience, c.settings as metadata, c.created_at, c.updated_at
  from marketing.campaigns c;

create view email_sequence_steps with (security_invoker = true) as
  select c.tenant_id, c.campaign_id || ':' || (s.node ->> 'id') as id, c.campaign_id as email_campaign_id, s.node ->> 'templateId' as template_id,
         s.n::int as step_order,
         (coalesce((select extract(epoch from (w ->> 'duration')::interval) from jsonb_array_elements(v.plan_json -> 'nodes') w
                    where w ->> 'type' = 'wait' and w ->> 'to' = s.node ->> 'id' limit 1), 0) / 3600)::numeric as delay_hours,
         s.node -> 'transitions' as conditions, v.created_at, v.updated_at
  from marketing.campaigns c join campaign_plan_versions v on v.tenant_id = c.tenant_id and v.id = c.plan_version_id,
       jsonb_array_elements(v.plan_json -> 'nodes') with ordinality s(node, n)
  where s.node ->> 'type' = 'send' and s.node ->> 'channel' = 'email';

create view nurture_sequences with (security_invoker = true) as
  select c.tenant_id, c.campaign_id as id, c.name, c.settings ->> 'description' as description, v.plan_json -> 'nodes' as steps,
         c.status = 'active' as active, c.created_at, c.updated_at
  from marketing.campaigns c join campaign_plan_versions v on v.tenant_id = c.tenant_id and v.id = c.plan_version_id
  where c.type = 'nurture';

create view lead_sequence_enrollments with (security_invoker = true) as
  select e.tenant_id, e.id, e.lead_id, e.campaign_id as sequence_id,
         coalesce((e.state ->> 'stepCount')::int, 0) as current_step,
         case e.status when 'draft' then 'active' when 'error' then 'stopped' else e.status end as status, e.created_at as enrolled_at,
         (select min(a.run_at) from scheduled_actions a where a.tenant_id = e.tenant_id and a.contact_campaign_id = e.id and a.status = 'pending')
           as next_step_scheduled_at
  from contact_campaigns e join marketing.campaigns c on c.tenant_id = e.tenant_id and c.campaign_id = e.campaign_id
  where c.type = 'nurture' and e.superseded_by is null;

grant select on vault.contacts, people.slot, company.slot, webhook_events, emails_sent, attempt_logs, marketing.outreach_history, messages,
  email_campaigns, email_sequence_steps, nurture_sequences, lead_sequence_enrollments to outrider_app;

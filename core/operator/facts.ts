/**
 * Invariants of what is stored: plans, work, webhooks, references, suppressions, secrets. Numbers as in the fault catalogue.
 * Invariant: nothing here is computed by the code it checks.
 */
import { sql } from "kysely";
import { type Checker, moved } from "./checker.ts";

/** Work that nobody has looked at this long after it was due is lost. */
const lostAfter = sql`interval '15 minutes'`;
const overdue = sql`run_at < app_now() - ${lostAfter} and (lease_until is null or lease_until < app_now() - ${lostAfter})`;
const abandoned = sql`(lease_until < app_now() - ${lostAfter} or lease_until is null)`;

export const factCheckers: readonly Checker[] = [
  {
    id: "I-03",
    title:
      "what was planned is there: states agree with rows, every send has its message, the ended have nothing pending",
    within: (reach) => sql`
      select tenant_id, id || ': ' || status || ', its state says ' || (state ->> 'status') as what from contact_campaigns
      where id in ${moved(reach)} and state ? 'status' and status <> 'draft' and state ->> 'status' <> status and not (status = 'error')
      union all
      select e.tenant_id, e.id || ': sends without a message' from contact_campaigns e
      where e.id in ${moved(reach)} and jsonb_typeof(e.state -> 'sends') = 'object' and exists (
        select from jsonb_object_keys(e.state -> 'sends') planned(node) where not exists (
          select from outbound_messages m where m.tenant_id = e.tenant_id and m.contact_campaign_id = e.id
            and coalesce(m.walk_node_id, m.node_id) = planned.node))
      union all
      select e.tenant_id, e.id || ': ended with work pending' from contact_campaigns e
      where e.id in ${moved(reach)} and e.status in ('stopped', 'completed')
        and (exists (select from scheduled_actions a where a.tenant_id = e.tenant_id and a.contact_campaign_id = e.id and a.status = 'pending')
          or exists (select from outbound_messages m where m.tenant_id = e.tenant_id and m.contact_campaign_id = e.id and m.status in ('queued', 'held')
                     and m.run_at < app_now() - ${lostAfter}))
      union all
      select c.tenant_id, c.campaign_id || ': completed with contacts on their way' from marketing.campaigns c
      where c.status in ('completed', 'stopped')
        and exists (select from contact_campaigns e where e.tenant_id = c.tenant_id and e.campaign_id = c.campaign_id
                    and e.status in ('draft', 'active', 'paused'))`,
  },
  {
    id: "I-04",
    title: "nothing is lost: no work is overdue by more than 15 minutes",
    // Each state by itself, in the words of its partial index. A claimed action stays pending under its lease.
    within: () => sql`
      select tenant_id, id as what from outbound_messages where status in ('queued', 'held') and ${overdue}
      union all
      select tenant_id, id from outbound_messages where status = 'ambiguous' and ${overdue}
      union all
      select tenant_id, id from outbound_messages where status = 'sending' and ${abandoned}
      union all
      select tenant_id, id from scheduled_actions where status = 'pending' and ${overdue}
      union all
      select tenant_id, id from webhook_deliveries where status = 'pending' and ${overdue}
      union all
      select tenant_id, id from webhook_deliveries where status = 'running' and ${abandoned}
      union all
      select tenant_id, id from imports where status = 'pending' and ${overdue}
      union all
      select tenant_id, id from imports where status = 'running' and ${abandoned}`,
  },
  // Compressed bodies and those in object storage are held against their hash when they are read (core/deliveries/apply.ts).
  {
    id: "I-05",
    title: "every archived webhook is the bytes that were answered for",
    within: ({ since }) => sql`
      select tenant_id, id || ': ' || octet_length(body) || ' bytes of ' || body_bytes as what from webhook_deliveries
      where ${since("id", "whd")} and body is not null and body_encoding = 'identity'
        and (octet_length(body) <> body_bytes or sha256(convert_to(target, 'UTF8') || '\\x00'::bytea || body) <> body_sha256)`,
  },
  {
    id: "I-06",
    title: "one effect per fact of a provider",
    within: ({ since }) => sql`
      select tenant_id, channel_config_id || ' ' || provider_event_id as what from message_events
      where channel_config_id is not null and ${since("id", "mev")} group by tenant_id, channel_config_id, provider_event_id having count(*) > 1`,
  },
  {
    id: "I-07",
    title: "the status of a message is what its facts make of it, in whatever order they came",
    within: ({ since }) => sql`
      select tenant_id, id || ': ' || status as what from outbound_messages
      where sent_at is not null and ${since("id", "omsg")} and status <> 'accepted_unknown' and status <> case
        when complained_at is not null then 'complained' when bounced_at is not null then 'bounced'
        when delivered_at is not null then 'delivered' when failed_at is not null then 'failed' else 'sent' end
      union all
      select distinct m.tenant_id, m.id || ': knows nothing of ' || v.event_type
      from message_events v join outbound_messages m on m.tenant_id = v.tenant_id and m.id = v.message_id
      where ${since("v.id", "mev")} and (v.event_type = 'delivered' and m.delivered_at is null
         or v.event_type = 'bounced' and m.bounced_at is null or v.event_type = 'complained' and m.complained_at is null)`,
  },
  {
    id: "I-09",
    title: "no reference leads into another tenant, nor nowhere",
    within: ({ since }) => sql`
      select m.tenant_id, m.id || ': lead ' || m.lead_id as what from outbound_messages m
      where ${since("m.id", "omsg")} and m.lead_id is not null and not exists (select from leads x where x.tenant_id = m.tenant_id and x.id = m.lead_id)
      union all
      select m.tenant_id, m.id || ': contact ' || m.contact_id from outbound_messages m
      where ${since("m.id", "omsg")} and m.contact_id is not null and not exists (select from contacts x where x.tenant_id = m.tenant_id and x.id = m.contact_id)
      union all
      select m.tenant_id, m.id || ': plan ' || m.plan_version_id from outbound_messages m
      where ${since("m.id", "omsg")} and m.plan_version_id is not null
        and not exists (select from campaign_plan_versions x where x.tenant_id = m.tenant_id and x.id = m.plan_version_id)
      union all
      select v.tenant_id, v.id || ': message ' || v.message_id from message_events v
      where ${since("v.id", "mev")} and v.message_id is not null and not exists (select from outbound_messages x where x.tenant_id = v.tenant_id and x.id = v.message_id)
      union all
      select i.tenant_id, i.id || ': enrollment ' || i.contact_campaign_id from inbound_messages i
      where ${since("i.id", "imsg")} and i.contact_campaign_id is not null
        and not exists (select from contact_campaigns x where x.tenant_id = i.tenant_id and x.id = i.contact_campaign_id)`,
  },
  {
    id: "I-21",
    title: "ambiguous sends are settled within a day, and what is queued and due leaves within the hour",
    within: () => sql`
      select m.tenant_id, m.id as what from outbound_messages m
      join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation
      where m.status = 'ambiguous' and a.started_at < app_now() - interval '25 hours'
      union all
      select tenant_id, id || ': queued for ' || (app_now() - created_at) from outbound_messages
      where status = 'queued' and run_at <= app_now() - interval '1 hour'`,
  },
  {
    id: "I-23",
    title: "no credential is stored readable: not of an account, in a kept answer, in an archived header",
    within: ({ since }) => sql`
      select tenant_id, id as what from channel_configs where api_credentials !~ '^v1(\\.[A-Za-z0-9_-]+){4}$'
      union all
      -- What is kept for a repeated request would show a key to whoever reads the table.
      select tenant_id, 'the answer to ' || key from idempotency_keys where response_body::text ~ 'or_[a-z]+_[A-Za-z0-9_-]{20,}'
      union all
      select tenant_id, id from webhook_deliveries
      where ${since("id", "whd")} and headers ?| array['authorization', 'cookie', 'x-api-key', 'proxy-authorization']`,
  },
  {
    id: "I-24",
    title: "suppressions are the fold of every no and every taking back: none missing, none lifted by a stranger",
    within: ({ since, changedSince }) => sql`
      select tenant_id, id as what from communication_suppressions
      where released_at is not null and ${changedSince("released_at")} and (coalesce(released_by, '') = '' or released_at < suppressed_at)
      union all
      select s.tenant_id, s.channel || ' ' || s.address from communication_suppressions s
      where s.released_at is null and ${since("s.id", "sup")} and exists (
        select from communication_suppressions o where o.tenant_id = s.tenant_id and o.channel = s.channel and o.address = s.address
          and o.released_at is null and o.id < s.id)
      union all
      -- Their own no is taken back by them alone.
      select tenant_id, id || ': lifted by ' || released_by from communication_suppressions
      where released_at is not null and ${changedSince("released_at")} and reason in ('stop', 'unsubscribed', 'complaint') and released_by not like 'recipient:%' and released_by not like 'system:%'
      union all
      select i.tenant_id, i.id || ': a no without a suppression' from inbound_messages i
      where ${since("i.id", "imsg")} and i.classification = 'opt_out' and not exists (
        select from communication_suppressions s where s.tenant_id = i.tenant_id and s.channel = i.channel
          and (s.released_at is null or s.released_at >= i.received_at)
          and s.address in (i.from_address, (select m.suppression_key from outbound_messages m where m.tenant_id = i.tenant_id and m.id = i.message_id)))`,
  },
];

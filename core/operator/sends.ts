/**
 * Invariants of what was sent: who was written to, when, under which rules, by which worker. Numbers as in the fault catalogue.
 * Invariant: nothing here is computed by the code it checks; zones are PostgreSQL's own.
 */
import { sql } from "kysely";
import { type Checker, moved } from "./checker.ts";

/** Zones in which the federal window for texts (8 to 21 h of the recipient) applies. */
const usZones = sql`array['America/New_York', 'America/Detroit', 'America/Chicago', 'America/Menominee', 'America/Denver', 'America/Boise',
  'America/Phoenix', 'America/Los_Angeles', 'America/Anchorage', 'America/Juneau', 'Pacific/Honolulu']`;

export const sendCheckers: readonly Checker[] = [
  {
    id: "I-01",
    title: "at most one accept per message, per dedupe key, and per step of an address",
    within: ({ since }) => sql`
      select tenant_id, message_id as what from send_attempts where outcome = 'accepted' and ${since("id", "att")} group by 1, 2 having count(*) > 1
      union all
      select tenant_id, provider || ' ' || provider_message_id from send_attempts
      where outcome = 'accepted' and provider_message_id is not null and ${since("id", "att")} group by tenant_id, provider, provider_message_id
      having count(distinct message_id) > 1
      union all
      -- What two contacts with one address were sent: never the same node of the same version, nor, once a migration has said so, the same
      -- step under two names. A minute for the migration itself and for what was being claimed.
      select tenant_id, string_agg(id, ' ') || ': one step, one address' from outbound_messages
      where generation > 0 and contact_campaign_id is not null and node_id is not null and ${since("id", "omsg")}
      group by tenant_id, campaign_id, split_part(dedupe_key, ':', 2), channel, suppression_key, plan_version_id, node_id
      having count(distinct contact_campaign_id) > 1
      union all
      select n.tenant_id, one.id || ' ' || other.id || ': one step, one address'
      from node_renames n
      join outbound_messages one on one.tenant_id = n.tenant_id and one.campaign_id = n.campaign_id
        and one.plan_version_id = n.from_version_id and one.node_id = n.from_node and one.generation > 0
      join outbound_messages other on other.tenant_id = n.tenant_id and other.channel = one.channel and other.suppression_key = one.suppression_key
        and other.campaign_id = n.campaign_id and other.plan_version_id = n.to_version_id and other.node_id = n.to_node and other.generation > 0
        and other.contact_campaign_id <> one.contact_campaign_id
        and split_part(other.dedupe_key, ':', 2) = split_part(one.dedupe_key, ':', 2)
      where ${since("one.id", "omsg")} and greatest(
        (select min(a.started_at) from send_attempts a where a.tenant_id = one.tenant_id and a.message_id = one.id),
        (select min(a.started_at) from send_attempts a where a.tenant_id = one.tenant_id and a.message_id = other.id)
      ) > n.created_at + interval '1 minute'`,
  },
  {
    id: "I-02",
    title: "nothing is claimed after a suppression or do-not-call entry that covers it",
    within: ({ since }) => sql`
      select a.tenant_id, a.id || ' after ' || s.id as what
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      join communication_suppressions s on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key
        and s.seq < a.claim_seq and (s.released_at is null or s.released_at > a.started_at)
      where ${since("a.id", "att")}
      union all
      select a.tenant_id, a.id || ' after ' || d.id
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id and m.channel = 'sms'
      join tenants t on t.id = m.tenant_id
      join dnc_list d on d.organization_id = t.organization_id and d.phone_number = m.to_address and d.seq < a.claim_seq
        and (d.lifted_at is null or d.lifted_at > a.started_at)
      where ${since("a.id", "att")}`,
  },
  {
    id: "I-10",
    title: "every accept lies inside the hours of every zone of its recipient",
    // Judged by PostgreSQL's own time zones: the federal window for marketing texts, the tenant's and the plan's quiet hours for all.
    within: ({ since }) => sql`
      with accepts as (
        select m.tenant_id, m.id, m.channel, m.message_class, z.zone, a.started_at at time zone z.zone as local,
               (a.started_at at time zone z.zone)::time as clock, v.plan_json -> 'quietHours' as plan_quiet, t.settings -> 'quietHours' as tenant_quiet,
               t.updated_at <= a.started_at as is_current
        from send_attempts a
        join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
        join tenants t on t.id = m.tenant_id
        left join campaign_plan_versions v on v.tenant_id = m.tenant_id and v.id = m.plan_version_id
        cross join lateral jsonb_array_elements_text(case when jsonb_typeof(m.decision -> 'zones') = 'array' then m.decision -> 'zones' else '[]' end) z(zone)
        where a.outcome = 'accepted' and a.generation = m.generation and ${since("a.id", "att")}
      ), quiet as (
        select tenant_id, id, zone, clock, (plan_quiet ->> 'start')::time as starts, (plan_quiet ->> 'end')::time as ends from accepts
        where plan_quiet ? 'start'
        union all
        select tenant_id, id, zone, clock, (tenant_quiet ->> 'start')::time, (tenant_quiet ->> 'end')::time from accepts
        where tenant_quiet ? 'start' and not tenant_quiet ? 'days' and is_current
      )
      select tenant_id, id || ' at ' || local || ' in ' || zone as what from accepts
      where channel = 'sms' and message_class = 'marketing' and zone = any (${usZones}) and (clock < '08:00' or clock >= '21:00')
      union all
      select tenant_id, id || ' in the quiet hours of ' || zone from quiet
      where case when starts < ends then clock >= starts and clock < ends when starts > ends then clock >= starts or clock < ends else false end`,
  },
  {
    id: "I-11",
    title: "no address gets more than the tenant's caps allow in any rolling window",
    within: ({ since }) => sql`
      select m.tenant_id, m.id || ': more than ' || (cap ->> 'count') as what
      from outbound_messages m
      join tenants t on t.id = m.tenant_id and t.updated_at <= m.sent_at
      cross join lateral jsonb_array_elements(case when jsonb_typeof(t.settings -> 'frequencyCaps') = 'array' then t.settings -> 'frequencyCaps' else '[]' end) cap
      where m.sent_at is not null and ${since("m.id", "omsg")} and coalesce(cap ->> 'channel', m.channel) = m.channel
        and (cap ->> 'count')::int < (
          select count(*) from outbound_messages o
          where o.tenant_id = m.tenant_id and o.channel = m.channel and o.suppression_key = m.suppression_key
            and o.sent_at > m.sent_at - make_interval(secs => (cap ->> 'windowSeconds')::int) and o.sent_at <= m.sent_at)`,
  },
  {
    id: "I-12",
    title: "every accept was decided under a known ruleset; marketing texts had consent when they were claimed",
    within: ({ since }) => sql`
      select a.tenant_id, a.id || ': no ruleset' as what
      from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      where a.outcome = 'accepted' and ${since("a.id", "att")} and coalesce(m.decision ->> 'ruleset', '') = ''
      union all
      select a.tenant_id, a.id || ': no consent'
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id and m.channel = 'sms' and m.message_class = 'marketing'
      join tenants t on t.id = m.tenant_id and coalesce((t.settings ->> 'requireSmsConsent')::bool, true)
      where a.outcome = 'accepted' and ${since("a.id", "att")} and not exists (
        select from consents c where c.tenant_id = m.tenant_id and c.channel = m.channel and c.address = m.to_address
          and c.granted_at <= a.started_at and (c.revoked_at is null or c.revoked_at > a.started_at))`,
  },
  {
    id: "I-13",
    title: "an opt-out is answered by silence: the carrier confirms it, nothing here does",
    // By the clock, where I-02 goes by the sequence under the lock: two ways to see the same wrong.
    within: ({ since }) => sql`
      select a.tenant_id, a.id || ' ' || (a.started_at - s.suppressed_at) || ' after ' || s.id as what
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      join communication_suppressions s on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key
        and s.reason in ('stop', 'unsubscribed') and a.started_at > s.suppressed_at + interval '5 seconds'
        and (s.released_at is null or s.released_at > a.started_at)
      where ${since("a.id", "att")} and a.outcome in ('accepted', 'ambiguous')`,
  },
  {
    id: "I-17",
    title: "results stand under the generation they were claimed with",
    within: ({ since }) => sql`
      select a.tenant_id, a.id || ': generation ' || a.generation || ' of ' || m.generation as what
      from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id where a.generation > m.generation and ${since("a.id", "att")}
      union all
      -- Each state by itself, in the words of its partial index.
      select m.tenant_id, m.id || ': in flight without its attempt'
      from (select tenant_id, id, generation from outbound_messages where status = 'sending'
            union all select tenant_id, id, generation from outbound_messages where status = 'ambiguous') m
      where not exists (
        select from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation)`,
  },
  {
    id: "I-18",
    title: "an attempt is on record before its call",
    within: ({ since }) => sql`
      select m.tenant_id, m.id || ': sent without an attempt' as what from outbound_messages m
      where m.sent_at is not null and m.provider is not null and ${since("m.id", "omsg")}
        and not exists (select from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id)
      union all
      select a.tenant_id, a.id || ': finished before it began' from send_attempts a where a.finished_at < a.started_at and ${since("a.id", "att")}`,
  },
  {
    // Both are dated by the beginning of their transactions, and a claim waits up to 5 s for whoever is just pausing or resuming.
    id: "I-19",
    title: "nothing is claimed while its campaign is paused or its tenant suspended",
    within: ({ since }) => sql`
      select a.tenant_id, a.id || ': campaign paused at ' || p.created_at as what
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      join lateral (
        select x.to_status, x.created_at from campaign_transitions x
        where x.tenant_id = m.tenant_id and x.campaign_id = m.campaign_id and x.contact_campaign_id is null and x.created_at <= a.started_at
        order by x.created_at desc, x.id desc limit 1
      ) p on p.to_status in ('paused', 'stopped') and a.started_at > p.created_at + interval '5 seconds'
      where ${since("a.id", "att")} and not exists (
        select from campaign_transitions x
        where x.tenant_id = m.tenant_id and x.campaign_id = m.campaign_id and x.contact_campaign_id is null and x.to_status = 'active'
          and x.created_at > a.started_at and x.created_at <= a.started_at + interval '5 seconds')
      union all
      select a.tenant_id, a.id || ': tenant suspended at ' || t.suspended_at
      from send_attempts a join tenants t on t.id = a.tenant_id
      where t.status = 'suspended' and ${since("a.id", "att")} and a.started_at > t.suspended_at + interval '5 seconds'`,
  },
  {
    id: "I-20",
    title: "an enrollment keeps its plan unless it was migrated",
    within: (reach) => sql`
      select e.tenant_id, e.id || ': hash of another plan' as what
      from contact_campaigns e join campaign_plan_versions v on v.tenant_id = e.tenant_id and v.id = e.plan_version_id
      where e.id in ${moved(reach)} and (e.plan_hash <> v.plan_hash or e.campaign_id <> v.campaign_id)
      union all
      select m.tenant_id, m.id || ': of another plan than its enrollment'
      from outbound_messages m join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id
      where ${reach.since("m.id", "omsg")} and m.plan_version_id <> e.plan_version_id and not exists (
        select from campaign_transitions x where x.tenant_id = e.tenant_id and x.contact_campaign_id = e.id and x.reason = 'migrated')`,
  },
];

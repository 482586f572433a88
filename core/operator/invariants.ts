/**
 * What must be true of the data at any moment, as SQL that shares no code with the engine it checks. The numbers are those of the
 * fault catalogue; what only a log outside of the database can tell (what a provider accepted, what a gateway acknowledged) is not here.
 *
 * Invariant: a checker only reads, and every row it names is a violation. Run inside a tenant's transaction it sees that tenant, run as
 * an administrator all of them.
 */

import { type Kysely, type RawBuilder, sql } from "kysely";
import { DateTime } from "luxon";
import type { DB } from "../db/types.gen.ts";
import { type Context, transact } from "../kernel/index.ts";
import { catalogueViolations } from "./catalogue.ts";

export interface InvariantResult {
  readonly id: string;
  readonly title: string;
  readonly violations: number;
  /** The first few, by tenant and id. */
  readonly sample: readonly string[];
}

interface Checker {
  readonly id: string;
  readonly title: string;
  /** Yields `tenant_id` and `what` of every violation. */
  readonly find: RawBuilder<unknown>;
}

/** Work that nobody has looked at this long after it was due is lost. */
const lostAfter = sql`interval '15 minutes'`;
/** Zones in which the federal window for texts (8 to 21 h of the recipient) applies. */
const usZones = sql`array['America/New_York', 'America/Detroit', 'America/Chicago', 'America/Menominee', 'America/Denver', 'America/Boise',
  'America/Phoenix', 'America/Los_Angeles', 'America/Anchorage', 'America/Juneau', 'Pacific/Honolulu']`;

export const checkers: readonly Checker[] = [
  {
    id: "I-01",
    title: "at most one accept per message and per dedupe key",
    find: sql`
      select tenant_id, message_id as what from send_attempts where outcome = 'accepted' group by 1, 2 having count(*) > 1
      union all
      select tenant_id, provider || ' ' || provider_message_id from send_attempts
      where outcome = 'accepted' and provider_message_id is not null group by tenant_id, provider, provider_message_id
      having count(distinct message_id) > 1`,
  },
  {
    id: "I-02",
    title: "nothing is claimed after a suppression or do-not-call entry that covers it",
    find: sql`
      select a.tenant_id, a.id || ' after ' || s.id as what
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      join communication_suppressions s on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key
        and s.seq < a.claim_seq and (s.released_at is null or s.released_at > a.started_at)
      union all
      select a.tenant_id, a.id || ' after ' || d.id
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id and m.channel = 'sms'
      join tenants t on t.id = m.tenant_id
      join dnc_list d on d.organization_id = t.organization_id and d.phone_number = m.to_address and d.seq < a.claim_seq
        and (d.lifted_at is null or d.lifted_at > a.started_at)`,
  },
  {
    id: "I-03",
    title:
      "what was planned is there: states agree with rows, every send has its message, the ended have nothing pending",
    find: sql`
      select tenant_id, id || ': ' || status || ', its state says ' || (state ->> 'status') as what from contact_campaigns
      where state ? 'status' and status <> 'draft' and state ->> 'status' <> status and not (status = 'error')
      union all
      select e.tenant_id, e.id || ': sends without a message' from contact_campaigns e
      where jsonb_typeof(e.state -> 'sends') = 'object'
        and (select count(*) from jsonb_object_keys(e.state -> 'sends'))
            > (select count(distinct m.node_id) from outbound_messages m where m.tenant_id = e.tenant_id and m.contact_campaign_id = e.id)
      union all
      select e.tenant_id, e.id || ': ended with work pending' from contact_campaigns e
      where e.status in ('stopped', 'completed')
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
    find: sql`
      select tenant_id, id as what from outbound_messages
      where status in ('queued', 'held', 'sending', 'ambiguous') and greatest(run_at, lease_until) < app_now() - ${lostAfter}
      union all
      select tenant_id, id from scheduled_actions
      where status in ('pending', 'running') and greatest(run_at, lease_until) < app_now() - ${lostAfter}
      union all
      select tenant_id, id from webhook_deliveries
      where status in ('pending', 'running') and greatest(run_at, lease_until) < app_now() - ${lostAfter}
      union all
      select tenant_id, id from imports
      where status in ('pending', 'running') and greatest(run_at, lease_until) < app_now() - ${lostAfter}`,
  },
  {
    id: "I-06",
    title: "one effect per fact of a provider",
    find: sql`
      select tenant_id, channel_config_id || ' ' || provider_event_id as what from message_events
      where channel_config_id is not null group by tenant_id, channel_config_id, provider_event_id having count(*) > 1`,
  },
  {
    id: "I-07",
    title: "the status of a message is what its facts make of it, in whatever order they came",
    find: sql`
      select tenant_id, id || ': ' || status as what from outbound_messages
      where sent_at is not null and status <> 'accepted_unknown' and status <> case
        when complained_at is not null then 'complained' when bounced_at is not null then 'bounced'
        when delivered_at is not null then 'delivered' when failed_at is not null then 'failed' else 'sent' end
      union all
      select distinct m.tenant_id, m.id || ': knows nothing of ' || v.event_type
      from message_events v join outbound_messages m on m.tenant_id = v.tenant_id and m.id = v.message_id
      where v.event_type = 'delivered' and m.delivered_at is null or v.event_type = 'bounced' and m.bounced_at is null
         or v.event_type = 'complained' and m.complained_at is null`,
  },
  {
    id: "I-08",
    title: "a tenant sees its own rows only",
    find: sql`
      select tenant_id, 'leads ' || id as what from leads where tenant_id <> nullif(current_setting('app.tenant_id', true), '')
      union all
      select tenant_id, 'contacts ' || id from contacts where tenant_id <> nullif(current_setting('app.tenant_id', true), '')
      union all
      select tenant_id, 'enrollments ' || id from contact_campaigns where tenant_id <> nullif(current_setting('app.tenant_id', true), '')
      union all
      select tenant_id, 'messages ' || id from outbound_messages where tenant_id <> nullif(current_setting('app.tenant_id', true), '')
      union all
      select tenant_id, 'events ' || id from message_events where tenant_id <> nullif(current_setting('app.tenant_id', true), '')
      union all
      select tenant_id, 'inbound ' || id from inbound_messages where tenant_id <> nullif(current_setting('app.tenant_id', true), '')`,
  },
  {
    id: "I-09",
    title: "no reference leads into another tenant, nor nowhere",
    find: sql`
      select m.tenant_id, m.id || ': lead ' || m.lead_id as what from outbound_messages m
      where m.lead_id is not null and not exists (select from leads x where x.tenant_id = m.tenant_id and x.id = m.lead_id)
      union all
      select m.tenant_id, m.id || ': contact ' || m.contact_id from outbound_messages m
      where m.contact_id is not null and not exists (select from contacts x where x.tenant_id = m.tenant_id and x.id = m.contact_id)
      union all
      select m.tenant_id, m.id || ': plan ' || m.plan_version_id from outbound_messages m
      where m.plan_version_id is not null
        and not exists (select from campaign_plan_versions x where x.tenant_id = m.tenant_id and x.id = m.plan_version_id)
      union all
      select v.tenant_id, v.id || ': message ' || v.message_id from message_events v
      where v.message_id is not null and not exists (select from outbound_messages x where x.tenant_id = v.tenant_id and x.id = v.message_id)
      union all
      select i.tenant_id, i.id || ': enrollment ' || i.contact_campaign_id from inbound_messages i
      where i.contact_campaign_id is not null
        and not exists (select from contact_campaigns x where x.tenant_id = i.tenant_id and x.id = i.contact_campaign_id)`,
  },
  {
    id: "I-10",
    title: "every accept lies inside the hours of every zone of its recipient",
    // Judged by PostgreSQL's own time zones: the federal window for marketing texts, the tenant's and the plan's quiet hours for all.
    find: sql`
      with accepts as (
        select m.tenant_id, m.id, m.channel, m.message_class, z.zone, a.started_at at time zone z.zone as local,
               (a.started_at at time zone z.zone)::time as clock, v.plan_json -> 'quietHours' as plan_quiet, t.settings -> 'quietHours' as tenant_quiet,
               t.updated_at <= a.started_at as is_current
        from send_attempts a
        join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
        join tenants t on t.id = m.tenant_id
        left join campaign_plan_versions v on v.tenant_id = m.tenant_id and v.id = m.plan_version_id
        cross join lateral jsonb_array_elements_text(case when jsonb_typeof(m.decision -> 'zones') = 'array' then m.decision -> 'zones' else '[]' end) z(zone)
        where a.outcome = 'accepted' and a.generation = m.generation
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
    find: sql`
      select m.tenant_id, m.id || ': more than ' || (cap ->> 'count') as what
      from outbound_messages m
      join tenants t on t.id = m.tenant_id and t.updated_at <= m.sent_at
      cross join lateral jsonb_array_elements(case when jsonb_typeof(t.settings -> 'frequencyCaps') = 'array' then t.settings -> 'frequencyCaps' else '[]' end) cap
      where m.sent_at is not null and coalesce(cap ->> 'channel', m.channel) = m.channel
        and (cap ->> 'count')::int < (
          select count(*) from outbound_messages o
          where o.tenant_id = m.tenant_id and o.channel = m.channel and o.suppression_key = m.suppression_key
            and o.sent_at > m.sent_at - make_interval(secs => (cap ->> 'windowSeconds')::int) and o.sent_at <= m.sent_at)`,
  },
  {
    id: "I-12",
    title: "every accept was decided under a known ruleset; marketing texts had consent when they were claimed",
    find: sql`
      select a.tenant_id, a.id || ': no ruleset' as what
      from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      where a.outcome = 'accepted' and coalesce(m.decision ->> 'ruleset', '') = ''
      union all
      select a.tenant_id, a.id || ': no consent'
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id and m.channel = 'sms' and m.message_class = 'marketing'
      join tenants t on t.id = m.tenant_id and coalesce((t.settings ->> 'requireSmsConsent')::bool, true)
      where a.outcome = 'accepted' and not exists (
        select from consents c where c.tenant_id = m.tenant_id and c.channel = m.channel and c.address = m.to_address
          and c.granted_at <= a.started_at and (c.revoked_at is null or c.revoked_at > a.started_at))`,
  },
  {
    id: "I-17",
    title: "results stand under the generation they were claimed with",
    find: sql`
      select a.tenant_id, a.id || ': generation ' || a.generation || ' of ' || m.generation as what
      from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id where a.generation > m.generation
      union all
      select m.tenant_id, m.id || ': in flight without its attempt' from outbound_messages m
      where m.status in ('sending', 'ambiguous') and not exists (
        select from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation)`,
  },
  {
    id: "I-18",
    title: "an attempt is on record before its call",
    find: sql`
      select m.tenant_id, m.id || ': sent without an attempt' as what from outbound_messages m
      where m.sent_at is not null and m.provider is not null
        and not exists (select from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id)
      union all
      select a.tenant_id, a.id || ': finished before it began' from send_attempts a where a.finished_at < a.started_at`,
  },
  {
    id: "I-19",
    title: "nothing is claimed while its campaign is paused or its tenant suspended",
    find: sql`
      select a.tenant_id, a.id || ': campaign paused at ' || p.created_at as what
      from send_attempts a
      join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      join lateral (
        select x.to_status, x.created_at from campaign_transitions x
        where x.tenant_id = m.tenant_id and x.campaign_id = m.campaign_id and x.contact_campaign_id is null and x.created_at <= a.started_at
        order by x.created_at desc, x.id desc limit 1
      ) p on p.to_status in ('paused', 'stopped') and a.started_at > p.created_at + interval '5 seconds'
      union all
      select a.tenant_id, a.id || ': tenant suspended at ' || t.suspended_at
      from send_attempts a join tenants t on t.id = a.tenant_id
      where t.status = 'suspended' and a.started_at > t.suspended_at + interval '5 seconds'`,
  },
  {
    id: "I-20",
    title: "an enrollment keeps its plan unless it was migrated",
    find: sql`
      select e.tenant_id, e.id || ': hash of another plan' as what
      from contact_campaigns e join campaign_plan_versions v on v.tenant_id = e.tenant_id and v.id = e.plan_version_id
      where e.plan_hash <> v.plan_hash or e.campaign_id <> v.campaign_id
      union all
      select m.tenant_id, m.id || ': of another plan than its enrollment'
      from outbound_messages m join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id
      where m.plan_version_id <> e.plan_version_id and not exists (
        select from campaign_transitions x where x.tenant_id = e.tenant_id and x.contact_campaign_id = e.id and x.reason = 'migrated')`,
  },
  {
    id: "I-21",
    title: "ambiguous sends are settled within a day",
    find: sql`
      select m.tenant_id, m.id as what from outbound_messages m
      join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation
      where m.status = 'ambiguous' and a.started_at < app_now() - interval '25 hours'`,
  },
  {
    id: "I-23",
    title: "no credential is stored readable",
    find: sql`
      select tenant_id, id as what from channel_configs where api_credentials !~ '^v1(\\.[A-Za-z0-9_-]+){4}$'`,
  },
  {
    id: "I-24",
    title: "a suppression is lifted by somebody, once, and never before it began",
    find: sql`
      select tenant_id, id as what from communication_suppressions
      where released_at is not null and (coalesce(released_by, '') = '' or released_at < suppressed_at)
      union all
      select tenant_id, channel || ' ' || address from communication_suppressions where released_at is null
      group by tenant_id, channel, address having count(*) > 1`,
  },
];

const sampleSize = 5;

async function check(db: Kysely<DB>, { id, title, find }: Checker): Promise<InvariantResult> {
  const { rows } = await sql<{ tenant_id: string; what: string; n: number }>`
    with found as materialized (${find})
    select tenant_id, what, (select count(*)::int from found) as n from found order by tenant_id, what limit ${sampleSize}`.execute(
    db,
  );
  return {
    id,
    title,
    violations: rows[0]?.n ?? 0,
    sample: rows.map((row) => `${row.tenant_id}: ${row.what}`),
  };
}

const result = (id: string, title: string, problems: readonly string[]): InvariantResult => ({
  id,
  title,
  violations: problems.length,
  sample: problems.slice(0, sampleSize),
});

/** Every tenant's data, the catalogue's fences and the clocks. @param db an administrator's connection, past row-level security */
export async function checkInvariants(db: Kysely<DB>): Promise<InvariantResult[]> {
  const results: InvariantResult[] = [];
  for (const checker of checkers) if (checker.id !== "I-08") results.push(await check(db, checker));
  results.push(result("I-22", "the fences between tenants stand", await catalogueViolations(db)));
  results.push(
    result("I-28", "PostgreSQL and this process read the same clocks in every zone", await zoneProblems(db)),
  );
  return results.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** The same checkers for one tenant, as the application's role. */
export const checkTenantInvariants = (ctx: Context): Promise<InvariantResult[]> =>
  transact(ctx, async ({ db }) => {
    const results: InvariantResult[] = [];
    for (const checker of checkers) results.push(await check(db, checker));
    return results;
  });

/** Zones whose rules have changed lately or change oddly, at both sides of their transitions. */
const probeZones = [
  "America/New_York",
  "America/Los_Angeles",
  "America/Phoenix",
  "America/Indiana/Indianapolis",
  "America/Mexico_City",
  "America/Toronto",
  "Pacific/Honolulu",
  "America/Anchorage",
  "Europe/London",
  "Europe/Berlin",
  "Asia/Kolkata",
  "Australia/Lord_Howe",
] as const;
const probeInstants = [
  "2026-01-15T12:00:00Z",
  "2026-03-08T06:59:59Z",
  "2026-03-08T07:00:00Z",
  "2026-03-29T01:00:00Z",
  "2026-07-15T12:00:00Z",
  "2026-10-25T01:00:00Z",
  "2026-11-01T06:00:00Z",
] as const;

/** Two tables of zones that disagree would let a message out an hour early. */
async function zoneProblems(db: Kysely<DB>): Promise<string[]> {
  const { rows } = await sql<{ zone: string; instant: string; wall: string }>`
    select z as zone, i as instant, to_char(i::timestamptz at time zone z, 'YYYY-MM-DD"T"HH24:MI:SS') as wall
    from unnest(${probeZones as unknown as string[]}::text[]) z, unnest(${probeInstants as unknown as string[]}::text[]) i`.execute(
    db,
  );
  return rows.flatMap(({ zone, instant, wall }) => {
    const here = DateTime.fromISO(instant, { zone }).toFormat("yyyy-MM-dd'T'HH:mm:ss");
    return here === wall ? [] : [`${zone} at ${instant}: ${wall} in PostgreSQL, ${here} here`];
  });
}

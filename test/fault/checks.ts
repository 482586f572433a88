/**
 * The referee's judgement. It knows three records that the engine does not write: the providers' accept log, the gateway's log of what was
 * answered 2xx, and the diary of the triggers; and it reads the engine's tables with SQL of its own.
 *
 * Invariant: nothing here is shared with the engine, and every row that a check yields is a violation, named by its id.
 */
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import type { Accept } from "../../local/simulator/state.ts";
import type { FaultDatabase } from "./database.ts";
import type { GatewayLine } from "./gateway.ts";
import type { Death } from "./workers.ts";

export interface Evidence {
  readonly accepts: readonly Accept[];
  readonly gateway: readonly GatewayLine[];
  readonly deaths: readonly Death[];
  /** People who said that they were enrolled: the sum of the API's answers. */
  readonly enrolled: number;
  /** Addresses that imports have promised, `tenant id → e-mail addresses`. */
  readonly people: ReadonlyMap<string, readonly string[]>;
  /** Fetches the body of an archived delivery that is too large for its row. */
  readonly bodyOf: (key: string) => Promise<Uint8Array>;
  readonly sha256: (bytes: Uint8Array) => string;
}

export interface Verdict {
  readonly id: string;
  readonly title: string;
  readonly violations: number;
  /** The first few. */
  readonly sample: readonly string[];
}

type Query = FaultDatabase["query"];

const decompress = promisify(brotliDecompress);

/** Rows of one insert: enough to be quick, few enough for one message. */
const chunk = 5_000;

async function insert(query: Query, table: string, types: readonly string[], rows: readonly (readonly unknown[])[]) {
  for (let from = 0; from < rows.length; from += chunk) {
    const part = rows.slice(from, from + chunk);
    const columns = types.map((_, column) => part.map((row) => row[column]));
    const lists = types.map((type, column) => `$${column + 1}::${type}[]`).join(", ");
    await query(`insert into archive.${table} select * from unnest(${lists})`, columns);
  }
}

/** Puts the logs beside the data. May be called again with other logs. */
export async function loadEvidence(query: Query, evidence: Evidence): Promise<void> {
  await query(`
    drop table if exists archive.referee_accepts, archive.referee_gateway, archive.referee_deaths, archive.referee_people, archive.referee_bodies;
    create table archive.referee_accepts (message_id text, provider text, provider_id text, address text, at timestamptz);
    create table archive.referee_gateway (channel_config_id text, target text, sha256 text, at timestamptz);
    create table archive.referee_deaths (worker text, at timestamptz, point text);
    create table archive.referee_people (tenant text, email text);
    create table archive.referee_bodies (tenant text, id text, channel_config_id text, target text, sha256 text)`);
  const accepts = evidence.accepts.map((a) => [a.ourMessageId, a.provider, a.messageId, a.to, a.at]);
  await insert(query, "referee_accepts", ["text", "text", "text", "text", "timestamptz"], accepts);
  const gateway = evidence.gateway.map((line) => [
    new URL(line.path, "http://gateway").pathname.split("/")[3] ?? "",
    line.path,
    line.sha256,
    new Date(line.at).toISOString(),
  ]);
  await insert(query, "referee_gateway", ["text", "text", "text", "timestamptz"], gateway);
  const deaths = evidence.deaths.map((death) => [death.worker, new Date(death.at).toISOString(), death.point]);
  await insert(query, "referee_deaths", ["text", "timestamptz", "text"], deaths);
  const people = [...evidence.people].flatMap(([tenant, emails]) => emails.map((email) => [tenant, email]));
  await insert(query, "referee_people", ["text", "text"], people);

  await query(`
    insert into archive.referee_bodies
    select tenant_id, id, channel_config_id, target, encode(sha256(body), 'hex') from webhook_deliveries
    where body is not null and body_encoding = 'identity'`);
  const others = await query<{
    tenant_id: string;
    id: string;
    channel_config_id: string;
    target: string;
    body: Buffer | null;
    body_key: string | null;
  }>(`select tenant_id, id, channel_config_id, target, body, body_key from webhook_deliveries
      where body_key is not null or body_encoding = 'br'`);
  const rows: string[][] = [];
  for (const { tenant_id, id, channel_config_id, target, body, body_key } of others) {
    const bytes = body === null ? evidence.bodyOf(body_key ?? "") : decompress(body);
    const sha256 = await bytes.then(evidence.sha256, () => "missing");
    rows.push([tenant_id, id, channel_config_id, target, sha256]);
  }
  await insert(query, "referee_bodies", ["text", "text", "text", "text", "text"], rows);
  await query(`
    create index on archive.referee_accepts (message_id);
    create index on archive.referee_bodies (channel_config_id, sha256);
    create index on archive.referee_people (tenant, email);
    analyze archive.referee_accepts; analyze archive.referee_gateway; analyze archive.referee_bodies; analyze archive.referee_people;
    analyze archive.referee_moves; analyze outbound_messages; analyze send_attempts; analyze webhook_deliveries; analyze contact_campaigns`);
}

const ends =
  "('sent', 'delivered', 'bounced', 'failed', 'complained', 'suppressed', 'cancelled', 'expired', 'accepted_unknown')";

/** Each yields `what` of every violation. */
const checks: readonly { readonly id: string; readonly title: string; readonly find: string }[] = [
  {
    id: "duplicate-id",
    title: "no provider accepted a message of ours twice",
    find: `select message_id as what from archive.referee_accepts group by message_id having count(*) > 1`,
  },
  {
    id: "duplicate-key",
    title: "no provider accepted two messages for one campaign, node and address",
    find: `
      select m.campaign_id || ' ' || coalesce(m.walk_node_id, m.node_id) || ' ' || a.address as what
      from archive.referee_accepts a join outbound_messages m on m.id = a.message_id
      group by m.tenant_id, m.campaign_id, coalesce(m.walk_node_id, m.node_id), a.address having count(*) > 1`,
  },
  {
    id: "unknown-accept",
    title: "every accept is of a message that is planned, for its address",
    find: `
      select coalesce(a.message_id, a.provider_id) as what from archive.referee_accepts a
      where not exists (select from outbound_messages m where m.id = a.message_id and m.to_address = a.address)`,
  },
  {
    id: "lost",
    title: "every planned message has an end",
    find: `select id || ': ' || status as what from outbound_messages where status not in ${ends}`,
  },
  {
    id: "denied",
    title: "what a provider accepted is not reported as unsent",
    find: `
      select m.id || ': ' || m.status as what from outbound_messages m join archive.referee_accepts a on a.message_id = m.id where m.sent_at is null`,
  },
  {
    id: "invented",
    title: "what is reported as sent was accepted, or is marked as unknown",
    find: `
      select m.id || ': ' || m.status as what from outbound_messages m
      where m.sent_at is not null and m.status <> 'accepted_unknown'
        and not exists (select from archive.referee_accepts a where a.message_id = m.id)`,
  },
  {
    id: "called-twice",
    title: "no message was called for again after a call whose end nobody knew",
    find: `
      select a.message_id as what from send_attempts a
      where (a.outcome = 'ambiguous' or a.resolved_by is not null) and exists (
        select from send_attempts b where b.tenant_id = a.tenant_id and b.message_id = a.message_id and b.generation > a.generation)`,
  },
  {
    id: "after-no",
    title: "nothing was claimed after a suppression that covers it",
    find: `
      select a.id || ' after ' || s.id as what
      from communication_suppressions s
      join outbound_messages m on m.tenant_id = s.tenant_id and m.channel = s.channel and lower(m.to_address) = s.address
      join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id
      where s.released_at is null and a.claim_seq > s.seq`,
  },
  {
    id: "unacknowledged",
    title: "every webhook answered 2xx is archived, byte for byte",
    find: `
      select g.target || ' ' || g.sha256 as what from archive.referee_gateway g
      where not exists (select from archive.referee_bodies b
        where b.channel_config_id = g.channel_config_id and b.sha256 = g.sha256 and b.target = g.target)`,
  },
  {
    id: "unapplied",
    title: "every archived webhook was applied",
    find: `select id || ': ' || status || ' ' || coalesce(last_error, '') as what from webhook_deliveries where status <> 'completed'`,
  },
  {
    id: "unimported",
    title: "everybody on an imported list is a contact, once",
    find: `
      select p.tenant || ' ' || p.email as what from archive.referee_people p
      left join contact_channels c on c.tenant_id = p.tenant and c.channel = 'email' and c.address = p.email
      group by p.tenant, p.email having count(c.id) <> 1`,
  },
  {
    id: "unfinished",
    title: "every enrollment has come to an end, but those that wait for a person",
    find: `
      select id || ': ' || status || ' at ' || coalesce(current_node_id, 'nothing') || ' ' || coalesce(exit_reason, '') as what from contact_campaigns
      where status not in ('completed', 'stopped') and not (status = 'paused' and exit_reason = 'unclear_opt_out')`,
  },
  {
    id: "unplanned",
    title: "whoever walked to the end of a plan has its first message",
    find: `
      select e.id as what from contact_campaigns e
      where e.status = 'completed' and not exists (select from outbound_messages m
        where m.tenant_id = e.tenant_id and m.contact_campaign_id = e.id and m.node_id = e.channel || '1')`,
  },
  {
    id: "leased",
    title: "nothing is left in the hands of the dead",
    find: `
      select 'imports ' || id as what from imports where status not in ('completed', 'failed', 'cancelled')
      union all select 'actions ' || id from scheduled_actions where status = 'running'`,
  },
];

const sampleSize = 10;

export async function judge(query: Query, evidence: Pick<Evidence, "enrolled">): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const { id, title, find } of checks) {
    const rows = await query<{ what: string; n: number }>(
      `with found as materialized (${find}) select what, (select count(*)::int from found) as n from found order by what limit ${sampleSize}`,
    );
    verdicts.push({ id, title, violations: rows[0]?.n ?? 0, sample: rows.map(({ what }) => what) });
  }
  const [entered] = await query<{ n: number }>("select count(*)::int as n from contact_campaigns");
  const difference = Math.abs((entered?.n ?? 0) - evidence.enrolled);
  verdicts.push({
    id: "enrolled",
    title: "as many walk as the API said it took in",
    violations: difference,
    sample: difference === 0 ? [] : [`${entered?.n} are there, ${evidence.enrolled} were promised`],
  });
  return verdicts;
}

/**
 * What the gate needs to know about a batch, read set-wise under the address locks: one statement for the rows and everything joined to
 * them, one for suppressions and do-not-call, one for consents, one for recent sends.
 */
import { type RawBuilder, sql } from "kysely";
import { type Cap, type QuietHours, type SendWindow, zoneEvidence } from "../compliance/index.ts";
import { type Channel, lockEnrollments, type SuppressionReason, type TxContext, tenantGate } from "../kernel/index.ts";
import { dncChannels, dncCovers } from "../suppression/index.ts";
import { type Restraint, readSettings, type TenantSettings, unreadRestraints } from "../tenancy/index.ts";
import type { ContentSource } from "./content.ts";
import type { DecisionFacts, GateFacts } from "./gate.ts";
import { walkNode } from "./rename.ts";
import { entryOf, type NodeRename, type RenamedStep, stepOf, type TakenSteps } from "./steps.ts";

/** What of a stored decision says whose turn it is. */
export type StoredTurn = Pick<DecisionFacts, "slot" | "places" | "taken">;

/** One locked row of the outbox with all that surrounds it. */
export interface Candidate {
  readonly id: string;
  readonly generation: number;
  readonly attempts: number;
  /** The step it would take, and what was said of the campaign's nodes; null where nothing was renamed. */
  readonly step: RenamedStep | null;
  readonly channel: Channel;
  readonly message_class: "marketing" | "transactional";
  readonly to_address: string;
  readonly suppression_key: string;
  readonly node_id: string | null;
  /** By which node its enrollment knows it. */
  readonly walk_node_id: string | null;
  readonly variant_id: string | null;
  readonly plan_version_id: string | null;
  readonly template_id: string | null;
  readonly campaign_id: string | null;
  readonly contact_campaign_id: string | null;
  readonly run_at: Date;
  readonly expires_at: Date;
  readonly decision: StoredTurn | null;
  readonly tenant_name: string;
  readonly tenant_status: "active" | "suspended";
  readonly tenant_settings: TenantSettings;
  /** Of the settings, those that this release cannot read although they keep messages back. */
  readonly tenant_unread: readonly Restraint[];
  readonly campaign_name: string | null;
  readonly campaign_status: string | null;
  readonly enrollment_status: string | null;
  readonly lead: Readonly<Record<string, unknown>> | null;
  readonly contact: Readonly<Record<string, unknown>> | null;
  readonly company: Readonly<Record<string, unknown>> | null;
  readonly address_status: "active" | "invalid" | "bounced" | null;
  readonly sender: SenderRow | null;
  readonly channel_config: ChannelRow | null;
}

export interface SenderRow {
  readonly id: string;
  readonly from_email: string;
  readonly from_name: string;
  readonly reply_to: string | null;
  readonly dedicated_ip_pool: string | null;
  readonly validation_status: string;
}

export interface ChannelRow {
  readonly id: string;
  readonly provider: string;
  readonly status: "active" | "degraded" | "disabled";
  readonly settings: { readonly from?: string; readonly inboundDomain?: string };
  readonly api_credentials: string;
}

/** What the plan says about one message; supplied by the campaigns module, which owns plans. */
export interface SendSpec {
  readonly content: ContentSource;
  readonly nodeWindow?: SendWindow | undefined;
  readonly planQuietHours?: QuietHours | undefined;
  readonly timeZone?: string | undefined;
}

/** A row of the outbox with what is joined to it row by row; what many rows share is read once (`shared`). */
type Row = Omit<
  Candidate,
  | "step"
  | "tenant_name"
  | "tenant_status"
  | "tenant_settings"
  | "tenant_unread"
  | "campaign_name"
  | "campaign_status"
  | "company"
  | "sender"
  | "channel_config"
> & {
  readonly entry: string;
  readonly sender_identity_id: string | null;
  readonly channel_config_id: string | null;
};

/** What the gate asks of a lead, and what stands in for its company. Its whole record, and its company's, are read where a template names them. */
const columns = sql`m.id, m.generation, m.attempts, m.channel, m.message_class, m.to_address, m.suppression_key, m.node_id,
      ${walkNode} as walk_node_id, m.variant_id,
      m.plan_version_id, m.template_id, m.contact_campaign_id, m.campaign_id, m.sender_identity_id, m.channel_config_id, m.run_at,
      m.expires_at, m.decision, ${entryOf} as entry`;
const rowsOf = (source: RawBuilder<unknown>) => sql<Row>`
    select m.*, e.status as enrollment_status,
      case when l.id is not null
           then json_build_object('status', l.status, 'deleted_at', l.deleted_at, 'company_name', l.company_name) end as lead,
      case when k.id is not null then jsonb_strip_nulls(to_jsonb(k)) end as contact, coalesce(ch.status, 'active') as address_status
    from (${source}) m
    left join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id
    left join leads l on l.tenant_id = m.tenant_id and l.id = m.lead_id
    left join contacts k on k.tenant_id = m.tenant_id and k.id = m.contact_id
    left join contact_channels ch on ch.tenant_id = m.tenant_id and ch.contact_id = m.contact_id and ch.channel = m.channel and ch.address = m.to_address`;

interface Shared {
  readonly name: string;
  readonly status: "active" | "suspended";
  readonly settings: unknown;
  readonly campaigns: Readonly<
    Record<string, { readonly name: string; readonly status: string; readonly renames: readonly NodeRename[] | null }>
  > | null;
  readonly routes: readonly { readonly sender: SenderRow | null; readonly account: ChannelRow | null }[];
}

const routeOf = (row: Row): string => `${row.channel} ${row.sender_identity_id ?? ""} ${row.channel_config_id ?? ""}`;

/**
 * The rows with all that surrounds them: their tenant, their campaigns, and by whom and through which account each would leave. The one
 * reading of them: the claim and the explanation cannot differ.
 */
async function surround(ctx: TxContext, rows: readonly Row[]): Promise<Candidate[]> {
  const routed = [...new Map(rows.map((row) => [routeOf(row), row])).values()];
  const campaignIds = [...new Set(rows.flatMap((row) => row.campaign_id ?? []))];
  const { rows: found } = await sql<Shared>`
    select t.name, t.status, t.settings,
      (select json_object_agg(c.campaign_id, json_build_object('name', c.name, 'status', c.status, 'renames', (
         select json_agg(json_build_object('fromVersionId', n.from_version_id, 'fromNode', n.from_node,
                                           'toVersionId', n.to_version_id, 'toNode', n.to_node))
         from node_renames n where n.tenant_id = c.tenant_id and n.campaign_id = c.campaign_id))) from marketing.campaigns c
       where c.tenant_id = ${ctx.tenantId} and c.campaign_id = any(${campaignIds})) as campaigns,
      (select json_agg(json_build_object('sender', to_jsonb(s), 'account', to_jsonb(cc)) order by m.n)
       from unnest(${routed.map((row) => row.channel)}::text[], ${routed.map((row) => row.sender_identity_id)}::text[],
                   ${routed.map((row) => row.channel_config_id)}::text[]) with ordinality as m(channel, sender_id, account_id, n)
       left join lateral (
         select x.id, x.from_email, x.from_name, x.reply_to, x.dedicated_ip_pool, x.validation_status, x.channel_config_id
         from email_sender_identities x
         where m.channel = 'email' and x.tenant_id = ${ctx.tenantId} and (x.id = m.sender_id or m.sender_id is null and x.is_default)
       ) s on true
       left join lateral (
         select x.id, x.provider, x.status, x.settings, x.api_credentials from channel_configs x
         where x.tenant_id = ${ctx.tenantId} and x.channel = m.channel and x.id = coalesce(m.account_id, s.channel_config_id, x.id)
         order by x.status = 'active' desc, x.status = 'degraded' desc, x.id limit 1
       ) cc on true) as routes
    from tenants t where t.id = ${ctx.tenantId}`.execute(ctx.db);
  const [shared] = found;
  if (!shared) return [];
  const routes = new Map(routed.map((row, n) => [routeOf(row), shared.routes[n]]));
  const settings = readSettings(shared.settings);
  const unread = unreadRestraints(shared.settings);
  return rows.map((row) => {
    const campaign = row.campaign_id === null ? undefined : shared.campaigns?.[row.campaign_id];
    const route = routes.get(routeOf(row));
    return {
      ...row,
      tenant_name: shared.name,
      tenant_status: shared.status,
      tenant_settings: settings,
      tenant_unread: unread,
      step: stepOf(row, campaign?.renames ?? []),
      campaign_name: campaign?.name ?? null,
      campaign_status: campaign?.status ?? null,
      company: null,
      sender: route?.sender ?? null,
      channel_config: route?.account ?? null,
    };
  });
}

/** Messages as a claim would see them now, in any state and without a lock: for explanations. */
export async function readCandidates(ctx: TxContext, ids: readonly string[]): Promise<Candidate[]> {
  const { rows } = await rowsOf(sql`
    select ${columns}, m.tenant_id, m.lead_id, m.contact_id from outbound_messages m
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]}) order by m.id`).execute(ctx.db);
  return withRecords(ctx, await surround(ctx, rows), ids);
}

/**
 * Locks the tenant's gate, then the addresses of the messages in one order for everybody, then their enrollments, then their campaigns,
 * then the rows that are still due. Whoever suspends the tenant, suppresses an address or pauses a campaign takes the same locks, so what
 * committed before is seen here and what commits later finds the message claimed.
 */
export async function lockDue(ctx: TxContext, ids: readonly string[] | undefined, limit: number): Promise<Candidate[]> {
  const named = ids && ids.length > 0 ? sql`and m.id = any(${ids as string[]})` : sql``;
  const due = sql`m.tenant_id = ${ctx.tenantId} and m.status in ('queued', 'held') and m.run_at <= ${ctx.now} ${named}`;
  const { rows: wanted } = await sql<{ id: string; contact_campaign_id: string | null }>`
    with ${tenantGate(ctx)}, wanted as materialized (
      select m.id, m.contact_campaign_id, m.channel, m.suppression_key, m.run_at from outbound_messages m
      where ${due} order by m.run_at, m.id limit ${limit}
    ), locks as materialized (
      -- The locks of lockAddresses in core/suppression: what do-not-call covers also takes its number's lock, which the organization shares.
      select pg_advisory_xact_lock(k.key) from (
        select address_lock_key(${ctx.tenantId}, w.channel, w.suppression_key) as key from wanted w
        union
        select address_lock_key(${ctx.organizationId}, 'dnc', w.suppression_key) from wanted w
        where w.channel = any(${dncChannels as string[]}::text[])
        order by key) k, (select count(*) from tenant_gate) g
    )
    select w.id, w.contact_campaign_id from wanted w, (select count(*) from locks) l order by w.run_at, w.id`.execute(
    ctx.db,
  );
  if (wanted.length === 0) return [];
  const enrollments = [...new Set(wanted.flatMap((row) => (row.contact_campaign_id ? [row.contact_campaign_id] : [])))];
  if (enrollments.length > 0) await lockEnrollments(ctx, sql`= any(${enrollments})`);
  const { rows } = await sql<Row>`
    with locked as materialized (
      select ${columns}, m.tenant_id, m.lead_id, m.contact_id from outbound_messages m
      where m.tenant_id = ${ctx.tenantId} and m.id = any(${wanted.map((row) => row.id)})
        and m.status in ('queued', 'held') and m.run_at <= ${ctx.now}
      for update skip locked
    )
    ${rowsOf(sql`select * from locked`)}
    order by m.run_at, m.id`.execute(ctx.db);
  return rows.length === 0 ? [] : surround(ctx, rows);
}

/** The candidates, those among `ids` with the whole records of their leads and companies. */
export async function withRecords(
  ctx: TxContext,
  candidates: readonly Candidate[],
  ids: readonly string[],
): Promise<Candidate[]> {
  if (ids.length === 0) return [...candidates];
  const { rows } = await sql<{
    id: string;
    lead: Record<string, unknown>;
    company: Record<string, unknown> | null;
  }>`
    select m.id, jsonb_strip_nulls(to_jsonb(l) - array['raw_data', 'flags']) || jsonb_build_object('deleted_at', l.deleted_at) as lead,
      case when co.id is not null then jsonb_strip_nulls(to_jsonb(co) - 'provenance') end as company
    from outbound_messages m
    join leads l on l.tenant_id = m.tenant_id and l.id = m.lead_id
    left join company.master co on co.tenant_id = l.tenant_id and co.id = l.company_id
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${ids as string[]})`.execute(ctx.db);
  const records = new Map(rows.map((row) => [row.id, row]));
  return candidates.map((row) => {
    const record = records.get(row.id);
    return record ? { ...row, lead: record.lead, company: record.company } : row;
  });
}

/** What is known about addresses rather than about one message. Keys are `channel address`. */
export interface AddressFacts {
  readonly suppressions: ReadonlyMap<string, { readonly reason: SuppressionReason; readonly since: Date }>;
  readonly dnc: ReadonlySet<string>;
  /** Of channels that ask for consent, which e-mail does not. */
  readonly consents: ReadonlySet<string>;
  /** Mutable: a message let through counts for the next one to the same address. */
  readonly recentSends: Map<string, Date[]>;
}

export const addressKey = (channel: string, address: string): string => `${channel} ${address}`;

/** What of a candidate says which addresses to look up, and how far back. */
export type Addressed = Pick<Candidate, "channel" | "suppression_key" | "to_address" | "tenant_settings">;

export async function addressFacts(ctx: TxContext, candidates: readonly Addressed[]): Promise<AddressFacts> {
  const channels = candidates.map((row) => row.channel);
  const keys = candidates.map((row) => row.suppression_key);
  const window = Math.max(86_400, ...candidates.flatMap((row) => capsFor(row).map((cap) => cap.windowSeconds)));
  // One statement for both: each would be planned and sent by itself.
  const { rows: found } = await sql<{
    channel: string;
    address: string;
    /** null: something was sent to it. */
    reason: SuppressionReason | null;
    at: Date;
  }>`
    with u as materialized (select distinct * from unnest(${channels}::text[], ${keys}::text[]) u(channel, address))
    select s.channel, s.address, s.reason, s.suppressed_at as at from u join communication_suppressions s using (channel, address)
    where s.tenant_id = ${ctx.tenantId} and s.released_at is null
    union all
    select m.channel, m.suppression_key, null, coalesce(m.sent_at, m.updated_at)
    from u join outbound_messages m on m.channel = u.channel and m.suppression_key = u.address
    where m.tenant_id = ${ctx.tenantId}
      and (m.sent_at > ${ctx.now}::timestamptz - make_interval(secs => ${window}) or m.status in ('sending', 'ambiguous'))`.execute(
    ctx.db,
  );
  const phones = candidates.filter((row) => dncCovers(row.channel)).map((row) => row.to_address);
  const { rows: listed } =
    phones.length === 0
      ? { rows: [] }
      : await sql<{ phone_number: string }>`
    select d.phone_number from dnc_list d
    where d.organization_id = ${ctx.organizationId} and d.phone_number = any(${phones}) and d.lifted_at is null`.execute(
          ctx.db,
        );
  const asking = candidates.filter((row) => row.channel !== "email");
  const { rows: consented } =
    asking.length === 0
      ? { rows: [] }
      : await sql<{ channel: string; address: string }>`
    select distinct c.channel, c.address from consents c
    join (select distinct * from unnest(${asking.map((row) => row.channel)}::text[], ${asking.map((row) => row.to_address)}::text[]) u(channel, address)) u using (channel, address)
    where c.tenant_id = ${ctx.tenantId} and c.revoked_at is null and c.granted_at <= ${ctx.now}`.execute(ctx.db);
  const recentSends = new Map<string, Date[]>();
  const suppressions = new Map<string, { reason: SuppressionReason; since: Date }>();
  for (const { channel, address, reason, at } of found) {
    const key = addressKey(channel, address);
    if (reason === null) push(recentSends, key, at);
    else suppressions.set(key, { reason, since: at });
  }
  return {
    suppressions,
    dnc: new Set(listed.map((row) => row.phone_number)),
    consents: new Set(consented.map((row) => addressKey(row.channel, row.address))),
    recentSends,
  };
}

/** The tenant's own caps on this message's channel. */
const capsFor = (row: Addressed): readonly Cap[] =>
  (row.tenant_settings.frequencyCaps ?? []).filter((cap) => cap.channel === undefined || cap.channel === row.channel);

export function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** Where the recipient may be, by everything the contact and the address say. */
export function evidenceOf(
  contact: Readonly<Record<string, unknown>> | null,
  channel: Channel,
  address: string,
  settings: TenantSettings,
) {
  return zoneEvidence({
    contactZone: text(contact?.["time_zone"]),
    postalCode: text(contact?.["postal_code"]),
    state: text(contact?.["state"]),
    country: text(contact?.["country"]) ?? settings.defaultCountry,
    phone: channel === "email" ? text(contact?.["primary_phone"]) : address,
  });
}

/** The gate's facts for one candidate. @param renderProblem why the content cannot be made, or null */
export function gateFacts(
  candidate: Candidate,
  known: AddressFacts,
  steps: TakenSteps,
  spec: SendSpec,
  renderProblem: string | null,
): GateFacts {
  const key = addressKey(candidate.channel, candidate.suppression_key);
  const settings = candidate.tenant_settings;
  const { lead, message_class: messageClass, channel } = candidate;
  const marketing = messageClass === "marketing";
  return {
    channel,
    messageClass,
    expiresAt: candidate.expires_at,
    tenantStatus: candidate.tenant_status,
    campaignStatus: candidate.campaign_status,
    enrollmentStatus: candidate.enrollment_status,
    lead: lead && { status: String(lead["status"]), deleted: lead["deleted_at"] !== null },
    suppression: known.suppressions.get(key) ?? null,
    onDncList: dncCovers(channel) && known.dnc.has(candidate.to_address),
    hasConsent: known.consents.has(addressKey(channel, candidate.to_address)),
    consentRequired: marketing && channel !== "email" && settings.requireSmsConsent !== false,
    addressStatus: candidate.address_status ?? "active",
    stepTaken: candidate.step !== null && steps.has(candidate.step),
    senderVerified: channel !== "email" || candidate.sender?.validation_status === "verified",
    channelStatus: candidate.channel_config?.status ?? null,
    postalAddress: settings.postalAddress ?? null,
    renderProblem,
    where: evidenceOf(candidate.contact, channel, candidate.to_address, settings),
    hours: {
      strictness: settings.strictness,
      tenantQuietHours: settings.quietHours as QuietHours | undefined,
      planQuietHours: spec.planQuietHours,
      nodeWindow: spec.nodeWindow,
      fallbackZone: settings.holdUnknownZone === false ? (spec.timeZone ?? settings.timeZone) : undefined,
    },
    recentSends: known.recentSends.get(key) ?? [],
    tenantCaps: capsFor(candidate),
    unread: candidate.tenant_unread,
  };
}

/**
 * Reads everything a simulation needs, set-wise and in pages, in one transaction. Invariant: the page size changes how many statements run
 * and nothing else.
 */
import { sql } from "kysely";
import { type Channel, type SuppressionReason, suppressionAddress, type TxContext } from "../kernel/index.ts";
import {
  type Addressed,
  type AddressFacts,
  addressFacts,
  type LimitRow,
  neverSent,
  nodeRenames,
  takenSteps,
} from "../messages/index.ts";
import { readSettings, type TenantSettings, unreadRestraints } from "../tenancy/index.ts";
import { fieldsOf } from "./fields.ts";
import { resolveContent } from "./hash.ts";
import type { Plan, SendNode } from "./plan.ts";
import { specOf, templatesOf } from "./port.ts";
import {
  type Route,
  routeKey,
  type SimulatedContact,
  type SimulationInput,
  specKey,
  type Walking,
} from "./simulation-input.ts";

export interface Loading {
  readonly startAt: Date;
  readonly campaign: { readonly id: string; readonly name: string };
  readonly plans: ReadonlyMap<string, Plan>;
  readonly walkers: readonly Walking[];
  /** Contacts per page. */
  readonly pageSize: number;
}

export async function loadInput(ctx: TxContext, loading: Loading): Promise<SimulationInput> {
  const { startAt, campaign, plans, walkers, pageSize } = loading;
  const tenant = await tenantOf(ctx);
  const sends = [...plans].flatMap(([id, plan]) =>
    plan.nodes.flatMap((node) => (node.type === "send" ? [{ id, plan, node }] : [])),
  );
  const channels = [...new Set(sends.map(({ node }) => node.channel))];
  const contacts = new Map<string, SimulatedContact>();
  const leads = new Map<string, Record<string, unknown>>();
  const companies = new Map<string, Record<string, unknown>>();
  const known: Known = {
    suppressions: new Map(),
    dnc: new Set(),
    consents: new Set(),
    recentSends: new Map(),
    addresses: [],
  };
  for (let start = 0; start < walkers.length; start += pageSize) {
    const page = walkers.slice(start, start + pageSize);
    await loadPage(ctx, page, { contacts, leads, companies });
    await loadAddresses(ctx, page, contacts, channels, tenant.settings, known);
  }
  const limits = await limitsOf(ctx, channels);
  return {
    startAt,
    tenant,
    campaign,
    plans,
    needsFields: [...plans.values()].some((plan) => fieldsOf(plan).length > 0),
    walkers,
    contacts,
    leads,
    companies,
    specs: await specsOf(ctx, sends),
    routes: await routesOf(ctx, walkers, sends),
    known,
    limits,
    windows: await windowsOf(ctx, limits, startAt),
    owners: await ownersOf(ctx, campaign.id),
    ...(await stepsOf(ctx, campaign.id, known)),
  };
}

type Suppressed = { readonly reason: SuppressionReason; readonly since: Date };

interface Known extends AddressFacts {
  readonly suppressions: Map<string, Suppressed>;
  readonly dnc: Set<string>;
  readonly consents: Set<string>;
  /** All that were looked up, canonical. */
  readonly addresses: { readonly channel: Channel; readonly address: string }[];
}

interface Sending {
  readonly id: string;
  readonly plan: Plan;
  readonly node: SendNode;
}

async function tenantOf(ctx: TxContext): Promise<SimulationInput["tenant"]> {
  const row = await ctx.db.selectFrom("tenants").selectAll().where("id", "=", ctx.tenantId).executeTakeFirstOrThrow();
  return {
    id: row.id,
    name: row.name,
    status: row.status === "active" ? "active" : "suspended",
    // As the gate reads them.
    settings: readSettings(row.settings),
    unread: unreadRestraints(row.settings),
  };
}

interface Records {
  readonly contacts: Map<string, SimulatedContact>;
  readonly leads: Map<string, Record<string, unknown>>;
  readonly companies: Map<string, Record<string, unknown>>;
}

/** Empty columns are left out: neither conditions nor templates can tell them from missing ones, and they are most of a row. */
async function loadPage(ctx: TxContext, page: readonly Walking[], into: Records): Promise<void> {
  const { rows } = await sql<{
    id: string;
    record: Record<string, unknown>;
    lead_id: string;
    lead: Record<string, unknown> | null;
    company_id: string | null;
    channels: SimulatedContact["channels"];
  }>`
    select k.id, jsonb_strip_nulls(to_jsonb(k)) as record, k.lead_id,
      jsonb_strip_nulls(to_jsonb(l) - array['raw_data', 'flags']) || jsonb_build_object('deleted_at', l.deleted_at) as lead, l.company_id,
      (select coalesce(jsonb_agg(jsonb_build_object('id', ch.id, 'channel', ch.channel, 'address', ch.address, 'isPrimary', ch.is_primary,
                'status', ch.status) order by ch.id), '[]')
       from contact_channels ch where ch.tenant_id = k.tenant_id and ch.contact_id = k.id) as channels
    from contacts k join leads l on l.tenant_id = k.tenant_id and l.id = k.lead_id
    where k.tenant_id = ${ctx.tenantId} and k.id = any(${page.map((one) => one.contactId)})`.execute(ctx.db);
  for (const row of rows) {
    into.contacts.set(row.id, { record: row.record, companyId: row.company_id, channels: row.channels });
    if (row.lead) into.leads.set(row.lead_id, row.lead);
  }
  const missing = [...new Set(rows.flatMap((row) => (row.company_id === null ? [] : [row.company_id])))].filter(
    (id) => !into.companies.has(id),
  );
  if (missing.length === 0) return;
  const { rows: companies } = await sql<{ id: string; company: Record<string, unknown> }>`
    select m.id, jsonb_strip_nulls(to_jsonb(m) - 'provenance') as company from company.master m
    where m.tenant_id = ${ctx.tenantId} and m.id = any(${missing})`.execute(ctx.db);
  for (const row of companies) into.companies.set(row.id, row.company);
}

async function loadAddresses(
  ctx: TxContext,
  page: readonly Walking[],
  contacts: ReadonlyMap<string, SimulatedContact>,
  channels: readonly Channel[],
  settings: TenantSettings,
  into: Known,
): Promise<void> {
  const given = page.flatMap(({ contactId, messages }) => [
    ...(contacts.get(contactId)?.channels ?? []),
    ...messages.flatMap(({ address }) => channels.map((channel) => ({ channel, address }))),
  ]);
  const addresses = new Map(
    given.flatMap(({ channel, address }): [string, Addressed][] => {
      const wanted = channels.find((one) => one === channel);
      if (!wanted) return [];
      const key = suppressionAddress(wanted, address);
      return [
        [
          `${channel} ${address}`,
          { channel: wanted, to_address: address, suppression_key: key, tenant_settings: settings },
        ],
      ];
    }),
  );
  if (addresses.size === 0) return;
  for (const { channel, suppression_key } of addresses.values())
    into.addresses.push({ channel, address: suppression_key });
  const found = await addressFacts(ctx, [...addresses.values()]);
  for (const [key, value] of found.suppressions) into.suppressions.set(key, value);
  for (const phone of found.dnc) into.dnc.add(phone);
  for (const key of found.consents) into.consents.add(key);
  // One address may be on two pages; its sends are the same both times.
  for (const [key, dates] of found.recentSends) into.recentSends.set(key, dates);
}

async function specsOf(ctx: TxContext, sends: readonly Sending[]): Promise<SimulationInput["specs"]> {
  const wanted = sends.flatMap(({ id, plan, node }) =>
    [null, ...(node.variants ?? []).map((variant) => variant.id)].map((variantId) => ({ id, plan, node, variantId })),
  );
  const templates = await templatesOf(ctx, [
    ...new Set(wanted.flatMap(({ node, variantId }) => resolveContent(node, variantId).templateId ?? [])),
  ]);
  return new Map(
    wanted.map(({ id, plan, node, variantId }) => {
      const { templateId } = resolveContent(node, variantId);
      const template = templateId === null ? undefined : templates.get(templateId);
      return [specKey(id, node.id, variantId), specOf(plan, node, variantId, template)];
    }),
  );
}

/** By whom and through which account each pair of channel and sender would leave; the same choice as under the claim. */
async function routesOf(
  ctx: TxContext,
  walkers: readonly Walking[],
  sends: readonly Sending[],
): Promise<ReadonlyMap<string, Route>> {
  const senders = new Set(walkers.map((walking) => walking.senderId));
  const pairs = new Map(
    sends.flatMap(({ node }) =>
      [...senders].map((sender) => {
        const pair = { channel: node.channel, senderId: node.senderId ?? sender };
        return [routeKey(pair.channel, pair.senderId), pair] as const;
      }),
    ),
  );
  const wanted = [...pairs.values()];
  const { rows } = await sql<Route & { channel: string; sender_id: string | null }>`
    select m.channel, m.sender_id, case when s.id is null then null else to_jsonb(s) end as sender,
      case when cc.id is null then null else to_jsonb(cc) end as account
    from unnest(${wanted.map((one) => one.channel)}::text[], ${wanted.map((one) => one.senderId)}::text[]) as m(channel, sender_id)
    left join lateral (
      select x.id, x.from_email, x.from_name, x.reply_to, x.dedicated_ip_pool, x.validation_status, x.channel_config_id
      from email_sender_identities x
      where m.channel = 'email' and x.tenant_id = ${ctx.tenantId} and (x.id = m.sender_id or m.sender_id is null and x.is_default)
    ) s on true
    left join lateral (
      select x.id, x.provider, x.status, x.settings, '' as api_credentials from channel_configs x
      where x.tenant_id = ${ctx.tenantId} and x.channel = m.channel and x.id = coalesce(s.channel_config_id, x.id)
      order by x.status = 'active' desc, x.status = 'degraded' desc, x.id limit 1
    ) cc on true`.execute(ctx.db);
  return new Map(
    rows.map(({ channel, sender_id, sender, account }) => [routeKey(channel, sender_id), { sender, account }]),
  );
}

async function limitsOf(ctx: TxContext, channels: readonly Channel[]): Promise<LimitRow[]> {
  const { rows } = await sql<LimitRow>`
    select id, scope, scope_id, channel, max_count, window_seconds from send_rate_limits
    where tenant_id = ${ctx.tenantId} and enabled and channel = any(${channels as Channel[]}) order by id`.execute(
    ctx.db,
  );
  return rows;
}

async function windowsOf(
  ctx: TxContext,
  limits: readonly LimitRow[],
  startAt: Date,
): Promise<SimulationInput["windows"]> {
  if (limits.length === 0) return [];
  const { rows } = await sql<SimulationInput["windows"][number]>`
    select w.limit_id as "limitId", w.key, w.window_start as "windowStart", w.used, w.reserved
    from send_rate_windows w join send_rate_limits l on l.tenant_id = w.tenant_id and l.id = w.limit_id
    where w.tenant_id = ${ctx.tenantId} and w.limit_id = any(${limits.map((limit) => limit.id)})
      and w.window_start > ${startAt}::timestamptz - make_interval(secs => l.window_seconds)`.execute(ctx.db);
  return rows;
}

async function ownersOf(ctx: TxContext, campaignId: string): Promise<SimulationInput["owners"]> {
  const { rows } = await sql<{ key: string; enrollmentId: string }>`
    select m.dedupe_key as key, coalesce(m.contact_campaign_id, '') as "enrollmentId" from outbound_messages m
    where m.tenant_id = ${ctx.tenantId} and m.campaign_id = ${campaignId} and not ${neverSent}`.execute(ctx.db);
  return new Map(rows.map((row) => [row.key, row.enrollmentId]));
}

async function stepsOf(
  ctx: TxContext,
  campaignId: string,
  known: Known,
): Promise<Pick<SimulationInput, "renames" | "taken">> {
  const renames = await nodeRenames(ctx, campaignId);
  const addresses = renames.length === 0 ? [] : known.addresses;
  return {
    renames,
    taken: await takenSteps(
      ctx,
      addresses.map((one) => ({ campaignId, ...one })),
    ),
  };
}

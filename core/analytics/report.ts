/**
 * A campaign in numbers. Invariant: every group adds up to its whole, because each is one grouping of the same rows: enrollments by state,
 * messages by status, sends by day and by variant.
 */
import { sql } from "kysely";
import * as z from "zod";
import { getCampaign } from "../campaigns/index.ts";
import {
  type EnrollmentStatus,
  enrollmentStatuses,
  idOf,
  type MessageStatus,
  messageStatuses,
  query,
  type TxContext,
} from "../kernel/index.ts";

/** Messages are counted by what happened to them, so one message may be in several of sent, delivered, opened, clicked, replied, … */
export interface Funnel {
  /** All messages that were ever queued. */
  readonly queued: number;
  readonly sent: number;
  readonly delivered: number;
  readonly opened: number;
  readonly clicked: number;
  readonly replied: number;
  readonly bounced: number;
  readonly complained: number;
  readonly unsubscribed: number;
}

export interface Rates {
  /** Shares of 0 to 1 with four decimals; of the sent: delivered, bounced. Of the delivered (or, where nothing reports delivery, sent): the others. */
  readonly delivered: number;
  readonly bounced: number;
  readonly opened: number;
  readonly clicked: number;
  readonly replied: number;
  readonly complained: number;
  readonly unsubscribed: number;
}

export interface NodeReport extends Funnel {
  readonly nodeId: string;
  readonly channel: string;
  /** By present status; adds up to `queued`. */
  readonly byStatus: Readonly<Partial<Record<MessageStatus, number>>>;
  /** Messages held right now, by the rule that holds them. */
  readonly heldBy: Readonly<Record<string, number>>;
  /** Messages that ended without being sent, by reason. */
  readonly endedBy: Readonly<Record<string, number>>;
  readonly rates: Rates;
}

export interface VariantReport extends Funnel {
  readonly nodeId: string;
  readonly variantId: string;
  readonly rates: Rates;
}

export interface CampaignReport {
  readonly campaignId: string;
  readonly name: string;
  readonly status: string;
  readonly enrolled: number;
  /** Adds up to `enrolled`. Entries that a later one superseded are included, with the state they ended in. */
  readonly enrollments: Readonly<Record<EnrollmentStatus, number>>;
  readonly exitReasons: Readonly<Record<string, number>>;
  readonly messages: Funnel & {
    readonly byStatus: Readonly<Partial<Record<MessageStatus, number>>>;
    readonly rates: Rates;
  };
  readonly nodes: readonly NodeReport[];
  readonly variants: readonly VariantReport[];
  /** Sends per day (UTC). Adds up to the messages sent. */
  readonly perDay: Readonly<Record<string, number>>;
  /** Inbound messages matched to the campaign, by what they were taken for. */
  readonly inbound: Readonly<Record<string, number>>;
  readonly cost: {
    readonly currency: "USD";
    readonly emails: number;
    readonly texts: number;
    /** Estimated as one segment each where the text is not kept. */
    readonly total: number;
  };
}

/** The same prices as a simulation's estimate: US dollars per e-mail and per text. */
const prices = { email: 0.0008, sms: 0.0079 } as const;

interface Row extends Funnel {
  readonly nodeId: string | null;
  readonly variantId: string | null;
  readonly channel: string;
  readonly status: MessageStatus;
  readonly reason: string | null;
}

/** @throws DomainError `campaign.not_found` */
export const campaignReport = query(
  z.object({ campaignId: idOf("campaign") }),
  async (ctx, { campaignId }): Promise<CampaignReport> => {
    const campaign = await getCampaign(ctx, { id: campaignId });
    const enrollments = await enrollmentsOf(ctx, campaignId);
    const rows = await messagesOf(ctx, campaignId);
    const enrolledBy = (status: EnrollmentStatus) =>
      enrollments.filter((row) => row.status === status).reduce((sum, row) => sum + row.n, 0);
    const byNode = Map.groupBy(rows, (row) => row.nodeId ?? "");
    const byVariant = Map.groupBy(
      rows.filter((row) => row.variantId !== null),
      (row) => `${row.nodeId} ${row.variantId}`,
    );
    const total = funnel(rows);
    const emails = funnel(rows.filter((row) => row.channel === "email")).sent;
    const texts = funnel(rows.filter((row) => row.channel === "sms")).sent;
    return {
      campaignId,
      name: campaign.name,
      status: campaign.status,
      enrolled: enrollments.reduce((sum, row) => sum + row.n, 0),
      enrollments: Object.fromEntries(enrollmentStatuses.map((status) => [status, enrolledBy(status)])) as Record<
        EnrollmentStatus,
        number
      >,
      exitReasons: counted(
        enrollments,
        (row) => row.reason,
        (row) => row.n,
      ),
      messages: { ...total, byStatus: statusesOf(rows), rates: ratesOf(total) },
      nodes: [...byNode].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([nodeId, group]) => nodeReport(nodeId, group)),
      variants: [...byVariant]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([, group]) => {
          const sums = funnel(group);
          return {
            nodeId: group[0]?.nodeId ?? "",
            variantId: group[0]?.variantId ?? "",
            ...sums,
            rates: ratesOf(sums),
          };
        }),
      perDay: await perDayOf(ctx, campaignId),
      inbound: await inboundOf(ctx, campaignId),
      cost: { currency: "USD", emails, texts, total: round(emails * prices.email + texts * prices.sms) },
    };
  },
);

function nodeReport(nodeId: string, rows: readonly Row[]): NodeReport {
  const sums = funnel(rows);
  return {
    nodeId,
    channel: rows[0]?.channel ?? "",
    ...sums,
    byStatus: statusesOf(rows),
    heldBy: counted(
      rows.filter((row) => row.status === "held"),
      (row) => row.reason,
      (row) => row.queued,
    ),
    endedBy: counted(
      rows.filter((row) => unsent.has(row.status) && row.sent === 0),
      (row) => row.reason ?? row.status,
      (row) => row.queued,
    ),
    rates: ratesOf(sums),
  };
}

const unsent = new Set<MessageStatus>(["failed", "suppressed", "cancelled", "expired"]);
const facts = [
  "queued",
  "sent",
  "delivered",
  "opened",
  "clicked",
  "replied",
  "bounced",
  "complained",
  "unsubscribed",
] as const satisfies readonly (keyof Funnel)[];

const funnel = (rows: readonly Row[]): Funnel =>
  Object.fromEntries(facts.map((fact) => [fact, rows.reduce((sum, row) => sum + row[fact], 0)])) as unknown as Funnel;

const statusesOf = (rows: readonly Row[]): Partial<Record<MessageStatus, number>> =>
  Object.fromEntries(
    messageStatuses.flatMap((status) => {
      const n = rows.filter((row) => row.status === status).reduce((sum, row) => sum + row.queued, 0);
      return n === 0 ? [] : [[status, n]];
    }),
  );

function counted<T>(rows: readonly T[], key: (row: T) => string | null, n: (row: T) => number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const row of rows) {
    const name = key(row);
    if (name !== null) counts[name] = (counts[name] ?? 0) + n(row);
  }
  return counts;
}

const round = (value: number): number => Math.round(value * 10_000) / 10_000;

function ratesOf(sums: Funnel): Rates {
  const share = (part: number, whole: number): number => (whole === 0 ? 0 : round(part / whole));
  const reached = sums.delivered === 0 ? sums.sent : sums.delivered;
  return {
    delivered: share(sums.delivered, sums.sent),
    bounced: share(sums.bounced, sums.sent),
    opened: share(sums.opened, reached),
    clicked: share(sums.clicked, reached),
    replied: share(sums.replied, reached),
    complained: share(sums.complained, reached),
    unsubscribed: share(sums.unsubscribed, reached),
  };
}

async function enrollmentsOf(ctx: TxContext, campaignId: string) {
  const { rows } = await sql<{ status: EnrollmentStatus; reason: string | null; n: number }>`
    select status, case when status in ('completed', 'stopped', 'error') then exit_reason end as reason, count(*)::int as n
    from contact_campaigns where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} group by 1, 2`.execute(
    ctx.db,
  );
  return rows;
}

async function messagesOf(ctx: TxContext, campaignId: string): Promise<Row[]> {
  const { rows } = await sql<Row>`
    select node_id as "nodeId", variant_id as "variantId", channel, status, hold_reason as reason, count(*)::int as queued,
      count(sent_at)::int as sent, count(delivered_at)::int as delivered, count(opened_at)::int as opened, count(clicked_at)::int as clicked,
      count(replied_at)::int as replied, count(bounced_at)::int as bounced, count(complained_at)::int as complained,
      count(unsubscribed_at)::int as unsubscribed
    from outbound_messages where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} group by 1, 2, 3, 4, 5`.execute(
    ctx.db,
  );
  return rows;
}

async function perDayOf(ctx: TxContext, campaignId: string): Promise<Record<string, number>> {
  const { rows } = await sql<{ day: string; n: number }>`
    select to_char(sent_at at time zone 'UTC', 'YYYY-MM-DD') as day, count(*)::int as n from outbound_messages
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and sent_at is not null group by 1 order by 1`.execute(
    ctx.db,
  );
  return Object.fromEntries(rows.map(({ day, n }) => [day, n]));
}

async function inboundOf(ctx: TxContext, campaignId: string): Promise<Record<string, number>> {
  const { rows } = await sql<{ classification: string; n: number }>`
    select i.classification, count(*)::int as n from inbound_messages i
    join contact_campaigns e on e.tenant_id = i.tenant_id and e.id = i.contact_campaign_id
    where i.tenant_id = ${ctx.tenantId} and e.campaign_id = ${campaignId} group by 1`.execute(ctx.db);
  return Object.fromEntries(rows.map(({ classification, n }) => [classification, n]));
}

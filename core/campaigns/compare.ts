/**
 * The plan as a contract: what was simulated against what was sent. Invariant: a send is matched by contact and node alone, so every
 * difference is one of four kinds and appears once.
 */
import { sql } from "kysely";
import * as z from "zod";
import { idOf, query, type TxContext } from "../kernel/index.ts";
import { getSimulation } from "./simulate.ts";

export type Difference = { readonly contactId: string; readonly nodeId: string } & (
  | {
      readonly kind: "missing";
      readonly simulatedAt: Date;
      readonly liveStatus: string | null;
      readonly liveReason: string | null;
    }
  | { readonly kind: "extra"; readonly sentAt: Date; readonly simulatedVerdict: string | null }
  | { readonly kind: "other_variant"; readonly simulated: string | null; readonly live: string | null }
  | { readonly kind: "other_instant"; readonly simulatedAt: Date; readonly sentAt: Date; readonly seconds: number }
);

export interface Comparison {
  readonly simulated: number;
  readonly live: number;
  /** At most `limit`, in the order of contact and node. */
  readonly differences: readonly Difference[];
  readonly different: number;
}

const Compare = z.strictObject({
  simulationId: idOf("simulation"),
  /** How far a send may be from its simulated instant. */
  toleranceSeconds: z.number().min(0).max(86_400).default(0),
  limit: z.int().min(1).max(100_000).default(1_000),
});

interface Row {
  readonly contact_id: string;
  readonly node_id: string;
  readonly simulated_variant: string | null;
  readonly simulated_at: Date | null;
  readonly verdict: string | null;
  readonly live_variant: string | null;
  readonly sent_at: Date | null;
  readonly status: string | null;
  readonly hold_reason: string | null;
}

/**
 * Both sides up to `until`, one row per contact and node: of a contact who entered twice since the start, the first. A live message counts
 * once it has `sent_at`, and only from the start of the simulation on.
 */
const pairs = (
  ctx: TxContext,
  simulationId: string,
  campaignId: string,
  startsAt: Date,
  until: Date | null,
) => sql<Row>`
  with simulated as (
    select distinct on (contact_id, node_id) contact_id, node_id, variant_id, at, verdict from simulated_sends
    where tenant_id = ${ctx.tenantId} and simulation_id = ${simulationId} and (${until}::timestamptz is null or at <= ${until})
    order by contact_id, node_id, verdict <> 'sent', ordinal
  ), live as (
    select distinct on (contact_id, node_id) contact_id, node_id, variant_id, sent_at, status, hold_reason from outbound_messages
    where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId} and contact_id is not null and node_id is not null
      and (sent_at >= ${startsAt} and (${until}::timestamptz is null or sent_at <= ${until}) or sent_at is null)
    order by contact_id, node_id, sent_at
  )
  select coalesce(s.contact_id, l.contact_id) as contact_id, coalesce(s.node_id, l.node_id) as node_id,
    s.variant_id as simulated_variant, case when s.verdict = 'sent' then s.at end as simulated_at, s.verdict,
    l.variant_id as live_variant, l.sent_at, l.status, l.hold_reason
  from simulated s full join live l on l.contact_id = s.contact_id and l.node_id = s.node_id
  where s.verdict = 'sent' or l.sent_at is not null
  order by 1, 2`;

function differenceOf(row: Row, toleranceSeconds: number): Difference | null {
  const about = { contactId: row.contact_id, nodeId: row.node_id };
  if (row.sent_at === null) {
    return row.simulated_at === null
      ? null
      : {
          kind: "missing",
          ...about,
          simulatedAt: row.simulated_at,
          liveStatus: row.status,
          liveReason: row.hold_reason,
        };
  }
  if (row.simulated_at === null) return { kind: "extra", ...about, sentAt: row.sent_at, simulatedVerdict: row.verdict };
  if (row.simulated_variant !== row.live_variant) {
    return { kind: "other_variant", ...about, simulated: row.simulated_variant, live: row.live_variant };
  }
  const seconds = (row.sent_at.getTime() - row.simulated_at.getTime()) / 1000;
  return Math.abs(seconds) <= toleranceSeconds
    ? null
    : { kind: "other_instant", ...about, simulatedAt: row.simulated_at, sentAt: row.sent_at, seconds };
}

async function compare(
  ctx: TxContext,
  { simulationId, toleranceSeconds, limit }: z.output<typeof Compare>,
  until: Date | null,
): Promise<Comparison> {
  const { campaignId, startsAt } = await getSimulation(ctx, { id: simulationId });
  const { rows } = await pairs(ctx, simulationId, campaignId, startsAt, until).execute(ctx.db);
  const differences = rows.flatMap((row) => differenceOf(row, toleranceSeconds) ?? []);
  return {
    simulated: rows.filter((row) => row.simulated_at !== null).length,
    live: rows.filter((row) => row.sent_at !== null).length,
    differences: differences.slice(0, limit),
    different: differences.length,
  };
}

/** The whole run: to be asked when it is over. @throws DomainError `simulation.not_found` */
export const compareWithLive = query(Compare, (ctx, input): Promise<Comparison> => compare(ctx, input, null));

export interface Drift {
  readonly asOf: Date;
  readonly expected: number;
  readonly live: number;
  readonly different: number;
  /** Of what was expected or sent so far, whichever is more. */
  readonly percent: number;
}

/**
 * How far the live run has left the simulated one so far, in percent: what a guard that stops on drift asks. Sends of the last
 * `toleranceSeconds` are not judged yet.
 */
export const driftOf = query(Compare.omit({ limit: true }), async (ctx, input): Promise<Drift> => {
  const asOf = new Date(ctx.now.getTime() - input.toleranceSeconds * 1000);
  const { simulated, live, different } = await compare(ctx, { ...input, limit: 1 }, asOf);
  const most = Math.max(simulated, live);
  return {
    asOf,
    expected: simulated,
    live,
    different,
    percent: most === 0 ? 0 : Math.round((different / most) * 10_000) / 100,
  };
});

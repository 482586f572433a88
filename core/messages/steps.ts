/**
 * Steps: what a campaign sends once to an address, however many contacts have that address, whatever the node is called in the versions of the
 * plan that they walk. Within one name the dedupe key of the outbox sees to it; across names the gate does, under the lock of the address.
 *
 * Invariant: the first message of a step that is claimed has it; another walk's message of the same step to that address is never claimed for
 * the first time, and never again once the first one is out.
 */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import type { Candidate } from "./facts.ts";

/** As a migration has said it. Ids of versions sort by creation. */
export interface NodeRename {
  readonly fromVersionId: string;
  readonly fromNode: string;
  readonly toVersionId: string;
  readonly toNode: string;
}

/** One message of a walk: the node it was made for, and where its step can be had once. */
export interface Step {
  /** Campaign, entry, channel, canonical address (`stepPlace`). */
  readonly place: string;
  readonly enrollmentId: string;
  readonly planVersionId: string;
  readonly nodeId: string;
}

/** A step that was claimed. */
export interface TakenStep extends Step {
  /** The provider has it, or may have it; false: it was put back, or refused. */
  readonly isOut: boolean;
}

/** @param entry how often the contact has entered the campaign */
export const stepPlace = (campaignId: string, entry: number | string, channel: string, address: string): string =>
  `${campaignId} ${entry} ${channel} ${address}`;

type Node = Pick<Step, "planVersionId" | "nodeId">;

/**
 * Are these nodes of two versions the same step? A node keeps its name from version to version until a migration says otherwise; a name that it
 * gives to another node is that one's. Two that a later version sees as one are one. Whoever moved enrollments back has said the same about the
 * way there.
 */
export function isSameStep(renames: readonly NodeRename[], one: Node, other: Node): boolean {
  const said = indexOf(renames);
  const versions = [...new Set([...said.versions, one.planVersionId, other.planVersionId])].toSorted();
  const [names, others] = [trail(said, versions, one), trail(said, versions, other)];
  return [...names].some(([version, called]) => others.get(version)?.isDisjointFrom(called) === false);
}

/** What was said, by the pair of versions it was said of, the older one first. */
interface Said {
  readonly versions: readonly string[];
  readonly of: ReadonlyMap<string, readonly NodeRename[]>;
}

const pairOf = (from: string, to: string): string => `${from} ${to}`;
const indexes = new WeakMap<readonly NodeRename[], Said>();

function indexOf(renames: readonly NodeRename[]): Said {
  let known = indexes.get(renames);
  if (!known) {
    const said = renames.map(forwards);
    known = {
      versions: [...new Set(said.flatMap((one) => [one.fromVersionId, one.toVersionId]))],
      of: Map.groupBy(said, (one) => pairOf(one.fromVersionId, one.toVersionId)),
    };
    indexes.set(renames, known);
  }
  return known;
}

const forwards = (rename: NodeRename): NodeRename =>
  rename.fromVersionId <= rename.toVersionId
    ? rename
    : {
        fromVersionId: rename.toVersionId,
        fromNode: rename.toNode,
        toVersionId: rename.fromVersionId,
        toNode: rename.fromNode,
      };

/** What its own version and each newer one call a node, by version. @param versions sorted */
function trail(said: Said, versions: readonly string[], { planVersionId, nodeId }: Node): Map<string, Set<string>> {
  let names = new Set([nodeId]);
  const called = new Map([[planVersionId, names]]);
  for (const version of versions.filter((id) => id > planVersionId)) {
    const told = [...called].flatMap(([from, known]) => {
      const pair = said.of.get(pairOf(from, version));
      return pair === undefined ? [] : [[...known].flatMap((name) => namesAfter(pair, name))];
    });
    // Nobody has said anything of this version: its names are those before.
    if (told.length > 0) names = new Set(told.flat());
    called.set(version, names);
  }
  return called;
}

function namesAfter(pair: readonly NodeRename[], name: string): string[] {
  const named = pair.filter((rename) => rename.fromNode === name).map((rename) => rename.toNode);
  if (named.length > 0) return named;
  return pair.some((rename) => rename.toNode === name) ? [] : [name];
}

/** The steps that addresses have had. */
export class TakenSteps {
  readonly #byPlace: Map<string, TakenStep[]>;

  constructor(steps: readonly TakenStep[]) {
    this.#byPlace = Map.groupBy(steps, (step) => step.place);
  }

  take(step: Step): void {
    const had = this.#byPlace.get(step.place) ?? [];
    this.#byPlace.set(step.place, [...had, { ...step, isOut: true }]);
  }

  /**
   * Has another walk to this address had it? What the same walk was sent its engine remembers. For one that was claimed before only those count
   * that are out, or two that were put back would stop each other.
   */
  has({ renames, isRetry, ...step }: RenamedStep): boolean {
    if (renames.length === 0) return false;
    return (this.#byPlace.get(step.place) ?? []).some(
      (one) => one.enrollmentId !== step.enrollmentId && (one.isOut || !isRetry) && isSameStep(renames, one, step),
    );
  }
}

/** Of several that stand for one step the first; what becomes of it decides the others, the next time they are looked at. */
export function onePerStep<T>(messages: readonly T[], stepOf: (message: T) => RenamedStep | null): T[] {
  const seen = new TakenSteps([]);
  return messages.filter((message) => {
    const step = stepOf(message);
    if (step === null) return true;
    if (seen.has(step)) return false;
    seen.take(step);
    return true;
  });
}

/** A step that was not taken yet, with what was said of its campaign's nodes. */
export interface RenamedStep extends Step {
  readonly renames: readonly NodeRename[];
  /** Claimed before, and put back. */
  readonly isRetry: boolean;
}

/** @returns null where nothing was renamed, and for what belongs to no walk */
export function stepOf(
  row: Pick<Candidate, "generation" | "channel" | "suppression_key" | "plan_version_id" | "node_id"> &
    Pick<Candidate, "campaign_id" | "contact_campaign_id"> & { readonly entry: string },
  renames: readonly NodeRename[],
): RenamedStep | null {
  const { campaign_id, contact_campaign_id, plan_version_id, node_id } = row;
  if (renames.length === 0) return null;
  if (campaign_id === null || contact_campaign_id === null || plan_version_id === null || node_id === null) return null;
  const place = stepPlace(campaign_id, row.entry, row.channel, row.suppression_key);
  const isRetry = row.generation > 0;
  return {
    place,
    enrollmentId: contact_campaign_id,
    planVersionId: plan_version_id,
    nodeId: node_id,
    renames,
    isRetry,
  };
}

/** What addresses have had of the steps that these would take. Nothing is read where nothing was renamed. */
export const stepsFor = async (ctx: TxContext, candidates: readonly Candidate[]): Promise<TakenSteps> =>
  new TakenSteps(
    await takenSteps(
      ctx,
      candidates.flatMap(({ step, campaign_id, channel, suppression_key }) =>
        step === null || campaign_id === null ? [] : [{ campaignId: campaign_id, channel, address: suppression_key }],
      ),
    ),
  );

/** How often the contact had entered the campaign when the message was made: the second part of its key, whatever became of the key. `m` is the message. */
export const entryOf = sql<string>`split_part(m.dedupe_key, ':', 2)`;

/** What has been claimed to these addresses. Read under their locks by whoever is going to claim. */
export async function takenSteps(
  ctx: TxContext,
  addresses: readonly { readonly campaignId: string; readonly channel: string; readonly address: string }[],
): Promise<TakenStep[]> {
  if (addresses.length === 0) return [];
  const { rows } = await sql<Omit<TakenStep, "place"> & Record<"campaignId" | "entry" | "channel" | "address", string>>`
    select m.campaign_id as "campaignId", ${entryOf} as entry, m.channel, m.suppression_key as address,
      m.contact_campaign_id as "enrollmentId", m.plan_version_id as "planVersionId", m.node_id as "nodeId",
      m.status not in ('queued', 'held', 'cancelled', 'expired', 'failed', 'suppressed') as "isOut"
    from (select distinct * from unnest(${addresses.map((one) => one.campaignId)}::text[], ${addresses.map((one) => one.channel)}::text[],
                                        ${addresses.map((one) => one.address)}::text[]) u(campaign, channel, address)) u
    join outbound_messages m on m.channel = u.channel and m.suppression_key = u.address and m.campaign_id = u.campaign
    where m.tenant_id = ${ctx.tenantId} and m.generation > 0
      and m.contact_campaign_id is not null and m.plan_version_id is not null and m.node_id is not null`.execute(
    ctx.db,
  );
  return rows.map(({ campaignId, entry, channel, address, ...step }) => ({
    ...step,
    place: stepPlace(campaignId, entry, channel, address),
  }));
}

/** What was said of a campaign's nodes; empty where nothing was ever renamed. */
export async function nodeRenames(ctx: TxContext, campaignId: string): Promise<NodeRename[]> {
  const { rows } = await sql<NodeRename>`
    select from_version_id as "fromVersionId", from_node as "fromNode", to_version_id as "toVersionId", to_node as "toNode"
    from node_renames where tenant_id = ${ctx.tenantId} and campaign_id = ${campaignId}`.execute(ctx.db);
  return rows;
}

/**
 * The lock that puts every "no" and every claim of a message in one order.
 *
 * Invariant: whoever suppresses an address, and whoever claims messages for it, holds the same transaction-level lock while reading and
 * writing; the numbers both draw from `compliance_seq` meanwhile therefore tell who came first, and no claim follows a covering no.
 * Take it before any row lock on `outbound_messages`: the other order deadlocks.
 */
import { sql } from "kysely";
import type { Channel, TxContext } from "../kernel/index.ts";
import { dncCovers } from "./policy.ts";

/** An address in canonical form (`suppressionKey`). */
export interface Target {
  readonly channel: Channel;
  readonly address: string;
}

/**
 * Locks all addresses until the transaction ends, in one statement and in one order everywhere, so that two batches cannot wait for each
 * other. A phone number is locked for the tenant and for its organization, whose do-not-call list speaks for every tenant in it.
 * At most about 1,000 addresses per call: the server's lock table is finite.
 */
export async function lockAddresses(
  ctx: Pick<TxContext, "db" | "tenantId" | "organizationId">,
  targets: readonly Target[],
): Promise<void> {
  if (targets.length === 0) return;
  const shared = targets.filter((target) => dncCovers(target.channel));
  const owners = [...targets.map(() => ctx.tenantId), ...shared.map(() => ctx.organizationId)];
  // One lock per number for the organization: do-not-call does not tell a call from a text.
  const names = [...targets.map(({ channel }) => channel as string), ...shared.map(() => "dnc")];
  const addresses = [...targets, ...shared].map(({ address }) => address);
  await sql`
    select pg_advisory_xact_lock(key) from (
      select distinct address_lock_key(owner, name, address) as key
      from unnest(${owners}::text[], ${names}::text[], ${addresses}::text[]) as t(owner, name, address)
      order by key
    ) as ordered`.execute(ctx.db);
}

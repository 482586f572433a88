/**
 * The lock between whoever sends for a tenant and whoever suspends it or mends what holds its messages. Invariant: sending holds it shared
 * until the commit, the others alone; so nothing is claimed or held on what has changed since. It comes before every other lock.
 */
import { type RawBuilder, sql } from "kysely";
import type { TxContext } from "./context.ts";

const keyOf = (tenantId: string) => sql`hashtextextended(${`tenant:${tenantId}`}, 0)`;

/** For whoever sends: a CTE `tenant_gate`. The tenant's status is read by a later statement, which sees a suspension that committed meanwhile. */
export const tenantGate = ({ tenantId }: TxContext): RawBuilder<unknown> =>
  sql`tenant_gate as materialized (select pg_advisory_xact_lock_shared(${keyOf(tenantId)}))`;

/** For whoever suspends: waits for those who are sending, and makes the next ones wait. */
export const closeTenantGate = async ({ db, tenantId }: TxContext): Promise<void> => {
  await sql`select pg_advisory_xact_lock(${keyOf(tenantId)})`.execute(db);
};

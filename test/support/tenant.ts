/**
 * Tenants and time for tests.
 *
 * Invariant: every call makes a tenant that nothing else uses, so tests of one file need no clean-up between them.
 */
import { sql, type Transaction } from "kysely";
import type { DB } from "../../core/db/types.gen.ts";
import type { Context } from "../../core/kernel/context.ts";
import { newId } from "../../core/kernel/id.ts";
import type { TestDatabase } from "./database.ts";

export interface TestTenant extends Context {
  readonly organizationId: string;
}

export interface NewTenantOptions {
  /** An existing organization's id; default: a new one. */
  readonly organization?: string;
  readonly name?: string;
}

/** Inserts organization, tenant and system actor, and returns the Context that a handler would build for them. */
export async function newTenant(database: TestDatabase, options: NewTenantOptions = {}): Promise<TestTenant> {
  const at = new Date();
  const organizationId = options.organization ?? newId("organization", at);
  const tenantId = newId("tenant", at);
  const actorId = newId("actor", at);
  const name = options.name ?? "Acme";
  const slug = tenantId.toLowerCase().replaceAll("_", "-");
  await database.owner.transaction().execute(async (tx) => {
    if (options.organization === undefined) {
      await sql`insert into organizations (id, name) values (${organizationId}, ${`${name} Group`})`.execute(tx);
    }
    await sql`insert into tenants (id, organization_id, name, slug)
      values (${tenantId}, ${organizationId}, ${name}, ${slug})`.execute(tx);
    await sql`insert into actors (tenant_id, id, type, name) values (${tenantId}, ${actorId}, 'system', 'test')`.execute(
      tx,
    );
  });
  return {
    tenantId,
    organizationId,
    actor: { type: "system", id: actorId },
    db: database.db,
    correlationId: newId("correlation", at),
  };
}

/** Freezes this database's virtual clock at an instant; `null` returns to real time. */
export async function setClock(database: TestDatabase, at: Date | null): Promise<void> {
  await sql`select set_app_clock(${at}::timestamptz)`.execute(database.owner);
}

/** Moves the virtual clock on and leaves it frozen there. */
export async function advance(database: TestDatabase, seconds: number): Promise<void> {
  await sql`select set_app_clock(app_now() + make_interval(secs => ${seconds}))`.execute(database.owner);
}

/** The instant that a transaction would see as `ctx.now`. */
export async function clock(database: TestDatabase): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select app_now() as now`.execute(database.owner);
  const [row] = rows;
  if (row === undefined) throw new Error("app_now() returned nothing");
  return row.now;
}

/**
 * Writes past row-level security, as the superuser, in one transaction. The tenant is set all the same, because the functions
 * behind some triggers run as the tables' owner, which is held to the policies.
 */
export function arrange<R>(
  database: TestDatabase,
  tenantId: string,
  work: (tx: Transaction<DB>) => Promise<R>,
): Promise<R> {
  return database.owner.transaction().execute(async (tx) => {
    await sql`select set_config('app.tenant_id', ${tenantId}, true)`.execute(tx);
    return work(tx);
  });
}

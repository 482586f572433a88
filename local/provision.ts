/**
 * The demo tenant of a local system. Idempotent: every start calls it, only the first one makes anything, and an API key that is still
 * known is kept. Runs past row-level security, because it makes the tenant that row-level security needs.
 */
import { createHash, randomBytes } from "node:crypto";
import { sql } from "kysely";
import type { LocalAccess } from "./access.ts";
import type { LocalHost } from "./host.ts";

export type Provisioned = Pick<LocalAccess, "organizationId" | "tenantId" | "apiKey" | "channels">;

const slug = "demo";

const hashOf = (key: string): Buffer => createHash("sha256").update(key).digest();

/** @param known what an earlier start wrote down: the key itself is only there, the database has its hash */
export async function provision({ owner }: LocalHost, known: LocalAccess | undefined): Promise<Provisioned> {
  return owner.transaction().execute(async (tx) => {
    // Two hosts on one database: the second waits here and finds what the first made.
    await sql`select pg_advisory_xact_lock(hashtext('outrider local provisioning'))`.execute(tx);
    const find = sql<{ tenant_id: string; organization_id: string; actor_id: string }>`
      select t.id as tenant_id, t.organization_id, a.id as actor_id
      from tenants t join actors a on a.tenant_id = t.id and a.type = 'system' where t.slug = ${slug} limit 1`;
    const make = sql<{ tenant_id: string; organization_id: string; actor_id: string }>`
      with o as (insert into organizations (name) values ('Demo organization') returning id),
      t as (insert into tenants (organization_id, name, slug) select id, 'Demo', ${slug} from o returning id, organization_id),
      a as (insert into actors (tenant_id, type, name) select id, 'system', 'demo' from t returning id)
      select t.id as tenant_id, t.organization_id, a.id as actor_id from t, a`;
    const found = (await find.execute(tx)).rows[0];
    const row = found ?? (await make.execute(tx)).rows[0];
    if (!row) throw new Error("the demo tenant could not be made");
    const { tenant_id: tenantId, organization_id: organizationId, actor_id: actorId } = row;

    const kept = known?.tenantId === tenantId ? known.apiKey : "";
    const { rows: valid } = await sql`
      select from api_keys where tenant_id = ${tenantId} and key_hash = ${hashOf(kept)} and revoked_at is null`.execute(
      tx,
    );
    const apiKey = valid.length > 0 ? kept : `or_${randomBytes(24).toString("base64url")}`;
    if (valid.length === 0) {
      await sql`
        insert into api_keys (tenant_id, actor_id, name, prefix, key_hash, scopes)
        values (${tenantId}, ${actorId}, 'local', ${apiKey.slice(0, 7)}, ${hashOf(apiKey)}, array['*'])`.execute(tx);
    }
    return { organizationId, tenantId, apiKey, channels: known?.tenantId === tenantId ? known.channels : {} };
  });
}

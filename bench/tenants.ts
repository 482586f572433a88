/** Tenants with a verified sender, an account at the given provider address and people to write to. */
import { sql } from "kysely";
import type { Context } from "../core/kernel/context.ts";
import { newId } from "../core/kernel/id.ts";
import { memoryKeys } from "../core/providers/memory/index.ts";
import {
  createChannel,
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateTenantSettings,
} from "../core/tenancy/index.ts";
import { type Rig, workingHour } from "./rig.ts";

export const publicUrl = "https://go.example.test";
export const keys = memoryKeys();

/** Far above what a benchmark sends: the limit is taken part in, never reached. */
const roomyLimit = { scope: "tenant", channel: "email", maxCount: 1_000_000_000, windowSeconds: 3_600 } as const;

let tenants = 0;

export async function newTenant(rig: Rig): Promise<Context> {
  const slug = `bench-${++tenants}`;
  const made = await provision(rig.owner, {
    organization: slug,
    tenant: slug,
    slug,
    adminEmail: `admin@${slug}.example`,
    rateLimits: [roomyLimit],
  });
  return {
    tenantId: made.tenantId,
    actor: { type: "user", id: made.actorId },
    db: rig.db,
    correlationId: newId("correlation", workingHour),
  };
}

/** @param apiBaseUrl where this tenant's SendGrid is */
export async function sendingTenant(rig: Rig, apiBaseUrl: string): Promise<Context> {
  const tenant = await newTenant(rig);
  await updateTenantSettings(tenant, { postalAddress: "1 Main Street, Springfield, IL 62701" });
  await createChannel(
    tenant,
    { keys, publicUrl, allowApiBaseUrl: true },
    { channel: "email", provider: "sendgrid", name: "mail", credentials: { apiKey: "key", apiBaseUrl } },
  );
  const sender = await createSender(tenant, { fromEmail: "ada@sender.example", fromName: "Ada" });
  await markSenderVerified(tenant, { id: sender.id });
  await setDefaultSender(tenant, { id: sender.id });
  return tenant;
}

let people = 0;

/** New leads with one contact and one e-mail address each. @returns the contacts' ids */
export async function newContacts(rig: Rig, tenant: Context, count: number): Promise<string[]> {
  const from = people + 1;
  people += count;
  const to = people;
  return rig.owner.transaction().execute(async (tx) => {
    await sql`select set_config('app.tenant_id', ${tenant.tenantId}, true)`.execute(tx);
    await sql`
      insert into leads (tenant_id, id, organization_id, source_type, email, first_name)
      select t.id, 'lead_01' || lpad(n::text, 24, '0'), t.organization_id, 'manual', 'p' || n || '@example.com', 'Grace'
      from tenants t, generate_series(${from}::int, ${to}::int) n where t.id = ${tenant.tenantId}`.execute(tx);
    const { rows } = await sql<{ id: string }>`
      insert into contacts (tenant_id, id, lead_id, first_name, primary_email, state, country, source_type)
      select ${tenant.tenantId}, 'contact_01' || lpad(n::text, 24, '0'), 'lead_01' || lpad(n::text, 24, '0'), 'Grace', 'p' || n || '@example.com',
        'NY', 'US', 'manual'
      from generate_series(${from}::int, ${to}::int) n returning id`.execute(tx);
    await sql`
      insert into contact_channels (tenant_id, id, contact_id, channel, address)
      select ${tenant.tenantId}, 'chn_01' || lpad(n::text, 24, '0'), 'contact_01' || lpad(n::text, 24, '0'), 'email', 'p' || n || '@example.com'
      from generate_series(${from}::int, ${to}::int) n`.execute(tx);
    return rows.map((row) => row.id);
  });
}

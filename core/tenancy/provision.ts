/**
 * A new tenant with everything it needs to begin: organization, administrator, system actor, sending limits, one API key.
 * Invariant: a slug names one tenant for good; provisioning it again finds it and changes nothing.
 */
import { type Kysely, sql } from "kysely";
import * as z from "zod";
import type { DB } from "../db/types.gen.ts";
import { DomainError, idOf, newId, normalizeEmail, parseInput } from "../kernel/index.ts";
import { RateLimitInput } from "./limits.ts";
import { hashKey, keyPrefix, makeKey } from "./token.ts";

/** What a tenant starts with; its own to change. Well below what a young sending reputation survives, well above a first campaign. */
export const defaultRateLimits: readonly z.input<typeof RateLimitInput>[] = [
  { scope: "tenant", channel: "email", maxCount: 10_000, windowSeconds: 3_600 },
  { scope: "tenant", channel: "sms", maxCount: 3_600, windowSeconds: 3_600 },
];

export const Provision = z.object({
  /** Name of a new organization, or the id of one that gets a further tenant. */
  organization: z.union([idOf("organization"), z.string().trim().min(1).max(200)]),
  tenant: z.string().trim().min(1).max(200),
  slug: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "lower-case letters, digits and hyphens, at most 63"),
  adminEmail: z.string().transform((raw, context) => {
    const email = normalizeEmail(raw);
    if (email === null) context.addIssue({ code: "custom", message: "expected an e-mail address" });
    return email ?? "";
  }),
  rateLimits: z.array(RateLimitInput).default(() => z.array(RateLimitInput).parse(defaultRateLimits)),
});

export interface Provisioned {
  readonly created: boolean;
  readonly organizationId: string;
  readonly tenantId: string;
  /** The administrator. */
  readonly actorId: string;
  /** With scope `*`, shown this once: null when the tenant existed before. */
  readonly apiKey: string | null;
}

/**
 * @param db a connection that row-level security does not bind (the administrator's), since there is no tenant yet to act for
 * @throws DomainError `organization.not_found` when `organization` is an id that does not exist
 */
export async function provision(db: Kysely<DB>, input: z.input<typeof Provision>): Promise<Provisioned> {
  const wanted = parseInput(Provision, input);
  return db.transaction().execute(async (tx) => {
    // Two at once: the second waits here and then finds what the first made.
    await sql`select pg_advisory_xact_lock(hashtextextended('provision:' || ${wanted.slug}, 0))`.execute(tx);
    const existing = await tx
      .selectFrom("tenants")
      .innerJoin("actors", "actors.tenant_id", "tenants.id")
      .select(["tenants.id as tenantId", "tenants.organization_id as organizationId", "actors.id as actorId"])
      .where("tenants.slug", "=", wanted.slug)
      .where("actors.type", "=", "user")
      .orderBy("actors.id")
      .limit(1)
      .executeTakeFirst();
    if (existing) return { created: false, ...existing, apiKey: null };

    const clock = await sql<{ now: Date }>`select app_now() as now`.execute(tx);
    const now = clock.rows[0]?.now;
    if (!now) throw new Error("app_now() returned nothing");
    const known = idOf("organization").safeParse(wanted.organization);
    const organizationId = known.success ? known.data : newId("organization", now);
    const tenantId = newId("tenant", now);
    // The tables' triggers and policies ask whose rows these are, also where the connection itself is not bound.
    await sql`select set_config('app.tenant_id', ${tenantId}, true), set_config('app.organization_id', ${organizationId}, true)`.execute(
      tx,
    );
    if (known.success) {
      const found = await tx
        .selectFrom("organizations")
        .select("id")
        .where("id", "=", organizationId)
        .executeTakeFirst();
      if (!found) throw new DomainError("not_found", "organization.not_found", `No organization ${organizationId}.`);
    } else {
      await tx.insertInto("organizations").values({ id: organizationId, name: wanted.organization }).execute();
    }
    await tx
      .insertInto("tenants")
      .values({ id: tenantId, organization_id: organizationId, name: wanted.tenant, slug: wanted.slug })
      .execute();
    const actorId = newId("actor", now);
    await tx
      .insertInto("actors")
      .values([
        {
          tenant_id: tenantId,
          id: actorId,
          type: "user",
          email: wanted.adminEmail,
          name: wanted.adminEmail,
          role: "admin",
        },
        { tenant_id: tenantId, id: newId("actor", now), type: "system", email: null, name: "Outrider", role: "system" },
      ])
      .execute();
    if (wanted.rateLimits.length > 0) {
      await tx
        .insertInto("send_rate_limits")
        .values(
          wanted.rateLimits.map((limit) => ({
            tenant_id: tenantId,
            id: newId("rateLimit", now),
            scope: limit.scope,
            scope_id: limit.scopeId,
            channel: limit.channel,
            max_count: limit.maxCount,
            window_seconds: limit.windowSeconds,
            enabled: limit.enabled,
          })),
        )
        .execute();
    }
    const apiKey = makeKey();
    await tx
      .insertInto("api_keys")
      .values({
        tenant_id: tenantId,
        id: newId("apiKey", now),
        actor_id: actorId,
        name: "first key",
        prefix: keyPrefix(apiKey),
        key_hash: hashKey(apiKey),
        scopes: ["*"],
        created_at: now,
      })
      .execute();
    return { created: true, organizationId, tenantId, actorId, apiKey };
  });
}

/**
 * API keys: created, listed, revoked, and turned into a tenant and an actor on every request.
 * Invariant: the key itself exists in one answer only, that of `createApiKey`; what is stored cannot be turned back into it.
 */
import { type Kysely, sql } from "kysely";
import * as z from "zod";
import type { DB } from "../db/types.gen.ts";
import {
  command,
  DomainError,
  decodeCursor,
  Instant,
  idOf,
  newId,
  Page,
  paged,
  query,
  type TxContext,
} from "../kernel/index.ts";
import { hashKey, isWellFormedKey, keyPrefix, makeKey } from "./token.ts";

/** What a key may do. `admin`: keys, channels, senders, limits, configuration. `*`: everything, also what is added later. */
export const apiScopes = [
  "leads:read",
  "leads:write",
  "campaigns:read",
  "campaigns:write",
  "templates:read",
  "templates:write",
  "messages:read",
  "messages:write",
  "suppressions:read",
  "suppressions:write",
  "imports:write",
  "deliveries:read",
  "deliveries:replay",
  "reports:read",
  "admin",
  "*",
] as const;
export type ApiScope = (typeof apiScopes)[number];

export const hasScope = (granted: readonly string[], needed: ApiScope): boolean =>
  granted.includes(needed) || granted.includes("*");

export interface ApiKey {
  readonly id: string;
  readonly name: string;
  /** Its first characters. */
  readonly prefix: string;
  readonly actorId: string;
  readonly scopes: readonly string[];
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
  readonly revokedAt: Date | null;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "api_key.not_found", `No API key ${id}.`),
  actorNotFound: (id: string) => new DomainError("not_found", "actor.not_found", `No actor ${id}.`),
  expired: () =>
    new DomainError("invalid", "api_key.expired", "expiresAt: lies in the past.", {
      fields: [{ path: "expiresAt", message: "an instant in the future, or none" }],
    }),
};

const columns = [
  "id",
  "name",
  "prefix",
  "actor_id as actorId",
  "scopes",
  "created_at as createdAt",
  "expires_at as expiresAt",
  "last_used_at as lastUsedAt",
  "revoked_at as revokedAt",
] as const;

/** The tenant's actor that a request without a person behind it acts for: the context's own, else the tenant's first. */
export async function actorOf(ctx: TxContext, wanted: string | undefined): Promise<string> {
  const id = wanted ?? (ctx.actor.id.startsWith("actor_") ? ctx.actor.id : undefined);
  const row = await ctx.db
    .selectFrom("actors")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .$if(id !== undefined, (qb) => qb.where("id", "=", id ?? ""))
    .orderBy("id")
    .limit(1)
    .executeTakeFirst();
  if (!row) throw errors.actorNotFound(id ?? "of this tenant");
  return row.id;
}

/** @returns the key itself beside its row; it is shown this once. */
export const createApiKey = command(
  z.object({
    name: z.string().trim().min(1).max(200),
    scopes: z.array(z.enum(apiScopes)).min(1).max(apiScopes.length),
    /** Who acts when the key is used; default: whoever creates it. */
    actorId: idOf("actor").optional(),
    expiresAt: Instant.optional(),
  }),
  async (ctx, input): Promise<{ readonly apiKey: string; readonly key: ApiKey }> => {
    if (input.expiresAt && input.expiresAt <= ctx.now) throw errors.expired();
    const apiKey = makeKey();
    const key = await ctx.db
      .insertInto("api_keys")
      .values({
        tenant_id: ctx.tenantId,
        id: newId("apiKey", ctx.now),
        actor_id: await actorOf(ctx, input.actorId),
        name: input.name,
        prefix: keyPrefix(apiKey),
        key_hash: hashKey(apiKey),
        scopes: [...new Set(input.scopes)],
        expires_at: input.expiresAt ?? null,
        created_at: ctx.now,
      })
      .returning(columns)
      .executeTakeFirstOrThrow();
    return { apiKey, key };
  },
);

/** Newest first, revoked ones included. */
export const listApiKeys = query(Page, async (ctx, { limit, cursor }) => {
  const before = decodeCursor(cursor);
  const rows: ApiKey[] = await ctx.db
    .selectFrom("api_keys")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
    .orderBy("id", "desc")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

/** Takes effect with the next request. Revoking again changes nothing. */
export const revokeApiKey = command(z.object({ id: idOf("apiKey") }), async (ctx, { id }): Promise<ApiKey> => {
  const row = await ctx.db
    .updateTable("api_keys")
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, ${ctx.now}::timestamptz)` })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .returning(columns)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

export interface Authenticated {
  readonly tenantId: string;
  readonly organizationId: string;
  readonly tenantStatus: "active" | "suspended";
  readonly actorId: string;
  readonly actorType: "user" | "system" | "automation";
  readonly scopes: readonly string[];
  readonly keyId: string;
}

/** A tenant and key that cannot exist: ids are upper-case after the prefix. */
const nobody = { tenant_id: "tenant_none", id: "key_none" };

/**
 * Whom a presented key stands for; null for anything else. An unknown, expired or revoked key costs the same statements as a good one, so
 * that the time of a refusal tells nothing. Works for suspended tenants: what they may still do is the caller's decision.
 */
export async function authenticate(db: Kysely<DB>, presentedKey: string): Promise<Authenticated | null> {
  if (!isWellFormedKey(presentedKey)) return null;
  const hash = hashKey(presentedKey);
  return db.transaction().execute(async (tx) => {
    const known = await sql<{
      tenant_id: string;
      id: string;
    }>`select tenant_id, id from api_key_tenant(${hash})`.execute(tx);
    const { tenant_id, id } = known.rows[0] ?? nobody;
    await sql`select from begin_tenant(${tenant_id}, ${`system:${id}`}, ${id})`.execute(tx);
    const { rows } = await sql<Authenticated>`
      with used as (
        update api_keys set last_used_at = app_now()
        where tenant_id = ${tenant_id} and id = ${id}
          and (last_used_at is null or last_used_at <= app_now() - interval '1 minute')
      )
      select k.tenant_id as "tenantId", t.organization_id as "organizationId", t.status as "tenantStatus", a.id as "actorId",
             a.type as "actorType", k.scopes, k.id as "keyId"
      from api_keys k join tenants t on t.id = k.tenant_id join actors a on a.tenant_id = k.tenant_id and a.id = k.actor_id
      where k.tenant_id = ${tenant_id} and k.id = ${id} and k.key_hash = ${hash}`.execute(tx);
    return rows[0] ?? null;
  });
}

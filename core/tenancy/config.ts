/**
 * Configuration values of an organization, by key: shared by its tenants, unlike a tenant's settings.
 * Invariant: one value per organization and key; secrets do not belong here.
 */
import * as z from "zod";
import { command, DomainError, decodeCursor, newId, Page, paged, query } from "../kernel/index.ts";

const Key = z.string().regex(/^[a-z][a-z0-9_.-]{0,99}$/, "lower-case letters, digits, _ . -; at most 100 characters");

export interface ConfigEntry {
  readonly id: string;
  readonly key: string;
  readonly value: unknown;
  readonly updatedAt: Date;
}

const columns = ["id", "config_key as key", "config_value as value", "updated_at as updatedAt"] as const;

/** @throws DomainError `config.not_found` */
export const getConfig = query(z.object({ key: Key }), async (ctx, { key }): Promise<ConfigEntry> => {
  const row = await ctx.db
    .selectFrom("system_config")
    .select(columns)
    .where("organization_id", "=", ctx.organizationId)
    .where("config_key", "=", key)
    .executeTakeFirst();
  if (!row) throw new DomainError("not_found", "config.not_found", `No configuration value ${key}.`);
  return row;
});

/** Sets or replaces one value: any JSON up to 64 KiB. */
export const setConfig = command(
  z.object({
    key: Key,
    value: z.json().refine((value) => JSON.stringify(value).length <= 65_536, "at most 64 KiB of JSON"),
  }),
  async (ctx, { key, value }): Promise<ConfigEntry> => {
    const config_value = JSON.stringify(value);
    return ctx.db
      .insertInto("system_config")
      .values({
        organization_id: ctx.organizationId,
        id: newId("config", ctx.now),
        tenant_id: ctx.tenantId,
        config_key: key,
        config_value,
        created_at: ctx.now,
      })
      .onConflict((oc) =>
        oc.columns(["organization_id", "config_key"]).doUpdateSet({ config_value, tenant_id: ctx.tenantId }),
      )
      .returning(columns)
      .executeTakeFirstOrThrow();
  },
);

export const listConfig = query(Page, async (ctx, { limit, cursor }) => {
  const after = decodeCursor(cursor);
  const rows: ConfigEntry[] = await ctx.db
    .selectFrom("system_config")
    .select(columns)
    .where("organization_id", "=", ctx.organizationId)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

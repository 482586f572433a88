/**
 * Sending limits: how many messages may leave in a window of time, for the tenant, a sender, a channel or a recipient's domain.
 * Invariant: a limit that is not needed is switched off, not deleted, because windows that were counted refer to it.
 */
import * as z from "zod";
import { command, DomainError, decodeCursor, idOf, newId, Page, paged, query } from "../kernel/index.ts";

/** Channels that a provider sends on; `call` and `linkedin` are tasks for people. */
export const sendChannels = ["email", "sms", "whatsapp", "messenger", "instagram"] as const;
export const rateLimitScopes = ["tenant", "sender", "channel", "domain"] as const;

export const RateLimitInput = z
  .object({
    scope: z.enum(rateLimitScopes),
    /** A sender's or channel's id, a recipient's domain, `*` for each domain by itself; empty for the tenant. */
    scopeId: z.string().trim().max(255).default(""),
    channel: z.enum(sendChannels),
    maxCount: z.number().int().min(1).max(2_147_483_647),
    /** What waits for a window is woken once a minute (`schedules.sweep`): of a shorter one most would pass unused. */
    windowSeconds: z.number().int().min(60).max(2_592_000),
    enabled: z.boolean().default(true),
  })
  // Ids are upper-case, domains are not.
  .overwrite((limit) => (limit.scope === "domain" ? { ...limit, scopeId: limit.scopeId.toLowerCase() } : limit))
  .superRefine((limit, context) => {
    if ((limit.scope === "tenant") !== (limit.scopeId === "")) {
      const message =
        limit.scope === "tenant" ? "empty for scope tenant" : `what the limit of scope ${limit.scope} applies to`;
      context.addIssue({ code: "custom", path: ["scopeId"], message });
    }
  });

export interface RateLimit {
  readonly id: string;
  readonly scope: string;
  readonly scopeId: string;
  readonly channel: string;
  readonly maxCount: number;
  readonly windowSeconds: number;
  readonly enabled: boolean;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "rate_limit.not_found", `No rate limit ${id}.`),
};

const columns = [
  "id",
  "scope",
  "scope_id as scopeId",
  "channel",
  "max_count as maxCount",
  "window_seconds as windowSeconds",
  "enabled",
] as const;

/** The same scope, channel and window again changes that limit instead of adding a second. */
export const putRateLimit = command(
  RateLimitInput,
  async (ctx, input): Promise<RateLimit> =>
    ctx.db
      .insertInto("send_rate_limits")
      .values({
        tenant_id: ctx.tenantId,
        id: newId("rateLimit", ctx.now),
        scope: input.scope,
        scope_id: input.scopeId,
        channel: input.channel,
        max_count: input.maxCount,
        window_seconds: input.windowSeconds,
        enabled: input.enabled,
        created_at: ctx.now,
      })
      .onConflict((oc) =>
        oc
          .columns(["tenant_id", "scope", "scope_id", "channel", "window_seconds"])
          .doUpdateSet({ max_count: input.maxCount, enabled: input.enabled }),
      )
      .returning(columns)
      .executeTakeFirstOrThrow(),
);

export const updateRateLimit = command(
  z.object({
    id: idOf("rateLimit"),
    maxCount: z.number().int().min(1).max(2_147_483_647).optional(),
    enabled: z.boolean().optional(),
  }),
  async (ctx, { id, maxCount, enabled }): Promise<RateLimit> => {
    const row = await ctx.db
      .updateTable("send_rate_limits")
      .set((eb) => ({
        max_count: maxCount ?? eb.ref("max_count"),
        enabled: enabled ?? eb.ref("enabled"),
      }))
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .returning(columns)
      .executeTakeFirst();
    if (!row) throw errors.notFound(id);
    return row;
  },
);

export const listRateLimits = query(Page, async (ctx, { limit, cursor }) => {
  const after = decodeCursor(cursor);
  const rows: RateLimit[] = await ctx.db
    .selectFrom("send_rate_limits")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

/**
 * The tenant itself: its settings, its actors, and whether it may send.
 * Invariant: settings parse when they are stored, and what a release cannot read stays stored; a suspended tenant sends nothing, but its opt-outs and webhooks still work.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  beforeMending,
  channels,
  closeTenantGate,
  command,
  DomainError,
  decodeCursor,
  type GateReason,
  newId,
  normalizeEmail,
  Page,
  paged,
  query,
  TimeZone,
  type TxContext,
  wakeHeld,
} from "../kernel/index.ts";

const wallTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, "a time of day like 08:30");

/** Everything optional: what is absent has the default named here. */
export const TenantSettings = z.strictObject({
  /** Whom recipients hear from. Default: the tenant's name. */
  companyName: z.string().trim().min(1).max(200).optional(),
  /** Required by law in marketing e-mail (CAN-SPAM): without it, such messages are held. */
  postalAddress: z.string().trim().min(10).max(500).optional(),
  /** How numbers without `+` are read. Default US. */
  defaultCountry: z
    .string()
    .regex(/^[A-Z]{2}$/, "two capital letters (ISO 3166)")
    .optional(),
  /** Default time zone of plans. Default UTC. */
  timeZone: TimeZone.optional(),
  /** No sending between these times of the recipient's day, beside what the law says. `days`: 1 Monday to 7 Sunday; default all. */
  quietHours: z
    .strictObject({
      start: wallTime,
      end: wallTime,
      days: z.array(z.number().int().min(1).max(7)).min(1).max(7).optional(),
    })
    .refine(({ start, end }) => start !== end, "start and end differ")
    .optional(),
  /** `legal`: only what statutes say; default `strict`. */
  strictness: z.enum(["strict", "legal"]).optional(),
  /** At most `count` messages to one address in `windowSeconds`, on one channel or (without `channel`) on each. */
  frequencyCaps: z
    .array(
      z.strictObject({
        channel: z.enum(channels).optional(),
        count: z.number().int().min(1).max(1_000),
        windowSeconds: z.number().int().min(60).max(31_536_000),
      }),
    )
    .max(20)
    .optional(),
  /** Host that open, click and unsubscribe links are made with. Default: the installation's own. */
  trackingDomain: z
    .string()
    .regex(/^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/, "a host name in lower case")
    .optional(),
  trackOpens: z.boolean().optional(),
  trackClicks: z.boolean().optional(),
  /** Hold messages whose recipient's time zone is unknown, also where no law asks for it. Default true. */
  holdUnknownZone: z.boolean().optional(),
  /** SMS only with a recorded consent. Default true. */
  requireSmsConsent: z.boolean().optional(),
  /** STOP by text puts the number on the organization's do-not-call list: none of its tenants texts or calls it. Default false. */
  stopMeansDoNotCall: z.boolean().optional(),
});
export type TenantSettings = z.output<typeof TenantSettings>;

export interface Tenant {
  readonly id: string;
  readonly organizationId: string;
  readonly name: string;
  readonly slug: string;
  readonly status: "active" | "suspended";
  readonly suspendedAt: Date | null;
  readonly settings: TenantSettings;
}

/** A setting that this version does not know, or reads differently, must neither stop sending nor take the others with it. */
export const readSettings = (stored: unknown): TenantSettings =>
  Object.fromEntries(
    Object.entries(stored ?? {}).filter(([name, value]) => {
      const field: z.ZodType | undefined = Object.hasOwn(TenantSettings.shape, name)
        ? TenantSettings.shape[name as keyof TenantSettings]
        : undefined;
      return field?.safeParse(value).success ?? false;
    }),
  );

/** Settings that keep messages back. */
const restraints = ["quietHours", "frequencyCaps"] as const;
export type Restraint = (typeof restraints)[number];

/** Which of them are there and cannot be read: what they would keep back waits until they are, because a message cannot be taken back. */
export function unreadRestraints(stored: unknown): Restraint[] {
  const read = readSettings(stored);
  return restraints.filter((name) => Object.hasOwn(Object(stored), name) && read[name] === undefined);
}

async function current(ctx: TxContext): Promise<Tenant> {
  const row = await ctx.db.selectFrom("tenants").selectAll().where("id", "=", ctx.tenantId).executeTakeFirstOrThrow();
  return {
    id: row.id,
    organizationId: row.organization_id,
    name: row.name,
    slug: row.slug,
    status: row.status === "active" ? "active" : "suspended",
    suspendedAt: row.suspended_at,
    settings: readSettings(row.settings),
  };
}

export const getTenant = query(z.object({}), current);

/** What messages may be held for that a setting, once changed, may let go. */
const heldFor: Readonly<Partial<Record<keyof TenantSettings, readonly GateReason[]>>> = {
  postalAddress: ["postal_address_missing"],
  defaultCountry: ["tz_unknown", "quiet_hours"],
  timeZone: ["tz_unknown", "quiet_hours"],
  holdUnknownZone: ["tz_unknown"],
  quietHours: ["quiet_hours"],
  strictness: ["tz_unknown", "quiet_hours", "frequency_cap"],
  frequencyCaps: ["frequency_cap"],
};

/** Changes the settings named and keeps the rest, those that it cannot read too; `null` takes one away. */
export const updateTenantSettings = command(
  z.record(z.string(), z.unknown()).transform((patch, context) => {
    const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== null));
    const parsed = TenantSettings.safeParse(given);
    for (const issue of parsed.error?.issues ?? []) context.addIssue({ ...issue, code: "custom", input: given });
    return { set: parsed.data ?? {}, drop: Object.keys(patch).filter((key) => patch[key] === null) };
  }),
  async (ctx, { set, drop }): Promise<Tenant> => {
    const changed = [...Object.keys(set), ...drop] as (keyof TenantSettings)[];
    const reasons = new Set(changed.flatMap((key) => heldFor[key] ?? []));
    if (reasons.size > 0) await beforeMending(ctx);
    await sql`
      update tenants set settings = (settings || ${JSON.stringify(set)}::jsonb) - ${drop}::text[] where id = ${ctx.tenantId}`.execute(
      ctx.db,
    );
    if (reasons.size > 0) await wakeHeld(ctx, [...reasons]);
    return current(ctx);
  },
);

/**
 * Nothing is claimed from its commit on, for which it waits until those who are sending have decided; what is queued waits as `held`.
 * Unsubscribe links and webhooks go on working.
 */
export const suspendTenant = command(z.object({}), async (ctx): Promise<Tenant> => {
  await closeTenantGate(ctx);
  await ctx.db
    .updateTable("tenants")
    .set({ status: "suspended", suspended_at: ctx.now })
    .where("id", "=", ctx.tenantId)
    .where("status", "=", "active")
    .execute();
  return current(ctx);
});

export const resumeTenant = command(z.object({}), async (ctx): Promise<Tenant> => {
  await beforeMending(ctx);
  await ctx.db
    .updateTable("tenants")
    .set({ status: "active", suspended_at: null })
    .where("id", "=", ctx.tenantId)
    .execute();
  await wakeHeld(ctx, ["tenant_suspended"]);
  return current(ctx);
});

const actorColumns = [
  "id",
  "type",
  "email",
  "name",
  "role",
  "last_active_at as lastActiveAt",
  "created_at as createdAt",
] as const;

/** A person who works here. The address must be free. */
export const createActor = command(
  z.object({
    type: z.enum(["user", "automation"]).default("user"),
    email: z.string().max(320).optional(),
    name: z.string().trim().min(1).max(200),
    role: z.string().trim().min(1).max(50).default("member"),
  }),
  async (ctx, input) => {
    const email = input.email === undefined ? null : normalizeEmail(input.email);
    if (input.email !== undefined && email === null) {
      throw new DomainError("invalid", "actor.email_invalid", "email: expected an e-mail address.", {
        fields: [{ path: "email", value: input.email, message: "expected an e-mail address" }],
      });
    }
    const row = await ctx.db
      .insertInto("actors")
      .values({
        tenant_id: ctx.tenantId,
        id: newId("actor", ctx.now),
        type: input.type,
        email,
        name: input.name,
        role: input.role,
      })
      .onConflict((oc) => oc.columns(["tenant_id", "email"]).where("email", "is not", null).doNothing())
      .returning(actorColumns)
      .executeTakeFirst();
    if (!row) throw new DomainError("conflict", "actor.email_taken", `An actor with the address ${email} exists.`);
    return row;
  },
);

export const listActors = query(Page, async (ctx, { limit, cursor }) => {
  const after = decodeCursor(cursor);
  const rows = await ctx.db
    .selectFrom("actors")
    .select(actorColumns)
    .where("tenant_id", "=", ctx.tenantId)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

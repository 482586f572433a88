/**
 * Sender identities: the addresses a tenant's e-mail comes from.
 * Invariant: only a verified one may send, and a tenant has at most one default.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  beforeMending,
  command,
  DomainError,
  decodeCursor,
  emailDomain,
  idOf,
  lineEnd,
  newId,
  normalizeEmail,
  Page,
  paged,
  query,
  type TxContext,
  wakeHeld,
} from "../kernel/index.ts";
import { heldForAccount } from "./channels.ts";
import { actorOf } from "./keys.ts";

export const senderStatuses = ["pending", "verified", "failed"] as const;

export interface SenderIdentity {
  readonly id: string;
  readonly userId: string;
  readonly fromEmail: string;
  readonly fromName: string;
  readonly replyTo: string | null;
  readonly domain: string;
  readonly status: string;
  readonly lastValidatedAt: Date | null;
  readonly channelConfigId: string | null;
  readonly providerSenderId: string | null;
  readonly ipPool: string | null;
  readonly isDefault: boolean;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "sender.not_found", `No sender ${id}.`),
  taken: (email: string) => new DomainError("conflict", "sender.exists", `There is a sender ${email} already.`),
  channelNotFound: (id: string) => new DomainError("not_found", "channel.not_found", `No channel ${id}.`),
  unverified: (id: string) =>
    new DomainError(
      "conflict",
      "sender.unverified",
      `Sender ${id} is not verified; verify it before making it the default.`,
    ),
};

const columns = [
  "id",
  "user_id as userId",
  "from_email as fromEmail",
  "from_name as fromName",
  "reply_to as replyTo",
  "domain",
  "validation_status as status",
  "last_validated_at as lastValidatedAt",
  "channel_config_id as channelConfigId",
  "sendgrid_sender_id as providerSenderId",
  "dedicated_ip_pool as ipPool",
  "is_default as isDefault",
] as const;

const email = z.string().transform((raw, context) => {
  const normal = normalizeEmail(raw);
  if (normal === null) context.addIssue({ code: "custom", message: "expected an e-mail address" });
  return normal ?? "";
});

/** One line: a line break in a name would be a header of its own. */
const headerText = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((text) => !lineEnd.test(text), "one line without control characters");

/** Starts as `pending`. */
export const createSender = command(
  z.object({
    fromEmail: email,
    fromName: headerText,
    replyTo: email.optional(),
    channelConfigId: idOf("channelConfig").optional(),
    ipPool: headerText.optional(),
    /** Whose address it is; default: whoever asks. */
    userId: idOf("actor").optional(),
  }),
  async (ctx, input): Promise<SenderIdentity> => {
    if (input.channelConfigId !== undefined) {
      const channel = await ctx.db
        .selectFrom("channel_configs")
        .select("id")
        .where("tenant_id", "=", ctx.tenantId)
        .where("id", "=", input.channelConfigId)
        .executeTakeFirst();
      if (!channel) throw errors.channelNotFound(input.channelConfigId);
    }
    const row = await ctx.db
      .insertInto("email_sender_identities")
      .values({
        tenant_id: ctx.tenantId,
        id: newId("sender", ctx.now),
        user_id: await actorOf(ctx, input.userId),
        channel_config_id: input.channelConfigId ?? null,
        from_email: input.fromEmail,
        from_name: input.fromName,
        reply_to: input.replyTo ?? null,
        domain: emailDomain(input.fromEmail),
        dedicated_ip_pool: input.ipPool ?? null,
        created_at: ctx.now,
      })
      .onConflict((oc) => oc.constraint("tenant_email_unique").doNothing())
      .returning(columns)
      .executeTakeFirst();
    if (!row) throw errors.taken(input.fromEmail);
    return row;
  },
);

const Mark = z.object({ id: idOf("sender"), providerSenderId: z.string().max(200).optional() });
const MarkVerified = Mark.extend({
  /** The account that proved it: its mail leaves through that one from now on. */
  channelConfigId: idOf("channelConfig").optional(),
});

async function mark(
  ctx: TxContext,
  { id, providerSenderId, channelConfigId }: z.output<typeof MarkVerified>,
  status: (typeof senderStatuses)[number],
): Promise<SenderIdentity> {
  const row = await ctx.db
    .updateTable("email_sender_identities")
    .set((eb) => ({
      validation_status: status,
      last_validated_at: ctx.now,
      sendgrid_sender_id: providerSenderId ?? eb.ref("sendgrid_sender_id"),
      channel_config_id: channelConfigId ?? eb.ref("channel_config_id"),
    }))
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .returning(columns)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
}

/** What a sender that may send lets go: with it comes the account its mail leaves through. */
const heldForSender = ["sender_unverified", ...heldForAccount] as const;

/** After the provider, or the tenant's DNS, has proved the address. The first verified sender becomes the default. */
export const markSenderVerified = command(MarkVerified, async (ctx, input): Promise<SenderIdentity> => {
  await beforeMending(ctx);
  await lockTenant(ctx);
  const row = await mark(ctx, input, "verified");
  await wakeHeld(ctx, heldForSender);
  const other = await ctx.db
    .selectFrom("email_sender_identities")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("is_default", "=", true)
    .executeTakeFirst();
  return other ? row : makeDefault(ctx, row.id);
});

/** What is queued for it is held from now on. */
export const markSenderFailed = command(Mark, async (ctx, input) => mark(ctx, input, "failed"));

/** One default per tenant is a unique index that is checked row by row: switching needs two statements, and nobody else between them. */
const lockTenant = (ctx: TxContext) =>
  sql`select from tenants where id = ${ctx.tenantId} for no key update`.execute(ctx.db);

async function makeDefault(ctx: TxContext, id: string): Promise<SenderIdentity> {
  await ctx.db
    .updateTable("email_sender_identities")
    .set({ is_default: false })
    .where("tenant_id", "=", ctx.tenantId)
    .where("is_default", "=", true)
    .where("id", "<>", id)
    .execute();
  return ctx.db
    .updateTable("email_sender_identities")
    .set({ is_default: true })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .returning(columns)
    .executeTakeFirstOrThrow();
}

/** @throws DomainError `sender.unverified` when it may not send yet */
export const setDefaultSender = command(
  z.object({ id: idOf("sender") }),
  async (ctx, { id }): Promise<SenderIdentity> => {
    await beforeMending(ctx);
    await lockTenant(ctx);
    const row = await find(ctx, id);
    if (row.status !== "verified") throw errors.unverified(id);
    await wakeHeld(ctx, heldForSender);
    return makeDefault(ctx, id);
  },
);

async function find(ctx: TxContext, id: string): Promise<SenderIdentity> {
  const row = await ctx.db
    .selectFrom("email_sender_identities")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
}

export const getSender = query(z.object({ id: idOf("sender") }), async (ctx, { id }) => find(ctx, id));

/** The verified default, or null when there is none: then nothing can be sent without naming a sender. */
export const defaultSender = query(z.object({}), async (ctx): Promise<SenderIdentity | null> => {
  const row = await ctx.db
    .selectFrom("email_sender_identities")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("is_default", "=", true)
    .where("validation_status", "=", "verified")
    .executeTakeFirst();
  return row ?? null;
});

export const listSenders = query(Page, async (ctx, { limit, cursor }) => {
  const after = decodeCursor(cursor);
  const rows: SenderIdentity[] = await ctx.db
    .selectFrom("email_sender_identities")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

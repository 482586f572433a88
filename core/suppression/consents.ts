/**
 * Consents: the recorded yes, with its evidence. Invariant: a consent is revoked, never deleted; what it was given for and how is kept as
 * long as anybody may ask.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  type Channel,
  channels,
  command,
  DomainError,
  decodeCursor,
  Instant,
  idOf,
  newId,
  normalizeEmail,
  Page,
  paged,
  query,
} from "../kernel/index.ts";
import { lockAddresses } from "./locks.ts";
import { suppressionKey } from "./policy.ts";

/** consents.basis */
export const consentBases = ["express_written", "express", "existing_relationship", "legitimate_interest"] as const;

const errors = {
  notFound: (id: string) => new DomainError("not_found", "consent.not_found", `No consent ${id}.`),
  contactNotFound: (id: string) => new DomainError("not_found", "contact.not_found", `No contact ${id}.`),
  addressInvalid: (channel: string, address: string) =>
    new DomainError("invalid", "consent.address_invalid", `address: not an address of channel ${channel}.`, {
      fields: [{ path: "address", value: address, message: `expected an address of channel ${channel}` }],
    }),
};

const columns = [
  "id",
  "contact_id as contactId",
  "channel",
  "address",
  "basis",
  "text",
  "source",
  "ip",
  "form_version as formVersion",
  "granted_at as grantedAt",
  "revoked_at as revokedAt",
  "created_by as createdBy",
  "created_at as createdAt",
] as const;

/** As messages are addressed: a consent is for the very address it was given for, a suppression for all its spellings. */
const consentAddress = (channel: Channel, address: string): string | null =>
  channel === "email" ? normalizeEmail(address) : suppressionKey(channel, address);

const evidence = z.string().trim().min(1).max(2_000);

/** @throws DomainError `consent.address_invalid`, `contact.not_found` */
export const grantConsent = command(
  z.object({
    channel: z.enum(channels),
    address: z.string().min(1).max(320),
    basis: z.enum(consentBases),
    source: z.string().trim().min(1).max(200).describe("where it was given: a form, a call, a contract"),
    text: evidence.optional().describe("the words the person agreed to"),
    ip: z.string().max(64).optional(),
    formVersion: z.string().max(200).optional(),
    grantedAt: Instant.optional().describe("default: now"),
    contactId: idOf("contact").optional(),
  }),
  async (ctx, input) => {
    const address = consentAddress(input.channel, input.address);
    if (address === null) throw errors.addressInvalid(input.channel, input.address);
    if (input.contactId !== undefined) {
      const contact = await ctx.db
        .selectFrom("contacts")
        .select("id")
        .where("tenant_id", "=", ctx.tenantId)
        .where("id", "=", input.contactId)
        .executeTakeFirst();
      if (!contact) throw errors.contactNotFound(input.contactId);
    }
    return ctx.db
      .insertInto("consents")
      .values({
        tenant_id: ctx.tenantId,
        id: newId("consent", ctx.now),
        contact_id: input.contactId ?? null,
        channel: input.channel,
        address,
        basis: input.basis,
        text: input.text ?? null,
        source: input.source,
        ip: input.ip ?? null,
        form_version: input.formVersion ?? null,
        granted_at: input.grantedAt ?? ctx.now,
        created_by: `${ctx.actor.type}:${ctx.actor.id}`,
        created_at: ctx.now,
      })
      .returning(columns)
      .executeTakeFirstOrThrow();
  },
);

/** Nothing that it permitted is claimed once this has committed. Revoking again changes nothing. @throws DomainError `consent.not_found` */
export const revokeConsent = command(z.object({ id: idOf("consent") }), async (ctx, { id }) => {
  const found = await getConsent(ctx, { id });
  const channel = z.enum(channels).parse(found.channel);
  await lockAddresses(ctx, [{ channel, address: suppressionKey(channel, found.address) ?? found.address }]);
  const row = await ctx.db
    .updateTable("consents")
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, ${ctx.now}::timestamptz)` })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .returning(columns)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/** @throws DomainError `consent.not_found` */
export const getConsent = query(z.object({ id: idOf("consent") }), async (ctx, { id }) => {
  const row = await ctx.db
    .selectFrom("consents")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/** Newest first, revoked ones included unless `active` is true. */
export const listConsents = query(
  Page.extend({
    channel: z.enum(channels).optional(),
    address: z.string().max(320).optional(),
    active: z.boolean().optional(),
  }),
  async (ctx, { limit, cursor, channel, address, active }) => {
    const before = decodeCursor(cursor);
    let rows = ctx.db.selectFrom("consents").select(columns).where("tenant_id", "=", ctx.tenantId);
    if (before !== undefined) rows = rows.where("id", "<", before);
    if (channel) rows = rows.where("channel", "=", channel);
    if (active !== undefined) rows = rows.where("revoked_at", active ? "is" : "is not", null);
    if (address !== undefined) {
      const keys = channels.map((name) => consentAddress(name, address) ?? address);
      rows = rows.where("address", "in", [...new Set(keys)]);
    }
    const found = await rows
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(found, limit);
  },
);

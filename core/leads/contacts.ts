/**
 * Contacts: the individuals attached to a lead, and the addresses they are reached at.
 * Invariant: a contact's addresses are in `contact_channels`, normalised, each once; what is known to be dead is marked, not removed.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  channels,
  command,
  DomainError,
  decodeCursor,
  idOf,
  newId,
  Page,
  paged,
  query,
  type TxContext,
} from "../kernel/index.ts";
import { email, leadSourceTypes, phone } from "./fields.ts";

/** contact_channels.status */
export const contactChannelStatuses = ["active", "invalid", "bounced"] as const;
/** contacts.status */
export const contactStatuses = ["active", "inactive"] as const;

export interface ContactChannel {
  readonly channel: string;
  readonly address: string;
  readonly isPrimary: boolean;
  readonly isVerified: boolean;
  readonly status: string;
}

export interface Contact {
  readonly id: string;
  readonly leadId: string;
  readonly personId: string | null;
  readonly firstName: string | null;
  readonly lastName: string | null;
  readonly fullName: string | null;
  readonly title: string | null;
  readonly timeZone: string | null;
  readonly postalCode: string | null;
  readonly state: string | null;
  readonly country: string | null;
  readonly customFields: unknown;
  readonly status: string;
  readonly createdAt: Date;
  readonly channels: readonly ContactChannel[];
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "contact.not_found", `No contact ${id}.`),
  leadNotFound: (id: string) => new DomainError("not_found", "lead.not_found", `No lead ${id}.`),
};

/** Contacts with their channels in one statement. */
const contacts = (ctx: TxContext) =>
  ctx.db
    .selectFrom("contacts as c")
    .innerJoin("leads as l", (join) => join.onRef("l.tenant_id", "=", "c.tenant_id").onRef("l.id", "=", "c.lead_id"))
    .select([
      "c.id",
      "c.lead_id as leadId",
      "c.person_id as personId",
      "c.first_name as firstName",
      "c.last_name as lastName",
      "c.full_name as fullName",
      "c.title",
      "c.time_zone as timeZone",
      "c.postal_code as postalCode",
      "c.state",
      "c.country",
      "c.custom_fields as customFields",
      "c.status",
      "c.created_at as createdAt",
    ])
    .select(
      sql<ContactChannel[]>`coalesce((
        select jsonb_agg(jsonb_build_object('channel', h.channel, 'address', h.address, 'isPrimary', h.is_primary,
                                            'isVerified', h.is_verified, 'status', h.status) order by h.id)
        from contact_channels h where h.tenant_id = c.tenant_id and h.contact_id = c.id), '[]')`.as("channels"),
    )
    .where("c.tenant_id", "=", ctx.tenantId)
    .where("l.deleted_at", "is", null);

export const getContact = query(z.object({ id: idOf("contact") }), async (ctx, { id }): Promise<Contact> => {
  const row = await contacts(ctx).where("c.id", "=", id).executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/** Contacts of live leads in id order; of one lead when `leadId` is given. */
export const listContacts = query(
  Page.extend({ leadId: idOf("lead").optional() }),
  async (ctx, { limit, cursor, leadId }) => {
    const after = decodeCursor(cursor);
    const rows: Contact[] = await contacts(ctx)
      .$if(leadId !== undefined, (qb) => qb.where("c.lead_id", "=", leadId ?? ""))
      .$if(after !== undefined, (qb) => qb.where("c.id", ">", after ?? ""))
      .orderBy("c.id")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

const text = z.string().trim().min(1).max(500);

/** @throws DomainError `lead.not_found` */
export const addContact = command(
  z.object({
    leadId: idOf("lead"),
    firstName: text.optional(),
    lastName: text.optional(),
    title: text.optional(),
    email: email.optional(),
    phone: phone.optional(),
    timeZone: text.optional(),
    postalCode: text.optional(),
    state: text.optional(),
    country: text.optional(),
    customFields: z.record(z.string().max(100), z.json()).default({}),
    sourceType: z.enum(leadSourceTypes).default("api"),
  }),
  async (ctx, input): Promise<Contact> => {
    const lead = await ctx.db
      .selectFrom("leads")
      .select("id")
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", input.leadId)
      .where("deleted_at", "is", null)
      .executeTakeFirst();
    if (!lead) throw errors.leadNotFound(input.leadId);
    const id = newId("contact", ctx.now);
    await ctx.db
      .insertInto("contacts")
      .values({
        tenant_id: ctx.tenantId,
        id,
        lead_id: input.leadId,
        first_name: input.firstName ?? null,
        last_name: input.lastName ?? null,
        full_name: [input.firstName, input.lastName].filter(Boolean).join(" ") || null,
        title: input.title ?? null,
        primary_email: input.email ?? null,
        primary_phone: input.phone ?? null,
        emails: JSON.stringify(input.email ? [input.email] : []),
        phones: JSON.stringify(input.phone ? [input.phone] : []),
        time_zone: input.timeZone ?? null,
        postal_code: input.postalCode ?? null,
        state: input.state ?? null,
        country: input.country ?? null,
        custom_fields: JSON.stringify(input.customFields),
        source_type: input.sourceType,
        created_at: ctx.now,
      })
      .execute();
    const reached = [
      ...(input.email ? [{ channel: "email", address: input.email }] : []),
      ...(input.phone ? [{ channel: "sms", address: input.phone }] : []),
    ];
    if (reached.length > 0) {
      await ctx.db
        .insertInto("contact_channels")
        .values(
          reached.map((channel) => ({
            tenant_id: ctx.tenantId,
            id: newId("contactChannel", ctx.now),
            contact_id: id,
            ...channel,
            source: input.sourceType,
            created_at: ctx.now,
          })),
        )
        .execute();
    }
    return getContact(ctx, { id });
  },
);

/**
 * Marks addresses as dead or alive wherever they are, in one statement: what a bounce or a check of the address told.
 * @param addresses normalised, as they are stored
 * @returns how many channels changed
 */
export const markAddresses = command(
  z.object({
    addresses: z
      .array(
        z.object({ channel: z.enum(channels), address: z.string().max(320), status: z.enum(contactChannelStatuses) }),
      )
      .max(1_000),
  }),
  async (ctx, { addresses }): Promise<number> => {
    if (addresses.length === 0) return 0;
    const { numAffectedRows } = await sql`
      update contact_channels h set status = a.status
      from (select distinct on (u.channel, u.address) u.* from unnest(
        ${addresses.map((a) => a.channel)}::text[], ${addresses.map((a) => a.address)}::text[], ${addresses.map((a) => a.status)}::text[]
      ) with ordinality as u(channel, address, status, n) order by u.channel, u.address, u.n desc) a
      where h.tenant_id = ${ctx.tenantId} and h.channel = a.channel and h.address = a.address and h.status <> a.status`.execute(
      ctx.db,
    );
    return Number(numAffectedRows ?? 0);
  },
);

/**
 * The lead itself. Invariant: a deleted lead is found by nobody but its history; a phone number belongs to one live lead of a tenant.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  command,
  DomainError,
  decodeCursor,
  Instant,
  idOf,
  leadStatuses,
  newId,
  normalizeEmail,
  normalizePhone,
  Page,
  paged,
  query,
  type TxContext,
  wakeLead,
} from "../kernel/index.ts";
import { addContact, type Contact } from "./contacts.ts";
import { leadColumns, leadFields, several, tag, tags, triggerTypes } from "./fields.ts";

export interface Lead {
  readonly id: string;
  readonly name: string | null;
  readonly firstName: string | null;
  readonly lastName: string | null;
  readonly companyName: string | null;
  readonly companyId: string | null;
  readonly personId: string | null;
  readonly email: string | null;
  readonly phone: string | null;
  readonly city: string | null;
  readonly state: string | null;
  readonly zip: string | null;
  readonly country: string | null;
  readonly website: string | null;
  readonly status: string;
  readonly campaignStatus: string | null;
  readonly score: number | null;
  readonly tags: readonly string[];
  readonly ownerId: string | null;
  readonly sourceType: string;
  readonly source: string | null;
  readonly importId: string | null;
  readonly loadId: string | null;
  readonly lastContactDate: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const columns = [
  "id",
  "name",
  "first_name as firstName",
  "last_name as lastName",
  "company_name as companyName",
  "company_id as companyId",
  "person_id as personId",
  "email",
  "phone_number as phone",
  "city",
  "state",
  "zip",
  "country",
  "website",
  "status",
  "campaign_status as campaignStatus",
  "score",
  "tags",
  "user_id as ownerId",
  "source_type as sourceType",
  "source",
  "import_run_id as importId",
  "load_id as loadId",
  "last_contact_date as lastContactDate",
  "created_at as createdAt",
  "updated_at as updatedAt",
] as const;

const errors = {
  notFound: (id: string) => new DomainError("not_found", "lead.not_found", `No lead ${id}.`),
  ownerNotFound: (id: string) => new DomainError("not_found", "actor.not_found", `No actor ${id}.`),
  phoneTaken: (phone: string) =>
    new DomainError("conflict", "lead.phone_taken", `Another lead has the phone number ${phone}.`, {
      fields: [{ path: "phone", value: phone, message: "a number that no other lead has" }],
    }),
};

/** Says in the status history what made the change; until the transaction ends. */
const triggeredBy = (ctx: TxContext, trigger: (typeof triggerTypes)[number]) =>
  sql`select set_config('app.trigger', ${trigger}, true)`.execute(ctx.db);

async function checkOwner(ctx: TxContext, id: string): Promise<void> {
  const found = await ctx.db
    .selectFrom("actors")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!found) throw errors.ownerNotFound(id);
}

/** Two writers of one number take turns, so that the second finds the first's lead instead of failing on the unique index. */
const lockPhone = (ctx: TxContext, phone: string) =>
  sql`select pg_advisory_xact_lock(address_lock_key(${ctx.tenantId}, 'lead_phone', ${phone}))`.execute(ctx.db);

async function checkPhone(ctx: TxContext, phone: string, self: string): Promise<void> {
  await lockPhone(ctx, phone);
  const other = await ctx.db
    .selectFrom("leads")
    .select("id")
    .where("tenant_id", "=", ctx.tenantId)
    .where("phone_number", "=", phone)
    .where("deleted_at", "is", null)
    .where("id", "<>", self)
    .executeTakeFirst();
  if (other) throw errors.phoneTaken(phone);
}

const optional = <S extends z.ZodType>(schema: S) => schema.nullish();

export const LeadInput = z.object({
  firstName: optional(leadFields.firstName),
  lastName: optional(leadFields.lastName),
  companyName: optional(leadFields.companyName),
  email: optional(leadFields.email),
  phone: optional(leadFields.phone),
  city: optional(leadFields.city),
  state: optional(leadFields.state),
  zip: optional(leadFields.zip),
  country: optional(leadFields.country),
  website: optional(leadFields.website),
  source: optional(leadFields.source),
  sectorId: optional(leadFields.sectorId),
  ownerId: idOf("actor").nullish(),
});

type Fields = z.output<typeof LeadInput>;
/** Only what was named: `undefined` keeps, `null` empties. */
const values = (input: Fields): Record<string, string | null> =>
  Object.fromEntries(
    Object.entries(leadColumns).flatMap(([name, column]) => {
      const value = input[name as keyof typeof leadColumns];
      return value === undefined ? [] : [[column, value]];
    }),
  );

/** A lead with, if it has an address, one contact that can be enrolled. Bulk goes through the intake. */
export const createLead = command(
  LeadInput.extend({
    sourceType: z.enum(["api", "manual", "inbound"]).default("api"),
    status: z.enum(leadStatuses).default("new"),
    tags: tags.default([]),
    /** Evidence of where the person is, for quiet hours. */
    timeZone: z.string().max(100).optional(),
  }).refine(
    (lead) => [lead.firstName, lead.lastName, lead.companyName, lead.email, lead.phone].some((value) => value),
    {
      error: "a lead needs a name, a company, an e-mail address or a phone number",
    },
  ),
  async (
    ctx,
    { ownerId, sourceType, status, tags, timeZone, ...fields },
  ): Promise<{ lead: Lead; contact: Contact | null }> => {
    if (ownerId) await checkOwner(ctx, ownerId);
    if (fields.phone) await lockPhone(ctx, fields.phone);
    await triggeredBy(ctx, sourceType === "manual" ? "manual" : "system");
    const lead = await ctx.db
      .insertInto("leads")
      .values({
        ...values(fields),
        tenant_id: ctx.tenantId,
        id: newId("lead", ctx.now),
        organization_id: ctx.organizationId,
        source_type: sourceType,
        status,
        tags: [...new Set(tags)],
        user_id: ownerId ?? null,
        phone: fields.phone ?? null,
        emails: JSON.stringify(fields.email ? [fields.email] : []),
        phones: JSON.stringify(fields.phone ? [fields.phone] : []),
        created_at: ctx.now,
      })
      .onConflict((oc) => oc.columns(["tenant_id", "phone_number"]).where("deleted_at", "is", null).doNothing())
      .returning(columns)
      .executeTakeFirst();
    if (!lead) throw errors.phoneTaken(fields.phone ?? "");
    if (!fields.email && !fields.phone) return { lead, contact: null };
    const contact = await addContact(ctx, {
      leadId: lead.id,
      ...(fields.firstName ? { firstName: fields.firstName } : {}),
      ...(fields.lastName ? { lastName: fields.lastName } : {}),
      ...(fields.email ? { email: fields.email } : {}),
      ...(fields.phone ? { phone: fields.phone } : {}),
      ...(fields.state ? { state: fields.state } : {}),
      ...(fields.zip ? { postalCode: fields.zip } : {}),
      ...(fields.country ? { country: fields.country } : {}),
      ...(timeZone === undefined ? {} : { timeZone }),
      sourceType,
    });
    return { lead, contact };
  },
);

export const getLead = query(z.object({ id: idOf("lead") }), async (ctx, { id }): Promise<Lead> => {
  const row = await ctx.db
    .selectFrom("leads")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

const likeText = (text: string): string => text.replace(/[\\%_]/g, "\\$&");

/** Newest first. `q` looks in names, or for one e-mail address or phone number when it is one. */
export const listLeads = query(
  Page.extend({
    q: z.string().trim().min(2).max(200).optional(),
    status: several(z.enum(leadStatuses), leadStatuses.length).optional(),
    tagsAny: several(tag, 100).optional(),
    tagsAll: several(tag, 100).optional(),
    ownerId: idOf("actor").optional(),
    source: z.string().max(500).optional(),
    importId: idOf("import").optional(),
    minScore: z.coerce.number().int().min(0).max(100).optional(),
    createdAfter: Instant.optional(),
  }),
  async (ctx, { limit, cursor, ...filter }) => {
    const before = decodeCursor(cursor);
    let wanted = ctx.db
      .selectFrom("leads")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .where("deleted_at", "is", null);
    if (before !== undefined) wanted = wanted.where("id", "<", before);
    if (filter.status) wanted = wanted.where("status", "in", filter.status);
    if (filter.tagsAny) wanted = wanted.where(sql<boolean>`tags && ${filter.tagsAny}::text[]`);
    if (filter.tagsAll) wanted = wanted.where(sql<boolean>`tags @> ${filter.tagsAll}::text[]`);
    if (filter.ownerId) wanted = wanted.where("user_id", "=", filter.ownerId);
    if (filter.source) wanted = wanted.where("source", "=", filter.source);
    if (filter.importId) wanted = wanted.where("import_run_id", "=", filter.importId);
    if (filter.minScore !== undefined) wanted = wanted.where("lead_score", ">=", filter.minScore);
    if (filter.createdAfter) wanted = wanted.where("created_at", ">", filter.createdAfter);
    if (filter.q !== undefined) {
      const email = normalizeEmail(filter.q);
      const phone = normalizePhone(filter.q);
      if (email !== null) wanted = wanted.where("email", "=", email);
      else if (phone !== null) wanted = wanted.where("phone_number", "=", phone);
      else {
        const pattern = `%${likeText(filter.q)}%`;
        wanted = wanted.where(sql<boolean>`(coalesce(first_name, '') || ' ' || coalesce(last_name, '') ilike ${pattern}
          or company_name ilike ${pattern})`);
      }
    }
    const rows: Lead[] = await wanted
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

/** Changes what is named and keeps the rest; `null` empties a field. A lead's contacts keep their own addresses. */
export const updateLead = command(
  LeadInput.extend({
    id: idOf("lead"),
    status: z.enum(leadStatuses).optional(),
    tags: tags.optional(),
    trigger: z.enum(triggerTypes).default("manual"),
  }),
  async (ctx, { id, status, tags, trigger, ownerId, ...fields }): Promise<Lead> => {
    await triggeredBy(ctx, trigger);
    if (ownerId) await checkOwner(ctx, ownerId);
    if (fields.phone) await checkPhone(ctx, fields.phone, id);
    // A template may have waited for a value. Messages are locked before leads.
    await wakeLead(ctx, id);
    const row = await ctx.db
      .updateTable("leads")
      .set({
        ...values(fields),
        updated_at: ctx.now,
        ...(status === undefined ? {} : { status }),
        ...(tags === undefined ? {} : { tags: [...new Set(tags)] }),
        ...(ownerId === undefined ? {} : { user_id: ownerId }),
      })
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .where("deleted_at", "is", null)
      .returning(columns)
      .executeTakeFirst();
    if (!row) throw errors.notFound(id);
    return row;
  },
);

const Ids = z.array(idOf("lead")).min(1).max(1_000);

/** Moves up to 1,000 leads in one statement. @returns the ids that changed; unknown and deleted ones, and those already there, do not */
export const setLeadStatus = command(
  z.object({ ids: Ids, status: z.enum(leadStatuses), trigger: z.enum(triggerTypes).default("manual") }),
  async (ctx, { ids, status, trigger }): Promise<string[]> => {
    await triggeredBy(ctx, trigger);
    const rows = await ctx.db
      .updateTable("leads")
      .set({ status })
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "in", ids)
      .where("deleted_at", "is", null)
      .where("status", "<>", status)
      .returning("id")
      .execute();
    return rows.map(({ id }) => id);
  },
);

/** Adds and takes away tags of up to 1,000 leads in one statement. @returns the ids of the leads whose tags are different now */
export const tagLeads = command(
  z.object({ ids: Ids, add: z.array(tag).max(100).default([]), remove: z.array(tag).max(100).default([]) }),
  async (ctx, { ids, add, remove }): Promise<string[]> => {
    const { rows } = await sql<{ id: string }>`
      with wanted as (
        select l.id, array(select distinct t from unnest(l.tags || ${add}::text[]) t where t <> all (${remove}::text[]) order by t) as tags
        from leads l where l.tenant_id = ${ctx.tenantId} and l.id = any (${ids}::text[]) and l.deleted_at is null
      )
      update leads l set tags = w.tags from wanted w
      where l.tenant_id = ${ctx.tenantId} and l.id = w.id and not (l.tags @> w.tags and l.tags <@ w.tags)
      returning l.id`.execute(ctx.db);
    return rows.map(({ id }) => id);
  },
);

/** Soft: what was sent to it stays explainable; nothing more is claimed, but by a worker that has just looked. @throws DomainError `lead.not_found` */
export const deleteLead = command(z.object({ id: idOf("lead") }), async (ctx, { id }): Promise<void> => {
  const row = await ctx.db
    .updateTable("leads")
    .set({ deleted_at: ctx.now })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .returning("id")
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
});

export interface StatusChange {
  readonly id: string;
  readonly from: string | null;
  readonly to: string;
  readonly trigger: string;
  readonly changedAt: Date;
}

/** How a lead moved through the funnel, oldest first. @throws DomainError `lead.not_found` */
export const statusHistory = query(Page.extend({ id: idOf("lead") }), async (ctx, { id, limit, cursor }) => {
  const after = decodeCursor(cursor);
  await getLead(ctx, { id });
  const rows: StatusChange[] = await ctx.db
    .selectFrom("lead_status_history")
    .select(["id", "from_status as from", "to_status as to", "trigger_type as trigger", "changed_at as changedAt"])
    .where("tenant_id", "=", ctx.tenantId)
    .where("lead_id", "=", id)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

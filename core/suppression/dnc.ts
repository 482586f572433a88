/**
 * Do-not-call: phone numbers that no tenant of the organization may call or text.
 * Invariant: a number is on the list at most once at a time, is lifted rather than deleted, and from the moment it is added no tenant of
 * the organization claims a text to it (the organization's half of the address lock).
 */
import { sql } from "kysely";
import * as z from "zod";
import { command, DomainError, decodeCursor, newId, normalizePhone, Page, paged, query } from "../kernel/index.ts";
import { type Added, maxEntries, stopQueued } from "./add.ts";
import { Flag } from "./check.ts";
import { lockAddresses, type Target } from "./locks.ts";

const Phone = z.string().transform((raw, context) => {
  const phone = normalizePhone(raw);
  if (phone === null) context.addIssue({ code: "custom", message: "expected a phone number like +12025550123" });
  return phone ?? "";
});

export interface DncEntry {
  readonly id: string;
  readonly phoneNumber: string;
  readonly reason: string | null;
  readonly source: string | null;
  readonly addedAt: Date;
  readonly addedBy: string | null;
  readonly liftedAt: Date | null;
  readonly liftedBy: string | null;
}

const columns = [
  "id",
  "phone_number as phoneNumber",
  "reason",
  "source",
  "added_at as addedAt",
  "added_by as addedBy",
  "lifted_at as liftedAt",
  "lifted_by as liftedBy",
] as const;

const textsTo = (phones: readonly string[]): Target[] =>
  phones.map((address) => ({ channel: "sms" as const, address }));

export interface DncAdded extends Pick<Added, "stopped" | "inFlight"> {
  /** Numbers that were not on the list before. */
  readonly added: readonly string[];
}

/**
 * Up to 1,000 numbers. Texts this tenant has queued for them end here; those of the organization's other tenants are refused by the gate
 * when they come up.
 */
export const addDnc = command(
  z.object({
    phones: z.array(Phone).min(1).max(maxEntries),
    reason: z.string().trim().max(500).optional(),
    source: z.string().trim().min(1).max(100),
  }),
  async (ctx, { phones, reason, source }): Promise<DncAdded> => {
    const unique = [...new Set(phones)];
    await lockAddresses(ctx, textsTo(unique));
    const { rows } = await sql<{ phone: string }>`
      insert into dnc_list (organization_id, id, tenant_id, phone_number, reason, source, added_at, added_by)
      select ${ctx.organizationId}, e.id, ${ctx.tenantId}, e.phone, ${reason ?? null}, ${source}, ${ctx.now},
             ${`${ctx.actor.type}:${ctx.actor.id}`}
      from unnest(${unique.map(() => newId("dnc", ctx.now))}::text[], ${unique}::text[]) as e(id, phone)
      on conflict (organization_id, phone_number) where lifted_at is null do nothing
      returning phone_number as phone`.execute(ctx.db);
    return { added: rows.map(({ phone }) => phone), ...(await stopQueued(ctx, textsTo(unique), "dnc")) };
  },
);

/** Takes a number off the list. A suppression of the number, if there is one, stays. @throws DomainError `dnc.not_found` */
export const removeDnc = command(z.object({ phone: Phone }), async (ctx, { phone }): Promise<DncEntry> => {
  await lockAddresses(ctx, textsTo([phone]));
  const row = await ctx.db
    .updateTable("dnc_list")
    .set({ lifted_at: ctx.now, lifted_by: `${ctx.actor.type}:${ctx.actor.id}` })
    .where("organization_id", "=", ctx.organizationId)
    .where("phone_number", "=", phone)
    .where("lifted_at", "is", null)
    .returning(columns)
    .executeTakeFirst();
  if (!row) throw new DomainError("not_found", "dnc.not_found", `${phone} is not on the do-not-call list.`);
  return row;
});

/** Which of the numbers are on the list. What is no number is on no list. */
export const checkDnc = query(
  z.object({ phones: z.array(z.string().max(100)).max(10_000) }),
  async (
    ctx,
    { phones },
  ): Promise<{ readonly phone: string; readonly phoneNumber: string | null; readonly listed: boolean }[]> => {
    const asked = phones.map((phone) => ({ phone, phoneNumber: normalizePhone(phone) }));
    const numbers = asked.flatMap(({ phoneNumber }) => phoneNumber ?? []);
    const { rows } = await sql<{ phone: string }>`
      select phone_number as phone from dnc_list
      where organization_id = ${ctx.organizationId} and lifted_at is null and phone_number = any(${numbers}::text[])`.execute(
      ctx.db,
    );
    const listed = new Set(rows.map(({ phone }) => phone));
    return asked.map((answer) => ({
      ...answer,
      listed: answer.phoneNumber !== null && listed.has(answer.phoneNumber),
    }));
  },
);

/** Newest first; `active: false` lists what was lifted. */
export const listDnc = query(Page.extend({ active: Flag.default(true) }), async (ctx, { limit, cursor, active }) => {
  const before = decodeCursor(cursor);
  const rows: DncEntry[] = await ctx.db
    .selectFrom("dnc_list")
    .select(columns)
    .where("organization_id", "=", ctx.organizationId)
    .where("lifted_at", active ? "is" : "is not", null)
    .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
    .orderBy("id", "desc")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

/** What a lead is made of, as the API spells it. Invariant: addresses are stored normalised or refused; nothing is guessed. */
import * as z from "zod";
import { normalizeEmail, normalizePhone } from "../kernel/index.ts";

const text = z.string().trim().min(1).max(500);

export const email = z.string().transform((raw, context) => {
  const normal = normalizeEmail(raw);
  if (normal === null) context.addIssue({ code: "custom", message: "expected an e-mail address" });
  return normal ?? "";
});

export const phone = z.string().transform((raw, context) => {
  const normal = normalizePhone(raw);
  if (normal === null) context.addIssue({ code: "custom", message: "expected a phone number like +12025550123" });
  return normal ?? "";
});

export const tag = z.string().trim().min(1).max(100);
export const tags = z.array(tag).max(100);

/** Several values of one kind: an array, or `a,b` as a query string has it. */
export const several = <S extends z.ZodType<string, string>>(one: S, most: number) =>
  z.union([
    z.array(one).min(1).max(most),
    z
      .string()
      .transform((text) => text.split(","))
      .pipe(z.array(one).min(1).max(most)),
  ]);

/** Fields of a lead that people write. `null` empties one in an update. */
export const leadFields = {
  firstName: text,
  lastName: text,
  companyName: text,
  email,
  phone,
  city: text,
  state: text,
  zip: text,
  country: text,
  website: text,
  source: text,
  sectorId: text,
} as const;

/** API name → column, for what is copied as it is. */
export const leadColumns = {
  firstName: "first_name",
  lastName: "last_name",
  companyName: "company_name",
  email: "email",
  phone: "phone_number",
  city: "city",
  state: "state",
  zip: "zip",
  country: "country",
  website: "website",
  source: "source",
  sectorId: "sector_id",
} as const satisfies Record<keyof typeof leadFields, string>;

/** leads.source_type */
export const leadSourceTypes = ["csv_import", "api", "enrichment", "manual", "intake", "inbound"] as const;
/** leads.enrichment_status */
export const enrichmentStatuses = ["pending", "in_progress", "completed", "failed"] as const;
/** leads.campaign_status */
export const leadCampaignStatuses = ["initial", "retarget", "follow_up", "nurture", "ghost"] as const;
/** lead_status_history.trigger_type */
export const triggerTypes = ["manual", "automation", "webhook", "scoring", "import", "reply", "system"] as const;

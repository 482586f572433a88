/** How the rows of an import are read: stored with it, so that a resumed import reads them the same way. */
import * as z from "zod";
import { columnTargets } from "./columns.ts";

export const ImportOptions = z.object({
  mapping: z
    .record(z.string().min(1).max(200), z.enum(columnTargets))
    .optional()
    .describe("column header → field, where the list uses words of its own; `custom` or `ignore` for no field"),
  defaultCountry: z
    .string()
    .regex(/^[A-Za-z]{2}$/, { error: "expected an ISO 3166 code of two letters, like US" })
    .optional()
    .describe("how phone numbers without + are read when a row names no country; default US"),
  tags: z.array(z.string().trim().min(1).max(100)).max(20).optional().describe("added to every person of the list"),
  promote: z.boolean().default(true).describe("false: leave the loads pending until they are promoted explicitly"),
});
export type ImportOptions = z.output<typeof ImportOptions>;

/** Where rows came from: `apollo`, `apify`, `manual`, a fair. */
export const SourceName = z.string().trim().min(1, { error: "name where the rows come from" }).max(200);

/**
 * Cursor pages: stable under inserts, one index range scan per page. A cursor here is a bare position; the API gives it out with proof of
 * whose it is (`functions/api/cursors.ts`).
 */
import * as z from "zod";
import { DomainError } from "./error.ts";

export const Page = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(50).describe("rows per page, 1 to 500"),
  cursor: z.string().max(500).optional().describe("nextCursor of the page before"),
});
export type Page = z.output<typeof Page>;

export interface Paged<T> {
  readonly data: readonly T[];
  readonly nextCursor: string | null;
}

export const cursorInvalid = (cursor: string): DomainError =>
  new DomainError(
    "invalid",
    "page.cursor_invalid",
    "cursor is not one this API gave out for this list; leave it away to start over.",
    { fields: [{ path: "cursor", value: cursor, message: "use nextCursor of a page of the same list, unchanged" }] },
  );

export const encodeCursor = (id: string): string => Buffer.from(id, "utf8").toString("base64url");

/** @returns the id after which the page starts, or undefined for the first page. */
export function decodeCursor(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  const id = Buffer.from(cursor, "base64url").toString("utf8");
  if (!/^[a-z]+_[0-9A-Z]{26}$/.test(id)) throw cursorInvalid(cursor);
  return id;
}

/** Query `limit + 1` rows ordered by id; the extra one tells that there is a next page. */
export function paged<T extends { readonly id: string }>(rows: readonly T[], limit: number): Paged<T> {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  return { data, nextCursor: rows.length > limit && last ? encodeCursor(last.id) : null };
}

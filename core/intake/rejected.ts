/**
 * The rows that were not taken, as a CSV to mend and send again. Invariant: no cell of it can start a formula in a spreadsheet; a cell that
 * would is preceded by an apostrophe, which the import of the mended file takes away again.
 */
import { sql } from "kysely";
import { type Context, transact } from "../kernel/index.ts";

/** Also after characters that a spreadsheet skips. E.164 numbers begin with + and are escaped like the rest. */
const startsFormula = /^\s*[=+\-@\t\r|＝＋－＠]/;

/** One CSV line: every cell quoted, formula cells neutralised. */
export const csvLine = (cells: readonly string[]): string =>
  `${cells.map((cell) => `"${(startsFormula.test(cell) ? `'${cell}` : cell).replaceAll('"', '""')}"`).join(",")}\r\n`;

const pageRows = 500;

const textOf = (value: unknown): string => {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

interface Rejected {
  readonly row: number;
  readonly load_id: string;
  readonly status: string;
  readonly reason: string | null;
  readonly raw_data: Readonly<Record<string, unknown>>;
}

/**
 * Refused rows and duplicates of an import in the order of its file: row number, status, reason, then the columns as they came.
 * Begins with a byte order mark, without which Excel takes UTF-8 for something else.
 * @param options.duplicates false: refused rows only
 */
export async function* rejectedRows(
  ctx: Context,
  importId: string,
  { duplicates = true }: { readonly duplicates?: boolean } = {},
): AsyncGenerator<string> {
  const statuses = duplicates ? ["failed", "duplicate"] : ["failed"];
  const columns = await transact(ctx, async ({ db, tenantId }) => {
    const { rows } = await sql<{ name: string }>`
      select distinct jsonb_object_keys(raw_data) as name from intake.raw_loads
      where tenant_id = ${tenantId} and batch_id = ${importId} and status = any(${statuses})
        and jsonb_typeof(raw_data) = 'object'
      order by 1 limit 500`.execute(db);
    return rows.map(({ name }) => name);
  });
  yield `\uFEFF${csvLine(["row", "status", "reason", ...columns])}`;
  let after: Pick<Rejected, "row" | "load_id"> = { row: -1, load_id: "" };
  for (;;) {
    const { row, load_id } = after;
    const page = await transact(ctx, async ({ db, tenantId }) => {
      const found = await sql<Rejected>`
        select coalesce((metadata ->> 'row')::int, 0) as row, load_id, status, metadata ->> 'reason' as reason, raw_data
        from intake.raw_loads
        where tenant_id = ${tenantId} and batch_id = ${importId} and status = any(${statuses})
          and (coalesce((metadata ->> 'row')::int, 0), load_id) > (${row}, ${load_id})
        order by 1, 2 limit ${pageRows}`.execute(db);
      return found.rows;
    });
    for (const item of page) {
      const cells = columns.map((column) => textOf(item.raw_data[column]));
      yield csvLine([String(item.row), item.status, item.reason ?? "", ...cells]);
    }
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return;
    after = last;
  }
}

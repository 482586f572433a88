/**
 * Imports and raw loads as they are shown. Invariant: a page is read by one index, in the order of ids, and never beyond its tenant.
 */
import * as z from "zod";
import { DomainError, decodeCursor, type Id, idOf, Page, type Paged, paged, query } from "../kernel/index.ts";

export const importStatuses = ["pending", "running", "completed", "failed", "cancelled"] as const;
export type ImportStatus = (typeof importStatuses)[number];
export const loadStatuses = ["pending", "promoted", "failed", "duplicate"] as const;
export type LoadStatus = (typeof loadStatuses)[number];

export const importNotFound = (id: string) => new DomainError("not_found", "import.not_found", `No import ${id}.`);

export interface ImportView {
  readonly id: Id<"import">;
  readonly fileName: string | null;
  readonly source: string;
  readonly format: string;
  readonly status: ImportStatus;
  readonly artifactId: string;
  readonly options: unknown;
  readonly rows: {
    readonly read: number;
    readonly accepted: number;
    readonly duplicate: number;
    readonly rejected: number;
    readonly promoted: number;
    /** Of all read: something was left out or changed. `LoadView.warnings` says what. */
    readonly warned: number;
  };
  readonly sizeBytes: number;
  readonly bytesRead: number;
  readonly lastError: string | null;
  readonly createdAt: Date;
  readonly completedAt: Date | null;
}

export const importColumns = [
  "id",
  "file_name",
  "source",
  "format",
  "status",
  "artifact_id",
  "options",
  "rows_read",
  "rows_accepted",
  "rows_duplicate",
  "rows_rejected",
  "rows_promoted",
  "rows_warned",
  "size_bytes",
  "bytes_read",
  "last_error",
  "created_at",
  "completed_at",
] as const;

interface ImportRow {
  readonly id: string;
  readonly file_name: string | null;
  readonly source: string;
  readonly format: string;
  readonly status: string;
  readonly artifact_id: string;
  readonly options: unknown;
  readonly rows_read: string;
  readonly rows_accepted: string;
  readonly rows_duplicate: string;
  readonly rows_rejected: string;
  readonly rows_promoted: string;
  readonly rows_warned: string;
  readonly size_bytes: string | null;
  readonly bytes_read: string;
  readonly last_error: string | null;
  readonly created_at: Date;
  readonly completed_at: Date | null;
}

export const viewOf = (row: ImportRow): ImportView => ({
  id: row.id as Id<"import">,
  fileName: row.file_name,
  source: row.source,
  format: row.format,
  status: row.status as ImportStatus,
  artifactId: row.artifact_id,
  options: row.options,
  rows: {
    read: Number(row.rows_read),
    accepted: Number(row.rows_accepted),
    duplicate: Number(row.rows_duplicate),
    rejected: Number(row.rows_rejected),
    promoted: Number(row.rows_promoted),
    warned: Number(row.rows_warned),
  },
  sizeBytes: Number(row.size_bytes ?? 0),
  bytesRead: Number(row.bytes_read),
  lastError: row.last_error,
  createdAt: row.created_at,
  completedAt: row.completed_at,
});

export const getImport = query(z.object({ id: idOf("import") }), async (ctx, { id }): Promise<ImportView> => {
  const row = await ctx.db
    .selectFrom("imports")
    .select(importColumns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw importNotFound(id);
  return viewOf(row);
});

/** Newest first. */
export const listImports = query(
  Page.extend({ status: z.enum(importStatuses).optional() }),
  async (ctx, { limit, cursor, status }): Promise<Paged<ImportView>> => {
    const before = decodeCursor(cursor);
    let rows = ctx.db.selectFrom("imports").select(importColumns).where("tenant_id", "=", ctx.tenantId);
    if (status) rows = rows.where("status", "=", status);
    if (before) rows = rows.where("id", "<", before);
    const found = await rows
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(found.map(viewOf), limit);
  },
);

export interface LoadView {
  readonly id: Id<"rawLoad">;
  readonly batchId: string;
  readonly source: string;
  readonly status: LoadStatus;
  readonly email: string | null;
  /** Row number in its file or request. */
  readonly row: number | null;
  /** Why it was refused or skipped. */
  readonly reason: string | null;
  /** The load a duplicate repeats. */
  readonly repeats: string | null;
  readonly warnings: readonly string[];
  readonly rawData: unknown;
  readonly createdAt: Date;
  readonly promotedAt: Date | null;
}

/** Loads in the order they came. An import's batch is its id. */
export const listLoads = query(
  Page.extend({
    status: z.enum(loadStatuses).optional(),
    batchId: z.string().max(200).optional(),
    importId: idOf("import").optional(),
    source: z.string().max(200).optional(),
  }),
  async (ctx, { limit, cursor, status, batchId, importId, source }): Promise<Paged<LoadView>> => {
    const after = decodeCursor(cursor);
    let loads = ctx.db
      .selectFrom("intake.raw_loads")
      .select([
        "load_id as id",
        "batch_id",
        "source",
        "status",
        "email",
        "metadata",
        "raw_data",
        "created_at",
        "promoted_at",
      ])
      .where("tenant_id", "=", ctx.tenantId);
    if (status) loads = loads.where("status", "=", status);
    if (batchId !== undefined) loads = loads.where("batch_id", "=", batchId);
    if (importId !== undefined) loads = loads.where("batch_id", "=", importId);
    if (source !== undefined) loads = loads.where("source", "=", source);
    if (after) loads = loads.where("load_id", ">", after);
    const found = await loads
      .orderBy("load_id")
      .limit(limit + 1)
      .execute();
    return paged(
      found.map((load) => {
        const { row, reason, repeats, warnings } = Metadata.parse(load.metadata);
        return {
          id: load.id as Id<"rawLoad">,
          batchId: load.batch_id,
          source: load.source,
          status: load.status as LoadStatus,
          email: load.email,
          row,
          reason,
          repeats,
          warnings,
          rawData: load.raw_data,
          createdAt: load.created_at,
          promotedAt: load.promoted_at,
        };
      }),
      limit,
    );
  },
);

const Metadata = z.object({
  row: z.number().nullable().default(null).catch(null),
  reason: z.string().nullable().default(null).catch(null),
  repeats: z.string().nullable().default(null).catch(null),
  warnings: z.array(z.string()).default([]).catch([]),
});

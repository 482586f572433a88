/**
 * Intake: lists and single rows come in, are stored as they came, and become golden records.
 *
 * Invariant: every row given is kept, accepted or not, and says what became of it and why; an address is accepted once in 30 days per tenant.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import * as z from "zod";
import {
  type Context,
  command,
  DomainError,
  decodeCursor,
  type Id,
  idOf,
  newId,
  Page,
  type Paged,
  paged,
  parseInput,
  query,
  transact,
} from "../kernel/index.ts";
import type { Blobs } from "../ports/index.ts";
import { fileFormats, sniff } from "./files.ts";
import { createNormalizer } from "./normalize.ts";
import { ImportOptions, SourceName } from "./options.ts";
import { ingestRows, type LoadResult, promoteLoads } from "./store.ts";
import { blockBytes } from "./text.ts";
import { Uploaded, uploadedFile } from "./uploads.ts";

export { type ColumnTarget, columnTargets, type FieldName, fieldNames } from "./columns.ts";
export { errors as fileErrors, type FileFormat, fileFormats, readRows, type Sniffed, sniff } from "./files.ts";
export { createNormalizer, type IntakeRow, type NormalizeSettings, type SourceRow } from "./normalize.ts";
export { ImportOptions } from "./options.ts";
export { csvLine, rejectedRows } from "./rejected.ts";
export { type ImportDeps, type ImportOutcome, type Limits, runImport, runImports } from "./run.ts";
export type { LoadResult, PromotionResult } from "./store.ts";
export { maxPartBytes, maxParts, putPart, startUpload } from "./uploads.ts";

export const importStatuses = ["pending", "running", "completed", "failed", "cancelled"] as const;
export type ImportStatus = (typeof importStatuses)[number];
export const loadStatuses = ["pending", "promoted", "failed", "duplicate"] as const;
export type LoadStatus = (typeof loadStatuses)[number];

/** Files above this are refused while they arrive. */
export const maxImportBytes = 2 * 1024 ** 3;

export const errors = {
  importNotFound: (id: string) => new DomainError("not_found", "import.not_found", `No import ${id}.`),
  notCancellable: (id: string, status: string) =>
    new DomainError(
      "conflict",
      "import.not_cancellable",
      `Import ${id} is ${status}; only one that has not ended can be cancelled.`,
    ),
  tooLarge: () =>
    new DomainError("too_large", "import.too_large", `The file is larger than ${maxImportBytes} bytes; split it.`),
};

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
  };
  readonly sizeBytes: number;
  readonly bytesRead: number;
  readonly lastError: string | null;
  readonly createdAt: Date;
  readonly completedAt: Date | null;
}

const importColumns = [
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
  readonly size_bytes: string | null;
  readonly bytes_read: string;
  readonly last_error: string | null;
  readonly created_at: Date;
  readonly completed_at: Date | null;
}

const viewOf = (row: ImportRow): ImportView => ({
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
  },
  sizeBytes: Number(row.size_bytes ?? 0),
  bytesRead: Number(row.bytes_read),
  lastError: row.last_error,
  createdAt: row.created_at,
  completedAt: row.completed_at,
});

export const NewImport = z.object({
  fileName: z.string().trim().max(300).optional(),
  source: SourceName,
  format: z.enum(fileFormats).optional().describe("left away: found out from the first bytes"),
  options: ImportOptions.default({ promote: true }),
});

/**
 * Stores a file while it arrives and files the work of importing it. The caller rings `imports` with the id afterwards.
 * @throws DomainError `import.empty`, `import.format_unknown`, `import.format_mismatch`, before anything is stored; `import.too_large`
 */
export async function createImport(
  { blobs }: { readonly blobs: Blobs },
  ctx: Context,
  given: z.input<typeof NewImport>,
  body: AsyncIterable<Uint8Array>,
): Promise<ImportView> {
  const input = parseInput(NewImport, given);
  const now = await transact(ctx, async ({ now }) => now);
  const id = newId("import", now);
  const artifactId = newId("artifact", now);
  const objectPath = `t/${ctx.tenantId}/imports/${id}`;
  const { head, whole } = await peek(body);
  const { format } = sniff(head, input.format);

  const hash = createHash("sha256");
  let size = 0;
  async function* measured(): AsyncGenerator<Uint8Array> {
    for await (const chunk of whole) {
      size += chunk.byteLength;
      if (size > maxImportBytes) throw errors.tooLarge();
      hash.update(chunk);
      yield chunk;
    }
  }
  const mimeType = { csv: "text/csv", json: "application/json", ndjson: "application/x-ndjson" }[format];
  await blobs.put(objectPath, measured(), mimeType);
  const checksum = hash.digest("hex");

  return transact(ctx, async (ctx) => {
    await ctx.db
      .insertInto("artifacts")
      .values({
        tenant_id: ctx.tenantId,
        id: artifactId,
        artifact_type: "csv_import",
        mime_type: mimeType,
        storage_type: "object",
        object_path: objectPath,
        size_bytes: size,
        checksum,
        correlation_id: ctx.correlationId,
        metadata: JSON.stringify({ file_name: input.fileName ?? null, source: input.source }),
        created_at: ctx.now,
      })
      .execute();
    const row = await ctx.db
      .insertInto("imports")
      .values({
        tenant_id: ctx.tenantId,
        id,
        file_name: input.fileName ?? null,
        source: input.source,
        format,
        artifact_id: artifactId,
        options: JSON.stringify(input.options),
        size_bytes: size,
        created_by: `${ctx.actor.type}:${ctx.actor.id}`,
        correlation_id: ctx.correlationId,
        run_at: ctx.now,
        created_at: ctx.now,
        updated_at: ctx.now,
      })
      .returning(importColumns)
      .executeTakeFirstOrThrow();
    return viewOf(row);
  });
}

const CompleteUpload = NewImport.extend(Uploaded.shape);

/** `createImport` of a file that came in parts. The caller rings `imports`. @throws DomainError `upload.not_found`, `upload.part_missing` */
export const completeUpload = Object.assign(
  async (deps: { readonly blobs: Blobs }, ctx: Context, given: z.input<typeof CompleteUpload>): Promise<ImportView> => {
    const { uploadId, parts, ...file } = parseInput(CompleteUpload, given);
    return createImport(deps, ctx, file, await uploadedFile(deps, ctx, { uploadId, parts }));
  },
  { schema: CompleteUpload },
);

/** The first block of a stream, and the stream with it. */
async function peek(body: AsyncIterable<Uint8Array>): Promise<{ head: Uint8Array; whole: AsyncIterable<Uint8Array> }> {
  const iterator = body[Symbol.asyncIterator]();
  const taken: Uint8Array[] = [];
  let held = 0;
  while (held < blockBytes) {
    const next = await iterator.next();
    if (next.done) break;
    taken.push(next.value);
    held += next.value.byteLength;
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield* taken;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  }
  return { head: Buffer.concat(taken).subarray(0, blockBytes), whole: whole() };
}

export const getImport = query(z.object({ id: idOf("import") }), async (ctx, { id }): Promise<ImportView> => {
  const row = await ctx.db
    .selectFrom("imports")
    .select(importColumns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.importNotFound(id);
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

/** A running import ends after the chunk it is writing; what it imported stays. */
export const cancelImport = command(z.object({ id: idOf("import") }), async (ctx, { id }): Promise<ImportView> => {
  const row = await ctx.db
    .updateTable("imports")
    .set({ status: "cancelled", lease_until: null, completed_at: ctx.now, generation: sql`generation + 1` })
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .where("status", "in", ["pending", "running"])
    .returning(importColumns)
    .executeTakeFirst();
  if (row) return viewOf(row);
  const { status } = await getImport(ctx, { id });
  throw errors.notCancellable(id, status);
});

export const Ingest = z.object({
  rows: z.array(z.record(z.string(), z.unknown())).min(1).max(5_000),
  source: SourceName,
  batchId: z.string().trim().min(1).max(200).optional().describe("left away: one is made"),
  options: ImportOptions.omit({ promote: true }).default({}),
  promote: z.boolean().default(false).describe("true: promote what was accepted at once"),
});

export interface Ingested {
  readonly batchId: string;
  readonly accepted: number;
  readonly duplicates: number;
  readonly rejected: number;
  readonly promoted: number;
  readonly updated: number;
  /** In the order of `rows`. */
  readonly loads: readonly LoadResult[];
}

/** Rows by API. Each is judged on its own: a refused row does not refuse its neighbours. */
export const ingest = command(Ingest, async (ctx, { rows, source, batchId, options, promote }): Promise<Ingested> => {
  const batch = batchId ?? newId("correlation", ctx.now).replace("corr_", "batch_");
  const normalize = createNormalizer({ ...options, sourceType: "api" });
  const prepared = rows.map((raw, index) => normalize({ row: index + 1, raw, size: 0 }));
  const loads = await ingestRows(ctx, prepared, source, batch);
  const count = (status: LoadResult["status"]) => loads.filter((load) => load.status === status).length;
  const accepted = loads.filter(({ status }) => status === "accepted").map(({ id }) => id);
  const done = promote && accepted.length > 0 ? await promoteLoads(ctx, accepted) : { promoted: 0, updated: 0 };
  return {
    batchId: batch,
    accepted: accepted.length,
    duplicates: count("duplicate"),
    rejected: count("rejected"),
    promoted: done.promoted,
    updated: done.updated,
    loads,
  };
});

/** Pending loads become golden records; without ids whatever is pending, 10,000 a call. Repeating it changes nothing. */
export const promote = command(
  z.object({ loadIds: z.array(idOf("rawLoad")).min(1).max(10_000).optional() }),
  async (ctx, { loadIds }) => promoteLoads(ctx, loadIds ?? null),
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

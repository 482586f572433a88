/**
 * Intake: lists and single rows come in, are stored as they came, and become golden records.
 *
 * Invariant: every row given is kept, accepted or not, and says what became of it and why; an address is accepted once in 30 days per tenant.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import * as z from "zod";
import { type Context, command, DomainError, idOf, newId, parseInput, transact } from "../kernel/index.ts";
import type { Blobs } from "../ports/index.ts";
import { blockBytes, fileFormats } from "./formats.ts";
import { createNormalizer } from "./normalize.ts";
import { ImportOptions, SourceName } from "./options.ts";
import { type LoadResult, promoteLoads, takeIn } from "./store.ts";
import { Uploaded, uploadedFile } from "./uploads.ts";
import { getImport, type ImportView, importColumns, importNotFound, viewOf } from "./views.ts";

export { type ColumnTarget, columnTargets, type FieldName, fieldNames } from "./columns.ts";
export { type FileFormat, fileFormats } from "./formats.ts";
export { createNormalizer, type IntakeRow, type NormalizeSettings, type SourceRow } from "./normalize.ts";
export { ImportOptions } from "./options.ts";
export { csvLine, rejectedRows } from "./rejected.ts";
export { type ImportDeps, type ImportOutcome, type Limits, runImport, runImports } from "./run.ts";
export type { LoadResult, PromotionResult } from "./store.ts";
export { maxPartBytes, maxParts, putPart, startUpload } from "./uploads.ts";
export {
  getImport,
  type ImportStatus,
  type ImportView,
  importStatuses,
  type LoadStatus,
  type LoadView,
  listImports,
  listLoads,
  loadStatuses,
} from "./views.ts";

/** Files above this are refused while they arrive. */
export const maxImportBytes = 2 * 1024 ** 3;

export const errors = {
  importNotFound,
  notCancellable: (id: string, status: string) =>
    new DomainError(
      "conflict",
      "import.not_cancellable",
      `Import ${id} is ${status}; only one that has not ended can be cancelled.`,
    ),
  tooLarge: () =>
    new DomainError("too_large", "import.too_large", `The file is larger than ${maxImportBytes} bytes; split it.`),
};

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
  // Brings every encoding there is, which only a list that arrives needs.
  const { sniff } = await import("./files.ts");
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
  const { loads, promoted, updated } = await takeIn(ctx, prepared, source, batch, promote);
  const count = (status: LoadResult["status"]) => loads.filter((load) => load.status === status).length;
  return {
    batchId: batch,
    accepted: count("accepted"),
    duplicates: count("duplicate"),
    rejected: count("rejected"),
    promoted,
    updated,
    loads,
  };
});

/** Pending loads become golden records; without ids whatever is pending, 10,000 a call. Repeating it changes nothing. */
export const promote = command(
  z.object({ loadIds: z.array(idOf("rawLoad")).min(1).max(10_000).optional() }),
  async (ctx, { loadIds }) => promoteLoads(ctx, loadIds ?? null),
);

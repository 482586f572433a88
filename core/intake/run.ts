/**
 * Running an import: rows of a stored file become loads and golden records, a chunk per transaction.
 *
 * Invariant: what a chunk wrote and how far the file was read commit together, under the generation that claimed the import. Killed at any
 * point it therefore goes on at the next row, and a worker whose lease ran out writes nothing.
 */
import { sql } from "kysely";
import {
  type Context,
  claim,
  crashedRepeatedly,
  DomainError,
  maxClaims,
  reach,
  settle,
  type TxContext,
  transact,
  work,
} from "../kernel/index.ts";
import type { Blobs, Queue } from "../ports/index.ts";
import { columnKey } from "./columns.ts";
import type { FileFormat } from "./formats.ts";
import { createNormalizer, type IntakeRow } from "./normalize.ts";
import { ImportOptions } from "./options.ts";
import { type LoadResult, type TakenIn, takeIn } from "./store.ts";

export interface ImportDeps {
  readonly blobs: Blobs;
  readonly queue: Queue;
}

/** How much time the caller has left. */
export interface Limits {
  remainingMs(): number;
}

/** Rows of a transaction, and the characters at which it ends earlier: a chunk of wide rows must not fill the memory. */
const chunkRows = 1_000;
const chunkCharacters = 4_000_000;
/** An import puts itself back this long before its caller's time is over: a chunk takes well under a second. */
const reserveMs = 10_000;

export type ImportOutcome =
  | { readonly id: string; readonly kind: "completed" | "paused" | "superseded" }
  | { readonly id: string; readonly kind: "failed"; readonly reason: string };

/**
 * Claims and runs due imports of the tenant until none is left or the time is nearly over. What is not finished is put back and rung for.
 * @param ids only these; empty: whatever is due
 * @throws what made a chunk fail, after the import was put back with a delay, so that the caller's queue sees the failure too
 */
export async function runImports(
  deps: ImportDeps,
  ctx: Context,
  ids: readonly string[],
  limits: Limits,
): Promise<ImportOutcome[]> {
  const outcomes: ImportOutcome[] = [];
  while (limits.remainingMs() > reserveMs) {
    const [claimed] = await transact(ctx, ({ db, tenantId }) => claim(db, tenantId, work.imports, { ids, limit: 1 }));
    if (!claimed) break;
    reach("import.claimed");
    outcomes.push(await runImport(deps, ctx, claimed, limits));
  }
  const paused = outcomes.filter(({ kind }) => kind === "paused").map(({ id }) => id);
  if (paused.length > 0) await deps.queue.ring([{ kind: "imports", tenantId: ctx.tenantId, ids: paused }]);
  return outcomes;
}

/** Runs one claimed import to its end, to the end of the time, or to its failure. */
export async function runImport(
  { blobs }: Pick<ImportDeps, "blobs">,
  ctx: Context,
  claimed: { readonly id: string; readonly generation: number; readonly attempts: number },
  limits: Limits,
): Promise<ImportOutcome> {
  const { id, generation } = claimed;
  const end = (status: "completed" | "failed" | "pending", error: string | null = null, retryInSeconds = 0) =>
    transact(ctx, ({ db, tenantId }) =>
      settle(db, tenantId, work.imports, [{ id, generation, status, error, retryInSeconds }]),
    );
  if (claimed.attempts > maxClaims) {
    await end("failed", crashedRepeatedly);
    return { id, kind: "failed", reason: crashedRepeatedly };
  }
  try {
    const task = await transact(ctx, async (ctx) => {
      const task = await read(ctx, id);
      await leaseWhileSkipping(ctx, task, generation);
      return task;
    });
    const kind = await readOn(
      blobs,
      { ...ctx, correlationId: task.correlationId ?? ctx.correlationId },
      task,
      generation,
      limits,
    );
    if (kind === "superseded") return { id, kind };
    const settled = await end(kind === "paused" ? "pending" : "completed");
    return { id, kind: settled.length > 0 ? kind : "superseded" };
  } catch (error) {
    const hopeless = error instanceof DomainError && !["unavailable", "rate_limited"].includes(error.kind);
    const reason = error instanceof DomainError ? error.message : "The import failed for a reason inside the system.";
    if (hopeless || claimed.attempts >= maxClaims) {
      await end("failed", reason);
      return { id, kind: "failed", reason };
    }
    await end("pending", reason, 2 ** claimed.attempts);
    throw error;
  }
}

interface ImportTask {
  readonly id: string;
  readonly source: string;
  readonly format: FileFormat;
  readonly options: ImportOptions;
  readonly objectPath: string;
  readonly rowsRead: number;
  readonly correlationId: string | null;
}

async function read({ db, tenantId }: TxContext, id: string): Promise<ImportTask> {
  const row = await db
    .selectFrom("imports as i")
    .innerJoin("artifacts as a", (join) =>
      join.onRef("a.tenant_id", "=", "i.tenant_id").onRef("a.id", "=", "i.artifact_id"),
    )
    .select(["i.source", "i.format", "i.options", "i.rows_read", "i.correlation_id", "a.object_path"])
    .where("i.tenant_id", "=", tenantId)
    .where("i.id", "=", id)
    .executeTakeFirst();
  if (!row?.object_path) throw new DomainError("not_found", "import.not_found", `No import ${id}.`);
  return {
    id,
    source: row.source,
    format: row.format as FileFormat,
    options: ImportOptions.parse(row.options),
    objectPath: row.object_path,
    rowsRead: Number(row.rows_read),
    correlationId: row.correlation_id,
  };
}

/** Rows that are skipped in a second at the least, on a busy machine. */
const skippedPerSecond = 20_000;

/** A lease is renewed with every chunk, but what is read already is skipped without one: it lasts so much longer. */
async function leaseWhileSkipping({ db, tenantId }: TxContext, { id, rowsRead }: ImportTask, generation: number) {
  if (rowsRead === 0) return;
  await sql`
    update imports set lease_until = lease_until + make_interval(secs => ${rowsRead / skippedPerSecond})
    where tenant_id = ${tenantId} and id = ${id} and generation = ${generation} and status = 'running'`.execute(db);
}

interface Chunk {
  readonly rows: readonly IntakeRow[];
  /** Number of its last row in the file. */
  readonly until: number;
  readonly bytesRead: number;
}

async function readOn(
  blobs: Blobs,
  ctx: Context,
  task: ImportTask,
  generation: number,
  limits: Limits,
): Promise<"completed" | "paused" | "superseded"> {
  // While the database writes one chunk, the next is read: two at most are in memory.
  let writing: Promise<boolean> = Promise.resolve(true);
  try {
    for await (const chunk of chunksOf(blobs, task)) {
      if (!(await writing)) return "superseded";
      if (limits.remainingMs() <= reserveMs) return "paused";
      writing = transact(ctx, (ctx) => writeChunk(ctx, task, generation, chunk)).then((held) => {
        reach("import.chunk");
        return held;
      });
      // A failure is seen by the next await; until then it must not count as unhandled.
      writing.catch(() => {});
    }
    return (await writing) ? "completed" : "superseded";
  } finally {
    await writing.catch(() => {});
  }
}

async function* chunksOf(
  blobs: Blobs,
  { id, options, format, objectPath, rowsRead }: ImportTask,
): AsyncGenerator<Chunk> {
  const normalize = createNormalizer({
    mapping: options.mapping,
    defaultCountry: options.defaultCountry,
    tags: options.tags,
    sourceType: "csv_import",
    importId: id,
  });
  const emailColumns = new Set(
    Object.entries(options.mapping ?? {}).flatMap(([header, target]) =>
      target === "email" ? [columnKey(header)] : [],
    ),
  );
  let bytesRead = 0;
  const { readRows } = await import("./files.ts");
  const blocks = readRows(blobs.stream(objectPath), {
    format,
    skip: rowsRead,
    isEmailColumn: (header) => emailColumns.has(columnKey(header)),
    onBytes: (total) => {
      bytesRead = total;
    },
  });
  let rows: IntakeRow[] = [];
  let until = rowsRead;
  let characters = 0;
  for await (const block of blocks) {
    for (const source of block) {
      rows.push(normalize(source));
      until = source.row;
      characters += source.size;
      if (rows.length < chunkRows && characters < chunkCharacters) continue;
      yield { rows, until, bytesRead };
      rows = [];
      characters = 0;
    }
  }
  yield { rows, until, bytesRead };
}

const nothing: TakenIn = { loads: [], promoted: 0, updated: 0 };

/** @returns false when the import belongs to somebody else by now; nothing is written then. */
async function writeChunk(ctx: TxContext, task: ImportTask, generation: number, chunk: Chunk): Promise<boolean> {
  const { db, tenantId } = ctx;
  // Taken first: from here to the commit nobody else can claim it.
  const owned = await sql<{ id: string }>`
    select id from imports
    where tenant_id = ${tenantId} and id = ${task.id} and generation = ${generation} and status = 'running'
      and rows_read <= ${chunk.until}
    for update`.execute(db);
  if (owned.rows.length === 0) return false;
  const taken =
    chunk.rows.length > 0 ? await takeIn(ctx, chunk.rows, task.source, task.id, task.options.promote) : nothing;
  reach("import.ingesting");
  const count = (status: LoadResult["status"]) => taken.loads.filter((load) => load.status === status).length;
  await sql`
    update imports
    set rows_read = ${chunk.until}, bytes_read = ${chunk.bytesRead}, attempts = 0, last_error = null,
        rows_accepted = rows_accepted + ${count("accepted")}, rows_duplicate = rows_duplicate + ${count("duplicate")},
        rows_rejected = rows_rejected + ${count("rejected")}, rows_promoted = rows_promoted + ${taken.promoted + taken.updated},
        rows_warned = rows_warned + ${chunk.rows.filter(({ meta }) => meta.warnings !== undefined).length},
        lease_until = app_now() + make_interval(secs => ${work.imports.leaseSeconds})
    where tenant_id = ${tenantId} and id = ${task.id} and generation = ${generation}`.execute(db);
  return true;
}

/** Routes of the intake: files and rows in, what became of each. Invariant: a file that is answered with 201 is stored; importing it goes on by itself. */
import * as intake from "@outrider/core/intake";
import { DomainError, idOf } from "@outrider/core/kernel";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, nothing, page, ringAfter, text, time } from "./endpoint.ts";

/** Lambda takes events of up to 6 MB, of which headers and base64 take some. */
const maxFileBytes = intake.maxPartBytes;
const fileTypes = ["text/csv", "application/json", "application/x-ndjson"] as const;
/** What one answer of a Lambda may hold. */
const maxAnswerCharacters = 4_000_000;

const Import = z
  .object({
    id,
    fileName: maybeText,
    source: text,
    format: text,
    status: z.enum(intake.importStatuses),
    artifactId: id,
    options: z.unknown(),
    rows: z.object({
      read: z.int(),
      accepted: z.int(),
      duplicate: z.int(),
      rejected: z.int(),
      promoted: z.int(),
      warned: z.int().describe("of all read: something was left out or changed; `warnings` of the load says what"),
    }),
    sizeBytes: z.int(),
    bytesRead: z.int(),
    lastError: maybeText,
    createdAt: time,
    completedAt: maybeTime,
  })
  .meta({ id: "Import" });

const Load = z
  .object({
    id,
    batchId: text,
    source: text,
    status: z.enum(intake.loadStatuses),
    email: maybeText,
    row: z.int().nullable().describe("in its file or request"),
    reason: maybeText.describe("why it was refused or skipped"),
    repeats: maybeText.describe("the load a duplicate repeats"),
    warnings: z.array(text),
    rawData: z.unknown(),
    createdAt: time,
    promotedAt: maybeTime,
  })
  .meta({ id: "RawLoad" });

/** The file is the body, so its options are in the query; `mapping` as JSON. */
const FileImport = z.object({
  ...intake.NewImport.omit({ options: true }).shape,
  ...intake.ImportOptions.shape,
});

export const intakeEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/imports",
    tag: "Intake",
    summary: "Imports, newest first",
    scope: "leads:read",
    input: intake.listImports.schema,
    answer: page(Import),
    run: ({ ctx, input }) => intake.listImports(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/imports",
    tag: "Intake",
    summary: "Import a file of up to 4 MiB: CSV, a JSON array or NDJSON",
    description: "The file is stored and imported in the background; ask for the import to see how far it is.",
    scope: "imports:write",
    status: 201,
    file: { contentTypes: fileTypes, maxBytes: maxFileBytes },
    input: FileImport,
    answer: Import,
    example: { source: "fair", fileName: "leads.csv" },
    run: async ({ ctx, host, input: { fileName, source, format, ...options }, bytes }) => {
      const given = { fileName, source, format, options };
      const created = await intake.createImport(host, ctx, given as z.input<typeof intake.NewImport>, once(bytes));
      await ringAfter(ctx, [{ kind: "imports", tenantId: ctx.tenantId, ids: [created.id] }]);
      return created;
    },
  }),
  endpoint({
    method: "post",
    path: "/v1/imports/uploads",
    tag: "Intake",
    summary: "Start the upload of a larger file",
    description:
      "Send its parts, each up to 4 MiB, to `PUT /v1/imports/uploads/{uploadId}?part=1`, 2, 3 …; then complete it.",
    scope: "imports:write",
    status: 201,
    input: z.object({}),
    answer: z.object({ uploadId: id }),
    run: ({ ctx, host }) => intake.startUpload(host, ctx),
  }),
  endpoint({
    method: "put",
    path: "/v1/imports/uploads/{uploadId}",
    tag: "Intake",
    summary: "Send one part; sending it again replaces it",
    scope: "imports:write",
    status: 204,
    file: { contentTypes: ["application/octet-stream", ...fileTypes], maxBytes: intake.maxPartBytes },
    input: intake.putPart.schema,
    answer: nothing,
    run: ({ ctx, host, input, bytes }) => intake.putPart(host, ctx, input, bytes),
  }),
  endpoint({
    method: "post",
    path: "/v1/imports/uploads/{uploadId}/complete",
    tag: "Intake",
    summary: "Import the uploaded parts as one file",
    scope: "imports:write",
    status: 201,
    input: intake.completeUpload.schema,
    answer: Import,
    example: { parts: 3, source: "fair", fileName: "leads.csv", options: { tags: ["fair-2026"] } },
    run: async ({ ctx, host, input }) => {
      const created = await intake.completeUpload(host, ctx, input);
      await ringAfter(ctx, [{ kind: "imports", tenantId: ctx.tenantId, ids: [created.id] }]);
      return created;
    },
  }),
  endpoint({
    method: "get",
    path: "/v1/imports/{id}",
    tag: "Intake",
    summary: "One import and how far it is",
    scope: "leads:read",
    input: intake.getImport.schema,
    answer: Import,
    run: ({ ctx, input }) => intake.getImport(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/imports/{id}/cancel",
    tag: "Intake",
    summary: "End an import after the chunk it is writing",
    scope: "imports:write",
    input: intake.cancelImport.schema,
    answer: Import,
    run: ({ ctx, input }) => intake.cancelImport(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/imports/{id}/rejected",
    tag: "Intake",
    summary: "The rows that were not taken, as a CSV to mend and send again",
    scope: "leads:read",
    textType: "text/csv; charset=utf-8",
    input: z.object({
      id: idOf("import"),
      duplicates: z.boolean().optional().describe("false: refused rows only"),
    }),
    answer: z.string(),
    run: async ({ ctx, input: { id, duplicates } }) => {
      const found = await intake.getImport(ctx, { id });
      return textOf(intake.rejectedRows(ctx, found.id, duplicates === undefined ? {} : { duplicates }));
    },
  }),
  endpoint({
    method: "get",
    path: "/v1/intake/loads",
    tag: "Intake",
    summary: "Rows as they came and what became of them",
    scope: "leads:read",
    input: intake.listLoads.schema,
    answer: page(Load),
    run: ({ ctx, input }) => intake.listLoads(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/intake/loads",
    tag: "Intake",
    summary: "Take in up to 5,000 rows",
    description: "Each row is judged by itself: a refused one does not refuse its neighbours.",
    scope: "imports:write",
    status: 201,
    maxKeys: 100_000,
    repairText: true,
    input: intake.ingest.schema,
    answer: z.object({
      batchId: text,
      accepted: z.int(),
      duplicates: z.int(),
      rejected: z.int(),
      promoted: z.int(),
      updated: z.int(),
      loads: z
        .array(z.object({ id, status: z.enum(["accepted", "duplicate", "rejected"]), reason: maybeText }))
        .describe("in the order of the rows"),
    }),
    example: { source: "api", rows: [{ email: "kim@acme.example", first_name: "Kim" }], promote: true },
    run: ({ ctx, input }) => intake.ingest(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/intake/promote",
    tag: "Intake",
    summary: "Make pending loads golden records, leads and contacts",
    description: "Without ids whatever is pending, 10,000 a call. Repeating it changes nothing.",
    scope: "imports:write",
    maxKeys: 20_000,
    input: intake.promote.schema,
    answer: z.object({ promoted: z.int(), updated: z.int(), failed: z.int(), message: text }),
    run: ({ ctx, input }) => intake.promote(ctx, input),
  }),
];

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function textOf(lines: AsyncIterable<string>): Promise<string> {
  const parts: string[] = [];
  let size = 0;
  for await (const line of lines) {
    size += line.length;
    if (size > maxAnswerCharacters) {
      const message =
        "Too many rows for one answer; read them in pages with GET /v1/intake/loads?importId=&status=failed.";
      throw new DomainError("too_large", "import.rejected_too_large", message);
    }
    parts.push(line);
  }
  return parts.join("");
}

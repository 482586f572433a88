/**
 * Files too large for one request: uploaded in parts, then imported as one file.
 *
 * Invariant: parts are kept under the tenant they belong to, so an upload of another tenant cannot be found, added to or completed.
 * Objects below `uploads/` are needed for a week at most; the bucket's lifecycle removes them.
 */
import * as z from "zod";
import { type Context, DomainError, idOf, newId, parseInput, transact } from "../kernel/index.ts";
import type { Blobs } from "../ports/index.ts";

/** A part fits into one request. */
export const maxPartBytes = 4 * 1024 ** 2;
export const maxParts = 512;

interface Deps {
  readonly blobs: Blobs;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "upload.not_found", `No upload ${id}.`),
  partMissing: (part: number) =>
    new DomainError("conflict", "upload.part_missing", `Part ${part} has not arrived; send it and complete again.`, {
      fields: [{ path: "parts", value: part, message: "the number of parts that were sent" }],
    }),
  partTooLarge: () =>
    new DomainError("too_large", "upload.part_too_large", `A part has at most ${maxPartBytes} bytes; send more parts.`),
};

const folder = (ctx: Context, id: string): string => `uploads/${ctx.tenantId}/${id}`;
const isMissing = (error: unknown): boolean => error instanceof DomainError && error.code === "blobs.missing";

/** @returns the id that parts are sent to */
export async function startUpload({ blobs }: Deps, ctx: Context): Promise<{ readonly uploadId: string }> {
  const id = await transact(ctx, async ({ now }) => newId("import", now));
  await blobs.put(`${folder(ctx, id)}/started`, new Uint8Array(), "application/octet-stream");
  return { uploadId: id };
}

async function known({ blobs }: Deps, ctx: Context, id: string): Promise<void> {
  await blobs.get(`${folder(ctx, id)}/started`).catch((error: unknown) => {
    throw isMissing(error) ? errors.notFound(id) : error;
  });
}

const Part = z.object({
  uploadId: idOf("import"),
  part: z.coerce.number().int().min(1).max(maxParts).default(1).describe("1, 2, 3 … in the order of the file"),
});

/** Sending a part again replaces it. @throws DomainError `upload.not_found`, `upload.part_too_large` */
export async function putPart(deps: Deps, ctx: Context, input: z.input<typeof Part>, bytes: Uint8Array): Promise<void> {
  const { uploadId, part } = parseInput(Part, input);
  if (bytes.byteLength > maxPartBytes) throw errors.partTooLarge();
  await known(deps, ctx, uploadId);
  await deps.blobs.put(`${folder(ctx, uploadId)}/${part}`, bytes, "application/octet-stream");
}
putPart.schema = Part;

export const Uploaded = z.object({
  uploadId: idOf("import"),
  parts: z.int().min(1).max(maxParts).describe("how many there are"),
});

/** The parts in their order, as one file. @throws DomainError `upload.not_found`, while reading `upload.part_missing` */
export async function uploadedFile(
  deps: Deps,
  ctx: Context,
  { uploadId, parts }: z.output<typeof Uploaded>,
): Promise<AsyncIterable<Uint8Array>> {
  await known(deps, ctx, uploadId);
  async function* whole(): AsyncGenerator<Uint8Array> {
    for (let part = 1; part <= parts; part++) {
      try {
        yield* deps.blobs.stream(`${folder(ctx, uploadId)}/${part}`);
      } catch (error) {
        throw isMissing(error) ? errors.partMissing(part) : error;
      }
    }
  }
  return whole();
}

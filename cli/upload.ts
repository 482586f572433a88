/**
 * A list of any size through an API that takes 4 MiB at a time: whole where it fits, else in parts of whole rows.
 * Invariant: memory is constant in the size of the list, and every row of it is in exactly one part.
 */
import type { FileFormat } from "../core/intake/formats.ts";

/** `maxFileBytes` of the API. */
const maxBytes = 4 * 1024 ** 2;
/** Room for the row that fills it. */
const partBytes = 3.5 * 1024 ** 2;

export interface Part {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of a part of several; undefined: as the list came. */
  readonly format: FileFormat | undefined;
  /** From 1; null: the list is whole. */
  readonly number: number | null;
}

/** @throws DomainError `import.*` for a list that has to be read to be cut, and cannot be */
export async function* partsOf(body: AsyncIterable<Uint8Array>, format: FileFormat | undefined): AsyncGenerator<Part> {
  const iterator = body[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let size = 0;
  let next = await iterator.next();
  for (; !next.done && size + next.value.byteLength <= maxBytes; next = await iterator.next()) {
    held.push(next.value);
    size += next.value.byteLength;
  }
  if (next.done) {
    yield { bytes: joined(held), format, number: null };
    return;
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield* held.splice(0);
    for (; !next.done; next = await iterator.next()) yield next.value;
  }
  yield* rowParts(whole(), format);
}

/** Rows as lines of JSON under their column names, which is how the server sees the rows of any format. */
async function* rowParts(body: AsyncIterable<Uint8Array>, format: FileFormat | undefined): AsyncGenerator<Part> {
  // Heavy, and needed for large lists only.
  const { readRows } = await import("../core/intake/files.ts");
  let lines: Buffer[] = [];
  let size = 0;
  let number = 1;
  for await (const block of readRows(body, { format })) {
    for (const { raw } of block) {
      const line = Buffer.from(`${JSON.stringify(raw)}\n`);
      if (size + line.length > partBytes && size > 0) {
        yield { bytes: joined(lines), format: "ndjson", number: number++ };
        lines = [];
        size = 0;
      }
      lines.push(line);
      size += line.length;
    }
  }
  if (size > 0) yield { bytes: joined(lines), format: "ndjson", number };
}

function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

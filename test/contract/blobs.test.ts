/** One suite, two stores: what callers of `Blobs` rely on holds for S3 and for the one in memory. */
import { createHash, randomBytes } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import { DomainError } from "../../core/kernel/error.ts";
import type { Blobs } from "../../core/ports/blobs.ts";
import { memoryBlobs } from "../../core/providers/memory/index.ts";
import { s3Blobs } from "../../core/providers/s3/index.ts";
import { bucket, startAws } from "../../local/aws.ts";

const aws = await startAws();
afterAll(() => aws.stop());

const read = async (chunks: AsyncIterable<Uint8Array>) => {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
};

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe.each<[string, Blobs]>([
  ["s3", s3Blobs({ client: aws.s3, bucket })],
  ["memory", memoryBlobs()],
])("blobs over %s", (_name, blobs) => {
  test("bytes come back as they went in, whatever they are", async () => {
    const bytes = new Uint8Array([0, 255, 13, 10, 0xef, 0xbb, 0xbf, 0xc3, 0x28]);
    await blobs.put("tenant_a/bytes", bytes, "application/octet-stream");
    expect(await blobs.get("tenant_a/bytes")).toEqual(bytes);
  });

  test("keys are listed by prefix in the order of their characters, and a deleted one is gone for good", async () => {
    for (const key of ["listed/b", "listed/a", "listed/c", "listless"])
      await blobs.put(key, new Uint8Array(), "text/plain");
    expect(await blobs.list("listed/", 10)).toEqual(["listed/a", "listed/b", "listed/c"]);
    expect(await blobs.list("listed/", 2)).toEqual(["listed/a", "listed/b"]);
    expect(await blobs.list("listed/", 2, "listed/b")).toEqual(["listed/c"]);
    await blobs.delete("listed/a");
    await blobs.delete("listed/a");
    expect(await blobs.list("listed/", 10)).toEqual(["listed/b", "listed/c"]);
    await expect(blobs.get("listed/a")).rejects.toMatchObject({ code: "blobs.missing" });
    expect(await blobs.list("nothing/", 10)).toEqual([]);
  });

  test("an empty object is an object", async () => {
    await blobs.put("tenant_a/empty", new Uint8Array(), "text/plain");
    expect(await blobs.get("tenant_a/empty")).toEqual(new Uint8Array());
    expect(await read(blobs.stream("tenant_a/empty"))).toHaveLength(0);
  });

  test("a stream of several parts comes back whole", async () => {
    const bytes = randomBytes(18 * 1024 * 1024);
    await blobs.put("tenant_a/large", pieces(bytes, 100_000), "text/csv");
    expect(digest(await read(blobs.stream("tenant_a/large")))).toBe(digest(bytes));
  });

  test("an empty stream is an empty object", async () => {
    await blobs.put("tenant_a/nothing", pieces(new Uint8Array(), 1), "text/csv");
    expect(await blobs.get("tenant_a/nothing")).toHaveLength(0);
  });

  test("a stream that breaks leaves no object and its own error", async () => {
    async function* broken() {
      yield new Uint8Array(1_000);
      throw new DomainError("invalid", "import.malformed", "Line 3 has no end.");
    }
    await expect(blobs.put("tenant_a/broken", broken(), "text/csv")).rejects.toMatchObject({
      code: "import.malformed",
    });
    await expect(blobs.get("tenant_a/broken")).rejects.toMatchObject({ code: "blobs.missing" });
  });

  test("a key that was never written is missing, for get and for stream", async () => {
    await expect(blobs.get("tenant_a/none")).rejects.toMatchObject({ kind: "not_found", code: "blobs.missing" });
    await expect(read(blobs.stream("tenant_a/none"))).rejects.toMatchObject({ code: "blobs.missing" });
  });

  test("one tenant's key never answers for another's", async () => {
    await blobs.put("tenant_a/same", new Uint8Array([1]), "text/plain");
    await expect(blobs.get("tenant_b/same")).rejects.toMatchObject({ code: "blobs.missing" });
  });
});

test("an object store that cannot be reached is unavailable, not missing", async () => {
  const gone = await startAws();
  const blobs = s3Blobs({ client: gone.s3, bucket: "no-such-bucket" });
  await expect(blobs.get("x")).rejects.toMatchObject({ kind: "unavailable", code: "blobs.unavailable" });
  await gone.stop();
});

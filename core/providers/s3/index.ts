/**
 * Blobs in one S3 bucket. Streams are uploaded in parts, so that memory does not grow with the object; a failed upload is aborted
 * and leaves no parts behind. Keys are ours and never reused, so nothing here relies on conditional writes.
 */

import { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { DomainError } from "../../kernel/error.ts";
import type { Blobs } from "../../ports/blobs.ts";

export interface S3Options {
  readonly client: S3Client;
  readonly bucket: string;
}

/** Two parts of 8 MiB in flight: 16 MiB of memory, objects of up to 80 GB. */
const partBytes = 8 * 1024 * 1024;
const partsInFlight = 2;

const unreachable = (cause: unknown) =>
  new DomainError("unavailable", "blobs.unavailable", "The object store cannot be reached at the moment.", { cause });

export function s3Blobs({ client, bucket }: S3Options): Blobs {
  async function open(key: string): Promise<Readable> {
    try {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      if (Body instanceof Readable) return Body;
      throw new Error(`S3 answered without a body for ${key}`);
    } catch (cause) {
      if (cause instanceof NoSuchKey) {
        throw new DomainError("not_found", "blobs.missing", "The stored object does not exist any more.", { cause });
      }
      throw unreachable(cause);
    }
  }

  return {
    async put(key, body, contentType) {
      const target = { Bucket: bucket, Key: key, ContentType: contentType };
      try {
        if (body instanceof Uint8Array) {
          await client.send(new PutObjectCommand({ ...target, Body: body }));
          return;
        }
        const Body = Readable.from(body, { objectMode: false });
        await new Upload({ client, params: { ...target, Body }, partSize: partBytes, queueSize: partsInFlight }).done();
      } catch (cause) {
        // What the stream of the caller throws is the caller's to see.
        if (cause instanceof DomainError) throw cause;
        throw new DomainError("unavailable", "blobs.unavailable", "The object store did not take the object.", {
          cause,
        });
      }
    },
    async get(key) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of await open(key)) chunks.push(chunk as Uint8Array);
      return new Uint8Array(Buffer.concat(chunks));
    },
    async *stream(key) {
      for await (const chunk of await open(key)) yield chunk as Uint8Array;
    },
    async list(prefix, limit, after) {
      const { Contents = [] } = await client
        .send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: limit, StartAfter: after }))
        .catch((cause: unknown) => {
          throw unreachable(cause);
        });
      return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
    },
    async delete(key) {
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })).catch((cause: unknown) => {
        throw unreachable(cause);
      });
    },
  };
}

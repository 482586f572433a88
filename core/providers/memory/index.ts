/** The ports in memory, for tests of what stands above them. They pass the same contract suites as the real adapters. */
import { createHash, randomBytes } from "node:crypto";
import { DomainError } from "../../kernel/error.ts";
import { canonicalContext } from "../../kernel/seal.ts";
import type { Blobs } from "../../ports/blobs.ts";
import { type Bell, maxBellIds, type Queue } from "../../ports/queue.ts";
import type { KeyService } from "../../ports/secrets.ts";

export interface MemoryQueue extends Queue {
  /** Takes everything rung so far, split as a real queue would carry it. */
  drain(): Bell[];
}

export function memoryQueue(): MemoryQueue {
  let rung: Bell[] = [];
  return {
    async ring(bells) {
      for (const { kind, tenantId, ids } of bells) {
        for (let from = 0; from === 0 || from < ids.length; from += maxBellIds) {
          rung.push({ kind, tenantId, ids: ids.slice(from, from + maxBellIds) });
        }
      }
    },
    drain() {
      const taken = rung;
      rung = [];
      return taken;
    },
  };
}

export function memoryBlobs(): Blobs {
  const objects = new Map<string, Uint8Array>();
  const get = async (key: string): Promise<Uint8Array> => {
    const bytes = objects.get(key);
    if (!bytes) throw new DomainError("not_found", "blobs.missing", "The stored object does not exist any more.");
    return bytes.slice();
  };
  return {
    get,
    async put(key, body) {
      if (body instanceof Uint8Array) {
        objects.set(key, body.slice());
        return;
      }
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk.slice());
      objects.set(key, new Uint8Array(Buffer.concat(chunks)));
    },
    async *stream(key) {
      yield await get(key);
    },
    list: async (prefix, limit, after = "") =>
      [...objects.keys()]
        .filter((key) => key.startsWith(prefix) && key > after)
        .toSorted()
        .slice(0, limit),
    async delete(key) {
      objects.delete(key);
    },
  };
}

/** Wraps by remembering: a data key opens only here, only in the context it was made for. */
export function memoryKeys(keyId = "memory"): KeyService {
  const keys = new Map<string, { readonly plaintext: Uint8Array; readonly context: string }>();
  const digest = (context: Readonly<Record<string, string>>) =>
    createHash("sha256").update(canonicalContext(context)).digest("hex");
  return {
    keyId,
    async generateDataKey(context) {
      const plaintext = new Uint8Array(randomBytes(32));
      const wrapped = new Uint8Array(randomBytes(16));
      keys.set(Buffer.from(wrapped).toString("hex"), { plaintext, context: digest(context) });
      return { plaintext: plaintext.slice(), wrapped };
    },
    async unwrapDataKey(id, wrapped, context) {
      const key = keys.get(Buffer.from(wrapped).toString("hex"));
      if (id !== keyId || !key || key.context !== digest(context)) {
        throw new DomainError("invalid", "keys.refused", "The key service does not open this data key in this place.");
      }
      return key.plaintext.slice();
    },
  };
}

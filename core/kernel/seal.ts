/**
 * Secrets at rest. A value is encrypted under a data key of its own, the data key is wrapped by the key service, and both are bound to the
 * place the value is stored in: a sealed value copied to another tenant, row or column does not open.
 *
 * Envelope, version 1: `v1.<key id>.<wrapped data key>.<nonce>.<ciphertext and tag>`, each part base64url.
 * AES-256-GCM with a random 96-bit nonce; one data key per value, so a nonce never meets its key twice.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { DomainError } from "./error.ts";

/** Where a sealed value is stored. */
export interface SealContext {
  readonly tenantId: string;
  /** The id of the row. */
  readonly row: string;
  /** `table.column` */
  readonly column: string;
}

/** What sealing needs of `core/ports/secrets.ts`. */
export interface DataKeys {
  readonly keyId: string;
  generateDataKey(
    context: Readonly<Record<string, string>>,
  ): Promise<{ readonly plaintext: Uint8Array; readonly wrapped: Uint8Array }>;
  unwrapDataKey(keyId: string, wrapped: Uint8Array, context: Readonly<Record<string, string>>): Promise<Uint8Array>;
}

const nonceBytes = 12;
const tagBytes = 16;

/** One byte string per set of pairs, whatever their order: length-prefixed, so that no two sets give the same bytes. */
export function canonicalContext(context: Readonly<Record<string, string>>): Buffer {
  const parts = Object.keys(context)
    .sort()
    .flatMap((name) => [name, context[name] ?? ""]);
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, "utf8");
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

const pairs = ({ tenantId, row, column }: SealContext) => ({ tenant: tenantId, row, column, version: "1" });

/** Always the same words, whatever was wrong, so that an answer tells nobody which part they got right. */
const broken = (cause?: unknown) =>
  new DomainError("invalid", "seal.broken", "A stored secret cannot be opened. Set it again.", { cause });

export interface CacheOptions {
  /** The wall clock of the process: how long a key may stay in memory has nothing to do with business time. */
  readonly now: () => Date;
  /** At most 300. */
  readonly ttlSeconds?: number;
  readonly maxKeys?: number;
}

/**
 * Remembers opened data keys, for five minutes at most: a burst of webhooks asks the key service once, and a short outage of it goes
 * unnoticed. A composition root puts this around its key service.
 */
export function cachedKeys<K extends DataKeys>(keys: K, { now, ttlSeconds = 300, maxKeys = 1_000 }: CacheOptions): K {
  const ttlMs = Math.min(300, ttlSeconds) * 1_000;
  const opened = new Map<string, { readonly key: Uint8Array; readonly until: number }>();
  const forget = (id: string) => {
    opened.get(id)?.key.fill(0);
    opened.delete(id);
  };
  return {
    ...keys,
    async unwrapDataKey(keyId, wrapped, context) {
      // The place is part of the name: a remembered key must not open where the key service would have refused it.
      const id = createHash("sha256")
        .update(canonicalContext({ ...context, keyId }))
        .update(wrapped)
        .digest("base64");
      const found = opened.get(id);
      if (found && found.until > now().getTime()) return found.key.slice();
      forget(id);
      const key = await keys.unwrapDataKey(keyId, wrapped, context);
      const [oldest] = opened.keys();
      if (opened.size >= maxKeys && oldest !== undefined) forget(oldest);
      opened.set(id, { key: key.slice(), until: now().getTime() + ttlMs });
      return key;
    },
  };
}

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

/** @returns the envelope to store in `context.row`, `context.column` */
export async function seal(keys: DataKeys, plaintext: string, context: SealContext): Promise<string> {
  const bound = pairs(context);
  const { plaintext: key, wrapped } = await keys.generateDataKey(bound);
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(canonicalContext(bound));
  const sealed = Buffer.concat([cipher.update(plaintext, "utf8"), cipher.final(), cipher.getAuthTag()]);
  key.fill(0);
  return ["v1", encode(Buffer.from(keys.keyId, "utf8")), encode(wrapped), encode(nonce), encode(sealed)].join(".");
}

/**
 * @throws DomainError `seal.broken` when the envelope is damaged or was sealed for another place; errors of an unreachable key
 *   service (`unavailable`) pass through, so that the caller can wait
 */
export async function open(keys: DataKeys, sealed: string, context: SealContext): Promise<string> {
  const [version, ...parts] = sealed.split(".");
  const [keyId, wrapped, nonce, body] = parts.map((part) => Buffer.from(part, "base64url"));
  const whole =
    keyId && wrapped && nonce?.length === nonceBytes && body && body.length >= tagBytes && parts.length === 4;
  if (version !== "v1" || !whole) throw broken();
  const bound = pairs(context);
  const key = await keys.unwrapDataKey(keyId.toString("utf8"), wrapped, bound).catch((cause: unknown) => {
    throw cause instanceof DomainError && cause.kind === "unavailable" ? cause : broken(cause);
  });
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
    decipher.setAAD(canonicalContext(bound)).setAuthTag(body.subarray(-tagBytes));
    return Buffer.concat([decipher.update(body.subarray(0, -tagBytes)), decipher.final()]).toString("utf8");
  } catch (cause) {
    throw broken(cause);
  } finally {
    key.fill(0);
  }
}

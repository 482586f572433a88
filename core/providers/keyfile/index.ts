/**
 * Data keys wrapped by a key in a file, for one machine. The file holds 32 random bytes and is readable by its owner only; it is made once
 * and never overwritten, because losing it loses every credential sealed under it.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { DomainError } from "../../kernel/error.ts";
import { canonicalContext } from "../../kernel/seal.ts";
import type { KeyService } from "../../ports/secrets.ts";

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

const refused = (cause?: unknown) =>
  new DomainError("invalid", "keys.refused", "The key service does not open this data key in this place.", { cause });

export interface KeyFile extends KeyService {
  /** A key for another purpose, derived from the same file: signed links, for instance. */
  derive(purpose: string): Uint8Array;
}

/** @throws Error with a sentence for the operator when the file cannot be read or is not a key */
async function load(file: string): Promise<Buffer> {
  const key = await readFile(file);
  if (key.length !== keyBytes) {
    throw new Error(
      `${file} is not a key file (${key.length} bytes instead of ${keyBytes}). Restore it from a backup; without it, stored credentials cannot be opened.`,
    );
  }
  return key;
}

/** Written whole under another name and then linked: a crash leaves either no key or a complete one, and of two starters one wins. */
async function create(file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const handle = await open(draft, "wx", 0o600);
  try {
    await handle.writeFile(randomBytes(keyBytes));
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await link(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Opens the key file, making it first if there is none. */
export async function keyFile(file: string): Promise<KeyFile> {
  const key = await load(file).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    await create(file);
    return load(file);
  });
  await chmod(file, 0o600);
  const keyId = `file:${createHash("sha256").update("outrider key id").update(key).digest("hex").slice(0, 16)}`;

  return {
    keyId,
    derive: (purpose) => new Uint8Array(hkdfSync("sha256", key, "outrider", purpose, keyBytes)),
    async generateDataKey(context) {
      const plaintext = randomBytes(keyBytes);
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(canonicalContext(context));
      const wrapped = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
      return { plaintext: new Uint8Array(plaintext), wrapped: new Uint8Array(wrapped) };
    },
    async unwrapDataKey(id, wrapped, context) {
      if (id !== keyId || wrapped.length !== nonceBytes + keyBytes + tagBytes) throw refused();
      const decipher = createDecipheriv("aes-256-gcm", key, wrapped.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      });
      decipher.setAAD(canonicalContext(context)).setAuthTag(wrapped.subarray(-tagBytes));
      try {
        const body = wrapped.subarray(nonceBytes, -tagBytes);
        return new Uint8Array(Buffer.concat([decipher.update(body), decipher.final()]));
      } catch (cause) {
        throw refused(cause);
      }
    },
  };
}

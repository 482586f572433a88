/**
 * Links in messages: open pixel, click, unsubscribe. A token names a tenant, a message and a target by id and proves that we made it;
 * it holds no personal data, no URL and no expiry, so it works years later and there is nothing to redirect openly.
 *
 * Invariant: a token verifies under any key that was ever used to sign, in constant time, or it is no token.
 */
import { createHash, createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";

export const linkKinds = ["open", "click", "unsubscribe"] as const;
export type LinkKind = (typeof linkKinds)[number];

export interface Link {
  readonly kind: LinkKind;
  readonly tenantId: string;
  readonly messageId: string;
  /** `tracked_links` id; clicks only. */
  readonly linkId?: string | undefined;
}

/** 128 bits: enough that nobody finds one by trying. */
const macBytes = 16;
const letters: Record<LinkKind, string> = { open: "o", click: "c", unsubscribe: "u" };
const kinds: Readonly<Record<string, LinkKind>> = { o: "open", c: "click", u: "unsubscribe" };

/** Importing a key costs as much as signing with it, and every message is signed three times. */
const keyObjects = new WeakMap<Uint8Array, KeyObject>();

function keyObject(key: Uint8Array): KeyObject {
  let imported = keyObjects.get(key);
  if (!imported) {
    imported = createSecretKey(key);
    keyObjects.set(key, imported);
  }
  return imported;
}

const mac = (key: Uint8Array, payload: string): Buffer =>
  createHmac("sha256", keyObject(key)).update(payload).digest().subarray(0, macBytes);

/** @param keys newest first; the first signs. */
export function signLink(keys: readonly Uint8Array[], link: Link): string {
  const [key] = keys;
  if (!key) throw new Error("no signing key");
  const payload = [letters[link.kind], link.tenantId, link.messageId, link.linkId ?? ""].join("|");
  return `${Buffer.from(payload).toString("base64url")}.${mac(key, payload).toString("base64url")}`;
}

/** @returns what the token says, or null for anything that is not a token of ours of this kind. */
export function readLink(keys: readonly Uint8Array[], kind: LinkKind, token: string): Link | null {
  if (token.length > 400) return null;
  const [head = "", tail = "", ...rest] = token.split(".");
  const given = Buffer.from(tail, "base64url");
  const payload = Buffer.from(head, "base64url").toString("utf8");
  // The text form must be the one we write: base64url decoding forgives what it does not understand.
  if (rest.length > 0 || given.length !== macBytes || given.toString("base64url") !== tail) return null;
  if (Buffer.from(payload).toString("base64url") !== head) return null;
  const genuine = keys.reduce((found, key) => timingSafeEqual(mac(key, payload), given) || found, false);
  if (!genuine) return null;
  const [letter = "", tenantId = "", messageId = "", linkId = ""] = payload.split("|");
  if (kinds[letter] !== kind) return null;
  return { kind, tenantId, messageId, linkId: linkId === "" ? undefined : linkId };
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** The same URL has the same id within every tenant, so that a batch of messages stores each target once without asking first. */
export function trackedLinkId(url: string): { readonly id: string; readonly sha256: Buffer } {
  const sha256 = createHash("sha256").update(url).digest();
  const text = [...sha256.subarray(0, 26)].map((byte) => crockford[byte & 31]).join("");
  return { id: `lnk_${text}`, sha256 };
}

/** Where links of this deployment point. `base` has no trailing slash. */
export const linkUrl = (base: string, keys: readonly Uint8Array[], link: Link): string =>
  `${base}/${letters[link.kind]}/${signLink(keys, link)}`;

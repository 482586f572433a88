/**
 * The text of an API key: `or_live_<30 base62 characters>_<checksum>`. Pure, apart from drawing random numbers.
 * Invariant: a key that was mistyped or cut off is refused without asking the database; a scanner of leaked secrets knows one by its prefix.
 */
import { createHash, randomInt } from "node:crypto";
import { crc32 } from "node:zlib";

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** 178 bits: too many to guess, so a fast hash is enough to keep it (S15). */
const randomCharacters = 30;
const checksumCharacters = 6;
const shownCharacters = 8;
const shape = /^or_live_[0-9A-Za-z]{28,}_[0-9A-Za-z]{6}$/;

function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let n = 0; n < checksumCharacters; n++) {
    digits = alphabet.charAt(rest % alphabet.length) + digits;
    rest = Math.floor(rest / alphabet.length);
  }
  return digits;
}

export function makeKey(): string {
  const random = Array.from({ length: randomCharacters }, () => alphabet.charAt(randomInt(alphabet.length))).join("");
  const text = `or_live_${random}`;
  return `${text}_${checksum(text)}`;
}

export function isWellFormedKey(key: string): boolean {
  if (key.length > 100 || !shape.test(key)) return false;
  const at = key.lastIndexOf("_");
  return checksum(key.slice(0, at)) === key.slice(at + 1);
}

/** What is stored and looked up. */
export const hashKey = (key: string): Buffer => createHash("sha256").update(key, "utf8").digest();

/** What people see in a list, to tell their keys apart. */
export const keyPrefix = (key: string): string => key.slice(0, "or_live_".length + shownCharacters);

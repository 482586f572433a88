/**
 * One canonical form per address, decided once. Everything that is compared (suppression, deduplication, matching) compares these.
 * Normalising is pure; what cannot be normalised is an answer (`null`), not an error.
 */
import { domainToASCII } from "node:url";
import { type CountryCode, parsePhoneNumberFromString } from "libphonenumber-js/max";

/** Local part and domain of what RFC 5321 allows in practice; quoted local parts and address literals are refused. */
const emailShape = /^[^\s\p{Cc}@"(),:;<>[\\\]]{1,64}@[^\s@]{1,255}$/u;

/**
 * Lower-case, NFKC, IDN domains in A-labels, trailing dot gone: `Ada@EXÄMPLE.com.` → `ada@xn--exmple-cua.com`.
 * The whole address is lower-cased: no mailbox provider in use tells `Ada@` from `ada@`.
 */
export function normalizeEmail(raw: string): string | null {
  const text = raw.normalize("NFKC").trim().toLowerCase();
  if (!emailShape.test(text)) return null;
  const at = text.lastIndexOf("@");
  const local = text.slice(0, at);
  const domain = domainToASCII(text.slice(at + 1).replace(/\.$/, ""));
  if (!/^(?=.{4,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$/.test(domain)) return null;
  if (local.startsWith(".") || local.endsWith(".") || local.includes("..")) return null;
  return `${local}@${domain}`;
}

/** E.164 (`+12025550123`) through libphonenumber; numbers without `+` are read as dialled in `country`. */
export function normalizePhone(raw: string, country: string = "US"): string | null {
  const parsed = parsePhoneNumberFromString(raw.normalize("NFKC"), country as CountryCode);
  return parsed?.isPossible() && !parsed.ext ? parsed.number : null;
}

export const emailDomain = (email: string): string => email.slice(email.lastIndexOf("@") + 1);

const gmailDomains = new Set(["gmail.com", "googlemail.com"]);

/**
 * The form under which suppressions are kept, so that `A.da+news@googlemail.com` cannot slip past an opt-out of `ada@gmail.com`.
 * Folding is for suppression only: sending keeps the address as given.
 */
export function suppressionAddress(channel: string, address: string): string {
  if (channel !== "email") return address;
  const domain = emailDomain(address);
  // A mailbox may begin with a plus sign; what follows a later one is a tag.
  const local = address.slice(0, address.lastIndexOf("@")).replace(/^(.+?)\.*\+.*$/, "$1");
  return gmailDomains.has(domain) ? `${local.replaceAll(".", "")}@gmail.com` : `${local}@${domain}`;
}

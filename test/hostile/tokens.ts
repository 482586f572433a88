/** Links in messages, changed in every way. Invariant: whatever is not what we signed, for the purpose it was signed for, is nothing. */
import { createHash, createHmac } from "node:crypto";
import { type Link, type LinkKind, linkKinds, readLink, signLink } from "../../core/messages/links.ts";
import { generator } from "../long/report.ts";

const keys = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
/** Was never ours, or is not any more. */
const otherKeys = [
  new Uint8Array(32),
  new Uint8Array(32).fill(3),
  new Uint8Array(64).fill(1),
  new Uint8Array(31).fill(1),
];
const tenants = ["tenant_01J00000000000000000000000", "tenant_01J00000000000000000000001"] as const;
const messageId = "omsg_01J00000000000000000000000";
const linkId = "lnk_01J00000000000000000000000";

const links: readonly Link[] = tenants.flatMap((tenantId) =>
  linkKinds.map((kind): Link => ({ kind, tenantId, messageId, ...(kind === "click" ? { linkId } : {}) })),
);
/** Signed with the key of today and with that of yesterday: both open, for good. */
export const tokens = links.flatMap((link) =>
  [signLink(keys, link), signLink(keys.slice(1), link)].map((token) => ({ link, token })),
);

const letters: Record<LinkKind, string> = { open: "o", click: "c", unsubscribe: "u" };
const said = ({ kind, tenantId, messageId, linkId = "" }: Link): string =>
  [letters[kind], tenantId, messageId, linkId].join("|");

/** @returns how many were tried, and those that opened something */
export function tamper(seed: number, count: number): { readonly tried: number; readonly accepted: string[] } {
  const accepted: string[] = [];
  let tried = 0;
  const honest = new Set(tokens.map(({ token }) => token));
  const attempt = (what: string, token: string, only?: LinkKind) => {
    if (honest.has(token) && only === undefined) return;
    for (const kind of only === undefined ? linkKinds : [only]) {
      tried++;
      if (readLink(keys, kind, token) !== null) accepted.push(`${what}: ${kind} ${token}`);
    }
  };
  for (const { link, token } of tokens) {
    if (
      JSON.stringify(readLink(keys, link.kind, token)) !==
        JSON.stringify({ linkId: undefined, ...link, ...(link.linkId === undefined ? {} : {}) }) &&
      readLink(keys, link.kind, token)?.messageId !== link.messageId
    ) {
      accepted.push(`an honest ${link.kind} was refused`);
    }
    for (const kind of linkKinds) if (kind !== link.kind) attempt("another purpose", token, kind);
    const bytes = Buffer.from(token, "latin1");
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      attempt("one bit", changed.toString("latin1"));
    }
    for (let length = 0; length < token.length; length++) attempt("cut off", token.slice(0, length));
    for (let at = 0; at < token.length; at++) {
      attempt("one left out", token.slice(0, at) + token.slice(at + 1));
      for (const letter of ["A", "=", ".", " ", "\n", "\0", "|", "é"])
        attempt("one put in", token.slice(0, at) + letter + token.slice(at));
    }
    const [head = "", tail = ""] = token.split(".");
    const mac = Buffer.from(tail, "base64url");
    for (const text of [
      `${token}=`,
      `${head}.${tail}==`,
      `${head}=.${tail}`,
      `${token}.`,
      `.${token}`,
      `${token}.${tail}`,
      `${head}.`,
      `.${tail}`,
      `${tail}.${head}`,
      `${head}..${tail}`,
      `${head}.${mac.toString("base64")}`,
      `${head}.${mac.toString("hex")}`,
      `${head}.${tail.toUpperCase()}`,
      head,
      tail,
      encodeURIComponent(` ${token}`),
      `${head}.${mac.subarray(0, 8).toString("base64url")}`,
      `${head}.${Buffer.concat([mac, mac]).toString("base64url")}`,
      `eyJhbGciOiJub25lIn0.${head}.`,
      `eyJhbGciOiJub25lIn0.${head}.${tail}`,
    ])
      attempt("another spelling", text);
    for (const other of tokens) {
      const [, otherTail = ""] = other.token.split(".");
      if (otherTail !== tail) attempt("the proof of another", `${head}.${otherTail}`);
    }
    for (const key of otherKeys) attempt("another key", signLink([key], link));
    // Other ways to make a proof of the same words, by somebody who has no key.
    const payload = said(link);
    for (const algorithm of ["sha1", "sha256", "sha512", "md5"]) {
      for (const proof of [
        createHash(algorithm).update(payload).digest(),
        createHmac(algorithm, "").update(payload).digest(),
        createHmac(algorithm, tail).update(payload).digest(),
      ]) {
        attempt("another algorithm", `${head}.${proof.subarray(0, 16).toString("base64url")}`);
      }
    }
    for (const algorithm of ["sha1", "sha512", "md5"]) {
      attempt(
        "our key, another algorithm",
        `${head}.${createHmac(algorithm, keys[0]).update(payload).digest().subarray(0, 16).toString("base64url")}`,
      );
    }
    for (const words of [
      payload.replace(/^./, "u"),
      payload.replace(/^./, "U"),
      `${payload}|`,
      ` ${payload}`,
      payload.replace(tenants[0], tenants[1]),
      payload.replaceAll("|", "||"),
      payload.replace(messageId, "%"),
      payload.toUpperCase(),
    ]) {
      if (words !== payload) attempt("other words", `${Buffer.from(words).toString("base64url")}.${tail}`);
    }
  }
  const random = generator(seed);
  for (let n = 0; n < count; n++) {
    const { token } = random.pick(tokens);
    const letters = [...token];
    for (let changes = 1 + random.below(6); changes > 0; changes--) {
      const at = random.below(letters.length);
      const kind = random.below(3);
      if (kind === 0) letters.splice(at, 1);
      else if (kind === 1) letters.splice(at, 0, String.fromCharCode(33 + random.below(94)));
      else letters[at] = random.pick("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".split(""));
    }
    attempt("random changes", letters.join(""));
  }
  return { tried, accepted };
}

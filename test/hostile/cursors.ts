/**
 * Cursors that no list gave out: changed, cut off, of another list, of another tenant, of another key. Invariant: each is refused by every
 * list in the same words, before anything is asked.
 */
import { createHash, createHmac } from "node:crypto";
import { encodeCursor } from "../../core/kernel/page.ts";
import { type CursorPlace, isPaged, openCursor, sealCursor } from "../../functions/api/cursors.ts";
import type { Endpoint } from "../../functions/api/endpoint.ts";
import { endpoints } from "../../functions/api.ts";
import { generator } from "../long/report.ts";
import { pathOf } from "./api-runs.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";
import { flippedText } from "./signatures.ts";

/** Every operation that gives out pages. */
export const lists: readonly Endpoint[] = endpoints.filter(isPaged);

const ulid = "01J00000000000000000000000";
const stranger = "tenant_01J00000000000000000000009";
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.".split("");
/** Positions in any list: of an id, and of an event's time and id. */
const positions = [encodeCursor(`lead_${ulid}`), encodeCursor(`2026-03-02T16:00:00.000Z mev_${ulid}`)] as const;

type Keys = readonly [Uint8Array, ...Uint8Array[]];

/** Every changed form of what a list gave out, each with what was done to it. */
export function* changed(keys: Keys, place: CursorPlace, position: string): Generator<readonly [string, string]> {
  const cursor = sealCursor(keys, place, position);
  const [, tail = ""] = cursor.split(".");
  for (let bit = 0; bit < cursor.length * 8; bit++) yield ["one bit", flippedText(cursor, bit)];
  for (let length = 0; length < cursor.length; length++) yield ["cut off", cursor.slice(0, length)];
  for (let at = 0; at < cursor.length; at++) {
    yield ["one left out", cursor.slice(0, at) + cursor.slice(at + 1)];
    for (const letter of ["A", ".", "=", "\n", "\u2028"])
      yield ["one put in", cursor.slice(0, at) + letter + cursor.slice(at)];
  }
  const otherPosition = positions.find((one) => one !== position) ?? "";
  const elsewhere: Record<string, CursorPlace> = {
    "another tenant's": { ...place, tenantId: stranger },
    "no tenant's": { ...place, tenantId: "" },
    "another list's": { ...place, path: place.path === "/v1/leads" ? "/v1/people" : "/v1/leads" },
    "a longer path's": { ...place, path: `${place.path}/history` },
    "another method's": { ...place, method: place.method === "get" ? "post" : "get" },
    // What stands between the parts must not let them move.
    "the same words, divided otherwise": { ...place, tenantId: `${place.tenantId}|GET`, method: "" },
  };
  for (const [what, other] of Object.entries(elsewhere)) yield [what, sealCursor(keys, other, position)];
  yield ["a bare position", position];
  yield ["another position's proof", `${otherPosition}.${tail}`];
  yield ["a position as text", Buffer.from(position, "base64url").toString()];
  for (const key of [new Uint8Array(32), new Uint8Array(0), Buffer.from(keys[0]).subarray(0, 31)])
    yield ["another key's", sealCursor([key], place, position)];
  const words = ["cursor", place.tenantId, place.method.toUpperCase(), place.path, position].join("|");
  for (const proof of [
    createHash("sha256").update(words).digest(),
    createHmac("sha256", "").update(words).digest(),
    createHmac("sha1", keys[0]).update(words).digest(),
    createHmac("sha256", keys[0]).update(position).digest(),
  ])
    yield ["another proof", `${position}.${proof.subarray(0, 12).toString("base64url")}`];
  for (const text of [
    "",
    ".",
    "..",
    `${cursor}=`,
    `${cursor}.`,
    `${cursor}.${tail}`,
    `.${tail}`,
    `${position}=.${tail}`,
    `${position}.${Buffer.from(tail, "base64url").toString("hex")}`,
    `${position}.${tail.slice(0, 8)}`,
    `${position}.${tail}${tail}`,
    `eyJhbGciOiJub25lIn0.${position}.`,
    "null",
    "undefined",
    "__proto__",
    "' or 1=1 --",
    "../../etc/passwd",
    "%00",
    "x".repeat(10_000),
    `${"x".repeat(600)}.${tail}`,
  ])
    yield ["another spelling", text];
}

/** Changed cursors against the opener alone: every change of `changed`, and random ones. @returns what was opened all the same */
export function tamperCursors(
  seed: number,
  count: number,
  among: readonly Endpoint[] = lists,
): { readonly tried: number; readonly accepted: string[] } {
  const keys: Keys = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const random = generator(seed);
  const accepted: string[] = [];
  let tried = 0;
  for (const { method, path } of among) {
    const place = { tenantId: "tenant_01J00000000000000000000000", method, path: path.replace(/\{\w+\}/, ulid) };
    for (const position of positions) {
      const honest = sealCursor(keys, place, position);
      const attempt = (what: string, cursor: string) => {
        if (cursor === honest) return;
        tried++;
        try {
          openCursor(keys, place, cursor);
          accepted.push(`${path}: ${what}: ${cursor}`);
        } catch (error) {
          if ((error as { readonly code?: string }).code !== "page.cursor_invalid")
            accepted.push(`${path}: ${what}: ${error}`);
        }
      };
      for (const given of [honest, sealCursor(keys.slice(1), place, position)])
        if (openCursor(keys, place, given) !== position) accepted.push(`${path}: an honest cursor was refused`);
      for (const [what, cursor] of changed(keys, place, position)) attempt(what, cursor);
      for (let n = 0; n < count / among.length / positions.length; n++) {
        const text = [...honest];
        for (let changes = 1 + random.below(4); changes > 0; changes--)
          text.splice(random.below(text.length), random.below(2), random.pick(letters));
        attempt("random changes", text.join(""));
      }
    }
  }
  return { tried, accepted };
}

/** What depends on the list, so that each is asked; how a cursor is spelled is the same everywhere. */
const own = new Set([
  "another tenant's",
  "no tenant's",
  "another list's",
  "a longer path's",
  "another method's",
  "another key's",
  "a bare position",
]);

/** Changed cursors at the door of every list. @param every of n of those changes that are the same for every list */
export async function runCursors(rig: Rig, every: number, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("cursors", done);
  const headers = { authorization: `Bearer ${rig.apiKey}`, "content-type": "application/json" };
  const { tenantId } = rig.tenant;
  let turn = 0;
  for (const endpoint of lists) {
    const { method } = endpoint;
    const path = pathOf(endpoint);
    const place = { tenantId, method, path };
    const ask = async (cursor: string) => {
      const fields = { ...endpoint.example, cursor };
      const response =
        method === "get"
          ? await rig.api.request(`${path}?${new URLSearchParams(fields as Record<string, string>)}`, { headers })
          : await rig.api.request(path, { method: method.toUpperCase(), headers, body: JSON.stringify(fields) });
      const { code = "" } = (await response.json()) as { readonly code?: string };
      return { status: response.status, code };
    };
    // The position that is one of this list: a list that refuses both would prove nothing.
    let honest: string | undefined;
    for (const position of positions) {
      const { status, code } = await ask(sealCursor(rig.signingKeys, place, position));
      if (status < 500 && code !== "page.cursor_invalid") honest ??= position;
    }
    if (honest === undefined) {
      complain(`${method} ${path}`, "an honest cursor was refused");
      continue;
    }
    const given = sealCursor(rig.signingKeys, place, honest);
    for (const [what, cursor] of changed(rig.signingKeys, place, honest)) {
      if (cursor === given || (!own.has(what) && turn++ % every > 0)) continue;
      const { status, code } = await ask(cursor);
      saw(`${status} ${code}`);
      if (status !== 422 || code !== "page.cursor_invalid")
        complain(`${method} ${path}: ${what}`, `${cursor} was answered ${status} ${code}`);
    }
  }
  return result();
}

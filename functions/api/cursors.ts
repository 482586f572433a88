/**
 * Cursors as callers see them: a position of core's, with proof that this list of this tenant gave it out.
 *
 * Invariant: nothing else reaches core as a cursor. A position of another list would be taken for one of this list's and pages would be
 * left out in silence; a changed one is refused before anything is asked.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { cursorInvalid } from "@outrider/core/kernel";
import * as z from "zod";
import { type Endpoint, fieldsOf } from "./endpoint.ts";

/** Whose cursors: a tenant's, of one list. `path` as it was called, because the history of one lead is not that of another. */
export interface CursorPlace {
  readonly tenantId: string;
  readonly method: string;
  readonly path: string;
}

/** 96 bits: enough that nobody finds one by trying, short enough for an address. */
const macBytes = 12;

const mac = (key: Uint8Array, { tenantId, method, path }: CursorPlace, position: string): Buffer =>
  createHmac("sha256", key)
    .update(["cursor", tenantId, method.toUpperCase(), path, position].join("|"))
    .digest()
    .subarray(0, macBytes);

/** @param keys newest first; the first signs */
export function sealCursor(keys: readonly Uint8Array[], place: CursorPlace, position: string): string {
  const [key] = keys;
  if (!key) throw new Error("no signing key");
  return `${position}.${mac(key, place, position).toString("base64url")}`;
}

/** @throws DomainError `page.cursor_invalid` for anything that was not given out, unchanged, by this list of this tenant */
export function openCursor(keys: readonly Uint8Array[], place: CursorPlace, cursor: string): string {
  const [position = "", tail = "", ...rest] = cursor.split(".");
  const given = Buffer.from(tail, "base64url");
  // The text form must be the one we write: base64url decoding forgives what it does not understand.
  const isOurs = cursor.length <= 500 && rest.length === 0 && given.length === macBytes;
  if (!isOurs || given.toString("base64url") !== tail) throw cursorInvalid(cursor);
  const genuine = keys.reduce((found, key) => timingSafeEqual(mac(key, place, position), given) || found, false);
  if (!genuine) throw cursorInvalid(cursor);
  return position;
}

/** Does the endpoint give out pages? */
export const isPaged = ({ input }: Pick<Endpoint, "input">): boolean =>
  (input instanceof z.ZodUnion ? input.options : [input]).some(
    (one) => one instanceof z.ZodType && "cursor" in (fieldsOf(one) ?? {}),
  );

/** What the caller sent, with the position that core knows. What is no text is left for the schema to refuse. */
export function withPosition(keys: readonly Uint8Array[], place: CursorPlace, input: unknown): unknown {
  const cursor = (input as { readonly cursor?: unknown } | null)?.cursor;
  return typeof cursor === "string" ? { ...(input as object), cursor: openCursor(keys, place, cursor) } : input;
}

/** What core answered, with the cursor that the caller may see. */
export function withCursor(keys: readonly Uint8Array[], place: CursorPlace, answer: unknown): unknown {
  const next = (answer as { readonly nextCursor?: unknown } | null)?.nextCursor;
  return typeof next === "string" ? { ...(answer as object), nextCursor: sealCursor(keys, place, next) } : answer;
}

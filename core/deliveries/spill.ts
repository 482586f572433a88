/**
 * Deliveries that could not be archived because the database did not answer: kept in object storage, and taken through the front door
 * again when it does. Invariant: the bytes, the headers and the time of arrival stay what they were, so that the signature is judged as if
 * nothing had happened; an object goes only after its delivery is archived, refused for good, or set aside.
 */
import * as z from "zod";
import { DomainError, isRefused, newId } from "../kernel/index.ts";
import type { Blobs } from "../ports/index.ts";
import type { WebhookCall, WebhookIntake } from "./intake.ts";

const prefix = "spill/";
const failedPrefix = "spill-failed/";
const contentType = "application/octet-stream";

const Head = z.object({
  v: z.literal(1),
  provider: z.string(),
  channelConfigId: z.string(),
  target: z.string(),
  url: z.string(),
  headers: z.record(z.string(), z.string()),
  receivedAt: z.iso.datetime(),
  /** Under the keys that were known when it came. */
  isVerified: z.boolean().default(false),
});

export interface Arrival {
  readonly receivedAt: Date;
  readonly isVerified: boolean;
}

/** One line of JSON, then the body as it came. */
export async function spill(
  blobs: Pick<Blobs, "put">,
  call: WebhookCall,
  { receivedAt, isVerified }: Arrival,
): Promise<void> {
  const { provider, channelConfigId, target, request } = call;
  const { authorization: _authorization, cookie: _cookie, ...headers } = request.headers;
  const head: z.input<typeof Head> = {
    v: 1,
    provider,
    channelConfigId,
    target,
    url: request.url,
    headers,
    receivedAt: receivedAt.toISOString(),
    isVerified,
  };
  const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), request.body]);
  await blobs.put(`${prefix}${newId("delivery", receivedAt)}`, bytes, contentType);
}

function read(bytes: Uint8Array): Arrival & { readonly call: WebhookCall } {
  const end = bytes.indexOf(0x0a);
  const { provider, channelConfigId, target, url, headers, receivedAt, isVerified } = Head.parse(
    JSON.parse(Buffer.from(bytes.subarray(0, end)).toString("utf8")),
  );
  const request = { url, headers, body: bytes.slice(end + 1) };
  return { call: { provider, channelConfigId, target, request }, receivedAt: new Date(receivedAt), isVerified };
}

export interface DrainReport {
  readonly archived: number;
  /** Not from the provider of its endpoint after all; counted there like any refusal. */
  readonly refused: number;
  /** Could not be read, no row takes it, or its endpoint took it when it came and does not now: set aside under `spill-failed/`, where nothing comes by again. */
  readonly failed: number;
  /** For the next run: its endpoint cannot be read now, or the time was over. */
  readonly waiting: number;
}
type Outcome = keyof DrainReport;

const page = 500;
/** Taken at the same time; the archive shares INSERTs among them. */
const lanes = 32;

/**
 * Takes what was spilled until nothing is left or the time is over. An endpoint that cannot be read now, because its credentials do not open,
 * waits for the next run and holds up nobody else.
 * @throws whatever object storage throws when it cannot be reached
 */
export async function drainSpill(
  blobs: Pick<Blobs, "get" | "put" | "list" | "delete">,
  intake: Pick<WebhookIntake, "archive" | "canArchive">,
  hasTime: () => boolean,
): Promise<DrainReport> {
  const report = { archived: 0, refused: 0, failed: 0, waiting: 0 };
  const away = new Set<string>();
  for (let keys = await blobs.list(prefix, page); keys.length > 0; keys = await blobs.list(prefix, page, keys.at(-1))) {
    for (let from = 0; from < keys.length; from += lanes) {
      if (!hasTime()) return { ...report, waiting: report.waiting + keys.length - from };
      const outcomes = await Promise.all(
        keys.slice(from, from + lanes).map((key) => drainOne(blobs, intake, away, key)),
      );
      for (const outcome of outcomes) if (outcome !== null) report[outcome]++;
      const isAway = outcomes.includes("waiting") && !(await intake.canArchive());
      if (isAway) return { ...report, waiting: report.waiting + keys.length - from - outcomes.length };
    }
  }
  return report;
}

/** @returns null when another run has taken it */
async function drainOne(
  blobs: Pick<Blobs, "get" | "put" | "delete">,
  intake: Pick<WebhookIntake, "archive">,
  away: Set<string>,
  key: string,
): Promise<Outcome | null> {
  const bytes = await blobs.get(key).catch((error: unknown) => {
    if (error instanceof DomainError && error.kind === "not_found") return null;
    throw error;
  });
  if (bytes === null) return null;
  const outcome = await take(intake, away, bytes);
  if (outcome === "waiting") return outcome;
  if (outcome === "failed") await blobs.put(`${failedPrefix}${key.slice(prefix.length)}`, bytes, contentType);
  await blobs.delete(key);
  return outcome;
}

async function take(intake: Pick<WebhookIntake, "archive">, away: Set<string>, bytes: Uint8Array): Promise<Outcome> {
  let spilled: ReturnType<typeof read>;
  try {
    spilled = read(bytes);
  } catch {
    return "failed";
  }
  const { call, receivedAt, isVerified } = spilled;
  if (away.has(call.channelConfigId)) return "waiting";
  try {
    await intake.archive(call, receivedAt);
    return "archived";
  } catch (error) {
    if (!(error instanceof DomainError) || isRefused(error.cause)) return "failed";
    // Its keys have changed since it was answered for: somebody has to look, and it is there to be looked at.
    if (error.kind !== "unavailable") return isVerified ? "failed" : "refused";
    away.add(call.channelConfigId);
    return "waiting";
  }
}

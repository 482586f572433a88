/**
 * Deliveries that could not be archived because the database did not answer: kept in object storage, and taken through the front door
 * again when it does. Invariant: the bytes, the headers and the time of arrival stay what they were, so that the signature is judged as if
 * nothing had happened; an object goes only after its delivery is archived, or refused for good.
 */
import * as z from "zod";
import { DomainError, newId } from "../kernel/index.ts";
import type { Blobs } from "../ports/index.ts";
import type { WebhookCall, WebhookIntake } from "./intake.ts";

const prefix = "spill/";

const Head = z.object({
  v: z.literal(1),
  provider: z.string(),
  channelConfigId: z.string(),
  target: z.string(),
  url: z.string(),
  headers: z.record(z.string(), z.string()),
  receivedAt: z.iso.datetime(),
});

/** One line of JSON, then the body as it came. */
export async function spill(blobs: Pick<Blobs, "put">, call: WebhookCall, receivedAt: Date): Promise<void> {
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
  };
  const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), request.body]);
  await blobs.put(`${prefix}${newId("delivery", receivedAt)}`, bytes, "application/octet-stream");
}

function read(bytes: Uint8Array): { readonly call: WebhookCall; readonly receivedAt: Date } {
  const end = bytes.indexOf(0x0a);
  const { provider, channelConfigId, target, url, headers, receivedAt } = Head.parse(
    JSON.parse(Buffer.from(bytes.subarray(0, end)).toString("utf8")),
  );
  const request = { url, headers, body: bytes.slice(end + 1) };
  return { call: { provider, channelConfigId, target, request }, receivedAt: new Date(receivedAt) };
}

export interface DrainReport {
  readonly archived: number;
  /** Not from the provider of its endpoint after all; counted there like any refusal. */
  readonly refused: number;
  /** Still in object storage, as far as was looked. */
  readonly waiting: number;
}

/** Objects looked at in one run; the next run takes the rest. */
const batch = 500;
/** After so many endpoints in a row that nothing could be stored for, it is the database that is away and not their keys. */
const maxAway = 3;

/**
 * Oldest first. An endpoint whose delivery cannot be stored waits for the next run, and so does everything when the database is still away.
 * @throws whatever object storage throws when it cannot be reached, and, after all others had their turn, what one object failed with that
 *   is neither refused nor an outage; that object stays
 */
export async function drainSpill(
  blobs: Pick<Blobs, "get" | "list" | "delete">,
  intake: Pick<WebhookIntake, "archive">,
  hasTime: () => boolean,
): Promise<DrainReport> {
  const keys = await blobs.list(prefix, batch);
  const report = { archived: 0, refused: 0, waiting: keys.length };
  const failures: unknown[] = [];
  const away = new Set<string>();
  for (const key of keys) {
    if (!hasTime() || away.size >= maxAway) break;
    const spilled = await blobs
      .get(key)
      .then(read)
      .catch((error: unknown) => ({ error }));
    if ("error" in spilled) {
      failures.push(spilled.error);
      continue;
    }
    const { call, receivedAt } = spilled;
    // In the order in which they came: nothing of an endpoint overtakes what waits.
    if (away.has(call.channelConfigId)) continue;
    const outcome = await intake.archive(call, receivedAt).then(
      () => "archived" as const,
      (error: unknown) => {
        if (!(error instanceof DomainError)) return { error };
        return error.kind === "unavailable" ? ("away" as const) : ("refused" as const);
      },
    );
    if (outcome === "away") away.add(call.channelConfigId);
    else if (typeof outcome === "object") failures.push(outcome.error);
    else {
      report[outcome]++;
      await blobs.delete(key);
      report.waiting--;
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} spilled webhooks could not be read`);
  return report;
}

/**
 * The front door of webhooks: find the endpoint, verify the raw bytes, archive them, ring.
 *
 * Invariants: nothing is parsed before it is archived, nothing is accepted before it is durable (in the database or, while that does not
 * answer, in object storage); an endpoint that does not exist and a signature that does not match are refused with the same words.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";
import {
  type Context,
  DomainError,
  idOf,
  isAway,
  isRefused,
  newId,
  reach,
  storableText,
  transact,
  within,
} from "../kernel/index.ts";
import type { Blobs, Credentials, KeyService, WebhookAdapter, WebhookRequest } from "../ports/index.ts";
import { endpointTenant, openCredentials, sealedChannels } from "../tenancy/index.ts";
import type { Fate } from "./apply.ts";
import { Archive, countRefusal, type Kept, sha256Of } from "./archive.ts";
import { spill } from "./spill.ts";

export interface IntakeDeps {
  readonly db: Kysely<DB>;
  readonly keys: KeyService;
  readonly blobs: Pick<Blobs, "put">;
  readonly webhooks: Readonly<Record<string, WebhookAdapter>>;
  /** Wall clock of this process, for the age of the cache and of ids. Decisions about signatures use the database's clock. */
  readonly wallClock: () => Date;
  readonly contextFor: (tenantId: string) => Context;
  /** Applies an archived delivery now (`applyNow`). */
  readonly apply: (ctx: Context, id: string) => Promise<Fate>;
}

/** Limits of a request's body; Lambda itself takes no more than 6 MB. */
export const maxBodyBytes = 1_048_576;
/** Received e-mail with attachments. */
export const maxMultipartBytes = 6 * 1_048_576;
/** Bodies that are larger, even compressed, go to object storage. */
export const maxInlineBytes = 100 * 1_024;

/** How long credentials are trusted without looking. A signature that fails under them is checked again with fresh ones. */
const endpointSeconds = 60;
const maxEndpoints = 10_000;
/** How long the database may take before a request is kept elsewhere: providers wait 10 to 15 s, and a sleeping database wakes in 5. */
const archiveMs = 2_000;
/** The same for what a person wrote, which takes effect only when the database is there: a restart is waited for. */
const archivePersonalMs = 6_000;
const tryAgainMs = 250;
/** How long a request that a person wrote is worked on before it is acknowledged all the same, and the bell has to do. Twilio waits 15 s. */
const personalMs = 12_000;
/** What begins so long before the answer ends before it: nothing is left in this worker's hands when the bell rings. */
const lastAttemptMs = 5_000;
const ringMs = 2_000;
/** What an archived request may still take: a drain that has less left begins no other. */
export const announceMs = personalMs + ringMs;

/** How long a person's request may still take. */
interface Patience {
  /** No attempt begins any more. */
  readonly tooLate: AbortSignal;
  /** It is answered. */
  readonly over: AbortSignal;
}
const patience = (): Patience => ({
  tooLate: AbortSignal.timeout(personalMs - lastAttemptMs),
  over: AbortSignal.timeout(personalMs),
});

interface Endpoint {
  readonly tenantId: string;
  readonly sealed: string;
  readonly credentials: Credentials;
  readonly readAt: Date;
  /** The database's clock when it was read. */
  readonly now: Date;
}

/** What is committed, and whose it is. */
interface Archived {
  readonly tenantId: string;
  readonly kept: Kept;
}

export interface WebhookCall {
  readonly provider: string;
  readonly channelConfigId: string;
  readonly request: WebhookRequest;
  /** Path and query as called. */
  readonly target: string;
}

const errors = {
  refused: () =>
    new DomainError("unauthenticated", "webhook.refused", "This request is not from the provider of this endpoint."),
  tooLarge: (max: number) =>
    new DomainError("too_large", "webhook.too_large", `A body of at most ${max} bytes is taken here.`),
  unavailable: (cause: unknown) =>
    new DomainError(
      "unavailable",
      "webhook.unavailable",
      "Nothing can be stored at the moment. Please deliver again.",
      { cause, retryAfterSeconds: 30 },
    ),
};

const ChannelConfigId = idOf("channelConfig");

const isMultipart = (request: WebhookRequest): boolean =>
  /^\s*multipart\//i.test(request.headers["content-type"] ?? "");

/** One per process: it remembers endpoints and shares INSERTs among concurrent requests. */
export class WebhookIntake {
  readonly #deps: IntakeDeps;
  readonly #archive: Archive;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Look-ups under way, so that the first hundred requests to an endpoint ask once. */
  readonly #looking = new Map<string, Promise<Endpoint | null>>();

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
    this.#archive = new Archive({ db: deps.db });
  }

  /**
   * Resolves when the request is durable and, if a person wrote it, applied: whoever is told that a STOP was taken finds it holding.
   * @returns null when it is spilled: the database did not answer in time, so it is archived later (`drainSpill`)
   * @throws DomainError `webhook.refused`, `webhook.too_large`, `webhook.unavailable`
   */
  async receive(call: WebhookCall): Promise<Kept | null> {
    const limit = isMultipart(call.request) ? maxMultipartBytes : maxBodyBytes;
    if (call.request.body.byteLength > limit) {
      await this.#refuseLarge(call);
      throw errors.tooLarge(limit);
    }
    const isPersonal = this.#isFromPerson(call);
    const patient = isPersonal ? patience() : null;
    let archived: Archived;
    try {
      archived = await (isPersonal && this.#isGenuine(call) !== false
        ? within(archivePersonalMs, this.#storeStubbornly(call), errors.unavailable)
        : within(archiveMs, this.#store(call), errors.unavailable));
    } catch (error) {
      if (!isOutage(error) || this.#isGenuine(call) === false) throw error;
      const how = { receivedAt: this.#signedAt(call), isVerified: this.#isGenuine(call) === true };
      await spill(this.#deps.blobs, call, how).catch((cause: unknown) => {
        throw errors.unavailable(cause);
      });
      return null;
    }
    await this.#announce(archived, patient);
    return archived.kept;
  }

  /** Whether the database answers: what cannot be archived although it does is its endpoint's trouble and nobody else's. */
  async canArchive(): Promise<boolean> {
    const asked = sql`select 1`.execute(this.#deps.db);
    return within(archiveMs, asked, errors.unavailable).then(
      () => true,
      () => false,
    );
  }

  /**
   * @param receivedAt when it came, for what was spilled: signatures are judged as of then, and what is told without a time happened then
   * @throws DomainError `webhook.refused`, `webhook.unavailable`
   */
  async archive(call: WebhookCall, receivedAt?: Date): Promise<Kept> {
    const archived = await this.#store(call, receivedAt);
    await this.#announce(archived, this.#isFromPerson(call) ? patience() : null);
    return archived.kept;
  }

  /** Again while the database is away. */
  async #storeStubbornly(call: WebhookCall): Promise<Archived> {
    const giveUp = AbortSignal.timeout(archivePersonalMs);
    for (;;) {
      try {
        return await this.#store(call);
      } catch (error) {
        if (!isOutage(error) || giveUp.aborted) throw error;
        await sleep(tryAgainMs);
      }
    }
  }

  /** Again while the database is away, which may have died under the claim, or while somebody else's lock is in the way. */
  async #applyStubbornly(ctx: Context, id: string, { tooLate }: Patience): Promise<Fate> {
    for (;;) {
      const fate = await this.#deps.apply(ctx, id).catch((error: unknown): Fate => {
        if (!isAway(error)) throw error;
        return "waiting";
      });
      if (fate !== "waiting" || tooLate.aborted) return fate;
      await sleep(tryAgainMs);
    }
  }

  /**
   * What a person writes to be left alone is short, and stays in its row: the front door may not read object storage. What comes with
   * attachments is read behind its bell.
   */
  #isFromPerson({ provider, request }: WebhookCall): boolean {
    return request.body.byteLength < maxInlineBytes && this.#deps.webhooks[provider]?.isFromPerson?.(request) === true;
  }

  async #store(call: WebhookCall, receivedAt?: Date): Promise<Archived> {
    const endpoint = await this.#verified(call, receivedAt);
    reach("delivery.verified");
    const row = { ...(await this.#rowOf(call, endpoint)), receivedAt };
    const kept = await this.#archive.add(row).catch((cause: unknown) => {
      throw errors.unavailable(cause);
    });
    reach("delivery.archived");
    return { tenantId: endpoint.tenantId, kept };
  }

  /**
   * Rings for what is new. What a person wrote is applied here and now, a repeated one too: its first worker may have died on the way. Whatever
   * goes wrong with that or with the bell, the row is committed, and the sweep rings for it.
   */
  async #announce({ tenantId, kept }: Archived, patient: Patience | null): Promise<void> {
    const ctx = this.#deps.contextFor(tenantId);
    if (patient) {
      const applied = this.#applyStubbornly(ctx, kept.id, patient);
      const fate = await within(patient.over, applied, errors.unavailable).catch((): Fate => "waiting");
      if (fate !== "waiting") return;
    }
    if (!kept.fresh && !patient) return;
    const ringing = ctx.ring?.([{ kind: "deliveries", tenantId, ids: [kept.id] }]);
    if (ringing) await within(ringMs, ringing, errors.unavailable).catch(() => {});
  }

  async #verified(call: WebhookCall, receivedAt?: Date): Promise<Endpoint> {
    const adapter = Object.hasOwn(this.#deps.webhooks, call.provider) ? this.#deps.webhooks[call.provider] : undefined;
    // What is no id is no endpoint. Asking for it would fail like an outage, and an outage lets bytes in unverified.
    if (!adapter || !ChannelConfigId.safeParse(call.channelConfigId).success) throw errors.refused();
    const known = this.#remembered(call);
    if (known && adapter.verify(known.credentials, call.request, receivedAt ?? this.#now(known)).valid) return known;
    // What somebody else has asked for a moment ago may accept this request.
    const asking = this.#looking.get(keyOf(call));
    const shared = await asking?.catch(() => null);
    if (shared && adapter.verify(shared.credentials, call.request, receivedAt ?? shared.now).valid) return shared;
    // Unknown, rotated, or the clock has moved: only what is true now refuses anybody.
    const endpoint = await this.#lookAfter(call, asking).catch((cause: unknown) => {
      throw errors.unavailable(cause);
    });
    const at = receivedAt ?? endpoint?.now ?? this.#deps.wallClock();
    const verdict = adapter.verify(endpoint?.credentials ?? {}, call.request, at);
    if (endpoint && verdict.valid) return endpoint;
    if (endpoint && !verdict.valid) await this.#count(endpoint.tenantId, call, verdict.reason);
    throw errors.refused();
  }

  /**
   * Nobody can fill the store with what is not even signed, or not under the keys that this process knows, however old they are. Whether
   * a signature holds that nothing is known of is judged when the endpoint can be read: undefined.
   */
  #isGenuine(call: WebhookCall): boolean | undefined {
    if (signatureOf(call.request) === null) return false;
    const known = this.#endpoints.get(keyOf(call));
    const adapter = this.#deps.webhooks[call.provider];
    return known && adapter?.verify(known.credentials, call.request, this.#now(known)).valid === true;
  }

  #remembered(call: WebhookCall): Endpoint | undefined {
    const known = this.#endpoints.get(keyOf(call));
    if (!known) return undefined;
    const age = this.#deps.wallClock().getTime() - known.readAt.getTime();
    return age < endpointSeconds * 1_000 ? known : undefined;
  }

  /** The best that is known of the database's clock while it cannot be asked, however old. */
  #signedAt(call: WebhookCall): Date {
    const known = this.#endpoints.get(keyOf(call));
    return known ? this.#now(known) : this.#deps.wallClock();
  }

  /** The database's clock, as far as it can be known without asking. */
  #now({ now, readAt }: Endpoint): Date {
    return new Date(now.getTime() + this.#deps.wallClock().getTime() - readAt.getTime());
  }

  /** Joins a look-up that began after the one that was already asked, or begins one. */
  #lookAfter(call: WebhookCall, asked: Promise<Endpoint | null> | undefined): Promise<Endpoint | null> {
    const key = keyOf(call);
    const later = this.#looking.get(key);
    if (later && later !== asked) return later;
    const looking = this.#look(call).finally(() => {
      if (this.#looking.get(key) === looking) this.#looking.delete(key);
    });
    this.#looking.set(key, looking);
    return looking;
  }

  async #look(call: WebhookCall): Promise<Endpoint | null> {
    const { db, keys, wallClock, contextFor } = this.#deps;
    const key = keyOf(call);
    const tenantId = await endpointTenant(db, call.provider, call.channelConfigId);
    if (tenantId === null) {
      this.#endpoints.delete(key);
      return null;
    }
    const { channel, now } = await transact(contextFor(tenantId), async (ctx) => ({
      channel: (await sealedChannels(ctx, { ids: [call.channelConfigId] }))[0],
      now: ctx.now,
    }));
    if (!channel) return null;
    const before = this.#endpoints.get(key);
    const credentials =
      before?.sealed === channel.sealedCredentials
        ? before.credentials
        : await openCredentials({ tenantId }, keys, channel);
    const endpoint = { tenantId, sealed: channel.sealedCredentials, credentials, readAt: wallClock(), now };
    if (this.#endpoints.size >= maxEndpoints) this.#endpoints.clear();
    this.#endpoints.set(key, endpoint);
    return endpoint;
  }

  async #rowOf({ provider, channelConfigId, request, target }: WebhookCall, endpoint: Endpoint) {
    const now = this.#now(endpoint);
    const id = newId("delivery", now);
    const { body } = request;
    const inline = await fitting(body);
    const bodyKey = inline ? null : `t/${endpoint.tenantId}/deliveries/${id}`;
    if (bodyKey !== null) {
      reach("delivery.uploading");
      await this.#deps.blobs
        .put(bodyKey, body, request.headers["content-type"] ?? "application/octet-stream")
        .catch((cause: unknown) => {
          throw errors.unavailable(cause);
        });
      reach("delivery.uploaded");
    }
    return {
      tenantId: endpoint.tenantId,
      id,
      channelConfigId,
      provider,
      target: storableText(target),
      headers: headersOf(request),
      body: inline?.body ?? null,
      bodyEncoding: inline?.bodyEncoding,
      bodyKey,
      bodyBytes: body.byteLength,
      bodySha256: sha256Of(target, body),
      signature: signatureOf(request),
      correlationId: newId("correlation", now),
    };
  }

  async #refuseLarge(call: WebhookCall): Promise<void> {
    const tenantId = await endpointTenant(this.#deps.db, call.provider, call.channelConfigId).catch(() => null);
    if (tenantId !== null) await this.#count(tenantId, call, "too_large");
  }

  /** A refusal is a refusal, whether or not it could be counted. */
  async #count(tenantId: string, { channelConfigId }: WebhookCall, reason: string): Promise<void> {
    await countRefusal(this.#deps.db, tenantId, channelConfigId, reason.slice(0, 100)).catch(() => {});
  }
}

const compress = promisify(brotliCompress);

/**
 * A body as it fits into its row; null: it does not. SendGrid's batches of 1,000 events shrink to a seventh in less time than object storage
 * takes to answer, at the lowest quality, which also keeps large mail attachments cheap to give up on.
 */
async function fitting(body: Uint8Array): Promise<{ readonly body: Uint8Array; readonly bodyEncoding?: "br" } | null> {
  if (body.byteLength < maxInlineBytes) return { body };
  const packed = await compress(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
  return packed.byteLength < maxInlineBytes ? { body: packed, bodyEncoding: "br" } : null;
}

const keyOf = ({ provider, channelConfigId }: WebhookCall): string => `${provider} ${channelConfigId}`;

const secretHeaders = new Set(["authorization", "cookie"]);

const headersOf = ({ headers }: WebhookRequest): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (secretHeaders.has(name) ? [] : [[name, storableText(value)]])),
  );

const signatureOf = ({ headers }: WebhookRequest): string | null =>
  Object.entries(headers).find(([name]) => name.endsWith("signature"))?.[1] ?? null;

/** An outage ends by itself; a row that the database refuses stays refused. */
const isOutage = (error: unknown): boolean =>
  error instanceof DomainError && error.kind === "unavailable" && !isRefused(error.cause);

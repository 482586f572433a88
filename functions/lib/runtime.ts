/**
 * The composition root of a deployed function: the only file that reads the environment, SST's secrets and the names of adapters.
 *
 * Invariant: nothing connects, decrypts or reads a setting before the first invocation asks for it, and no heavy client
 * (S3, KMS) is evaluated in a function that never uses it.
 */

import { type Context, cachedKeys, newId } from "@outrider/core/kernel";
import type { BellKind, Blobs, KeyService, Queue, Sender, WebhookAdapter } from "@outrider/core/ports";
import { bellKinds } from "@outrider/core/ports";
import type { Context as Invocation } from "aws-lambda";
import type { Kysely } from "kysely";
import { connect, driverFor, useNeonDriver } from "../../core/db/connect.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { sendgrid } from "../../core/providers/sendgrid/index.ts";
import { twilio } from "../../core/providers/twilio/index.ts";
import { createLog, type Log } from "./log.ts";

/** Everything a handler may reach. Handlers take one; nobody imports one. */
export interface Host {
  readonly db: Kysely<DB>;
  readonly queue: Queue;
  readonly blobs: Blobs;
  /** For `seal` and `open` of the kernel; opened data keys are remembered for up to five minutes. */
  readonly keys: KeyService;
  /** By `channel_configs.provider`. */
  readonly senders: Readonly<Record<string, Sender>>;
  /** By the `{provider}` of the webhook's path. */
  readonly webhooks: Readonly<Record<string, WebhookAdapter>>;
  /** Where this deployment is reached from outside, without a trailing slash: the base of webhook, tracking and unsubscribe links. */
  readonly publicUrl: string;
  /** Keys (32 bytes) of links that must open for years: the first signs, all verify. */
  readonly signingKeys: readonly [Uint8Array, ...Uint8Array[]];
  /** A channel may name the address of its provider's API: true only where a simulator answers. */
  readonly allowApiBaseUrl?: boolean;
  readonly log: Log;
  /**
   * A context of one tenant, acting as the system.
   * @param source what runs: a queue's, a schedule's or a route's name
   * @param correlationId of the cause, when there is one
   */
  contextFor(tenantId: string, source: string, correlationId?: string): Context;
}

/** What differs between a deployed function and a local host. */
export type HostParts = Omit<Host, "contextFor">;

export const createHost = (parts: HostParts): Host => ({
  ...parts,
  contextFor: (tenantId, source, correlationId) => ({
    tenantId,
    actor: { type: "system", id: source },
    db: parts.db,
    correlationId: correlationId ?? newId("correlation", new Date()),
    ring: (bells) => parts.queue.ring(bells),
  }),
});

/** Environment variable that carries a queue's URL: `QUEUE_SEND_URL`. */
export const queueVariable = (kind: BellKind): string => `QUEUE_${kind.toUpperCase()}_URL`;

type Environment = Readonly<Record<string, string | undefined>>;

function required(environment: Environment, name: string): string {
  const value = environment[name];
  if (!value) throw new Error(`${name} is not set; infra/stack.ts gives it to every function that needs it`);
  return value;
}

/** Builds on first use and keeps the result; a failure is not kept, so that the next invocation tries again. */
function once<T>(build: () => Promise<T>): () => Promise<T> {
  let built: Promise<T> | undefined;
  return () => {
    built ??= build().catch((error: unknown) => {
      built = undefined;
      throw error;
    });
    return built;
  };
}

function sqs(environment: Environment): Queue {
  const queue = once(async () => {
    const { SQSClient } = await import("@aws-sdk/client-sqs");
    const { sqsQueue } = await import("../../core/providers/sqs/index.ts");
    const urls = bellKinds.flatMap((kind) => {
      const url = environment[queueVariable(kind)];
      return url ? [[kind, url] as const] : [];
    });
    return sqsQueue({ client: new SQSClient({}), queueUrls: Object.fromEntries(urls) });
  });
  return { ring: async (bells) => (await queue()).ring(bells) };
}

function s3(environment: Environment): Blobs {
  const blobs = once(async () => {
    const { S3Client } = await import("@aws-sdk/client-s3");
    const { s3Blobs } = await import("../../core/providers/s3/index.ts");
    return s3Blobs({ client: new S3Client({}), bucket: required(environment, "BLOBS_BUCKET") });
  });
  return {
    put: async (key, body, contentType) => (await blobs()).put(key, body, contentType),
    get: async (key) => (await blobs()).get(key),
    async *stream(key) {
      yield* (await blobs()).stream(key);
    },
    list: async (...page) => (await blobs()).list(...page),
    delete: async (key) => (await blobs()).delete(key),
  };
}

function kms(environment: Environment): KeyService {
  // Absent in functions whose topology gives them no keys; only using them is an error there.
  const keyId = environment["KMS_KEY_ID"] ?? "";
  const service = once(async () => {
    const { KMSClient } = await import("@aws-sdk/client-kms");
    const { kmsKeys } = await import("../../core/providers/kms/index.ts");
    return kmsKeys({ client: new KMSClient({}), keyId: required(environment, "KMS_KEY_ID") });
  });
  return {
    keyId,
    generateDataKey: async (context) => (await service()).generateDataKey(context),
    unwrapDataKey: async (id, wrapped, context) => (await service()).unwrapDataKey(id, wrapped, context),
  };
}

/** `SigningKeys` is a list of base64 keys, newest first, separated by commas. */
export function parseSigningKeys(text: string): readonly [Uint8Array, ...Uint8Array[]] {
  const [first, ...rest] = text.split(",").map((part) => new Uint8Array(Buffer.from(part.trim(), "base64")));
  if (!first || [first, ...rest].some((key) => key.length < 32)) {
    throw new Error(
      "the secret SigningKeys must hold base64 keys of at least 32 bytes, newest first, separated by commas",
    );
  }
  return [first, ...rest];
}

/** The adapters of every provider, named here and nowhere else. Where a provider is reached is part of a channel's credentials. */
export const providerAdapters: Pick<Host, "senders" | "webhooks"> = {
  senders: { sendgrid, twilio },
  webhooks: { sendgrid, twilio },
};

/** One host per process, built when the first invocation needs it. */
export const hostFromEnvironment = once(async (): Promise<Host> => {
  const environment = process.env;
  const { Resource } = (await import("sst/resource")) as unknown as {
    Resource: Readonly<Record<"DatabaseUrl" | "SigningKeys", { readonly value: string }>>;
  };
  const log = createLog({ write: (line) => process.stdout.write(`${line}\n`), now: () => new Date() });
  const url = Resource.DatabaseUrl.value;
  useNeonDriver();
  const db = connect({
    url,
    driver: driverFor(url),
    bound: true,
    onConnectionLost: (error) => log.warn("database.connection_lost", { error }),
  });
  return createHost({
    db,
    queue: sqs(environment),
    blobs: s3(environment),
    keys: cachedKeys(kms(environment), { now: () => new Date() }),
    ...providerAdapters,
    publicUrl: required(environment, "PUBLIC_URL").replace(/\/$/, ""),
    signingKeys: parseSigningKeys(Resource.SigningKeys.value),
    log,
  });
});

/** What Lambda calls: an event of its trigger and the invocation's limits. */
export type Handler<E, R> = (event: E, invocation: Invocation) => Promise<R>;

/** `export const handler = lazily(define)`: the handler is defined, with its host, by the first event. */
export function lazily<E, R>(define: (host: Host) => Handler<E, R>): Handler<E, R> {
  const handler = once(async () => define(await hostFromEnvironment()));
  return async (event, invocation) => (await handler())(event, invocation);
}

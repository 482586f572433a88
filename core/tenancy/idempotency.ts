/**
 * Idempotency keys: the same POST twice has one effect and one answer (the contract of Stripe's).
 *
 * Invariant: an effect and the answer kept for its key commit together. There is no state "done, but not remembered": a request that
 * died half-way has left neither.
 */
import { sql } from "kysely";
import { attempt, type Context, DomainError, type TxContext, transact } from "../kernel/index.ts";

/** Longer than a client retries, and than Stripe's 24 hours. */
const keptHours = 48;

export interface Answer {
  readonly status: number;
  /** Kept and repeated character by character. */
  readonly body: string;
}

export interface IdempotentRequest {
  /** 1 to 255 printable characters. */
  readonly key: string;
  /** Hash of everything the request asks for. */
  readonly hash: Uint8Array;
}

const errors = {
  invalid: () =>
    new DomainError("invalid", "idempotency.key_invalid", "Idempotency-Key: 1 to 255 printable ASCII characters.", {
      fields: [{ path: "Idempotency-Key", message: "1 to 255 printable ASCII characters" }],
    }),
  mismatch: () =>
    new DomainError(
      "conflict",
      "idempotency.mismatch",
      "This Idempotency-Key was used for a different request; use a new key for a new request.",
    ),
  inFlight: () =>
    new DomainError(
      "conflict",
      "idempotency.in_flight",
      "A request with this Idempotency-Key is being worked on; repeat it in a moment.",
      { retryAfterSeconds: 1 },
    ),
};

/**
 * Does the work unless it has been done, in one transaction with keeping its answer.
 * @param work runs in a transaction, so it must not do anything but talk to the database that may not be done twice
 * @param refusal the answer that an error of `work` stands for, to be kept in its place after `work` has been undone; undefined: nothing
 *   is kept and the error is thrown, so that the request may be repeated
 * @throws DomainError `idempotency.key_invalid`, `idempotency.mismatch`, `idempotency.in_flight`
 */
export async function answerOnce(
  ctx: Context,
  { key, hash }: IdempotentRequest,
  work: (ctx: TxContext) => Promise<Answer>,
  refusal: (error: unknown) => Answer | undefined,
): Promise<Answer & { readonly replayed: boolean }> {
  if (!/^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/.test(key)) throw errors.invalid();
  return transact(ctx, async (ctx) => {
    const { rows } = await sql<{ locked: boolean }>`
      select pg_try_advisory_xact_lock(hashtextextended(${`idempotency:${ctx.tenantId}:${key}`}, 0)) as locked`.execute(
      ctx.db,
    );
    if (!rows[0]?.locked) throw errors.inFlight();
    // A statement of its own: it must see what the lock's last holder committed.
    const known = await ctx.db
      .selectFrom("idempotency_keys")
      .select(["request_hash", "response_status", "response_body"])
      .where("tenant_id", "=", ctx.tenantId)
      .where("key", "=", key)
      .where("expires_at", ">", ctx.now)
      .executeTakeFirst();
    if (known) {
      if (!Buffer.from(hash).equals(known.request_hash)) throw errors.mismatch();
      return { status: known.response_status ?? 200, body: String(known.response_body ?? ""), replayed: true };
    }
    const answer = await answerOf(ctx, work, refusal);
    await keep(ctx, { key, hash }, answer);
    return { ...answer, replayed: false };
  });
}

async function answerOf(
  ctx: TxContext,
  work: (ctx: TxContext) => Promise<Answer>,
  refusal: (error: unknown) => Answer | undefined,
): Promise<Answer> {
  try {
    return await attempt(ctx, work);
  } catch (error) {
    const answer = refusal(error);
    if (!answer) throw error;
    return answer;
  }
}

/** The answer is a JSON string in its column: jsonb would reorder the members of an object. */
async function keep(ctx: TxContext, { key, hash }: IdempotentRequest, { status, body }: Answer): Promise<void> {
  await sql`
    insert into idempotency_keys (tenant_id, key, request_hash, response_status, response_body, created_at, expires_at)
    values (${ctx.tenantId}, ${key}, ${Buffer.from(hash)}, ${status}, to_jsonb(${body}::text), ${ctx.now},
            ${ctx.now}::timestamptz + make_interval(hours => ${keptHours}))
    on conflict (tenant_id, key) do update set request_hash = excluded.request_hash, response_status = excluded.response_status,
      response_body = excluded.response_body, created_at = excluded.created_at, expires_at = excluded.expires_at`.execute(
    ctx.db,
  );
}

/** @returns how many keys were forgotten because their time is over */
export async function expireIdempotencyKeys(ctx: TxContext): Promise<number> {
  const { numDeletedRows } = await ctx.db
    .deleteFrom("idempotency_keys")
    .where("tenant_id", "=", ctx.tenantId)
    .where("expires_at", "<=", ctx.now)
    .executeTakeFirst();
  return Number(numDeletedRows);
}

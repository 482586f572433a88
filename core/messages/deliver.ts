/**
 * Sending: claim and commit, call the provider, store what became of it. The protocol that makes "at most one accept per dedupe key"
 * hold: no call without a committed attempt row, no call that begins late, no result without the generation it was claimed under, no
 * second call while the end of the first is unknown.
 */
import {
  type Context,
  DomainError,
  isAway,
  isCollision,
  isLockTimeout,
  limitLockWaits,
  reach,
  transact,
} from "../kernel/index.ts";
import type { Credentials, KeyService, OutgoingMessage, Sender, SendOutcome } from "../ports/index.ts";
import { openAccounts } from "./account.ts";
import { type ClaimedMessage, callTimeoutMs, claimDue, startWithinMs } from "./claim.ts";
import type { CampaignPort } from "./ports.ts";
import { type CallResult, postpone, storeResults } from "./results.ts";

/**
 * Messages claimed in one transaction, and called all at the same time: a worker that dies leaves none behind that was claimed and had yet
 * to wait for its call, because nobody could tell it from those that were made.
 */
const batchSize = 50;
/** Less than a worker waits for a connection, which whoever waits here may hold: the results of another lane must be stored. */
const lockTimeoutMs = 5_000;
/** Below this an invocation does not begin another batch: a call may take its whole time-out, and its result must be stored. */
const minimumRemainingMs = startWithinMs + callTimeoutMs + 5_000;

export interface DeliverDeps {
  /** By `channel_configs.provider`. */
  readonly senders: Readonly<Record<string, Sender>>;
  readonly keys: KeyService;
  readonly publicUrl: string;
  readonly signingKeys: readonly Uint8Array[];
  readonly campaigns: CampaignPort;
  /** Monotonic milliseconds; measures how long ago a claim was committed. */
  readonly monotonicMs: () => number;
}

export interface DeliverReport {
  readonly accepted: number;
  readonly rejected: number;
  readonly deferred: number;
  readonly ambiguous: number;
  readonly held: number;
  readonly ended: number;
}

/**
 * Sends what is due among `ids` (empty: whatever is due for the tenant), batch after batch while time remains.
 * @param remainingMs how long the invocation may still run
 */
export async function deliver(
  ctx: Context,
  deps: DeliverDeps,
  ids: readonly string[],
  remainingMs: () => number,
): Promise<DeliverReport> {
  const total = { accepted: 0, rejected: 0, deferred: 0, ambiguous: 0, held: 0, ended: 0 };
  const hasTime = () => remainingMs() >= minimumRemainingMs;
  for (let from = 0; ; from += batchSize) {
    // What is left over is still due: the sweep rings for it.
    if (!hasTime()) break;
    const batch = ids.length === 0 ? undefined : ids.slice(from, from + batchSize);
    if (batch?.length === 0) break;
    const taken = await deliverBatch(ctx, deps, batch, total, hasTime);
    if (batch === undefined && taken < batchSize) break;
  }
  return total;
}

type Counts = { -readonly [K in keyof DeliverReport]: DeliverReport[K] };

/** @returns how many messages were looked at */
async function deliverBatch(
  ctx: Context,
  deps: DeliverDeps,
  batch: readonly string[] | undefined,
  total: Counts,
  hasTime: () => boolean,
): Promise<number> {
  const claim = await transact(ctx, async (ctx) => {
    await limitLockWaits(ctx.db, lockTimeoutMs);
    const result = await claimDue(ctx, batch, { ...deps, limit: batchSize, specsOf: deps.campaigns.specsOf });
    await deps.campaigns.tell(ctx, result.ended);
    return { ...result, now: ctx.now, claimedAt: deps.monotonicMs() };
  }).catch((error: unknown) => ({ error }));
  if ("error" in claim) return deliverAlone(ctx, deps, batch, total, hasTime, claim.error);
  const { claimed, held, ended, now, claimedAt } = claim;
  reach("send.claimed");
  total.held += held;
  total.ended += ended.length;
  if (claimed.length > 0) {
    const results = await callAll(ctx, deps, claimed, { claimedAt, now });
    for (const { outcome } of results) if (outcome.kind !== "abandoned") total[outcome.kind]++;
    reach("send.answered");
    await storeAll(ctx, deps.campaigns, results);
    reach("send.stored");
  }
  return claimed.length + held + ended.length;
}

/** One message that cannot be claimed must not keep its neighbours: alone each shows which one it is, and that one waits with its reason. */
async function deliverAlone(
  ctx: Context,
  deps: DeliverDeps,
  batch: readonly string[] | undefined,
  total: Counts,
  hasTime: () => boolean,
  error: unknown,
): Promise<number> {
  const [only, ...more] = batch ?? [];
  // Who waits too long for others, or loses the database, has nobody at fault among its own: all are still due, and looked at again.
  if (only === undefined || isCollision(error) || isLockTimeout(error) || isAway(error)) throw error;
  if (more.length > 0) {
    let taken = 0;
    for (const id of [only, ...more]) if (hasTime()) taken += await deliverBatch(ctx, deps, [id], total, hasTime);
    return taken;
  }
  await transact(ctx, (ctx) => postpone(ctx, only, error));
  total.held++;
  return 1;
}

/** An answer that cannot be stored is lost, and its message ambiguous: more than this in a row is the database's fault, not theirs. */
const maxUnstored = 3;

/** Together; if that fails, each alone, so that one enrollment that cannot be moved costs its own message and no other. */
async function storeAll(ctx: Context, campaigns: CampaignPort, results: readonly CallResult[]): Promise<void> {
  const together = await storeResults(ctx, campaigns, results).catch((error: unknown) => ({ error }));
  if (together === undefined) return;
  const failures: unknown[] = [];
  for (const result of results.length > 1 ? results : []) {
    await storeResults(ctx, campaigns, [result]).catch((error: unknown) => failures.push(error));
    if (failures.length >= maxUnstored) break;
  }
  // The bell comes back; by then the lease has run out and the message is looked into.
  if (results.length === 1 || failures.length > 0) throw failures[0] ?? together.error;
}

interface ClaimMoment {
  /** Monotonic milliseconds of this process right before the claim was committed. */
  readonly claimedAt: number;
  /** The database clock of the claim. */
  readonly now: Date;
}

/** Calls providers for the whole batch. Never throws: whatever happens to a call is its outcome. */
async function callAll(
  ctx: Context,
  deps: DeliverDeps,
  claimed: readonly ClaimedMessage[],
  claim: ClaimMoment,
): Promise<CallResult[]> {
  const accounts = openAccounts(ctx, deps.keys, notOpened);
  return Promise.all(
    claimed.map(async (message) => ({
      message,
      outcome: await callOne(deps, message, claim, await accounts(message.account)),
    })),
  );
}

type NotOpened = Extract<SendOutcome, { readonly kind: "rejected" | "deferred" }>;

const unopened: NotOpened = {
  kind: "rejected",
  failure: "account",
  code: "credentials",
  reason: "the account's credentials cannot be opened",
};

/** A key service that is away passes; credentials that do not open are their account's trouble, not this message's. */
const notOpened = (error: unknown): NotOpened =>
  error instanceof DomainError && error.kind === "unavailable"
    ? { kind: "deferred", code: error.code, reason: error.message, retryAfterSeconds: null }
    : unopened;

async function callOne(
  deps: DeliverDeps,
  message: ClaimedMessage,
  claim: ClaimMoment,
  account: { readonly credentials: Credentials } | NotOpened,
): Promise<CallResult["outcome"]> {
  const sender = deps.senders[message.account.provider];
  if (!sender) return unopened;
  if ("kind" in account) return account;
  // A worker that was frozen after its claim must not call: others may already take the message for ambiguous.
  if (deps.monotonicMs() - claim.claimedAt > startWithinMs) return { kind: "abandoned" };
  reach("send.calling");
  try {
    const outcome = await sender.send(account.credentials, outgoing(message, deps.publicUrl), callTimeoutMs, claim.now);
    reach("send.accepted");
    return outcome;
  } catch (error) {
    // An adapter does not throw; if it does, bytes may have left.
    return { kind: "ambiguous", reason: error instanceof Error ? error.message : String(error) } satisfies SendOutcome;
  }
}

/** The message as the adapter gets it. Our id travels in three ways: with the provider's own tags, in Message-ID and in Reply-To. */
function outgoing(message: ClaimedMessage, publicUrl: string): OutgoingMessage {
  const { account, content, sender } = message;
  const callbackUrl = `${publicUrl}/webhooks/${account.provider}/${account.id}`;
  const common = { messageId: message.id, channel: message.channel, to: message.to, text: content.text, callbackUrl };
  if (message.channel !== "email" || sender === null) {
    return { ...common, from: { address: account.settings.from ?? "" }, headers: {} };
  }
  const inbound = account.settings.inboundDomain;
  return {
    ...common,
    from: { address: sender.from_email, name: sender.from_name, ipPool: sender.dedicated_ip_pool ?? undefined },
    replyTo: inbound === undefined ? (sender.reply_to ?? undefined) : `reply+${message.id.toLowerCase()}@${inbound}`,
    subject: content.subject,
    html: content.html,
    headers: {
      ...content.headers,
      "Message-ID": `<${message.id}@${sender.from_email.slice(sender.from_email.lastIndexOf("@") + 1)}>`,
    },
  };
}

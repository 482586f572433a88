/**
 * What is still to happen, ordered by due time: webhooks on their way, pixels to load, links to click.
 *
 * Under a virtual clock a flush carries everything out one by one in due order (ties broken by name, not by arrival),
 * so the same messages give the same sequence. Under the real clock a timer does it, several at a time. Nothing is persisted.
 */
import { Agent, request } from "undici";
import type { SendgridEvent } from "./sendgrid-events.ts";

/** "real": timers. Otherwise nothing happens until `flush`. */
export type SimulatorClock = "real" | { now(): Date };

export interface WebhookRequest {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string | null;
}

/** How a provider reacts to failure. `sendgrid`: any non-2xx, for 24 h. `twilio`: one more try if it cannot connect. */
export type RetryRule = "sendgrid" | "twilio" | "never";

/**
 * Many `event`s become one request; a `request` stands alone. Both are made at delivery, so a burst of accepts pays for none of
 * it and signatures carry the time of sending (null: nobody to send to). An `effect` happens inside the provider. `never` marks what a person's own client does.
 */
export type Job =
  | { readonly kind: "event"; readonly account: string; event(): SendgridEvent }
  | {
      readonly kind: "request";
      readonly retry: RetryRule;
      prepare(now: Date, attempt: number): WebhookRequest | null;
    }
  | { readonly kind: "effect"; run(now: Date): Promise<void> };

export interface Pending {
  readonly dueMs: number;
  /** Unique and stable across runs; breaks ties of `dueMs`. */
  readonly name: string;
  readonly attempt: number;
  readonly job: Job;
}

type PendingRequest = Pending & { readonly job: Extract<Job, { kind: "request" }> };

export interface OutboxOptions {
  readonly clock: SimulatorClock;
  /** Turns gathered events of one account into one signed request; null drops them (no webhook configured). */
  readonly batch: (account: string, events: readonly SendgridEvent[], now: Date) => WebhookRequest | null;
  readonly batchSize: () => number;
  readonly enabled: () => boolean;
}

/** Waits between SendGrid's tries, in seconds; together about 24 h. */
const retryWaits = [10, 30, 60, 300, 900, 3600, 3600, 7200, 14_400, 28_800, 28_800];
/** Real-clock reactions that fall due together travel together. */
const gatherMs = 25;
const parallel = 16;
/** Node's timers hold 2^31 ms; a day is plenty, the next look re-arms. */
const longestTimerMs = 86_400_000;
/** Both providers give an endpoint about this long. */
const answerTimeoutMs = 15_000;

export class Outbox {
  readonly counts = { delivered: 0, failed: 0 };
  readonly #options: OutboxOptions;
  readonly #heap: Pending[] = [];
  readonly #connections = new Agent({ connections: 32, headersTimeout: answerTimeoutMs, bodyTimeout: answerTimeoutMs });
  #timer: NodeJS.Timeout | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  now(): Date {
    return this.#options.clock === "real" ? new Date() : this.#options.clock.now();
  }

  get size(): number {
    return this.#heap.length;
  }

  nextDueAt(): Date | null {
    const first = this.#heap[0];
    return first === undefined ? null : new Date(first.dueMs);
  }

  add(pending: Pending): void {
    push(this.#heap, pending);
    if (this.#heap[0] === pending) this.#arm();
  }

  /** Carries out everything due by `upTo`, including what that brings about; resolves to how many reactions that were. One flush at a time. */
  flush(upTo: Date): Promise<number> {
    const run = this.#tail.then(() => this.#drain(upTo.getTime(), this.#options.clock === "real" ? parallel : 1));
    this.#tail = run.catch(() => undefined);
    return run;
  }

  /** At once and out of turn. */
  async deliverNow(pending: Pending): Promise<void> {
    await this.#deliver([pending]);
  }

  clear(): void {
    this.#heap.length = 0;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.clear();
    await this.#connections.destroy();
    await this.#tail;
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const next = this.#heap[0];
    if (this.#options.clock !== "real" || this.#stopped || next === undefined) return;
    const wait = Math.min(Math.max(next.dueMs - Date.now(), gatherMs), longestTimerMs);
    this.#timer = setTimeout(() => void this.flush(new Date()).finally(() => this.#arm()), wait);
  }

  async #drain(upToMs: number, width: number): Promise<number> {
    let done = 0;
    while (!this.#stopped) {
      const groups: Pending[][] = [];
      while (groups.length < width) {
        const group = this.#takeGroup(upToMs);
        if (group === null) break;
        groups.push(group);
      }
      if (groups.length === 0) return done;
      await Promise.all(groups.map((group) => this.#deliver(group)));
      done += groups.reduce((sum, group) => sum + group.length, 0);
    }
    return done;
  }

  /** The next reaction, with the events right behind it that can share its request. */
  #takeGroup(upToMs: number): Pending[] | null {
    const first = takeDue(this.#heap, upToMs);
    if (first === null) return null;
    const group = [first];
    const account = first.job.kind === "event" ? first.job.account : null;
    while (account !== null && group.length < this.#options.batchSize()) {
      const next = this.#heap[0]?.job;
      if (next?.kind !== "event" || next.account !== account) break;
      const taken = takeDue(this.#heap, upToMs);
      if (taken === null) break;
      group.push(taken);
    }
    return group;
  }

  async #deliver(group: readonly Pending[]): Promise<void> {
    const [first] = group;
    if (first === undefined) return;
    const now = this.now();
    const { job } = first;
    if (job.kind === "effect") return job.run(now);
    const isWebhook = job.kind === "event" || job.retry !== "never";
    if (isWebhook && !this.#options.enabled()) return;
    if (job.kind === "request") return this.#post({ ...first, job }, job.prepare(now, first.attempt));
    const events = group.flatMap((one) => (one.job.kind === "event" ? [one.job.event()] : []));
    const prepare = (at: Date) => this.#options.batch(job.account, events, at);
    await this.#post({ ...first, job: { kind: "request", retry: "sendgrid", prepare } }, prepare(now));
  }

  async #post(pending: PendingRequest, webhook: WebhookRequest | null): Promise<void> {
    if (webhook === null) return;
    const { method, headers, body } = webhook;
    const status = await request(webhook.url, { dispatcher: this.#connections, method, headers, body }).then(
      async (response) => {
        await response.body.dump();
        return response.statusCode;
      },
      () => null,
    );
    const { retry } = pending.job;
    if (status !== null && status < (retry === "never" ? 400 : 300)) {
      this.counts.delivered += 1;
      return;
    }
    this.counts.failed += 1;
    const wait = retryWait(retry, pending.attempt, status);
    if (wait === null || this.#stopped) return;
    const dueMs = Math.max(this.now().getTime(), pending.dueMs) + wait * 1000;
    this.add({ ...pending, attempt: pending.attempt + 1, dueMs });
  }
}

/** Seconds until the next try, or null for none. @param status null when there was no answer. */
function retryWait(retry: RetryRule, attempt: number, status: number | null): number | null {
  if (retry === "sendgrid") return retryWaits[attempt] ?? null;
  return retry === "twilio" && status === null && attempt === 0 ? 1 : null;
}

const isBefore = (a: Pending, b: Pending): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.name < b.name);

/** A binary heap: the earliest is at index 0. */
function push(heap: Pending[], pending: Pending): void {
  let at = heap.length;
  heap.push(pending);
  while (at > 0) {
    const up = (at - 1) >> 1;
    const parent = heap[up];
    if (parent === undefined || !isBefore(pending, parent)) break;
    heap[at] = parent;
    at = up;
  }
  heap[at] = pending;
}

function takeDue(heap: Pending[], upToMs: number): Pending | null {
  const first = heap[0];
  if (first === undefined || first.dueMs > upToMs) return null;
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    const left = 2 * at + 1;
    const [a, b] = [heap[left], heap[left + 1]];
    if (a === undefined) break;
    const [child, next] = b !== undefined && isBefore(b, a) ? ([b, left + 1] as const) : ([a, left] as const);
    if (!isBefore(child, last)) break;
    heap[at] = child;
    at = next;
  }
  heap[at] = last;
  return first;
}

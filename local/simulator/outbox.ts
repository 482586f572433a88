/**
 * What is still to happen, ordered by due time: webhooks on their way, pixels to load, links to click.
 *
 * Under a virtual clock a flush carries everything out one by one in due order (ties broken by name, not by arrival),
 * so the same messages give the same sequence. Under the real clock a timer does it, several at a time. Nothing is persisted.
 */
import { Agent, request } from "undici";

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

/** Many `event`s become one request; a `request` stands alone. `prepare` runs at delivery, so signatures carry the time of sending. */
export type Job =
  | { readonly kind: "event"; readonly account: string; readonly event: object }
  | {
      readonly kind: "request";
      readonly retry: RetryRule;
      prepare(now: Date, attempt: number): WebhookRequest | Promise<WebhookRequest>;
    };

export interface Pending {
  readonly dueMs: number;
  /** Unique and stable across runs; breaks ties of `dueMs`. */
  readonly name: string;
  readonly attempt: number;
  readonly job: Job;
}

export interface OutboxOptions {
  readonly clock: SimulatorClock;
  /** Turns gathered events of one account into one signed request; null drops them (no webhook configured). */
  readonly batch: (account: string, events: readonly object[], now: Date) => WebhookRequest | null;
  readonly batchSize: () => number;
  readonly enabled: () => boolean;
}

/** Waits between SendGrid's tries, in seconds; together about 24 h. */
const retryWaits = [10, 30, 60, 300, 900, 3600, 3600, 7200, 14_400, 28_800, 28_800];
/** Real-clock reactions that fall due together travel together. */
const gatherMs = 25;
const parallel = 16;
/** Both providers give an endpoint about this long. */
const answerTimeoutMs = 15_000;

export class Outbox {
  readonly counts = { delivered: 0, failed: 0 };
  readonly #options: OutboxOptions;
  readonly #heap: Pending[] = [];
  readonly #agent = new Agent({ connections: 32, headersTimeout: answerTimeoutMs, bodyTimeout: answerTimeoutMs });
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
    this.#arm();
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
    await this.#agent.destroy();
    await this.#tail;
  }

  #arm(): void {
    const next = this.#heap[0];
    if (this.#options.clock !== "real" || this.#stopped || next === undefined || this.#timer !== null) return;
    const wait = Math.min(Math.max(next.dueMs - Date.now(), gatherMs), 250);
    this.#timer = setTimeout(() => {
      void this.flush(new Date()).finally(() => {
        this.#timer = null;
        this.#arm();
      });
    }, wait);
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
    if (first === undefined || !this.#options.enabled()) return;
    const now = this.now();
    const { job } = first;
    if (job.kind === "event") {
      const events = group.flatMap((one) => (one.job.kind === "event" ? [one.job.event] : []));
      const prepare = (at: Date) => this.#options.batch(job.account, events, at);
      const whole = prepare(now);
      if (whole === null) return;
      const again = { kind: "request", retry: "sendgrid", prepare: (at: Date) => prepare(at) ?? whole } as const;
      await this.#post({ ...first, job: again }, whole);
    } else {
      await this.#post(first, await job.prepare(now, first.attempt));
    }
  }

  async #post(pending: Pending, webhook: WebhookRequest): Promise<void> {
    const { method, headers, body } = webhook;
    const status = await request(webhook.url, { dispatcher: this.#agent, method, headers, body }).then(
      async (response) => {
        await response.body.dump();
        return response.statusCode;
      },
      () => null,
    );
    if (status !== null && status < 400) {
      this.counts.delivered += 1;
      return;
    }
    this.counts.failed += 1;
    const wait = retryWait(pending, status);
    if (wait === null || this.#stopped) return;
    this.add({
      ...pending,
      attempt: pending.attempt + 1,
      dueMs: Math.max(this.now().getTime(), pending.dueMs) + wait * 1000,
    });
  }
}

function retryWait({ job, attempt }: Pending, status: number | null): number | null {
  if (job.kind === "event" || job.retry === "never") return null;
  if (job.retry === "twilio") return status === null && attempt === 0 ? 1 : null;
  return retryWaits[attempt] ?? null;
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

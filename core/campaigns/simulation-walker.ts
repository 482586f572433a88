/**
 * Who walks in a simulation and what waits for whom. Invariant: of several entries in a queue only the one that an action or a message
 * names as its own is good; rescheduling and cancelling leave stale ones behind.
 */
import type { Channel } from "../kernel/index.ts";
import type { Applied, GateFacts, RenamedStep, Turn } from "../messages/index.ts";
import type { Draft, Made } from "./drafts.ts";
import type { Heap } from "./heap.ts";
import type { Held, Walking } from "./simulation-input.ts";
import type { EnrollmentState } from "./state.ts";

export type Row = Readonly<Record<string, unknown>>;

export interface Walker {
  readonly input: Walking;
  readonly rank: number;
  state: EnrollmentState;
  readonly actions: Map<string, Action>;
  /** Those in the outbox. */
  readonly messages: Message[];
}

export interface Action {
  readonly walker: Walker;
  readonly key: string;
  readonly action: "node" | "timeout";
  readonly nodeId: string;
  readonly watch: string | null;
  readonly ordinal: number;
  /** The entry of the queue that is good; null when nothing is pending. */
  entry: Due<Action> | null;
}

export interface Message {
  readonly walker: Walker;
  readonly nodeId: string;
  /** By which node its walk knows it. */
  readonly walkNodeId: string;
  readonly variantId: string | null;
  readonly channel: Channel;
  readonly address: string;
  readonly key: string;
  readonly step: RenamedStep;
  /** The dedupe key that it gives up if it ends unsent; null when it is not its owner, or was handed to a provider before. */
  readonly dedupe: string | null;
  readonly ordinal: number;
  readonly expiresAt: Date;
  readonly draft: Draft;
  readonly facts: GateFacts;
  readonly applied: readonly Applied[];
  /** What came of making its text, as long as the lead stays the same. */
  made: { readonly lead: Row; readonly made: Made } | null;
  /** Its turn under the rate limits. */
  turn: Turn | null;
  deliveredAt: number | null;
  entry: Due<Message> | null;
  readonly held: Held[];
}

export interface Due<T> {
  readonly at: number;
  readonly ordinal: number;
  readonly what: T;
}

/** Due by `now` and still good, in order. */
export function takeDue<T extends { entry: Due<T> | null }>(heap: Heap<Due<T>>, now: number, limit: number): T[] {
  const taken: T[] = [];
  while (taken.length < limit) {
    const due = heap.peek();
    if (!due || due.at > now) break;
    heap.pop();
    if (due.what.entry !== due) continue;
    due.what.entry = null;
    taken.push(due.what);
  }
  return taken;
}

/**
 * A campaign before it happens: the pure engine, gate and rate allocation of the live run, driven over virtual time by a queue of what is
 * due. Nothing is read, written or asked of a clock here.
 *
 * Invariant: the same input gives the same sends, and they are the ones that the live run makes of it: actions are taken by
 * (due, creation) in batches of `actionBatch`, messages likewise in batches of `messageBatch`, whatever a batch leads to takes effect at its end.
 */
import type { SuppressionReason } from "../kernel/index.ts";
import { advance } from "./engine.ts";
import { fieldsIn } from "./fields.ts";
import { actionKey, Net } from "./fold.ts";
import { Heap } from "./heap.ts";
import { consequenceOf, factOf, prefetchWindowMs, type Reaction, type ReactionModel } from "./reactions.ts";
import { actionBatch } from "./run.ts";
import {
  companyOf,
  type Simulated,
  type SimulationInput,
  type Waiting,
  type WaitingMessage,
} from "./simulation-input.ts";
import { Outbox } from "./simulation-outbox.ts";
import { type Action, type Due, type Message, type Row, takeDue, type Walker } from "./simulation-walker.ts";
import { type EngineEvent, initialState, type TimeoutName } from "./state.ts";
import { updated } from "./walk.ts";

const noLead: Row = {};
/** As in the live run: events that follow from what was just queued are few. */
const maxRounds = 20;
/** Longer than any wait of a plan; what is not decided by then is reported as still held. */
export const horizonDays = 800;

interface Reacting {
  readonly message: Message;
  readonly reaction: Reaction;
}

interface Told {
  readonly walker: Walker;
  readonly event: EngineEvent;
}

/** Runs a simulation to its end: until nothing is due any more, or `horizonDays` after the start. */
export function runSimulation(input: SimulationInput, react: ReactionModel): Simulated {
  return new Simulation(input, react).run();
}

class Simulation {
  readonly #input: SimulationInput;
  readonly #react: ReactionModel;
  readonly #outbox: Outbox;
  readonly #walkers: Walker[];
  readonly #actions = new Heap<Due<Action>>();
  readonly #reactions = new Heap<Due<Reacting>>();
  /** Leads change on the way: copies, so that the input stays as it was. */
  readonly #leads = new Map<string, Record<string, unknown>>();
  #now: number;
  #ordinal = 0;
  #steps = 0;

  constructor(input: SimulationInput, react: ReactionModel) {
    this.#input = input;
    this.#react = react;
    this.#outbox = new Outbox(input, this.#leadOf);
    this.#now = input.startAt.getTime();
    this.#walkers = input.walkers
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map((walking, rank) => ({
        input: walking,
        rank,
        state: walking.state ?? initialState(walking.contactId),
        actions: new Map(),
        messages: [],
      }));
    this.#begin();
  }

  run(): Simulated {
    const horizon = this.#now + horizonDays * 86_400_000;
    for (;;) {
      const at = Math.min(
        this.#reactions.peek()?.at ?? Number.POSITIVE_INFINITY,
        this.#actions.peek()?.at ?? Number.POSITIVE_INFINITY,
        this.#outbox.nextAt,
      );
      if (at > horizon) break;
      this.#now = Math.max(this.#now, at);
      this.#hear();
      this.#work();
    }
    return {
      sends: this.#outbox.sends(),
      enrollments: this.#walkers.map(({ input, state }) => ({
        id: input.id,
        contactId: input.contactId,
        status: state.status,
        nodeId: state.nodeId,
        exitReason: state.exitReason ?? null,
      })),
      endedAt: new Date(this.#now),
      steps: this.#steps + this.#outbox.judged,
    };
  }

  get #clock(): Date {
    return new Date(this.#now);
  }

  /** What the database holds already goes first, in the order of its ids; who has not begun begins now. */
  #begin(): void {
    const waiting = this.#walkers.flatMap((walker) =>
      walker.input.actions.map((action): [Walker, Waiting] => [walker, action]),
    );
    for (const [walker, { action, nodeId, watch, runAt }] of waiting.toSorted(([, a], [, b]) =>
      a.id < b.id ? -1 : 1,
    )) {
      this.#schedule(walker, { action, nodeId, watch, runAt });
    }
    const queued = this.#walkers.flatMap((walker) =>
      walker.input.messages.map((message): [Walker, WaitingMessage] => [walker, message]),
    );
    for (const [walker, message] of queued.toSorted(([, a], [, b]) => (a.id < b.id ? -1 : 1)))
      this.#outbox.requeue(walker, message, this.#clock);
    for (const walker of this.#walkers) {
      const start = this.#input.plans.get(walker.input.planVersionId)?.start;
      if (!walker.input.isDraft || start === undefined) continue;
      this.#schedule(walker, { action: "node", nodeId: start, watch: null, runAt: this.#clock });
    }
  }

  #hear(): void {
    for (let due = this.#reactions.peek(); due && due.at <= this.#now; due = this.#reactions.peek()) {
      this.#reactions.pop();
      this.#steps++;
      this.#hearOne(due.what);
    }
  }

  #hearOne({ message, reaction }: Reacting): void {
    const { event, machine, failure, suppress } = consequenceOf(reaction);
    const { walker, walkNodeId: nodeId } = message;
    const at = this.#clock.toISOString();
    if (event === "delivered") message.deliveredAt ??= this.#now;
    const tooSoon =
      (event === "opened" || event === "clicked") &&
      message.deliveredAt !== null &&
      this.#now - message.deliveredAt <= prefetchWindowMs;
    const told: Told[] = [];
    if (event) {
      const byMachine = machine === true || tooSoon;
      told.push({ walker, event: { type: "message", nodeId, event, at, ...(byMachine && { machine: true }) } });
    }
    if (failure !== undefined && message.deliveredAt === null) {
      told.push({ walker, event: { type: "send_failed", nodeId, reason: failure, at } });
    }
    if (suppress) told.push(...this.#suppress(message, suppress));
    this.#apply(told);
  }

  /** Every walk that has written to the address hears of the no; what waited for it fails. */
  #suppress(about: Message, reason: SuppressionReason): Told[] {
    const { written, ended } = this.#outbox.suppress(about, reason, this.#clock);
    const fact = factOf[reason];
    const at = this.#clock.toISOString();
    const told = written.flatMap(({ walker, walkNodeId: nodeId }): Told[] =>
      fact ? [{ walker, event: { type: "message", nodeId, event: fact, at } }] : [],
    );
    return [
      ...told,
      ...ended.map(({ walker, walkNodeId }) => ({ walker, event: this.#failed(walkNodeId, "suppressed") })),
    ];
  }

  #failed(nodeId: string, reason: string): EngineEvent {
    return { type: "send_failed", nodeId, reason, at: this.#clock.toISOString() };
  }

  /** Everything due now: actions first, a batch of messages, and again, until nothing is. */
  #work(): void {
    for (;;) {
      const actions = takeDue(this.#actions, this.#now, actionBatch);
      if (actions.length > 0) {
        this.#apply(
          actions.map(({ walker, action, nodeId, watch }) => ({
            walker,
            event:
              action === "node"
                ? { type: "due", nodeId }
                : { type: "timeout", nodeId, on: (watch ?? "end") as TimeoutName },
          })),
        );
        continue;
      }
      const messages = this.#outbox.take(this.#clock);
      if (messages.length === 0) return;
      this.#claim(messages);
    }
  }

  /** `applyEvents` of the live run: decide for the whole batch, then take effect in the order of enrollments. */
  #apply(events: readonly Told[]): void {
    let pending = events;
    for (let round = 0; pending.length > 0 && round < maxRounds; round++) {
      const nets = [...Map.groupBy(pending, ({ walker }) => walker)]
        .toSorted(([a], [b]) => a.rank - b.rank)
        .flatMap(([walker, told]) => {
          const plan = this.#input.plans.get(walker.input.planVersionId);
          if (!plan) return [];
          const net = new Net(walker.input.id, walker.state);
          for (const { event } of told) {
            this.#steps++;
            const read = net.updates.reduce((known, set) => updated(known, set), this.#fieldsOf(walker));
            const { state, effects } = advance(plan, net.state, event, this.#clock, read);
            net.add(state, effects);
          }
          return net.changed ? [{ walker, net }] : [];
        });
      for (const { walker, net } of nets) this.#write(walker, net);
      pending = nets.flatMap(({ walker, net }) =>
        net.sends.flatMap(({ nodeId, variantId }) => this.#enqueue(walker, nodeId, variantId)),
      );
    }
  }

  #fieldsOf({ input }: Walker) {
    if (!this.#input.needsFields) return {};
    return fieldsIn({
      lead: this.#leadOf(input.leadId),
      contact: this.#input.contacts.get(input.contactId)?.record ?? null,
      company: companyOf(this.#input, input.contactId),
    });
  }

  #leadOf = (leadId: string): Row => this.#leads.get(leadId) ?? this.#input.leads.get(leadId) ?? noLead;

  #write(walker: Walker, net: Net): void {
    walker.state = net.state;
    for (const action of walker.actions.values()) {
      if (net.cancelAll || net.cancelTimeoutsOf.has(action.nodeId)) action.entry = null;
    }
    if (net.cancelAll) {
      for (const message of walker.messages.splice(0))
        if (message.entry) this.#outbox.end(message, "enrollment_not_active", this.#clock);
    }
    for (const scheduled of net.schedules.values()) this.#schedule(walker, scheduled);
    for (const set of net.updates) {
      this.#leads.set(walker.input.leadId, updated(this.#leadOf(walker.input.leadId), set, ""));
    }
  }

  #schedule(
    walker: Walker,
    {
      action,
      nodeId,
      watch,
      runAt,
    }: {
      readonly action: "node" | "timeout";
      readonly nodeId: string;
      readonly watch: string | null;
      readonly runAt: Date;
    },
  ): void {
    const key = actionKey(walker.input.id, { action, nodeId, watch });
    const one = walker.actions.get(key) ?? {
      walker,
      key,
      action,
      nodeId,
      watch,
      ordinal: this.#ordinal++,
      entry: null,
    };
    walker.actions.set(key, one);
    one.entry = { at: runAt.getTime(), ordinal: one.ordinal, what: one };
    this.#actions.push(one.entry);
  }

  #enqueue(walker: Walker, nodeId: string, variantId: string | null): Told[] {
    const refused = this.#outbox.enqueue(walker, nodeId, variantId, this.#clock);
    return refused === null ? [] : [{ walker, event: this.#failed(nodeId, refused) }];
  }

  /** What a batch leads to takes effect at its end: first for those it ended, then for those it sent. */
  #claim(batch: readonly Message[]): void {
    const now = this.#clock;
    const { accepted, ended } = this.#outbox.claim(batch, now);
    this.#apply(
      ended.map(({ message: { walker, walkNodeId }, reason }) => ({ walker, event: this.#failed(walkNodeId, reason) })),
    );
    for (const message of accepted) this.#accept(message, now);
    this.#apply(
      accepted.map(({ walker, walkNodeId: nodeId }) => ({
        walker,
        event: { type: "sent", nodeId, at: now.toISOString() },
      })),
    );
  }

  #accept(message: Message, now: Date): void {
    const ordinal = this.#outbox.accept(message, now);
    const { walker, channel, address, nodeId } = message;
    const reactions = this.#react({
      contactId: walker.input.contactId,
      address,
      channel,
      ordinal,
      nodeId,
      sentAt: now,
    });
    for (const reaction of reactions) {
      const at = now.getTime() + Math.round(reaction.afterSeconds * 1000);
      this.#reactions.push({ at, ordinal: this.#ordinal++, what: { message, reaction } });
    }
  }
}

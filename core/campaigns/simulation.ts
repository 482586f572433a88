/**
 * A campaign before it happens: the pure engine, gate and rate allocation of the live run, driven over virtual time by a queue of what is
 * due. Nothing is read, written or asked of a clock here.
 *
 * Invariant: the same input gives the same sends, and they are the ones that the live run makes of it: actions are taken by
 * (due, creation) in batches of `actionBatch`, messages likewise in batches of `messageBatch`, whatever a batch leads to takes effect at its end.
 */
import { type Channel, type GateReason, type SuppressionReason, suppressionAddress } from "../kernel/index.ts";
import {
  type Applied,
  addressKey,
  appliedTo,
  decide,
  type GateFacts,
  gateFacts,
  holdsSlot,
  reserve,
  Usage,
} from "../messages/index.ts";
import { prefixed } from "./apply.ts";
import { type Draft, Drafts, type Made } from "./drafts.ts";
import { addDuration } from "./duration.ts";
import { advance } from "./engine.ts";
import { actionKey, Net } from "./fold.ts";
import { nodeOf } from "./graph.ts";
import { Heap } from "./heap.ts";
import { consequenceOf, factOf, prefetchWindowMs, type Reaction, type ReactionModel } from "./reactions.ts";
import { actionBatch } from "./run.ts";
import type {
  Held,
  Simulated,
  SimulatedSend,
  SimulationInput,
  Waiting,
  WaitingMessage,
  Walking,
} from "./simulation-input.ts";
import { type EngineEvent, type EnrollmentState, initialState, type TimeoutName } from "./state.ts";

export const messageBatch = 100;
const noLead: Row = {};
/** As in the live run: events that follow from what was just queued are few. */
const maxRounds = 20;
/** Longer than any wait of a plan; what is not decided by then is reported as still held. */
export const horizonDays = 800;

type Row = Readonly<Record<string, unknown>>;

interface Walker {
  readonly input: Walking;
  readonly rank: number;
  state: EnrollmentState;
  readonly actions: Map<string, Action>;
  readonly messages: Message[];
}

interface Action {
  readonly walker: Walker;
  readonly key: string;
  readonly action: "node" | "timeout";
  readonly nodeId: string;
  readonly watch: string | null;
  readonly ordinal: number;
  /** The entry of the queue that is good; null when nothing is pending. */
  entry: Due<Action> | null;
}

interface Message {
  readonly walker: Walker;
  readonly nodeId: string;
  readonly variantId: string | null;
  readonly channel: Channel;
  readonly address: string;
  readonly key: string;
  readonly ordinal: number;
  readonly expiresAt: Date;
  readonly draft: Draft;
  readonly facts: GateFacts;
  readonly applied: readonly Applied[];
  /** What came of making its text, as long as the lead stays the same. */
  made: { readonly lead: Row; readonly made: Made } | null;
  slot: Date | null;
  deliveredAt: number | null;
  entry: Due<Message> | null;
  readonly held: Held[];
}

interface Due<T> {
  readonly at: number;
  readonly ordinal: number;
  readonly what: T;
}

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
  readonly #drafts: Drafts;
  readonly #walkers: Walker[];
  readonly #actions = new Heap<Due<Action>>();
  readonly #messages = new Heap<Due<Message>>();
  readonly #reactions = new Heap<Due<Reacting>>();
  readonly #usage = new Usage();
  readonly #suppressed: Map<string, { readonly reason: SuppressionReason; readonly since: Date }>;
  readonly #recent: Map<string, Date[]>;
  /** Who owns a dedupe key. */
  readonly #owners: Map<string, string>;
  /** Messages not yet sent, by address. */
  readonly #pending = new Map<string, Set<Message>>();
  readonly #accepts = new Map<string, number>();
  readonly #sends: SimulatedSend[] = [];
  /** Leads and addresses change on the way: copies, so that the input stays as it was. */
  readonly #leads = new Map<string, Record<string, unknown>>();
  /** Addresses that bounced for good. */
  readonly #dead = new Set<string>();
  /** Messages made so far, by address. */
  readonly #written = new Map<string, Message[]>();
  #now: number;
  #ordinal = 0;
  #steps = 0;

  constructor(input: SimulationInput, react: ReactionModel) {
    this.#input = input;
    this.#react = react;
    this.#drafts = new Drafts(input);
    this.#now = input.startAt.getTime();
    this.#suppressed = new Map(input.known.suppressions);
    this.#recent = new Map([...input.known.recentSends].map(([key, dates]) => [key, [...dates]]));
    this.#owners = new Map(input.owners);
    for (const one of input.windows) this.#usage.load(one.limitId, one.key, one.windowStart, one.used);
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
        this.#messages.peek()?.at ?? Number.POSITIVE_INFINITY,
      );
      if (at > horizon) break;
      this.#now = Math.max(this.#now, at);
      this.#hear();
      this.#work();
    }
    for (const messages of this.#pending.values()) {
      for (const message of messages)
        this.#sends.push(this.#sendOf(message, null, message.held.at(-1)?.reason ?? "expired"));
    }
    return {
      sends: this.#sends.map((send, ordinal) => ({ ...send, ordinal })),
      enrollments: this.#walkers.map(({ input, state }) => ({
        id: input.id,
        contactId: input.contactId,
        status: state.status,
        nodeId: state.nodeId,
        exitReason: state.exitReason ?? null,
      })),
      endedAt: new Date(this.#now),
      steps: this.#steps,
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
      this.#requeue(walker, message);
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
    const { walker, nodeId } = message;
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

  /** A no is about the address: it ends everything that waits for it, and every walk that has written to it hears of it. */
  #suppress(about: Message, reason: SuppressionReason): Told[] {
    const name = addressKey(about.channel, about.key);
    if (!this.#suppressed.has(name)) this.#suppressed.set(name, { reason, since: this.#clock });
    if (reason === "hard_bounce") this.#dead.add(addressKey(about.channel, about.address));
    const fact = factOf[reason];
    const at = this.#clock.toISOString();
    const others = (this.#written.get(name) ?? []).filter(({ walker }) => walker !== about.walker);
    const told = others.flatMap(({ walker, nodeId }): Told[] =>
      fact ? [{ walker, event: { type: "message", nodeId, event: fact, at } }] : [],
    );
    const stopped = [...(this.#pending.get(name) ?? [])].map((message): Told => {
      this.#end(message, "suppressed");
      return { walker: message.walker, event: this.#failed(message.nodeId, "suppressed") };
    });
    return [...told, ...stopped];
  }

  #failed(nodeId: string, reason: string): EngineEvent {
    return { type: "send_failed", nodeId, reason, at: this.#clock.toISOString() };
  }

  /** Everything due now: actions first, a batch of messages, and again, until nothing is. */
  #work(): void {
    for (;;) {
      const actions = this.#take(this.#actions, actionBatch);
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
      const messages = this.#take(this.#messages, messageBatch);
      if (messages.length === 0) return;
      this.#claim(messages);
    }
  }

  /** Due and still good, in order; a rescheduled or cancelled one has left a stale entry behind. */
  #take<T extends { entry: Due<T> | null }>(heap: Heap<Due<T>>, limit: number): T[] {
    const taken: T[] = [];
    while (taken.length < limit) {
      const due = heap.peek();
      if (!due || due.at > this.#now) break;
      heap.pop();
      if (due.what.entry !== due) continue;
      due.what.entry = null;
      taken.push(due.what);
    }
    return taken;
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
            const { state, effects } = advance(plan, net.state, event, this.#clock, this.#fieldsOf(walker));
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
    const contact = this.#input.contacts.get(input.contactId)?.record ?? {};
    return { ...prefixed("lead", this.#leadOf(input.leadId)), ...prefixed("contact", contact) };
  }

  #leadOf = (leadId: string): Row => this.#leads.get(leadId) ?? this.#input.leads.get(leadId) ?? noLead;

  #write(walker: Walker, net: Net): void {
    walker.state = net.state;
    for (const action of walker.actions.values()) {
      if (net.cancelAll || net.cancelTimeoutsOf.has(action.nodeId)) action.entry = null;
    }
    if (net.cancelAll) {
      for (const message of walker.messages.splice(0)) if (message.entry) this.#end(message, "enrollment_not_active");
    }
    for (const scheduled of net.schedules.values()) this.#schedule(walker, scheduled);
    for (const set of net.updates) {
      const lead = { ...this.#leadOf(walker.input.leadId) };
      if (set.status !== undefined && lead["status"] !== "dnc") lead["status"] = set.status;
      if (set.campaign_status !== undefined) lead["campaign_status"] = set.campaign_status;
      const tags = new Set([...((lead["tags"] as string[] | undefined) ?? []), ...(set.tags?.add ?? [])]);
      lead["tags"] = [...tags.difference(new Set(set.tags?.remove))].toSorted();
      this.#leads.set(walker.input.leadId, lead);
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

  /** The way into the outbox: one message per dedupe key. @returns what the enrollment hears when it ends right here */
  #enqueue(walker: Walker, nodeId: string, variantId: string | null): Told[] {
    const plan = this.#input.plans.get(walker.input.planVersionId);
    const node = plan && nodeOf(plan, nodeId);
    if (!plan || node?.type !== "send") return [];
    const address = this.#primaryAddress(walker, node.channel);
    const key = address === "" ? "" : suppressionAddress(node.channel, address);
    const dedupe = `${this.#input.campaign.id}:${walker.input.entry}:${nodeId}:${key === "" ? walker.input.id : key}`;
    const owner = this.#owners.get(dedupe);
    if (owner === walker.input.id) return [];
    if (owner === undefined) this.#owners.set(dedupe, walker.input.id);
    const message = this.#message(walker, {
      nodeId,
      variantId,
      address,
      key,
      expiresAt: addDuration(this.#clock, node.expiresAfter, plan.timeZone),
    });
    const refused = owner !== undefined ? "duplicate_address" : address === "" ? "address_invalid" : null;
    if (message && refused === null) {
      this.#open(message, this.#clock);
      return [];
    }
    if (message && refused) this.#sends.push(this.#sendOf(message, this.#clock, refused));
    return [{ walker, event: { type: "send_failed", nodeId, reason: refused ?? "failed" } }];
  }

  #primaryAddress({ input }: Walker, channel: Channel): string {
    const usable = (this.#input.contacts.get(input.contactId)?.channels ?? []).filter(
      (one) => one.channel === channel && one.status === "active" && !this.#dead.has(addressKey(channel, one.address)),
    );
    // The primary one; of several the oldest.
    const [best] = usable.toSorted((a, b) => Number(b.isPrimary) - Number(a.isPrimary) || (a.id < b.id ? -1 : 1));
    return best?.address ?? "";
  }

  #requeue(walker: Walker, waiting: WaitingMessage): void {
    const message = this.#message(walker, { ...waiting, key: waiting.suppressionKey });
    if (!message) return;
    message.slot = waiting.slot;
    this.#open(message, waiting.runAt);
  }

  #message(
    walker: Walker,
    about: Pick<Message, "nodeId" | "variantId" | "address" | "key" | "expiresAt">,
  ): Message | null {
    const { nodeId, variantId, address, key, expiresAt } = about;
    const draft = this.#drafts.of(walker.input, nodeId, variantId, address, key, expiresAt, this.#clock);
    if (!draft) return null;
    const { candidate, spec } = draft;
    return {
      walker,
      nodeId,
      variantId,
      channel: candidate.channel,
      address,
      key,
      ordinal: this.#ordinal++,
      expiresAt,
      draft,
      made: null,
      facts: gateFacts(candidate, this.#input.known, spec, null),
      applied: appliedTo(this.#input.limits, {
        channel: candidate.channel,
        senderId: candidate.sender?.id ?? null,
        accountId: candidate.channel_config?.id ?? null,
        address,
      }),
      slot: null,
      deliveredAt: null,
      entry: null,
      held: [],
    };
  }

  /** A message enters the outbox. */
  #open(message: Message, at: Date): void {
    const name = addressKey(message.channel, message.key);
    const waiting = this.#pending.get(name);
    if (waiting) waiting.add(message);
    else this.#pending.set(name, new Set([message]));
    const written = this.#written.get(name);
    if (written) written.push(message);
    else this.#written.set(name, [message]);
    message.walker.messages.push(message);
    this.#wait(message, at);
  }

  #wait(message: Message, at: Date): void {
    message.entry = { at: at.getTime(), ordinal: message.ordinal, what: message };
    this.#messages.push(message.entry);
  }

  /** `claimDue` of the live run: judge in order, then give places under the rate limits in the same order. */
  #claim(batch: readonly Message[]): void {
    const now = this.#clock;
    const judged = batch.map((message) => {
      this.#steps++;
      const verdict = decide(this.#factsNow(message), now);
      // Counts at once, so that the next message of this batch to the same address is capped by it.
      if (verdict.kind === "send") this.#sentTo(message).push(now);
      return { message, verdict };
    });
    const accepted: Message[] = [];
    const ended: Told[] = [];
    const notSent: Message[] = [];
    for (const { message, verdict } of judged) {
      if (verdict.kind === "end") {
        this.#end(message, verdict.reason);
        ended.push({ walker: message.walker, event: this.#failed(message.nodeId, verdict.reason) });
      } else if (verdict.kind === "hold") {
        message.slot = null;
        this.#hold(message, verdict.reason, verdict.until, verdict.detail);
      } else if (this.#place(message, now)) accepted.push(message);
      else notSent.push(message);
    }
    for (const message of notSent) this.#sentTo(message).pop();
    this.#apply(ended);
    for (const message of accepted) this.#accept(message, now);
    this.#apply(
      accepted.map(({ walker, nodeId }) => ({ walker, event: { type: "sent", nodeId, at: now.toISOString() } })),
    );
  }

  #sentTo({ channel, key }: Message): Date[] {
    const name = addressKey(channel, key);
    let dates = this.#recent.get(name);
    if (!dates) {
      dates = [];
      this.#recent.set(name, dates);
    }
    return dates;
  }

  /** What can have changed since the message was made is looked at again. */
  #factsNow(message: Message): GateFacts {
    const { walker, channel, address, key } = message;
    const lead = this.#leadOf(walker.input.leadId);
    return {
      ...message.facts,
      enrollmentStatus: walker.state.status,
      lead: { status: String(lead["status"]), deleted: lead["deleted_at"] !== null },
      suppression: this.#suppressed.get(addressKey(channel, key)) ?? null,
      addressStatus: this.#dead.has(addressKey(channel, address)) ? "bounced" : message.facts.addressStatus,
      renderProblem: this.#made(message, lead).problem,
      recentSends: this.#sentTo(message),
    };
  }

  #made(message: Message, lead: Row): Made {
    if (message.made?.lead !== lead) message.made = { lead, made: this.#drafts.made(message.draft, lead) };
    return message.made.made;
  }

  /** @returns whether it may leave now; otherwise it is held until its place */
  #place(message: Message, now: Date): boolean {
    const { applied, slot: reserved, expiresAt } = message;
    if (applied.length === 0 || (reserved !== null && holdsSlot(reserved, applied, now))) return true;
    const slot = reserve(this.#usage, applied, now, expiresAt);
    if (slot !== null && slot <= now) return true;
    message.slot = slot;
    this.#hold(
      message,
      "rate_limit",
      slot ?? expiresAt,
      slot === null ? "no place is left before the message expires" : "",
    );
    return false;
  }

  #hold(message: Message, reason: GateReason, until: Date, detail: string): void {
    const last = message.held.at(-1);
    if (last?.reason === reason && last.detail === detail && last.until.getTime() === this.#now) {
      message.held[message.held.length - 1] = { ...last, until };
    } else {
      message.held.push({ reason, from: this.#clock, until, detail });
    }
    this.#wait(message, until);
  }

  #accept(message: Message, now: Date): void {
    this.#leave(message);
    const { walker, channel, address, nodeId } = message;
    const name = addressKey(channel, address);
    const ordinal = (this.#accepts.get(name) ?? 0) + 1;
    this.#accepts.set(name, ordinal);
    this.#sends.push(this.#sendOf(message, now, "sent"));
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

  #end(message: Message, reason: GateReason): void {
    message.entry = null;
    this.#leave(message);
    this.#sends.push(this.#sendOf(message, this.#clock, reason));
  }

  #leave(message: Message): void {
    this.#pending.get(addressKey(message.channel, message.key))?.delete(message);
    const { messages } = message.walker;
    const index = messages.indexOf(message);
    if (index >= 0) messages.splice(index, 1);
  }

  #sendOf(message: Message, at: Date | null, verdict: SimulatedSend["verdict"]): SimulatedSend {
    const { walker, nodeId, variantId, channel, address, held } = message;
    const segments = verdict === "sent" ? (message.made?.made.segments ?? null) : null;
    return {
      ordinal: this.#sends.length,
      enrollmentId: walker.input.id,
      contactId: walker.input.contactId,
      nodeId,
      variantId,
      channel,
      address,
      at,
      verdict,
      held,
      segments,
    };
  }
}

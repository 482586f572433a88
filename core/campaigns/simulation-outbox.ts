/**
 * The outbox of a simulation: messages wait here for the gate, for a place under the rate limits, and for their end.
 *
 * Invariant: one message per dedupe key, and every message that enters comes to exactly one end; judged and placed in the order of the live run.
 */
import { type Channel, type GateReason, type SuppressionReason, suppressionAddress } from "../kernel/index.ts";
import {
  addressKey,
  appliedTo,
  decide,
  type GateFacts,
  gateFacts,
  giveBack,
  onePerStep,
  stepPlace,
  TakenSteps,
  takeTurn,
  Usage,
} from "../messages/index.ts";
import { type Content, Drafts, type Made } from "./drafts.ts";
import { addDuration } from "./duration.ts";
import { nodeOf } from "./graph.ts";
import { Heap } from "./heap.ts";
import type { SimulatedSend, SimulationInput, WaitingMessage } from "./simulation-input.ts";
import { type Due, type Message, type Row, takeDue, type Walker } from "./simulation-walker.ts";

/** As many as the live run claims at a time. */
export const messageBatch = 100;

/** What the gate and the rate limits made of a batch. Held messages wait on. */
export interface Claimed {
  readonly accepted: readonly Message[];
  readonly ended: readonly { readonly message: Message; readonly reason: GateReason }[];
}

export class Outbox {
  readonly #input: SimulationInput;
  readonly #leadOf: (leadId: string) => Row;
  readonly #drafts: Drafts;
  readonly #queue = new Heap<Due<Message>>();
  readonly #usage = new Usage();
  readonly #suppressed: Map<string, { readonly reason: SuppressionReason; readonly since: Date }>;
  readonly #recent: Map<string, Date[]>;
  readonly #taken: TakenSteps;
  /** Who owns a dedupe key, by a message that was or may still be sent. */
  readonly #owners: Map<string, string>;
  /** Messages not yet sent, by address. */
  readonly #pending = new Map<string, Set<Message>>();
  /** Messages made so far, by address. */
  readonly #written = new Map<string, Message[]>();
  readonly #accepts = new Map<string, number>();
  /** Addresses that bounced for good. */
  readonly #dead = new Set<string>();
  readonly #sends: SimulatedSend[] = [];
  #ordinal = 0;
  #judged = 0;

  /** @param leadOf the lead as it is by then */
  constructor(input: SimulationInput, leadOf: (leadId: string) => Row) {
    this.#input = input;
    this.#leadOf = leadOf;
    this.#drafts = new Drafts(input);
    this.#suppressed = new Map(input.known.suppressions);
    this.#recent = new Map([...input.known.recentSends].map(([key, dates]) => [key, [...dates]]));
    this.#owners = new Map(input.owners);
    this.#taken = new TakenSteps(input.taken);
    for (const one of input.windows) this.#usage.load(one.limitId, one.key, one.windowStart, one.used, one.reserved);
  }

  /** Milliseconds since 1970, or infinity. Never later than the first message that is due. */
  get nextAt(): number {
    return this.#queue.peek()?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Gate decisions so far. */
  get judged(): number {
    return this.#judged;
  }

  /** Every end so far, in the order of ends, then what still waits with the reason that holds it. */
  sends(): readonly SimulatedSend[] {
    const waiting = [...this.#pending.values()].flatMap((messages) => [...messages]);
    return [
      ...this.#sends,
      ...waiting.map((message) => this.#sendOf(message, null, message.held.at(-1)?.reason ?? "expired")),
    ].map((send, ordinal) => ({ ...send, ordinal }));
  }

  /** The way in: one message per dedupe key. @returns why it ends right here; null: it waits, or somebody has queued it before */
  enqueue(walker: Walker, nodeId: string, variantId: string | null, now: Date): GateReason | "failed" | null {
    const plan = this.#input.plans.get(walker.input.planVersionId);
    const node = plan && nodeOf(plan, nodeId);
    if (!plan || node?.type !== "send") return null;
    const address = this.#primaryAddress(walker, node.channel);
    const key = address === "" ? "" : suppressionAddress(node.channel, address);
    const dedupe = `${this.#input.campaign.id}:${walker.input.entry}:${nodeId}:${key === "" ? walker.input.id : key}`;
    const owner = this.#owners.get(dedupe);
    if (owner === walker.input.id) return null;
    if (owner === undefined) this.#owners.set(dedupe, walker.input.id);
    const expiresAt = addDuration(now, node.expiresAfter, plan.timeZone);
    const message = this.#message(
      walker,
      {
        planVersionId: walker.input.planVersionId,
        nodeId,
        walkNodeId: nodeId,
        variantId,
        address,
        key,
        expiresAt,
        dedupe: owner === undefined ? dedupe : null,
        wasClaimed: false,
      },
      now,
    );
    const refused = owner !== undefined ? "duplicate_address" : address === "" ? "address_invalid" : null;
    if (!message) return refused ?? "failed";
    if (refused === null) this.#open(message, now);
    else this.#sends.push(this.#sendOf(message, now, refused));
    return refused;
  }

  /** A message that the database holds already. */
  requeue(walker: Walker, waiting: WaitingMessage, now: Date): void {
    const message = this.#message(
      walker,
      { ...waiting, key: waiting.suppressionKey, dedupe: waiting.wasClaimed ? null : waiting.dedupeKey },
      now,
    );
    if (!message) return;
    message.turn = waiting.turn;
    this.#open(message, waiting.runAt);
  }

  take(now: Date): Message[] {
    return takeDue(this.#queue, now.getTime(), messageBatch);
  }

  /** `claimDue` of the live run: judge in order, then give places under the rate limits in the same order. */
  claim(batch: readonly Message[], now: Date): Claimed {
    const looked = onePerStep(batch, (message) => message.step);
    for (const message of new Set(batch).difference(new Set(looked))) this.#wait(message, now);
    const judged = looked.map((message) => {
      this.#judged++;
      const verdict = decide(this.#factsNow(message), now);
      // Counts at once, so that the next message of this batch to the same address is capped by it.
      if (verdict.kind === "send") this.#sentTo(message).push(now);
      return { message, verdict };
    });
    for (const { message, verdict } of judged) if (verdict.kind !== "send") this.#giveBack(message, now);
    const accepted: Message[] = [];
    const ended: { readonly message: Message; readonly reason: GateReason }[] = [];
    const notSent: Message[] = [];
    for (const { message, verdict } of judged) {
      if (verdict.kind === "end") {
        this.end(message, verdict.reason, now);
        ended.push({ message, reason: verdict.reason });
      } else if (verdict.kind === "hold") {
        this.#hold(message, verdict.reason, verdict.until, verdict.detail, now);
      } else if (this.#place(message, now)) accepted.push(message);
      else notSent.push(message);
    }
    for (const message of notSent) this.#sentTo(message).pop();
    for (const message of accepted) this.#taken.take(message.step);
    return { accepted, ended };
  }

  /** @returns how many messages the address has been sent with this one */
  accept(message: Message, now: Date): number {
    this.#leave(message);
    const name = addressKey(message.channel, message.address);
    const ordinal = (this.#accepts.get(name) ?? 0) + 1;
    this.#accepts.set(name, ordinal);
    this.#sends.push(this.#sendOf(message, now, "sent"));
    return ordinal;
  }

  end(message: Message, reason: GateReason, now: Date): void {
    message.entry = null;
    this.#leave(message);
    this.#giveBack(message, now);
    // What was never sent gives its key up to the next contact with that address.
    if (message.dedupe !== null) this.#owners.delete(message.dedupe);
    this.#sends.push(this.#sendOf(message, now, reason));
  }

  /**
   * A no is about the address: it ends everything that waits for it.
   * @returns what other walks have written to it, and what was ended
   */
  suppress(
    about: Message,
    reason: SuppressionReason,
    now: Date,
  ): { readonly written: readonly Message[]; readonly ended: readonly Message[] } {
    const name = addressKey(about.channel, about.key);
    if (!this.#suppressed.has(name)) this.#suppressed.set(name, { reason, since: now });
    if (reason === "hard_bounce") this.#dead.add(addressKey(about.channel, about.address));
    const written = (this.#written.get(name) ?? []).filter(({ walker }) => walker !== about.walker);
    const ended = [...(this.#pending.get(name) ?? [])];
    for (const message of ended) this.end(message, "suppressed", now);
    return { written, ended };
  }

  #primaryAddress({ input }: Walker, channel: Channel): string {
    const usable = (this.#input.contacts.get(input.contactId)?.channels ?? []).filter(
      (one) => one.channel === channel && one.status === "active" && !this.#dead.has(addressKey(channel, one.address)),
    );
    // The primary one; of several the oldest.
    const [best] = usable.toSorted((a, b) => Number(b.isPrimary) - Number(a.isPrimary) || (a.id < b.id ? -1 : 1));
    return best?.address ?? "";
  }

  #message(
    walker: Walker,
    about: Content &
      Pick<Message, "walkNodeId" | "address" | "key" | "expiresAt" | "dedupe"> & { readonly wasClaimed: boolean },
    now: Date,
  ): Message | null {
    const { nodeId, walkNodeId, variantId, address, key, expiresAt, dedupe } = about;
    const draft = this.#drafts.of(walker.input, about, address, key, expiresAt, now);
    if (!draft) return null;
    const { candidate, spec } = draft;
    return {
      walker,
      nodeId,
      walkNodeId,
      variantId,
      channel: candidate.channel,
      address,
      key,
      step: {
        place: stepPlace(this.#input.campaign.id, walker.input.entry, candidate.channel, key),
        enrollmentId: walker.input.id,
        planVersionId: about.planVersionId,
        nodeId,
        renames: this.#input.renames,
        isRetry: about.wasClaimed,
      },
      dedupe,
      ordinal: this.#ordinal++,
      expiresAt,
      draft,
      made: null,
      facts: gateFacts(candidate, this.#input.known, this.#taken, spec, null),
      applied: appliedTo(this.#input.limits, {
        channel: candidate.channel,
        senderId: candidate.sender?.id ?? null,
        accountId: candidate.channel_config?.id ?? null,
        address,
      }),
      turn: null,
      deliveredAt: null,
      entry: null,
      held: [],
    };
  }

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
    this.#queue.push(message.entry);
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
      stepTaken: this.#taken.has(message.step),
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
    const { applied, expiresAt } = message;
    message.turn = takeTurn(this.#usage, applied, message.turn, now, expiresAt);
    const slot = message.turn?.slot ?? null;
    if (slot !== null && slot <= now) return true;
    this.#hold(
      message,
      "rate_limit",
      slot ?? expiresAt,
      slot === null ? "no place is left before the message expires" : "",
      now,
    );
    return false;
  }

  /** What is kept for it goes to others; if it comes again, it comes with its seniority. */
  #giveBack(message: Message, now: Date): void {
    giveBack(this.#usage, message.turn, now);
    if (message.turn) message.turn = { ...message.turn, places: [], taken: false };
  }

  #hold(message: Message, reason: GateReason, until: Date, detail: string, now: Date): void {
    const last = message.held.at(-1);
    if (last?.reason === reason && last.detail === detail && last.until.getTime() === now.getTime()) {
      message.held[message.held.length - 1] = { ...last, until };
    } else {
      message.held.push({ reason, from: now, until, detail });
    }
    this.#wait(message, until);
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

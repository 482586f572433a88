/**
 * One world: the real handlers in simulated processes, a queue, providers and recipients that are models, and a scheduler that decides at
 * every turn who goes on.
 *
 * Invariant: everything that happens is a step, in one order, drawn from the seed; the hash over all steps and over what is committed in
 * the end is the same in every run.
 */
import { createHash } from "node:crypto";
import type { Context as LambdaContext } from "aws-lambda";
import type pg from "pg";
import type { Context } from "../../core/kernel/index.ts";
import { seedIds } from "../../core/kernel/index.ts";
import type { Bell } from "../../core/ports/index.ts";
import type { HttpCall, HttpResult } from "../../core/providers/http.ts";
import type { Host } from "../../functions/lib/runtime.ts";
import { queues } from "../../functions/topology.ts";
import { type Base, type PlanName, type SimTenant, start } from "./base.ts";
import { realNow, running, setVirtualNow } from "./clock.ts";
import type { SimulationDatabase } from "./database.ts";
import { type Fate, Invocation, type Process, quiesce, type StatementTurn, type Turn } from "./invocation.ts";
import { Model, Violation } from "./model.ts";
import { operate } from "./operations.ts";
import { answerOf } from "./providers.ts";
import { QueueModel } from "./queue.ts";
import type { Reaction, WebRequest } from "./recipients.ts";
import { Rng } from "./rng.ts";
import { type Script, tell } from "./script.ts";
import { connectWire } from "./wire.ts";

export type HandlerName =
  | "sweep"
  | "reconcile"
  | "maintain"
  | "drain"
  | "actions"
  | "send"
  | "deliveries"
  | "imports"
  | "webhooks"
  | "tracking";
export type Handlers = Readonly<Record<HandlerName, (event: never, invocation: LambdaContext) => Promise<unknown>>>;

/** A process with what has been loaded into it. */
export interface Booted {
  readonly process: Process;
  host: Host;
  handlers: Handlers;
}

export interface WorldParts {
  readonly database: SimulationDatabase;
  readonly base: Base;
  readonly processes: readonly Booted[];
  /** Loads handlers anew: a killed process has lost its memory. */
  readonly boot: (process: Process, ring: Host["queue"]) => Pick<Booted, "host" | "handlers">;
  readonly clearBlobs: () => void;
  /** Is a webhook's body in object storage, where it waits for the database? */
  readonly spills: readonly Uint8Array[];
  /** Query of the names of tables in which a tenant ($1) sees others' rows. */
  readonly foreignRows: string;
}

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly what: string;
  readonly begin: () => void;
  /** Needs a process of its own. */
  readonly invokes: boolean;
}

export interface Outcome {
  readonly seed: string;
  readonly hash: string;
  readonly steps: number;
  readonly accepts: number;
  readonly days: number;
  readonly milliseconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly violation: { readonly checker: string; readonly detail: string } | null;
  readonly story: readonly string[];
  readonly trace?: readonly string[];
}

const minute = 60_000;
const hour = 60 * minute;
/** A world that has not come to rest after this long never will. */
const maxDays = 30;
const maxSteps = 30_000;

export class World {
  readonly parts: WorldParts;
  readonly script: Script;
  readonly model: Model;
  readonly rng: Rng;
  readonly queue: QueueModel;
  readonly story: string[] = [];
  readonly faults: Record<string, number> = {};
  now = start;
  step = 0;
  /** Faults are over; what is open comes to its end. */
  calm = false;
  readonly #trace: string[] = [];
  readonly #keepTrace: boolean;
  readonly #hash = createHash("sha256");
  readonly #chances: Rng;
  readonly #active: Invocation[] = [];
  #pending: Pending[] = [];
  #order = 0;
  #invocations = 0;
  #committedClock = 0;
  #gap = 15 * minute;
  #seen = "";

  constructor(parts: WorldParts, script: Script, keepTrace: boolean) {
    this.parts = parts;
    this.script = script;
    this.#keepTrace = keepTrace;
    this.rng = new Rng(`${script.seed}/turns`);
    this.#chances = new Rng(`${script.seed}/fates`);
    this.queue = new QueueModel(new Rng(`${script.seed}/queue`), (fault) => this.hit(fault));
    this.model = new Model(this);
  }

  hit(fault: string): void {
    this.faults[fault] = (this.faults[fault] ?? 0) + 1;
  }

  log(line: string): void {
    const text = `${this.step} ${((this.now - start) / 1000).toFixed(3)} ${line}`;
    this.#hash.update(`${text}\n`);
    if (this.#keepTrace) this.#trace.push(text);
  }

  say(line: string): void {
    this.story.push(`${new Date(this.now).toISOString().slice(5, 19).replace("T", " ")}  ${line}`);
    this.log(line);
  }

  at(when: number, what: string, begin: () => void, invokes = true): void {
    this.#pending.push({ at: Math.max(when, this.now), order: this.#order++, what, begin, invokes });
  }

  async run(): Promise<Outcome> {
    const began = realNow();
    let violation: Outcome["violation"] = null;
    try {
      await this.#prepare();
      for (const event of this.script.events) {
        this.at(start + event.after, tell(event), () => operate(this, event), event.operation.kind !== "clock_jump");
      }
      await this.#live();
      this.calm = true;
      this.say("the world calms down");
      this.model.calmDown();
      await this.#open();
      await this.#live();
      await this.model.atTheEnd();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = { checker: error.checker, detail: error.message };
      this.say(`VIOLATION ${error.checker}: ${error.message}`);
    }
    const milliseconds = realNow() - began;
    await this.#abandon();
    const digest = violation === null ? await this.parts.database.digest() : "";
    const hash = this.#hash.update(digest).digest("hex");
    return {
      seed: this.script.seed,
      hash,
      steps: this.step,
      accepts: this.model.accepts.length,
      days: (this.now - start) / (24 * hour),
      milliseconds,
      faults: this.faults,
      violation,
      story: this.story,
      ...(this.#keepTrace && { trace: this.#trace }),
    };
  }

  async #prepare(): Promise<void> {
    const ids = new Rng(`${this.script.seed}/ids`);
    seedIds(() => ids.next());
    connectWire((request) => this.#call(request));
    setVirtualNow(this.now);
    this.parts.clearBlobs();
    await this.parts.database.restore();
    await this.#setClock();
    for (const booted of this.parts.processes) {
      await booted.process.client.query("discard plans");
      this.#reboot(booted);
    }
    for (const [n, tenant] of this.parts.base.tenants.entries()) {
      const { caps, quiet, rate } = this.script.settings[n] ?? { caps: null, quiet: false, rate: 1_000 };
      const more = {
        ...(caps !== null && { frequencyCaps: [{ channel: "email", count: caps, windowSeconds: 86_400 }] }),
        ...(quiet && { quietHours: { start: "18:00", end: "09:00" } }),
      };
      await this.parts.database.side.query("update tenants set settings = settings || $2::jsonb where id = $1", [
        tenant.tenantId,
        JSON.stringify(more),
      ]);
      await this.parts.database.side.query("update send_rate_limits set max_count = $2 where tenant_id = $1", [
        tenant.tenantId,
        rate,
      ]);
    }
  }

  /** Whatever an operator has shut is opened again, so that everything can come to its end. */
  async #open(): Promise<void> {
    const { base, database } = this.parts;
    const shut = await database.rows<{ tenant_id: string; campaign: string | null }>(`
      select id as tenant_id, null as campaign from tenants where status = 'suspended'
      union all select tenant_id, name from marketing.campaigns c where status = 'paused'
        or status = 'draft' and exists (select from contact_campaigns e where e.tenant_id = c.tenant_id and e.campaign_id = c.campaign_id) order by 1, 2`);
    for (const { tenant_id, campaign } of shut) {
      const tenant = base.tenants.findIndex((one) => one.tenantId === tenant_id);
      const operation =
        campaign === null
          ? ({ kind: "reactivate" } as const)
          : ({ kind: "resume", plan: campaign as PlanName } as const);
      const event = { id: -1, after: 0, tenant, operation };
      this.at(this.now, tell(event), () => operate(this, event));
    }
    this.schedule("drain");
    this.schedule("maintain");
  }

  #reboot(booted: Booted): void {
    booted.process.current = null;
    Object.assign(booted, this.parts.boot(booted.process, { ring: (bells) => this.#ring(bells) }));
  }

  /** Runs until nothing is due any more. */
  async #live(): Promise<void> {
    for (;;) {
      if (this.step > maxSteps) throw new Violation("comes to rest", `still busy after ${maxSteps} steps`);
      const ready = this.#ready();
      const due = this.#due();
      const free = this.parts.processes.find(({ process }) => process.current === null);
      const busy = this.#active.filter((one) => !one.frozen).length;
      const room = free !== undefined && busy < (this.script.faults.interleaving ? 2 : 1);
      const begin = due !== undefined && (!due.invokes || (room && (ready.length === 0 || this.rng.chance(0.3))));
      if (begin) {
        this.#pending = this.#pending.filter((one) => one !== due);
        due.begin();
        await this.#rested();
      } else if (ready.length > 0) {
        const invocation = this.rng.pick(ready);
        await this.#turn(invocation);
      } else if (this.#active.some((one) => one.parked)) {
        await this.#unpark(true);
      } else if (!(await this.#advance())) return;
    }
  }

  /** Those that can go on at this instant. */
  #ready(): Invocation[] {
    return this.#active.filter((one) => {
      if (one.frozen) {
        if (one.frozenUntil > this.now) return false;
        if (this.#active.filter((other) => !other.frozen).length >= 2) return false;
        one.frozen = false;
        this.say(`${one.name} #${one.id} goes on after its freeze`);
      }
      return one.parked === null && one.waiting.some((turn) => turn.kind === "statement" || turn.readyAt <= this.now);
    });
  }

  #due(): Pending | undefined {
    return (
      this.#pending
        .filter((one) => one.at <= this.now)
        .reduce<Pending | undefined>(
          (first, one) =>
            first && (first.at < one.at || (first.at === one.at && first.order < one.order)) ? first : one,
          undefined,
        ) ?? this.#received()
    );
  }

  /** A batch of bells that can be received now, as something that is due. */
  #received(): Pending | undefined {
    if (this.queue.nextAt() > this.now) return undefined;
    return {
      at: this.now,
      order: Number.MAX_SAFE_INTEGER,
      what: "bells",
      invokes: true,
      begin: () => {
        const received = this.queue.receive(this.now);
        if (!received) return;
        const { kind, batch } = received;
        const Records = batch.map((one) => ({
          messageId: one.id,
          body: one.body,
          attributes: { ApproximateReceiveCount: String(one.receives) },
        }));
        this.invoke(
          kind,
          queues[kind].timeoutSeconds,
          (handlers, context) => handlers[kind]({ Records } as never, context),
          (answer) => {
            const { batchItemFailures = [] } = (answer ?? {}) as { batchItemFailures?: { itemIdentifier: string }[] };
            const failed = new Set(batchItemFailures.map((one) => one.itemIdentifier));
            this.queue.delete(batch.filter((one) => !failed.has(one.id)));
          },
        );
      },
    };
  }

  /** @returns false when nothing is left to happen */
  async #advance(): Promise<boolean> {
    const times = [
      ...this.#pending.map((one) => one.at),
      this.queue.nextAt(),
      ...this.#active.flatMap((one) =>
        one.frozen
          ? [one.frozenUntil]
          : one.waiting.flatMap((turn) => (turn.kind === "statement" ? [] : [turn.readyAt])),
      ),
    ];
    // What is due already and has not begun waits for a process, not for time.
    const next = Math.min(...times.filter((at) => at > this.now));
    const idle = this.#active.every((one) => one.frozen);
    if (idle) {
      await this.model.whileIdle();
      // Sweeps come every minute: when something else comes sooner, nobody has to ask what is due.
      const soonest = Math.ceil((this.now + 1) / minute) * minute;
      const { at, recheck, state } = soonest > next ? { at: null, recheck: null, state: "" } : await this.#nextDue();
      if (at !== null || recheck !== null) {
        const due = Math.min(
          at ?? Number.POSITIVE_INFINITY,
          Math.max(recheck ?? Number.POSITIVE_INFINITY, this.now + this.#gap),
        );
        const sweepAt = Math.ceil(Math.max(due, this.now + 1) / minute) * minute;
        if (sweepAt <= next) {
          if (sweepAt - start > maxDays * 24 * hour) {
            if (this.calm) throw new Violation("comes to rest", "work is still due after 30 days");
            return false;
          }
          // Holds without a known end are looked at every quarter of an hour; while that changes nothing it is done less and less often.
          this.#gap = state === this.#seen ? Math.min(this.#gap * 3, 9 * hour) : 15 * minute;
          this.#seen = state;
          this.now = sweepAt;
          await this.#setClock();
          this.schedule("sweep");
          this.schedule("reconcile");
          if (this.parts.spills.length > 0) this.schedule("drain");
          if (!this.calm && this.#chances.chance(0.1)) {
            this.hit("sweep overlaps");
            this.schedule("sweep");
          }
          return true;
        }
      }
    }
    if (!Number.isFinite(next)) return false;
    this.now = Math.max(this.now, next);
    setVirtualNow(this.now);
    return true;
  }

  schedule(name: "sweep" | "reconcile" | "maintain" | "drain"): void {
    this.at(this.now, name, () => this.invoke(name, 50, (handlers, context) => handlers[name]({} as never, context)));
  }

  /** When something is due, when a hold without a known end is looked at again, and in which states everything is. */
  async #nextDue(): Promise<{ readonly at: number | null; readonly recheck: number | null; readonly state: string }> {
    const [row] = await this.parts.database.rows<{ at: Date | null; recheck: Date | null; state: string | null }>(`
      select min(at) as at, min(recheck) as recheck, string_agg(state, ' ' order by state) as state from (
        select min(run_at) filter (where run_at < 'infinity') as at, null::timestamptz as recheck, 'action' || count(*) as state
        from scheduled_actions where status = 'pending'
        union all
        select min(case when status = 'sending' then lease_until when status in ('queued', 'held') then run_at end)
                 filter (where run_at < 'infinity' and not (status = 'held' and hold_reason in ('campaign_not_active', 'tenant_suspended', 'render_failed'))),
               min(run_at) filter (where status = 'ambiguous' or status = 'held' and hold_reason in ('campaign_not_active', 'tenant_suspended', 'render_failed')),
               status || count(*)
        from outbound_messages group by status
        union all
        select min(case when status = 'pending' then run_at else lease_until end), null, 'delivery' || count(*) from webhook_deliveries where status in ('pending', 'running')
        union all
        select min(case when status = 'pending' then run_at else lease_until end), null, 'import' || count(*) from imports where status in ('pending', 'running')
      ) due`);
    return { at: row?.at?.getTime() ?? null, recheck: row?.recheck?.getTime() ?? null, state: `${row?.state}` };
  }

  async #setClock(): Promise<void> {
    setVirtualNow(this.now);
    if (this.#committedClock === this.now) return;
    this.#committedClock = this.now;
    await this.parts.database.setClock(this.now);
  }

  // --- invocations -----------------------------------------------------------------------------------------------------------------------

  /** Begins a handler in a free process. It comes to its first turn before anything else happens. */
  invoke(
    name: string,
    timeoutSeconds: number,
    call: (handlers: Handlers, context: LambdaContext, host: Host) => Promise<unknown>,
    onAnswer: (answer: unknown, invocation: Invocation) => void = () => {},
    onFailure: (error: unknown) => void = () => {},
  ): Invocation {
    const booted = this.parts.processes.find(({ process }) => process.current === null);
    if (!booted) throw new Error("no process is free");
    const { process } = booted;
    const id = ++this.#invocations;
    const fate = this.calm ? ({ kind: "none" } as const) : this.#fate(name);
    const skew =
      this.script.faults.skew && !this.calm && this.#chances.chance(0.15) ? this.#chances.int(-20_000, 20_000) : 0;
    if (skew !== 0) this.hit("process clock skewed");
    const invocation = new Invocation(id, name, process, this.now, fate, skew);
    process.current = invocation;
    this.#active.push(invocation);
    const context = {
      awsRequestId: `r${id}`,
      getRemainingTimeInMillis: () => Math.max(0, timeoutSeconds * 1_000 - (this.now - invocation.startedAt)),
    } as LambdaContext;
    this.log(`begin ${name} #${id} in ${process.number}`);
    running.run(invocation, () => {
      void call(booted.handlers, context, booted.host).then(
        (answer) => {
          if (invocation.dead) return;
          invocation.finish();
          this.#finished.push(() => {
            this.log(`end ${name} #${id} ${summary(answer)}`);
            onAnswer(answer, invocation);
          });
        },
        (error: unknown) => {
          if (invocation.dead) return;
          invocation.finish();
          this.#finished.push(() => {
            this.log(`failed ${name} #${id}: ${error instanceof Error ? error.message.slice(0, 80) : String(error)}`);
            onFailure(error);
          });
        },
      );
    });
    return invocation;
  }

  readonly #finished: (() => void)[] = [];

  #fate(name: string): Fate {
    const { kills, freezes, connections } = this.script.faults;
    const busy = name === "send" || name === "deliveries" || name === "actions";
    const turn = this.#chances.int(0, busy ? 26 : 6);
    const drawn = this.#chances.weighted({
      none: 100,
      kill_before: 6,
      kill_after: 5,
      lost_before: 3,
      lost_after: 3,
      freeze: 5,
    });
    switch (drawn) {
      case "kill_before":
      case "kill_after":
        return kills ? { kind: drawn, turn } : { kind: "none" };
      case "lost_before":
      case "lost_after":
        return connections ? { kind: drawn, turn } : { kind: "none" };
      case "freeze":
        return freezes ? { kind: drawn, turn, milliseconds: this.#chances.int(6_000, 240_000) } : { kind: "none" };
      default:
        return { kind: "none" };
    }
  }

  /** Waits until every handler that may run waits for its turn; takes note of those that have ended. */
  async #rested(): Promise<void> {
    for (const invocation of [...this.#active]) {
      if (!invocation.parked && !invocation.frozen) await invocation.rest();
    }
    await quiesce();
    for (const invocation of [...this.#active]) {
      if (!invocation.done) continue;
      this.#active.splice(this.#active.indexOf(invocation), 1);
      invocation.process.current = null;
    }
    for (const note of this.#finished.splice(0)) note();
    for (const check of this.#after.splice(0)) await check();
  }

  async #turn(invocation: Invocation): Promise<void> {
    const possible = invocation.waiting.filter((turn) => turn.kind === "statement" || turn.readyAt <= this.now);
    const turn = this.rng.pick(possible);
    const { fate } = invocation;
    const struck = fate.kind !== "none" && invocation.turns >= fate.turn;
    if (
      struck &&
      fate.kind === "freeze" &&
      invocation.turns - fate.turn < 40 &&
      !invocation.inTransaction &&
      !invocation.frozenUntil
    ) {
      invocation.frozen = true;
      invocation.frozenUntil = this.now + fate.milliseconds;
      this.hit("handler frozen");
      this.say(
        `${invocation.name} #${invocation.id} freezes for ${Math.round(fate.milliseconds / 1000)} s before ${labelOf(turn)}`,
      );
      return;
    }
    this.step++;
    // Work takes time, so that what is due in the middle of it comes in between.
    this.now += this.rng.int(0, 12);
    setVirtualNow(this.now);
    invocation.waiting.splice(invocation.waiting.indexOf(turn), 1);
    if (struck && fate.kind === "kill_before" && invocation.turns === fate.turn) {
      return this.#kill(invocation, `before ${labelOf(turn)}`, "killed before a statement");
    }
    invocation.turns++;
    if (turn.kind === "statement") await this.#statement(invocation, turn);
    else {
      this.log(`${invocation.name} #${invocation.id} ${turn.label}`);
      await turn.run(this.step);
    }
    if (struck && fate.kind === "kill_after" && invocation.turns - 1 === fate.turn && !invocation.parked) {
      return this.#kill(invocation, `after ${labelOf(turn)}`, "killed after a statement");
    }
    await this.#rested();
  }

  async #statement(invocation: Invocation, turn: StatementTurn): Promise<void> {
    const { process, fate } = invocation;
    const label = labelOf(turn);
    if (invocation.broken) {
      this.log(`${invocation.name} #${invocation.id} ${label}: no connection`);
      turn.reject(lost());
      return;
    }
    if (fate.kind === "lost_before" && invocation.turns - 1 === fate.turn) {
      this.hit("connection lost before a statement");
      await this.#lose(invocation, turn, label);
      return;
    }
    // A transaction reads the database's clock once, where it begins; a statement of its own would not notice if it lagged a little.
    const begins = /^begin\b/.test(turn.sql);
    if (begins || (!invocation.inTransaction && this.now - this.#committedClock > 500)) await this.#setClock();
    if (/\binsert into\b|(?<!for )(?<!no key )\bupdate\b|\bdelete from\b/i.test(turn.sql)) invocation.writes++;
    let outcome: Answered | undefined;
    const end = process.query(turn.sql, turn.params).then(
      (results) => {
        outcome = { results };
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
    const contended = this.#active.some((other) => other !== invocation && other.inTransaction);
    // Most do not wait even then; asking costs as much as the statement.
    await (contended ? Promise.race([end, pause(2)]) : end);
    while (outcome === undefined) {
      const blockers = await this.parts.database.blockers(process.pid);
      if (outcome !== undefined || blockers === 0) continue;
      this.log(`${invocation.name} #${invocation.id} ${label}: waits for a lock`);
      this.hit("statement waited for a lock");
      const finish = () => this.#told(invocation, turn, label, outcome);
      invocation.parked = { settled: () => outcome !== undefined, end: end.then(() => {}) };
      this.#parkings.set(invocation, finish);
      // PostgreSQL looks for a deadlock once, a millisecond after the wait began; the later of two waiters is the one it ends.
      await pause(3);
      return;
    }
    await this.#told(invocation, turn, label, outcome);
  }

  readonly #parkings = new Map<Invocation, () => Promise<void>>();

  /** A statement has been answered. */
  async #told(
    invocation: Invocation,
    turn: StatementTurn,
    label: string,
    outcome: Answered | undefined,
  ): Promise<void> {
    const { fate } = invocation;
    if (!outcome) return;
    const begins = /^begin\b/.test(turn.sql);
    if ("error" in outcome) {
      if (begins) invocation.inTransaction = true;
      const code = (outcome.error as { code?: string }).code ?? "";
      this.log(`${invocation.name} #${invocation.id} ${label}: error ${code}`);
      if (code === "40P01") this.hit("deadlock");
      turn.reject(outcome.error);
      return;
    }
    const { command, rowCount } = [outcome.results].flat().at(-1) ?? { command: "", rowCount: 0 };
    this.log(`${invocation.name} #${invocation.id} ${label}: ${command} ${rowCount ?? 0}`);
    if (begins) invocation.inTransaction = true;
    const ends = command === "COMMIT" || command === "ROLLBACK" || !invocation.inTransaction;
    const commits = ends && command !== "ROLLBACK";
    if (ends) invocation.inTransaction = false;
    if (commits) {
      invocation.committedAt = this.step;
      invocation.committedTime = this.now;
      await this.model.committed(invocation);
    }
    if (fate.kind === "lost_after" && invocation.turns - 1 === fate.turn) {
      this.hit(command === "COMMIT" ? "answer to a commit lost" : "connection lost after a statement");
      await this.#lose(invocation, turn, label);
    } else turn.resolve(outcome.results);
    if (ends) await this.#unpark(false);
  }

  async #lose(invocation: Invocation, turn: StatementTurn, label: string): Promise<void> {
    this.say(`${invocation.name} #${invocation.id} loses its connection at ${label}`);
    await invocation.process.client.query("rollback");
    invocation.broken = true;
    invocation.inTransaction = false;
    turn.reject(lost());
    await this.#unpark(false);
  }

  /** Statements that waited for a lock and have got it, or wait for another one now. */
  async #unpark(must: boolean): Promise<void> {
    for (const invocation of this.#active.filter((one) => one.parked)) {
      const { parked } = invocation;
      if (!parked) continue;
      while (!parked.settled()) {
        const blockers = await this.parts.database.blockers(invocation.process.pid);
        if (blockers > 0 && !must) break;
        if (blockers > 0) await Promise.race([...this.#active.flatMap((one) => (one.parked ? [one.parked.end] : []))]);
        if (must && this.#active.some((one) => one.parked?.settled())) break;
      }
      if (!parked.settled()) continue;
      invocation.parked = null;
      const finish = this.#parkings.get(invocation);
      this.#parkings.delete(invocation);
      await finish?.();
      if (must) break;
    }
    if (must) await this.#rested();
  }

  async #kill(invocation: Invocation, where: string, fault: string): Promise<void> {
    this.hit(fault);
    this.say(`${invocation.name} #${invocation.id} is killed ${where}`);
    invocation.dead = true;
    invocation.waiting.length = 0;
    this.#active.splice(this.#active.indexOf(invocation), 1);
    await invocation.process.client.query("rollback");
    invocation.inTransaction = false;
    this.#rebootOf(invocation.process);
    this.model.killed(invocation);
    await this.#unpark(false);
    await this.#rested();
  }

  #rebootOf(process: Process): void {
    const booted = this.parts.processes.find((one) => one.process === process);
    if (booted) this.#reboot(booted);
  }

  /** Leaves no transaction behind, however the world ended. */
  async #abandon(): Promise<void> {
    for (const invocation of this.#active.splice(0)) {
      invocation.dead = true;
      if (invocation.parked) await this.parts.database.rows("select pg_cancel_backend($1)", [invocation.process.pid]);
    }
    for (const { process } of this.parts.processes) await process.client.query("rollback");
  }

  // --- what handlers reach outside of the database ---------------------------------------------------------------------------------------

  #ring(bells: readonly Bell[]): Promise<void> {
    const invocation = this.#current();
    if (bells.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) =>
      invocation.add({
        kind: "ring",
        label: `rings ${bells.map((bell) => `${bell.kind} ${bell.ids.length}`).join(", ")}`,
        readyAt: this.now,
        run: () => {
          if (this.script.faults.bells && !this.calm && this.#chances.chance(0.02)) {
            this.hit("queue unavailable");
            reject(new Error("the queue does not answer"));
            return;
          }
          for (const bell of bells) this.queue.send(bell, this.now, this.script.faults.bells && !this.calm);
          resolve();
        },
      }),
    );
  }

  #current(): Invocation {
    const invocation = running.getStore();
    if (!(invocation instanceof Invocation)) throw new Error("nobody is running");
    return invocation;
  }

  /** One HTTP request to a provider: it arrives, and then its answer comes, or does not. */
  #call(request: HttpCall): Promise<HttpResult> {
    const invocation = this.#current();
    const begunAt = this.now;
    return new Promise((resolve) =>
      invocation.add({
        kind: "call",
        label: "calls its provider",
        readyAt: this.now,
        run: async (step) => {
          const { result, afterMs } = await answerOf(this, invocation, request, { step, begunAt });
          invocation.add({
            kind: "call",
            label: `gets ${"status" in result ? result.status : result.kind}`,
            readyAt: this.now + afterMs,
            run: () => resolve(result),
          });
        },
      }),
    );
  }

  // --- HTTP from outside -------------------------------------------------------------------------------------------------------------------

  /** Sends a request until it is answered; a provider tries again for a day. */
  deliver(
    tenant: SimTenant,
    reaction: Pick<Reaction, "what" | "target"> & { readonly request: WebRequest },
    onAck: (status: number, invocation: Invocation) => void | Promise<void>,
    onBegin: (invocation: Invocation) => void = () => {},
    tries = 0,
  ): void {
    const { request, target, what } = reaction;
    const [path = "", query = ""] = request.path.split("?");
    const again = () => {
      if (tries < 8)
        this.at(this.now + (2 + tries * 40) * minute, `${what} again`, () =>
          this.deliver(tenant, reaction, onAck, onBegin, tries + 1),
        );
    };
    const invocation = this.invoke(
      target,
      10,
      (handlers, context) =>
        handlers[target](
          {
            version: "2.0",
            routeKey: "$default",
            rawPath: path,
            rawQueryString: query,
            headers: {
              host: "go.simulation.example",
              "content-length": String(request.body.length),
              ...request.headers,
            },
            requestContext: {
              http: { method: request.method, path, sourceIp: "203.0.113.9", protocol: "HTTP/1.1", userAgent: "" },
              requestId: "r",
            },
            body: request.body.length > 0 ? request.body.toString("base64") : undefined,
            isBase64Encoded: true,
          } as never,
          context,
        ),
      (answer) => {
        const { statusCode = 500 } = (answer ?? {}) as { statusCode?: number };
        this.log(`answered ${statusCode}`);
        this.#after.push(async () => onAck(statusCode, invocation));
        if (statusCode >= 500) again();
      },
      again,
    );
    this.model.watch(invocation, again);
    onBegin(invocation);
  }

  /** Checks of what was just answered, which ask the database. */
  readonly #after: (() => void | Promise<void>)[] = [];

  /** A command of an operator, in a process like any other. */
  command(
    tenant: SimTenant,
    name: string,
    call: (ctx: Context, host: Host) => Promise<unknown>,
    onDone: (invocation: Invocation) => void = () => {},
    onLost: () => void = () => {},
  ): void {
    const invocation = this.invoke(
      name,
      29,
      (_handlers, _context, host) =>
        call(
          { ...host.contextFor(tenant.tenantId, "api", "corr_sim"), actor: { type: "user", id: tenant.actorId } },
          host,
        ),
      (_answer, ended) => onDone(ended),
      (error) => {
        this.log(`refused: ${error instanceof Error ? error.message.slice(0, 100) : ""}`);
        onLost();
      },
    );
    this.model.watch(invocation, onLost);
  }
}

/** What PostgreSQL answered. */
type Answered = { readonly results: pg.QueryResult | readonly pg.QueryResult[] } | { readonly error: unknown };

/** Real milliseconds. */
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

const lost = (): Error => Object.assign(new Error("Connection terminated unexpectedly"), { code: "ECONNRESET" });

const labelOf = (turn: Turn): string =>
  turn.kind === "statement" ? turn.sql.replace(/\s+/g, " ").trim().slice(0, 70) : turn.label;

const summary = (answer: unknown): string => {
  const { statusCode, batchItemFailures } = (answer ?? {}) as { statusCode?: number; batchItemFailures?: unknown[] };
  return statusCode !== undefined ? String(statusCode) : batchItemFailures ? `${batchItemFailures.length} failed` : "";
};

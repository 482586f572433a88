/**
 * One world: the real handlers in simulated processes, a queue, providers and recipients that are models, and a scheduler that decides at
 * every turn who goes on.
 *
 * Invariant: everything that happens is a step, in one order, drawn from the seed; the hash over all steps and over what is committed in
 * the end is the same in every run.
 */
import { createHash } from "node:crypto";
import type { Context as LambdaContext } from "aws-lambda";
import { seedIds } from "../../core/kernel/index.ts";
import type { Host } from "../../functions/lib/runtime.ts";
import { Agenda } from "./agenda.ts";
import { type PlanName, start } from "./base.ts";
import { realNow, running, setVirtualNow } from "./clock.ts";
import { Examination } from "./examination.ts";
import { drawFate } from "./fates.ts";
import { Invocation, type Process, quiesce } from "./invocation.ts";
import { Model } from "./model.ts";
import { operate } from "./operations.ts";
import { ask, call, ring } from "./outside.ts";
import type { Booted, Handlers, Outcome, WorldParts } from "./parts.ts";
import { QueueModel } from "./queue.ts";
import { Rng } from "./rng.ts";
import { type Script, type ScriptEvent, tell } from "./script.ts";
import { Turns } from "./turns.ts";
import { Violation } from "./violation.ts";
import { connectWire } from "./wire.ts";

const minute = 60_000;
const hour = 60 * minute;
const maxSteps = 30_000;

export class World {
  readonly parts: WorldParts;
  readonly script: Script;
  readonly model: Model;
  readonly examination: Examination;
  readonly rng: Rng;
  readonly queue: QueueModel;
  readonly story: string[] = [];
  readonly faults: Record<string, number> = {};
  now = start;
  step = 0;
  /** Faults are over; what is open comes to its end. */
  calm = false;
  readonly turns: Turns;
  readonly agenda: Agenda;
  /** Checks of what was just answered, which ask the database. */
  readonly checks: (() => void | Promise<void>)[] = [];
  readonly #finished: (() => void)[] = [];
  readonly #trace: string[] = [];
  readonly #keepTrace: boolean;
  readonly #hash = createHash("sha256");
  readonly chances: Rng;
  readonly active: Invocation[] = [];
  #invocations = 0;
  committedClock = 0;
  /** Events that wait for a run of a handler to come in the middle of. */
  readonly #ambushes: ScriptEvent[] = [];

  constructor(parts: WorldParts, script: Script, keepTrace: boolean) {
    this.parts = parts;
    this.script = script;
    this.#keepTrace = keepTrace;
    this.rng = new Rng(`${script.seed}/turns`);
    this.chances = new Rng(`${script.seed}/fates`);
    this.queue = new QueueModel(new Rng(`${script.seed}/queue`), (fault) => this.hit(fault));
    this.model = new Model(this);
    this.examination = new Examination(this, this.model);
    this.turns = new Turns(this);
    this.agenda = new Agenda(this);
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
    this.agenda.add(when, what, begin, invokes);
  }

  async run(): Promise<Outcome> {
    const began = realNow();
    let violation: Outcome["violation"] = null;
    try {
      await this.#prepare();
      for (const event of this.script.events) {
        const begin = event.meets ? () => void this.#ambushes.push(event) : () => operate(this, event);
        const invokes = event.operation.kind !== "clock_jump" && !event.meets;
        this.at(start + event.after, tell(event), begin, invokes);
      }
      await this.#live();
      this.calm = true;
      this.#ambushes.length = 0;
      this.say("the world calms down");
      this.model.loud();
      await this.#open();
      await this.#live();
      await this.examination.atTheEnd();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = { checker: error.checker, detail: error.message };
      this.say(`VIOLATION ${error.checker}: ${error.message}`);
    }
    const milliseconds = realNow() - began;
    await this.turns.abandon();
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
    connectWire(
      (request) => call(this, request),
      (messageId) => ask(this, messageId),
    );
    setVirtualNow(this.now);
    this.parts.clearBlobs();
    await this.parts.database.restore();
    await this.setClock();
    for (const booted of this.parts.processes) {
      await booted.process.client.query("discard plans");
      this.#reboot(booted);
    }
    for (const [n, tenant] of this.parts.base.tenants.entries()) {
      const settings = this.script.settings[n];
      if (!settings) continue;
      const { caps, quiet, rate } = settings;
      const more = {
        ...(caps !== null && { frequencyCaps: [{ channel: "email", count: caps, windowSeconds: 86_400 }] }),
        ...(quiet && { quietHours: { start: "18:00", end: "09:00" } }),
      };
      await this.parts.database.side.query("update tenants set settings = settings || $2::jsonb where id = $1", [
        tenant.tenantId,
        JSON.stringify(more),
      ]);
      await this.parts.database.side.query(
        "update send_rate_limits set max_count = $2, window_seconds = $3 where tenant_id = $1",
        [tenant.tenantId, rate.count, rate.seconds],
      );
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
    Object.assign(booted, this.parts.boot(booted.process, { ring: (bells) => ring(this, bells) }));
  }

  /** Runs until nothing is due any more. */
  async #live(): Promise<void> {
    for (;;) {
      if (this.step > maxSteps) throw new Violation("comes to rest", `still busy after ${maxSteps} steps`);
      await this.#thaw();
      const ready = this.#ready();
      const due = this.agenda.due();
      const free = this.parts.processes.find(({ process }) => process.current === null);
      const busy = this.active.filter((one) => !one.frozen).length;
      const room = free !== undefined && busy < (this.script.faults.interleaving ? 2 : 1);
      const begin = due !== undefined && (!due.invokes || (room && (ready.length === 0 || this.rng.chance(0.3))));
      if (begin) {
        this.agenda.begin(due);
        await this.rested();
      } else if (ready.length > 0) {
        const invocation = this.rng.pick(ready);
        await this.turns.take(invocation);
      } else if (this.active.some((one) => one.parked)) {
        await this.turns.unpark(true);
      } else if (!(await this.agenda.advance())) return;
    }
  }

  /** Two may run at the same time; who thaws later waits for its processor. */
  async #thaw(): Promise<void> {
    for (const one of this.active) {
      if (!one.frozen || one.frozenUntil > this.now) continue;
      if (this.active.filter((other) => !other.frozen).length >= 2) return;
      one.frozen = false;
      this.say(`${one.name} #${one.id} goes on after its freeze`);
      const { onThaw } = one;
      one.onThaw = null;
      onThaw?.();
      if (onThaw) await this.rested();
      return;
    }
  }

  /** Those that can go on at this instant. */
  #ready(): Invocation[] {
    return this.active.filter((one) => {
      if (one.frozen || one.parked !== null) return false;
      const { yieldsTo } = one;
      if (yieldsTo && !yieldsTo.parked && !yieldsTo.frozen && this.active.includes(yieldsTo)) return false;
      return one.waiting.some((turn) => turn.kind === "statement" || turn.readyAt <= this.now);
    });
  }

  /** An operator's command comes in the middle of a run, which goes on when the command has ended or waits for a lock of it. */
  ambush(victim: Invocation): boolean {
    const found = this.#ambushes.findIndex(
      ({ meets, tenant, operation }) =>
        meets?.handler === victim.name &&
        meets.turn === victim.turns &&
        // Do-not-call is the organization's; everything else is about those whose work is being done.
        (operation.kind === "do_not_call" || this.parts.base.tenants[tenant]?.tenantId === victim.begun.tenantId),
    );
    const event = this.#ambushes[found];
    if (!event || this.active.length > 1 || this.parts.processes.every(({ process }) => process.current)) return false;
    this.#ambushes.splice(found, 1);
    this.hit("operation in the middle of a run");
    victim.yieldsTo = operate(this, event) ?? null;
    return true;
  }

  schedule(name: "sweep" | "reconcile" | "maintain" | "drain"): void {
    this.at(this.now, name, () => this.invoke(name, 50, (handlers, context) => handlers[name]({} as never, context)));
  }

  async setClock(): Promise<void> {
    setVirtualNow(this.now);
    if (this.committedClock === this.now) return;
    this.committedClock = this.now;
    await this.parts.database.setClock(this.now);
  }

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
    const fate = this.calm ? ({ kind: "none" } as const) : drawFate(name, this.script.faults, this.chances);
    const skew =
      this.script.faults.skew && !this.calm && this.chances.chance(0.15) ? this.chances.int(-20_000, 20_000) : 0;
    if (skew !== 0) this.hit("process clock skewed");
    const invocation = new Invocation(id, name, process, this.now, fate, skew);
    process.current = invocation;
    this.active.push(invocation);
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

  /** Waits until every handler that may run waits for its turn; takes note of those that have ended. */
  async rested(): Promise<void> {
    for (const invocation of [...this.active]) {
      if (!invocation.parked && !invocation.frozen) await invocation.rest();
    }
    await quiesce();
    for (const invocation of [...this.active]) {
      if (!invocation.done) continue;
      this.active.splice(this.active.indexOf(invocation), 1);
      invocation.process.current = null;
    }
    for (const note of this.#finished.splice(0)) note();
    for (const check of this.checks.splice(0)) await check();
  }

  rebootOf(process: Process): void {
    const booted = this.parts.processes.find((one) => one.process === process);
    if (booted) this.#reboot(booted);
  }
}

const summary = (answer: unknown): string => {
  const { statusCode, batchItemFailures } = (answer ?? {}) as { statusCode?: number; batchItemFailures?: unknown[] };
  return statusCode !== undefined ? String(statusCode) : batchItemFailures ? `${batchItemFailures.length} failed` : "";
};

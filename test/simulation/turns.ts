/**
 * One step of one handler: a statement, a call or a ring, and what befalls the handler there. It waits for locks as PostgreSQL makes it
 * wait, dies, freezes, and loses its connection.
 *
 * Invariant: when `take` has resolved, every handler has come to rest: it waits for its turn, for a lock, or has ended.
 */
import type pg from "pg";
import { setVirtualNow } from "./clock.ts";
import type { Invocation, StatementTurn, Turn } from "./invocation.ts";
import type { World } from "./world.ts";

export class Turns {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async take(invocation: Invocation): Promise<void> {
    const possible = invocation.waiting.filter((turn) => turn.kind === "statement" || turn.readyAt <= this.#world.now);
    const turn = this.#world.rng.pick(possible);
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
      invocation.frozenUntil = this.#world.now + fate.milliseconds;
      this.#world.hit("handler frozen");
      this.#world.say(
        `${invocation.name} #${invocation.id} freezes for ${Math.round(fate.milliseconds / 1000)} s before ${labelOf(turn)}`,
      );
      return;
    }
    this.#world.step++;
    // Work takes time, so that what is due in the middle of it comes in between.
    this.#world.now += this.#world.rng.int(0, 12);
    setVirtualNow(this.#world.now);
    invocation.waiting.splice(invocation.waiting.indexOf(turn), 1);
    if (struck && fate.kind === "kill_before" && invocation.turns === fate.turn) {
      return this.#kill(invocation, `before ${labelOf(turn)}`, "killed before a statement");
    }
    invocation.turns++;
    if (turn.kind === "statement") await this.#statement(invocation, turn);
    else {
      this.#world.log(`${invocation.name} #${invocation.id} ${turn.label}`);
      await turn.run(this.#world.step);
    }
    if (struck && fate.kind === "kill_after" && invocation.turns - 1 === fate.turn && !invocation.parked) {
      return this.#kill(invocation, `after ${labelOf(turn)}`, "killed after a statement");
    }
    await this.#world.rested();
    if (!invocation.done && !invocation.frozen && this.#world.ambush(invocation)) await this.#world.rested();
  }

  /** Freezes with an answer that it has not read. */
  freezeWith(invocation: Invocation, milliseconds: number, what: string, read: () => void): void {
    invocation.frozen = true;
    invocation.frozenUntil = this.#world.now + milliseconds;
    invocation.onThaw = read;
    this.#world.hit("frozen with an answer in its hands");
    this.#world.say(
      `${invocation.name} #${invocation.id} freezes for ${Math.round(milliseconds / 1000)} s before it has read ${what}`,
    );
  }

  async #statement(invocation: Invocation, turn: StatementTurn): Promise<void> {
    const { process, fate } = invocation;
    const label = labelOf(turn);
    if (invocation.broken) {
      this.#world.log(`${invocation.name} #${invocation.id} ${label}: no connection`);
      turn.reject(lost());
      return;
    }
    if (fate.kind === "lost_before" && invocation.turns - 1 === fate.turn) {
      this.#world.hit("connection lost before a statement");
      await this.#lose(invocation, turn, label);
      return;
    }
    // A transaction reads the database's clock once, where it begins; a statement of its own would not notice if it lagged a little.
    const begins = /^begin\b/.test(turn.sql);
    if (begins || (!invocation.inTransaction && this.#world.now - this.#world.committedClock > 500))
      await this.#world.setClock();
    if (begins) {
      const [, tenantId = ""] = /begin_tenant\('([^']+)'/.exec(turn.sql) ?? [];
      invocation.begun = { tenantId, at: this.#world.now };
    }
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
    const contended = this.#world.active.some((other) => other !== invocation && other.inTransaction);
    // Most do not wait even then; asking costs as much as the statement.
    await (contended ? Promise.race([end, pause(2)]) : end);
    while (outcome === undefined) {
      const blockers = await this.#world.parts.database.blockers(process.pid);
      if (outcome !== undefined || blockers === 0) continue;
      this.#world.log(`${invocation.name} #${invocation.id} ${label}: waits for a lock`);
      this.#world.hit("statement waited for a lock");
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
      this.#world.log(`${invocation.name} #${invocation.id} ${label}: error ${code}`);
      if (code === "40P01") this.#world.hit("deadlock");
      turn.reject(outcome.error);
      return;
    }
    const { command, rowCount } = [outcome.results].flat().at(-1) ?? { command: "", rowCount: 0 };
    this.#world.log(`${invocation.name} #${invocation.id} ${label}: ${command} ${rowCount ?? 0}`);
    if (begins) invocation.inTransaction = true;
    const ends = command === "COMMIT" || command === "ROLLBACK" || !invocation.inTransaction;
    const commits = ends && command !== "ROLLBACK";
    if (ends) invocation.inTransaction = false;
    if (commits) {
      invocation.committedAt = this.#world.step;
      const { tenantId, at } = invocation.begun;
      if (command === "COMMIT")
        invocation.commits.set(tenantId, { step: this.#world.step, at: this.#world.now, decidedAt: at });
      await this.#world.model.committed(invocation);
    }
    if (fate.kind === "lost_after" && invocation.turns - 1 === fate.turn) {
      this.#world.hit(command === "COMMIT" ? "answer to a commit lost" : "connection lost after a statement");
      await this.#lose(invocation, turn, label);
    } else if (
      command === "COMMIT" &&
      fate.kind === "freeze_after" &&
      invocation.turns > fate.turn &&
      !invocation.frozenUntil
    ) {
      this.freezeWith(invocation, fate.milliseconds, "the answer to its commit", () => turn.resolve(outcome.results));
    } else turn.resolve(outcome.results);
    if (ends) await this.unpark(false);
  }

  async #lose(invocation: Invocation, turn: StatementTurn, label: string): Promise<void> {
    this.#world.say(`${invocation.name} #${invocation.id} loses its connection at ${label}`);
    await invocation.process.client.query("rollback");
    invocation.broken = true;
    invocation.inTransaction = false;
    turn.reject(lost());
    await this.unpark(false);
  }

  /** Statements that waited for a lock and have got it, or wait for another one now. */
  async unpark(must: boolean): Promise<void> {
    for (const invocation of this.#world.active.filter((one) => one.parked)) {
      const { parked } = invocation;
      if (!parked) continue;
      while (!parked.settled()) {
        const blockers = await this.#world.parts.database.blockers(invocation.process.pid);
        if (blockers > 0 && !must) break;
        if (blockers > 0)
          await Promise.race([...this.#world.active.flatMap((one) => (one.parked ? [one.parked.end] : []))]);
        if (must && this.#world.active.some((one) => one.parked?.settled())) break;
      }
      if (!parked.settled()) continue;
      invocation.parked = null;
      const finish = this.#parkings.get(invocation);
      this.#parkings.delete(invocation);
      await finish?.();
      if (must) break;
    }
    if (must) await this.#world.rested();
  }

  async #kill(invocation: Invocation, where: string, fault: string): Promise<void> {
    this.#world.hit(fault);
    this.#world.say(`${invocation.name} #${invocation.id} is killed ${where}`);
    invocation.dead = true;
    invocation.waiting.length = 0;
    this.#world.active.splice(this.#world.active.indexOf(invocation), 1);
    await invocation.process.client.query("rollback");
    invocation.inTransaction = false;
    this.#world.rebootOf(invocation.process);
    this.#world.model.killed(invocation);
    await this.unpark(false);
    await this.#world.rested();
  }

  /** Leaves no transaction behind, however the world ended. */
  async abandon(): Promise<void> {
    for (const invocation of this.#world.active.splice(0)) {
      invocation.dead = true;
      if (invocation.parked)
        await this.#world.parts.database.rows("select pg_cancel_backend($1)", [invocation.process.pid]);
    }
    for (const { process } of this.#world.parts.processes) await process.client.query("rollback");
  }
}

/** What PostgreSQL answered. */
type Answered = { readonly results: pg.QueryResult | readonly pg.QueryResult[] } | { readonly error: unknown };

/** Real milliseconds. */
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

const lost = (): Error => Object.assign(new Error("Connection terminated unexpectedly"), { code: "ECONNRESET" });

const labelOf = (turn: Turn): string =>
  turn.kind === "statement" ? turn.sql.replace(/\s+/g, " ").trim().slice(0, 70) : turn.label;

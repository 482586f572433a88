/**
 * One run of a handler, whose every statement, provider call and ring waits for its turn; and the process it runs in, with its own
 * connection to a real PostgreSQL.
 *
 * Invariant: between two turns nothing of a handler happens, so a seed decides the order of everything, and a killed handler does nothing
 * any more: its promises are never settled and its transaction is rolled back.
 */
import { Kysely, PostgresDialect, type PostgresPool } from "kysely";
import pg from "pg";
import { deferBegin, type Queryable } from "../../core/db/begin.ts";
import type { DB } from "../../core/db/types.gen.ts";
import { Statements } from "./database.ts";

export interface StatementTurn {
  readonly kind: "statement";
  readonly sql: string;
  readonly params: readonly unknown[];
  readonly resolve: (results: pg.QueryResult | readonly pg.QueryResult[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Anything outside of the database: a provider, the queue, an object. `run` may take virtual time, which is over at `readyAt`. */
export interface OuterTurn {
  readonly kind: "call" | "ring";
  readonly label: string;
  readonly readyAt: number;
  readonly run: (step: number) => Promise<void> | void;
}

export type Turn = StatementTurn | OuterTurn;

/** What befalls an invocation, at its nth turn. */
export type Fate =
  | { readonly kind: "none" }
  | { readonly kind: "kill_before" | "kill_after" | "lost_before" | "lost_after"; readonly turn: number }
  /** `freeze_after`: with an answer in its hands that it has not read yet, of a COMMIT or of a provider. */
  | { readonly kind: "freeze" | "freeze_after"; readonly turn: number; readonly milliseconds: number };

export interface Commit {
  readonly step: number;
  readonly at: number;
  /** What the database's clock said where the transaction began, which is as of when it decided. */
  readonly decidedAt: number;
}

export class Invocation {
  readonly id: number;
  readonly name: string;
  readonly process: Process;
  readonly startedAt: number;
  fate: Fate;
  readonly skewMs: number;
  readonly waiting: Turn[] = [];
  turns = 0;
  inTransaction = false;
  /** The transport under its transaction is gone: every statement fails until the connection is given back. */
  broken = false;
  dead = false;
  done = false;
  frozen = false;
  frozenUntil = 0;
  /** Reads the answer that it froze with. */
  onThaw: (() => void) | null = null;
  /** The message whose call's answer it froze with. */
  holds = "";
  /** Goes on when this one has ended or waits for a lock: an operator's command came in the middle of it. */
  yieldsTo: Invocation | null = null;
  /** A statement that waits for another transaction's lock. */
  parked: { readonly settled: () => boolean; readonly end: Promise<void> } | null = null;
  /** The step at which it last committed. */
  committedAt = -1;
  /** Whose transaction is open, and what the database's clock said where it began. */
  begun: { readonly tenantId: string; readonly at: number } = { tenantId: "", at: 0 };
  /** The last commit for each tenant: one run may serve several at the same time. */
  readonly commits = new Map<string, Commit>();
  writes = 0;
  #wake: (() => void) | null = null;

  constructor(id: number, name: string, process: Process, startedAt: number, fate: Fate, skewMs: number) {
    this.id = id;
    this.name = name;
    this.process = process;
    this.startedAt = startedAt;
    this.fate = fate;
    this.skewMs = skewMs;
  }

  add(turn: Turn): void {
    if (this.dead) return;
    this.waiting.push(turn);
    this.#wake?.();
  }

  finish(): void {
    this.done = true;
    this.#wake?.();
  }

  /** Resolves when it waits for a turn or has ended. */
  async rest(): Promise<void> {
    if (this.waiting.length > 0 || this.done) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await promise;
    this.#wake = null;
  }
}

/** What handlers do side by side comes to rest within a few turns of the event loop: nothing in them waits for anything real. */
export async function quiesce(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A Lambda environment: one invocation at a time, one connection. */
export class Process {
  readonly number: number;
  readonly client: pg.Client;
  readonly pid: number;
  current: Invocation | null = null;
  readonly #statements = new Statements();
  #taken = false;
  #queue: ((client: unknown) => void)[] = [];

  private constructor(number: number, client: pg.Client, pid: number) {
    this.number = number;
    this.client = client;
    this.pid = pid;
  }

  static async open(number: number, url: string): Promise<Process> {
    const client = new pg.Client({ connectionString: url });
    client.on("error", () => {});
    await client.connect();
    await client.query("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0");
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    return new Process(number, client, rows[0]?.pid ?? 0);
  }

  /** Texts without parameters may be several statements, and answer one result for each. */
  query(text: string, params: readonly unknown[]): Promise<pg.QueryResult | pg.QueryResult[]> {
    // A limit in real time would make a run depend on the machine; no lock is held for long in virtual time, because nobody freezes with one.
    const values = text.includes("'lock_timeout'") ? ["0"] : params;
    return values.length === 0 ? this.client.query(text) : this.client.query(this.#statements.named(text, values));
  }

  /** What a handler gets as its database, from its first invocation until it is killed. */
  database(): Kysely<DB> {
    this.#taken = false;
    this.#queue = [];
    return new Kysely<DB>({ dialect: new PostgresDialect({ pool: this.#pool() }) });
  }

  #pool(): PostgresPool {
    const queue = this.#queue;
    // A new object each time, because Kysely never uses one again whose connection was lost.
    const client = (): Queryable => {
      const made = {
        query: (sql: string, params: readonly unknown[] = []) => {
          const invocation = this.current;
          if (!invocation || invocation.dead) return new Promise<pg.QueryResult>(() => {});
          return new Promise<pg.QueryResult | readonly pg.QueryResult[]>((resolve, reject) =>
            invocation.add({ kind: "statement", sql, params, resolve, reject }),
          );
        },
        release: () => {
          if (this.current) this.current.broken = false;
          const next = queue.shift();
          if (next) next(client());
          else this.#taken = false;
        },
      };
      // As every connection of the system does it: `begin` travels with the first statement.
      deferBegin(made);
      return made;
    };
    return {
      connect: () => {
        if (!this.#taken) {
          this.#taken = true;
          return Promise.resolve(client());
        }
        return new Promise((resolve) => queue.push(resolve));
      },
      end: async () => {},
    } as unknown as PostgresPool;
  }
}

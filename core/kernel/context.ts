/**
 * Everything a use case may touch. Handlers build one per request or bell; nothing in core/ is ambient.
 *
 * Invariant: no tenant's row is read or written outside `transact`, which tells PostgreSQL whose rows may be seen
 * for exactly as long as the transaction lasts (it survives a transaction-mode pooler, and nothing leaks to the next user
 * of the connection).
 */
import { type Kysely, sql, type Transaction } from "kysely";
import type { DB } from "../db/types.gen.ts";
import { type Bell, mergeBells } from "./bell.ts";
import { DomainError } from "./error.ts";
import { reach } from "./fault.ts";
import { within } from "./within.ts";

export type ActorType = "user" | "system" | "automation";

/** Who did it. `id` is an `actors` id for a user and an automation, and the trigger's name for the system. */
export interface Actor {
  readonly type: ActorType;
  readonly id: string;
}

export interface Context {
  readonly tenantId: string;
  readonly actor: Actor;
  readonly db: Kysely<DB>;
  /** Ties together everything one cause has led to. */
  readonly correlationId: string;
  /** Wakes workers after a commit. Absent: the sweep will. */
  readonly ring?: (bells: readonly Bell[]) => Promise<void>;
}

/** A Context that is provably inside a transaction of its tenant. `now` is the database clock at its start. */
export interface TxContext extends Context {
  readonly db: Transaction<DB>;
  readonly now: Date;
  readonly organizationId: string;
  /** Work this transaction makes due; rung once it has committed. */
  readonly bells: Bell[];
  /** The work is done again because a part of it failed: what can be done apart is done in savepoints, so that it fails alone. */
  readonly isCareful: boolean;
}

/**
 * A part of the work was refused that must not take the rest with it. Thrown instead of doing every part in a savepoint every time, which
 * would make each row that is locked outside and written inside cost a multixact.
 */
export class PartFailed extends Error {
  override readonly name = "PartFailed";
}

const isTx = (ctx: Context): ctx is TxContext => ctx.db.isTransaction;

/** Serialization failure and deadlock: PostgreSQL ended the transaction so that another could go on; the same one may run again. */
const collisions = new Set(["40001", "40P01"]);
const maxTries = 5;
/** How long a commit's bells may keep its caller, whose own work may not wait: claimed messages are to be sent within seconds. */
const ringMs = 2_000;

export const isCollision = (error: unknown): boolean =>
  error instanceof Error && "code" in error && collisions.has(String(error.code));

const lateBell = (reason: unknown) => new Error("the queue did not take a bell in time", { cause: reason });

/**
 * Joins the caller's transaction when there is one. Name the parameter `ctx` so that the outer one is shadowed. The work may run
 * up to five times when it collides with another transaction, and once more with `isCareful` when a part of it failed, so it must not do
 * anything but talk to the database.
 */
export async function transact<R>(ctx: Context, work: (ctx: TxContext) => Promise<R>): Promise<R> {
  if (isTx(ctx)) return work(ctx);
  let isCareful = false;
  for (let tries = 1; ; tries++) {
    const bells: Bell[] = [];
    try {
      const result = await ctx.db
        .transaction()
        .execute(async (db) => work({ ...(await begin(ctx, db)), bells, isCareful }));
      // A bell that cannot be rung now is rung by the sweep: the work is committed either way.
      if (bells.length > 0) {
        reach("work.committed");
        await within(ringMs, ctx.ring?.(mergeBells(bells)) ?? Promise.resolve(), lateBell).catch(() => {});
        reach("work.rung");
      }
      return result;
    } catch (error) {
      if (error instanceof PartFailed && !isCareful) isCareful = true;
      else if (tries >= maxTries || !isCollision(error)) throw error;
    }
  }
}

/**
 * Does a part of the transaction that may fail without the rest: what it wrote and the bells it wanted are taken back, and its error is
 * thrown for the caller to judge.
 */
export async function attempt<R>(ctx: TxContext, work: (ctx: TxContext) => Promise<R>): Promise<R> {
  const bells = ctx.bells.length;
  await sql`savepoint part`.execute(ctx.db);
  try {
    const result = await work(ctx);
    await sql`release savepoint part`.execute(ctx.db);
    return result;
  } catch (error) {
    ctx.bells.length = bells;
    // On a connection that is gone the first error says more; whoever goes on all the same gets the next one.
    await sql`rollback to savepoint part`.execute(ctx.db).catch(() => {});
    // It would stand in the way of an outer part of the same name.
    await sql`release savepoint part`.execute(ctx.db).catch(() => {});
    throw error;
  }
}

/** Ids are written into the statement, which can then travel with its `begin`; anything else stays a parameter. */
const plain = (value: string) => (/^[\w:.-]{0,200}$/.test(value) ? sql.lit(value) : sql`${value}`);

async function begin(ctx: Context, db: Transaction<DB>): Promise<Omit<TxContext, "bells" | "isCareful">> {
  const actor = `${ctx.actor.type}:${ctx.actor.id}`;
  const { rows } = await sql<{ now: Date | null; organization_id: string | null }>`
    select now, organization_id from begin_tenant(${plain(ctx.tenantId)}, ${plain(actor)}, ${plain(ctx.correlationId)})`.execute(
    db,
  );
  const [row] = rows;
  if (!row?.now || !row.organization_id) {
    throw new DomainError("not_found", "tenant.not_found", `No tenant ${ctx.tenantId}.`);
  }
  return { ...ctx, db, now: row.now, organizationId: row.organization_id };
}

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
 * up to five times when it collides with another transaction, so it must not do anything but talk to the database.
 */
export async function transact<R>(ctx: Context, work: (ctx: TxContext) => Promise<R>): Promise<R> {
  if (isTx(ctx)) return work(ctx);
  for (let tries = 1; ; tries++) {
    const bells: Bell[] = [];
    try {
      const result = await ctx.db.transaction().execute(async (db) => work(await begin(ctx, db, bells)));
      // A bell that cannot be rung now is rung by the sweep: the work is committed either way.
      if (bells.length > 0) {
        reach("work.committed");
        await within(ringMs, ctx.ring?.(mergeBells(bells)) ?? Promise.resolve(), lateBell).catch(() => {});
        reach("work.rung");
      }
      return result;
    } catch (error) {
      if (tries === maxTries || !isCollision(error)) throw error;
    }
  }
}

/** Ids are written into the statement, which can then travel with its `begin`; anything else stays a parameter. */
const plain = (value: string) => (/^[\w:.-]{0,200}$/.test(value) ? sql.lit(value) : sql`${value}`);

async function begin(ctx: Context, db: Transaction<DB>, bells: Bell[]): Promise<TxContext> {
  const actor = `${ctx.actor.type}:${ctx.actor.id}`;
  const { rows } = await sql<{ now: Date | null; organization_id: string | null }>`
    select now, organization_id from begin_tenant(${plain(ctx.tenantId)}, ${plain(actor)}, ${plain(ctx.correlationId)})`.execute(
    db,
  );
  const [row] = rows;
  if (!row?.now || !row.organization_id) {
    throw new DomainError("not_found", "tenant.not_found", `No tenant ${ctx.tenantId}.`);
  }
  return { ...ctx, db, now: row.now, organizationId: row.organization_id, bells };
}

/**
 * Everything a use case may touch. Handlers build one per request or bell; nothing in core/ is ambient.
 *
 * Invariant: no tenant's row is read or written outside `transact`, which tells PostgreSQL whose rows may be seen
 * for exactly as long as the transaction lasts (it survives a transaction-mode pooler, and nothing leaks to the next user
 * of the connection).
 */
import { type Kysely, sql, type Transaction } from "kysely";
import type { DB } from "../db/types.gen.ts";
import { DomainError } from "./error.ts";

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
}

/** A Context that is provably inside a transaction of its tenant. `now` is the database clock at its start. */
export interface TxContext extends Context {
  readonly db: Transaction<DB>;
  readonly now: Date;
  readonly organizationId: string;
}

const isTx = (ctx: Context): ctx is TxContext => ctx.db.isTransaction;

/** Joins the caller's transaction when there is one. Name the parameter `ctx` so that the outer one is shadowed. */
export function transact<R>(ctx: Context, work: (ctx: TxContext) => Promise<R>): Promise<R> {
  if (isTx(ctx)) return work(ctx);
  return ctx.db.transaction().execute(async (db) => {
    const actor = `${ctx.actor.type}:${ctx.actor.id}`;
    const { rows } = await sql<{ now: Date | null; organization_id: string | null }>`
      select now, organization_id from begin_tenant(${ctx.tenantId}, ${actor}, ${ctx.correlationId})`.execute(db);
    const [row] = rows;
    if (!row?.now || !row.organization_id) {
      throw new DomainError("not_found", "tenant.not_found", `No tenant ${ctx.tenantId}.`);
    }
    return work({ ...ctx, db, now: row.now, organizationId: row.organization_id });
  });
}

/** Transactions and their parts: what was taken back is gone, whoever else failed before, and trying again has an end. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { attempt, PartFailed, type TxContext, transact } from "../../../core/kernel/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();

/** A setting of the transaction is taken back with the part that made it. */
const mark = (ctx: TxContext, name: string) => sql`select set_config(${`test.${name}`}, 'made', true)`.execute(ctx.db);
async function marked(ctx: TxContext, name: string): Promise<boolean> {
  const { rows } = await sql<{
    value: string | null;
  }>`select current_setting(${`test.${name}`}, true) as value`.execute(ctx.db);
  return rows[0]?.value === "made";
}
const fail = (): never => {
  throw new Error("no");
};

it("a part that fails after a part of its own has failed is taken back as a whole", async () => {
  const tenant = await newTenant(database);
  const left = await transact(tenant, async (ctx) => {
    await mark(ctx, "before");
    await attempt(ctx, async (ctx) => {
      await mark(ctx, "outer");
      await attempt(ctx, async (ctx) => {
        await mark(ctx, "inner");
        fail();
      }).catch(() => {});
      await mark(ctx, "after");
      fail();
    }).catch(() => {});
    return Promise.all(["before", "outer", "inner", "after"].map((name) => marked(ctx, name)));
  });
  expect(left).toEqual([true, false, false, false]);
});

it("a transaction that collides for ever is given up, also when a part of it failed at its last try", async () => {
  const tenant = await newTenant(database);
  let tries = 0;
  const work = async () => {
    tries++;
    if (tries === 5) throw new PartFailed("a part", { cause: null });
    throw Object.assign(new Error("deadlock"), { code: "40P01" });
  };
  const bounded = async () => {
    if (tries > 20) fail();
    return work();
  };
  await expect(transact(tenant, bounded)).rejects.toThrow("deadlock");
  expect(tries).toBe(6);
});

/** The sweep rings for everybody, whatever one tenant's waking takes. */
import { sql } from "kysely";
import { expect, it } from "vitest";
import { type Bell, transact } from "../../core/kernel/index.ts";
import { memoryBlobs, memoryKeys } from "../../core/providers/memory/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost, providerAdapters } from "../../functions/lib/runtime.ts";
import * as sweep from "../../functions/sweep.ts";
import { testDatabase } from "../support/database.ts";
import { hold } from "../support/race.ts";
import { arrange, newTenant, setClock, type TestTenant } from "../support/tenant.ts";
import { fakeInvocation } from "./lib/fake.ts";

const database = await testDatabase();

const message = (tenant: TestTenant, id: string, hold: { reason: string; due: string } | null) =>
  arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, status, hold_reason, run_at, expires_at)
      values (${tenant.tenantId}, ${id}, 'email', 'a@example.com', 'a@example.com', ${id}, ${hold ? "held" : "queued"}, ${hold?.reason ?? null},
        app_now() + ${hold?.due ?? "0 s"}::interval, app_now() + interval '1 day')`.execute(tx),
  );

const note = ({ tenantId }: TestTenant, reason: string, ago: string) =>
  arrange(database, tenantId, (tx) =>
    sql`update tenants set waking = jsonb_build_object(${reason}::text, app_now() - ${ago}::interval) where id = ${tenantId}`.execute(
      tx,
    ),
  );

it("rings for what is due before it wakes anybody, then wakes whose note is oldest first, and rings for what it woke", async () => {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  const [busy, later, other] = [await newTenant(database), await newTenant(database), await newTenant(database)];
  await message(other, "omsg_due", null);
  const held = { reason: "sender_unverified", due: "6 hours" };
  await message(busy, "omsg_busy", held);
  await message(later, "omsg_later", held);
  await note(busy, "sender_unverified", "1 s");
  await note(later, "sender_unverified", "5 s");
  const holder = hold(busy, (ctx) => sql`select from tenants where id = ${busy.tenantId} for update`.execute(ctx.db));
  await holder.reached;

  const rung: Bell[] = [];
  const wokenFirst = Promise.withResolvers<void>();
  const host = createHost({
    db: database.db,
    queue: {
      ring: async (bells) => {
        rung.push(...bells);
        if (rung.some(({ ids }) => ids.includes("omsg_later"))) wokenFirst.resolve();
      },
    },
    blobs: memoryBlobs(),
    keys: memoryKeys(),
    ...providerAdapters,
    publicUrl: "https://outrider.test",
    signingKeys: [new Uint8Array(32)],
    log: createLog({ write: () => {}, now: () => new Date(0) }),
  });
  const run = sweep.define(host)({}, fakeInvocation());
  await wokenFirst.promise;
  expect(rung.map(({ tenantId, ids }) => [tenantId, ids])).toEqual([
    [other.tenantId, ["omsg_due"]],
    [later.tenantId, ["omsg_later"]],
  ]);
  holder.release();
  await holder.done;
  await run;
  expect(rung.at(-1)).toMatchObject({ tenantId: busy.tenantId, ids: ["omsg_busy"] });
  // Kept for a minute, for what somebody had locked at the mending.
  const { rows } = await transact(busy, ({ db }) => sql`select waking from tenants`.execute(db));
  expect(rows).toEqual([{ waking: { sender_unverified: expect.any(String) } }]);
});

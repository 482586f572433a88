/** Whoever claims takes the locks of whoever suppresses: the two sides of one promise are written in two modules. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { type TxContext, transact } from "../../../core/kernel/index.ts";
import { addressFacts, gateFacts, lockDue } from "../../../core/messages/facts.ts";
import { TakenSteps } from "../../../core/messages/steps.ts";
import { addDnc, lockAddresses, type Target } from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant } from "../../support/tenant.ts";

const database = await testDatabase();

/** Advisory locks held alone; a claim also holds its tenant's gate, shared. */
async function held(ctx: TxContext): Promise<unknown[]> {
  const { rows } = await sql`
    select classid, objid from pg_locks
    where locktype = 'advisory' and mode = 'ExclusiveLock' and pid = pg_backend_pid() order by classid, objid`.execute(
    ctx.db,
  );
  return rows;
}

const targets: Target[] = [
  { channel: "sms", address: "+12025550101" },
  { channel: "sms", address: "+12025550102" },
  { channel: "email", address: "ada@example.com" },
  { channel: "whatsapp", address: "+12025550101" },
];

test("a claim holds exactly the locks that a suppression of the same addresses takes", async () => {
  const tenant = await newTenant(database);
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, channel, to_address, suppression_key, dedupe_key, expires_at)
      select ${tenant.tenantId}, channel, address, address, channel || address, app_now() + interval '1 day'
      from unnest(${targets.map((t) => t.channel)}::text[], ${targets.map((t) => t.address)}::text[]) t(channel, address)`.execute(
      tx,
    ),
  );
  const bySuppression = await transact(tenant, async (ctx) => {
    await lockAddresses(ctx, targets);
    return held(ctx);
  });
  const byClaim = await transact(tenant, async (ctx) => {
    expect(await lockDue(ctx, undefined, 100)).toHaveLength(targets.length);
    return held(ctx);
  });
  // One for each address of the tenant, one more for each number that may be texted: the organization's.
  expect(bySuppression).toHaveLength(6);
  expect(byClaim).toEqual(bySuppression);
});

test("do-not-call covers texts, which its lock covers, and no other service that goes by the number", async () => {
  const tenant = await newTenant(database);
  const phone = "+12025550101";
  await addDnc(tenant, { phones: [phone], reason: "asked", source: "test" } as never);
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, channel, to_address, suppression_key, dedupe_key, expires_at)
      select ${tenant.tenantId}, channel, ${phone}, ${phone}, channel, app_now() + interval '1 day'
      from unnest(array['sms', 'whatsapp']) channel`.execute(tx),
  );
  const listed = await transact(tenant, async (ctx) => {
    const candidates = await lockDue(ctx, undefined, 10);
    const known = await addressFacts(ctx, candidates);
    return candidates.map((one) => [
      one.channel,
      gateFacts(one, known, new TakenSteps([]), {} as never, null).onDncList,
    ]);
  });
  expect(Object.fromEntries(listed)).toEqual({ sms: true, whatsapp: false });
});

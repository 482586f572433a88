/** STOP against claim on real PostgreSQL: whoever holds the address lock first has the smaller number, and no claim follows a STOP. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { transact } from "../../../core/kernel/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { runs } from "../../support/runs.ts";
import { arrange, newTenant, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase({ max: 16 });
const rounds = runs(400, 2_000);
const phone = (n: number) => `+1202${String(5_550_000 + n).padStart(7, "0")}`;

async function queue(tenant: TestTenant, count: number): Promise<void> {
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, channel, to_address, suppression_key, dedupe_key, expires_at)
      select ${tenant.tenantId}, 'sms', a, a, a, app_now() + interval '1 day'
      from unnest(${Array.from({ length: count }, (_, n) => phone(n))}::text[]) a`.execute(tx),
  );
}

/** What a claim must do, in the fewest words: lock the address, ask, and only then take the message under a number. */
const claimOne = (tenant: TestTenant, address: string) =>
  transact(tenant, async (ctx) => {
    const target = { channel: "sms", address } as const;
    await suppression.lockAddresses(ctx, [target]);
    const hits = await suppression.checkTargets(ctx, [target]);
    if (hits.length > 0) return;
    await sql`update outbound_messages set status = 'sending', claim_seq = nextval('compliance_seq')
      where tenant_id = ${ctx.tenantId} and suppression_key = ${address} and status = 'queued'`.execute(ctx.db);
  });

/** Claims that came after a no that covers them. */
async function broken(tenant: TestTenant): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from outbound_messages m
    where m.tenant_id = ${tenant.tenantId} and m.claim_seq is not null and (
      exists (select from communication_suppressions s where s.tenant_id = m.tenant_id and s.channel = m.channel
              and s.address = m.suppression_key and s.seq < m.claim_seq)
      or exists (select from dnc_list d where d.organization_id = ${tenant.organizationId}
              and d.phone_number = m.suppression_key and d.seq < m.claim_seq))`.execute(database.owner);
  return rows[0]?.n ?? -1;
}

type Say = (tenant: TestTenant, address: string) => Promise<unknown>;
const stop: Say = (tenant, address) =>
  suppression.add(tenant, { channel: "sms", address, reason: "stop", source: "race" });
const doNotCall: Say = (tenant, address) => suppression.addDnc(tenant, { phones: [address], source: "race" });

async function race(tenant: TestTenant, count: number, say: Say): Promise<void> {
  await queue(tenant, count);
  const addresses = Array.from({ length: count }, (_, n) => phone(n));
  const lanes = Array.from({ length: 8 }, (_, lane) => addresses.filter((_, n) => n % 8 === lane));
  await Promise.all(
    lanes.map(async (lane) => {
      for (const [n, address] of lane.entries()) {
        const pair = [() => claimOne(tenant, address), () => say(tenant, address)];
        await Promise.all((n % 2 ? pair : pair.toReversed()).map((run) => run()));
      }
    }),
  );
}

test(`in ${rounds} races no message is claimed after the STOP that covers it`, async () => {
  const tenant = await newTenant(database);
  await race(tenant, rounds, stop);
  expect(await broken(tenant)).toBe(0);
  const { rows } = await sql<{ status: string; n: number }>`
    select status, count(*)::int as n from outbound_messages where tenant_id = ${tenant.tenantId} group by status order by status`.execute(
    database.owner,
  );
  // Both ends happened, and nothing was left between them: the race was one.
  expect(rows.map(({ status }) => status)).toEqual(["sending", "suppressed"]);
  expect(rows.reduce((sum, { n }) => sum + n, 0)).toBe(rounds);
}, 120_000);

test("do-not-call of a sister tenant wins in the same way", async () => {
  const tenant = await newTenant(database);
  const sister = await newTenant(database, { organization: tenant.organizationId });
  await race(tenant, runs(100, 300), (_, address) => doNotCall(sister, address));
  expect(await broken(tenant)).toBe(0);
}, 120_000);

test("without the lock, the same race is lost: the test can see a broken promise", async () => {
  const tenant = await newTenant(database);
  await queue(tenant, 1);
  const address = phone(0);
  await transact(tenant, async (ctx) => {
    expect(await suppression.checkTargets(ctx, [{ channel: "sms", address }])).toEqual([]);
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into communication_suppressions (tenant_id, channel, address, reason, source)
        values (${tenant.tenantId}, 'sms', ${address}, 'stop', 'race')`.execute(tx),
    );
    await sql`update outbound_messages set status = 'sending', claim_seq = nextval('compliance_seq')
      where tenant_id = ${ctx.tenantId} and suppression_key = ${address}`.execute(ctx.db);
  });
  expect(await broken(tenant)).toBe(1);
});

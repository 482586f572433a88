/** The schedules that go through the tenants: one tenant's trouble is its own, and what is broken is told, counted and kept. */
import { sql } from "kysely";
import { beforeEach, describe, expect, test } from "vitest";
import { lastRun } from "../../core/operator/index.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import * as doctor from "../../functions/doctor.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost, providerAdapters } from "../../functions/lib/runtime.ts";
import * as maintain from "../../functions/maintain.ts";
import * as reconcile from "../../functions/reconcile.ts";
import { testDatabase } from "../support/database.ts";
import { person, type ReadyTenant, readyTenant } from "../support/outreach.ts";
import { arrange, newTenant, setClock, type TestTenant } from "../support/tenant.ts";
import { fakeInvocation, type Line } from "./lib/fake.ts";

const database = await testDatabase();
const lines: Line[] = [];
beforeEach(() => {
  lines.length = 0;
});

const host = createHost({
  db: database.db,
  queue: memoryQueue(),
  blobs: memoryBlobs(),
  keys: memoryKeys(),
  ...providerAdapters,
  publicUrl: "https://outrider.test",
  signingKeys: [new Uint8Array(32)],
  log: createLog({ write: (line) => lines.push(JSON.parse(line) as Line), now: () => new Date(0) }),
});

const said = (event: string) => lines.filter((line) => line["event"] === event);
const metric = (name: string) => lines.filter((line) => name in line);
const run = (schedule: { define: typeof doctor.define }, remainingMs?: () => number) =>
  schedule.define(host)({}, fakeInvocation(remainingMs));

/** A suppression that was lifted by nobody. */
const breakSomething = ({ tenantId }: TestTenant) =>
  arrange(database, tenantId, (tx) =>
    sql`insert into communication_suppressions (tenant_id, channel, address, reason, source, released_at)
      values (${tenantId}, 'email', 'secret@example.com', 'manual', 'test', app_now())`.execute(tx),
  );

describe("doctor", () => {
  test("finds nothing in a sound installation, says zero, and records that it looked", async () => {
    const tenant = await newTenant(database);
    await run(doctor);
    expect(metric("InvariantViolations")).toMatchObject([{ InvariantViolations: 0 }]);
    expect(said("invariant.broken")).toEqual([]);
    expect(await lastRun(tenant)).toMatchObject({ violations: 0, skipped: [], broken: [] });
  });

  test("names tenant and rule of what is broken, as a log line, two metrics and a row, without an address", async () => {
    const [tenant, sound] = [await newTenant(database), await newTenant(database)];
    await breakSomething(tenant);
    await run(doctor);
    expect(said("invariant.broken")).toMatchObject([
      { level: "error", code: "I-24", count: 1, tenantId: tenant.tenantId },
    ]);
    expect(metric("InvariantViolations")).toMatchObject([
      { InvariantViolations: 1 },
      { InvariantViolations: 1, invariant: "I-24" },
    ]);
    expect(JSON.stringify(lines)).not.toContain("secret@example.com");
    expect(await lastRun(tenant)).toMatchObject({ violations: 1, broken: [{ id: "I-24", violations: 1 }] });
    expect(await lastRun(sound)).toMatchObject({ violations: 0 });
    await arrange(database, tenant.tenantId, (tx) =>
      sql`delete from communication_suppressions where tenant_id = ${tenant.tenantId}`.execute(tx),
    );
  });

  test("finds a fence that was taken away", async () => {
    await sql`alter table leads no force row level security`.execute(database.owner);
    await run(doctor);
    await sql`alter table leads force row level security`.execute(database.owner);
    expect(said("invariant.broken")).toMatchObject([
      { code: "I-22", reason: expect.stringContaining("table public.leads") },
    ]);
  });

  test("begins with whom it had no time for: every tenant gets its turn", async () => {
    const tenants = [await newTenant(database), await newTenant(database), await newTenant(database)];
    await run(doctor);
    const late = await newTenant(database);
    // Time for one tenant only.
    const once = () => {
      let asked = 0;
      return () => (asked++ < 3 ? 600_000 : 360_000);
    };
    const examined = async (ids: readonly string[]) =>
      (
        await sql<{ tenant_id: string; n: number }>`
          select tenant_id, count(*)::int as n from doctor_runs where tenant_id = any (${ids as string[]}) group by 1`.execute(
          database.owner,
        )
      ).rows.map(({ n }) => n);
    await run(doctor, once());
    expect(await examined([late.tenantId])).toEqual([1]);
    expect(await examined(tenants.map(({ tenantId }) => tenantId))).toEqual([1, 1, 1]);
    expect(metric("TenantsUnexamined").at(-1)?.["TenantsUnexamined"]).toBeGreaterThanOrEqual(3);
  });

  test("without time left examines nobody, and says how many were left", async () => {
    await newTenant(database);
    await run(doctor, () => 5_000);
    expect(said("schedule.out_of_time")).toHaveLength(1);
    expect(metric("InvariantViolations")).toHaveLength(1);
  });
});

/** A tenant whose sweep-worthy rows cannot be locked: every statement on them is refused. */
async function troubled(): Promise<TestTenant> {
  const tenant = await newTenant(database);
  await sql
    .raw(
      `create or replace function trouble() returns trigger language plpgsql as $$
       begin if old.tenant_id = '${tenant.tenantId}' then raise exception 'trouble'; end if; return coalesce(new, old); end $$`,
    )
    .execute(database.owner);
  return tenant;
}

describe("maintain", () => {
  test("goes on with the next tenant when one fails, and says which", async () => {
    const bad = await troubled();
    const good = await newTenant(database);
    for (const { tenantId } of [bad, good]) {
      await arrange(database, tenantId, (tx) =>
        sql`insert into idempotency_keys (tenant_id, key, request_hash, expires_at)
          values (${tenantId}, 'old', '\\x00', app_now() - interval '1 day')`.execute(tx),
      );
    }
    await sql
      .raw("create trigger trouble before delete on idempotency_keys for each row execute function trouble()")
      .execute(database.owner);
    await run(maintain);
    await sql`drop trigger trouble on idempotency_keys`.execute(database.owner);
    expect(said("tenant.failed")).toMatchObject([{ level: "error", schedule: "maintain", tenantId: bad.tenantId }]);
    expect(metric("TenantsFailed")).toMatchObject([{ TenantsFailed: 1, schedule: "maintain" }]);
    const { rows } = await sql<{ tenant_id: string }>`select tenant_id from idempotency_keys where key = 'old'`.execute(
      database.owner,
    );
    expect(rows).toEqual([{ tenant_id: bad.tenantId }]);
  });
});

describe("reconcile", () => {
  test("settles the others' sends when one tenant's cannot be settled, and leaves the rest to the next run when time is up", async () => {
    await setClock(database, new Date("2026-03-02T16:00:00Z"));
    const bad = await readyTenant(database);
    const good = await readyTenant(database);
    for (const tenant of [bad, good]) {
      const contact = await person(database, tenant, { email: "ada@example.com" });
      await arrange(database, tenant.tenantId, (tx) =>
        sql`with m as (
              insert into outbound_messages (tenant_id, contact_id, channel, channel_config_id, to_address, suppression_key, dedupe_key, status,
                generation, lease_until, expires_at)
              values (${tenant.tenantId}, ${contact}, 'email', ${tenant.emailAccount}, 'ada@example.com', 'ada@example.com', 'one', 'sending', 1,
                app_now() - interval '1 minute', app_now() + interval '1 day') returning tenant_id, id)
            insert into send_attempts (tenant_id, message_id, generation, claim_seq, provider, deadline_at)
            select tenant_id, id, 1, nextval('compliance_seq'), 'sendgrid', app_now() from m`.execute(tx),
      );
    }
    const statusOf = async ({ tenantId }: TestTenant) =>
      (
        await sql<{ status: string }>`select status from outbound_messages where tenant_id = ${tenantId}`.execute(
          database.owner,
        )
      ).rows;
    // First without time: nothing is begun that could not end.
    await run(reconcile, () => 10_000);
    expect([await statusOf(bad), await statusOf(good)].flat().map(({ status }) => status)).toEqual([
      "sending",
      "sending",
    ]);
    await sql
      .raw(
        `create or replace function trouble() returns trigger language plpgsql as $$
         begin if old.tenant_id = '${bad.tenantId}' then raise exception 'trouble'; end if; return new; end $$;
         create trigger trouble before update on outbound_messages for each row execute function trouble()`,
      )
      .execute(database.owner);
    await run(reconcile);
    await sql`drop trigger trouble on outbound_messages`.execute(database.owner);
    expect(await statusOf(good)).toEqual([{ status: "ambiguous" }]);
    expect(said("tenant.failed")).toMatchObject([{ schedule: "reconcile", tenantId: bad.tenantId }]);
    await run(reconcile);
    expect(await statusOf(bad)).toEqual([{ status: "ambiguous" }]);
  });

  test("takes what the dead of every tenant held before it looks at what is in doubt already", async () => {
    await setClock(database, new Date("2026-03-02T18:00:00Z"));
    const tenants: ReadyTenant[] = [];
    for (const statuses of [["ambiguous"], ["ambiguous", "sending"], ["sending"]]) {
      const tenant = await readyTenant(database);
      tenants.push(tenant);
      const contact = await person(database, tenant, { email: "ada@example.com" });
      for (const status of statuses) {
        await arrange(database, tenant.tenantId, (tx) =>
          sql`with m as (
                insert into outbound_messages (tenant_id, contact_id, channel, channel_config_id, to_address, suppression_key, dedupe_key, status,
                  generation, lease_until, run_at, expires_at)
                values (${tenant.tenantId}, ${contact}, 'email', ${tenant.emailAccount}, 'ada@example.com', 'ada@example.com', ${status}, ${status}, 1,
                  case ${status} when 'sending' then app_now() - interval '1 minute' end, app_now(), app_now() + interval '1 day') returning tenant_id, id)
              insert into send_attempts (tenant_id, message_id, generation, claim_seq, provider, deadline_at, outcome)
              select tenant_id, id, 1, nextval('compliance_seq'), 'sendgrid', app_now(), case ${status} when 'ambiguous' then 'ambiguous' end from m`.execute(
            tx,
          ),
        );
      }
    }
    const inHand = async () =>
      Number(
        (
          await sql<{ n: string }>`select count(*) as n from outbound_messages where status = 'sending'`.execute(
            database.owner,
          )
        ).rows[0]?.n,
      );
    const atLook: number[] = [];
    const asking = {
      ...host,
      keys: {
        ...host.keys,
        unwrapDataKey: (...sealed: Parameters<typeof host.keys.unwrapDataKey>) =>
          Promise.any(tenants.map(({ deps }) => deps.keys.unwrapDataKey(...sealed))),
      },
      senders: {
        sendgrid: {
          ...providerAdapters.senders["sendgrid"],
          lookup: async () => {
            atLook.push(await inHand());
            return { kind: "unknown" as const };
          },
        },
      },
    } as typeof host;
    await reconcile.define(asking)({}, fakeInvocation());
    expect(atLook).toEqual([0, 0]);
  });
});

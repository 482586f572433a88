/** Suppression on real PostgreSQL: what a "no" ends, who may take it back, and whom it concerns. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { newId } from "../../../core/kernel/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { statementsOf } from "../../support/statements.ts";
import { advance, arrange, newTenant, setClock, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();

const email = (address: string, reason: suppression.Entry["reason"] = "manual") =>
  ({ channel: "email", address, reason, source: "test" }) as const;
const sms = (address: string, reason: suppression.Entry["reason"] = "stop") =>
  ({ channel: "sms", address, reason, source: "test" }) as const;

/** A message of the outbox in some state. */
async function message(
  tenant: TestTenant,
  channel: "email" | "sms",
  address: string,
  status = "queued",
): Promise<string> {
  const id = newId("message", new Date());
  const key = suppression.suppressionKey(channel, address);
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, status, expires_at)
      values (${tenant.tenantId}, ${id}, ${channel}, ${address}, ${key}, ${id}, ${status}, app_now() + interval '1 day')`.execute(
      tx,
    ),
  );
  return id;
}

async function statusOf(id: string): Promise<unknown> {
  const { rows } = await sql`select status, hold_reason from outbound_messages where id = ${id}`.execute(
    database.owner,
  );
  return rows[0];
}

describe("adding", () => {
  test("everything queued or held for the address ends with it; the rest goes on", async () => {
    const a = await newTenant(database);
    const queued = await message(a, "email", "ada@example.com");
    const held = await message(a, "email", "Ada@example.com", "held");
    const tagged = await message(a, "email", "ada+news@example.com");
    const sending = await message(a, "email", "ada@example.com", "sending");
    const sent = await message(a, "email", "ada@example.com", "sent");
    const other = await message(a, "email", "bob@example.com");
    const result = await suppression.add(a, email("ADA@example.com", "unsubscribed"));
    expect(result.added).toMatchObject([{ channel: "email", address: "ada@example.com" }]);
    expect(result.stopped.map(({ messageId }) => messageId).sort()).toEqual([queued, held, tagged].sort());
    expect(result.inFlight.map(({ messageId }) => messageId)).toEqual([sending]);
    for (const id of [queued, held, tagged]) {
      expect(await statusOf(id)).toEqual({ status: "suppressed", hold_reason: "suppressed" });
    }
    expect(await statusOf(sending)).toMatchObject({ status: "sending" });
    expect(await statusOf(sent)).toMatchObject({ status: "sent" });
    expect(await statusOf(other)).toMatchObject({ status: "queued" });
  });

  test("every spelling of an address is the same address", async () => {
    const a = await newTenant(database);
    await suppression.addMany(a, {
      entries: [email("a.da+x@GoogleMail.com"), email("kim@EXÄMPLE.com."), sms("(202) 555-0123")],
    });
    const spellings = [
      { channel: "email", address: "ada@gmail.com" },
      { channel: "email", address: "A.D.A+other@gmail.com" },
      { channel: "email", address: "Kim+tag@xn--exmple-cua.com" },
      { channel: "sms", address: "+12025550123" },
      { channel: "sms", address: "1 202 555 0123" },
    ] as const;
    const answers = await suppression.checkMany(a, { targets: [...spellings] });
    expect(answers.map(({ allowed }) => allowed)).toEqual(spellings.map(() => false));
  });

  test("the first reason stays; a repeated no adds nothing", async () => {
    const a = await newTenant(database);
    const first = await suppression.add(a, email("x@example.com", "hard_bounce"));
    const again = await suppression.add(a, email("x@example.com", "hard_bounce"));
    const later = await suppression.add(a, email("x@example.com", "complaint"));
    expect([again, later]).toMatchObject([
      { added: [], existing: 1 },
      { added: [], existing: 1 },
    ]);
    const { data } = await suppression.list(a, { address: "x@example.com" });
    expect(data).toMatchObject([
      { id: first.added[0]?.id, reason: "hard_bounce", evidence: { also: [{ reason: "complaint" }] } },
    ]);
  });

  test("an entry that is no address is reported and does not spoil the batch", async () => {
    const a = await newTenant(database);
    const result = await suppression.addMany(a, {
      entries: [email("not an address"), email("ok@example.com"), sms("12")],
    });
    expect(result.invalid).toEqual([
      { index: 0, address: "not an address" },
      { index: 2, address: "12" },
    ]);
    expect(result.added).toHaveLength(1);
    await expect(suppression.add(a, email("nobody"))).rejects.toMatchObject({
      kind: "invalid",
      fields: [{ path: "address", value: "nobody" }],
    });
  });

  test("a thousand cost as many statements as one", async () => {
    const a = await newTenant(database);
    const count = (entries: suppression.Entry[]) =>
      statementsOf(database.db, (db) => suppression.addMany({ ...a, db }, { entries }));
    const many = Array.from({ length: 1_000 }, (_, n) => ({ ...email(`user${n}@example.com`), evidence: {} }));
    expect(await count(many)).toBe(await count([{ ...email("one@example.com"), evidence: {} }]));
  });

  test("batches that overlap in opposite orders both finish", async () => {
    const a = await newTenant(database);
    const entries = Array.from({ length: 200 }, (_, n) => email(`user${n}@example.org`));
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, n) => suppression.addMany(a, { entries: n % 2 ? entries : entries.toReversed() })),
    );
    expect(results.reduce((sum, { added }) => sum + added.length, 0)).toBe(200);
  });
});

describe("taking back", () => {
  test.each(["hard_bounce", "provider", "manual"] as const)(
    "an operator lifts %s, and the row says who and why",
    async (reason) => {
      const a = await newTenant(database);
      const { added } = await suppression.add(a, email("x@example.com", reason));
      await suppression.lift(a, { id: added[0]?.id ?? "", note: "mailbox works again" });
      expect(await suppression.check(a, { channel: "email", address: "x@example.com" })).toEqual({ allowed: true });
      expect((await suppression.list(a, { active: false })).data).toMatchObject([
        { reason, releasedBy: `system:${a.actor.id}`, releaseNote: "mailbox works again" },
      ]);
    },
  );

  test.each(["unsubscribed", "stop", "complaint", "erasure"] as const)("an operator cannot lift %s", async (reason) => {
    const a = await newTenant(database);
    const { added } = await suppression.add(a, email("x@example.com", reason));
    await expect(suppression.lift(a, { id: added[0]?.id ?? "", note: "please" })).rejects.toMatchObject({
      code: "suppression.not_liftable",
    });
    expect(await suppression.check(a, { channel: "email", address: "x@example.com" })).toMatchObject({
      allowed: false,
    });
  });

  test("a STOP that came after an operator's entry cannot be lifted with it", async () => {
    const a = await newTenant(database);
    const { added } = await suppression.add(a, sms("+12025550123", "manual"));
    await suppression.add(a, sms("+12025550123", "stop"));
    await expect(suppression.lift(a, { id: added[0]?.id ?? "", note: "x" })).rejects.toMatchObject({
      code: "suppression.not_liftable",
    });
  });

  test("START takes back the recipient's own no and leaves the operator's in force", async () => {
    const a = await newTenant(database);
    const target = { channel: "sms", address: "+12025550123" } as const;
    await suppression.add(a, sms(target.address, "manual"));
    await suppression.add(a, sms(target.address, "stop"));
    expect(await suppression.liftByRecipient(a, { ...target, source: "twilio" })).toEqual({
      lifted: true,
      remaining: "manual",
    });
    expect(await suppression.check(a, target)).toMatchObject({ allowed: false, hit: { reason: "manual" } });
    expect(await suppression.liftByRecipient(a, { ...target, source: "twilio" })).toEqual({
      lifted: false,
      remaining: "manual",
    });
    const [current] = (await suppression.list(a, { ...target, active: true })).data;
    await suppression.lift(a, { id: current?.id ?? "", note: "x" });
    expect(await suppression.check(a, target)).toEqual({ allowed: true });
  });

  test("START of one address does nothing for another", async () => {
    const a = await newTenant(database);
    await suppression.add(a, sms("+12025550123"));
    expect(
      await suppression.liftByRecipient(a, { channel: "sms", address: "+12025550124", source: "twilio" }),
    ).toMatchObject({ lifted: false });
    expect(await suppression.check(a, { channel: "sms", address: "+12025550123" })).toMatchObject({ allowed: false });
  });

  test("the state at an instant is what was in force then", async () => {
    const a = await newTenant(database);
    const target = { channel: "sms", address: "+12025550123" } as const;
    await setClock(database, new Date("2026-05-01T12:00:00Z"));
    await suppression.add(a, sms(target.address));
    await advance(database, 3_600);
    await suppression.liftByRecipient(a, { ...target, source: "twilio" });
    await advance(database, 3_600);
    await suppression.add(a, sms(target.address, "manual"));
    await setClock(database, null);
    const at = async (instant: string) => (await suppression.asOf(a, { ...target, at: instant }))?.reason ?? null;
    expect(await at("2026-05-01T11:59:59Z")).toBeNull();
    expect(await at("2026-05-01T12:00:00Z")).toBe("stop");
    expect(await at("2026-05-01T12:59:59Z")).toBe("stop");
    expect(await at("2026-05-01T13:00:00Z")).toBeNull();
    expect(await at("2026-05-01T14:00:00Z")).toBe("manual");
  });
});

describe("do-not-call", () => {
  test("a number on the list is closed for texts and calls in every tenant of the organization, and in no other", async () => {
    const a = await newTenant(database);
    const sister = await newTenant(database, { organization: a.organizationId });
    const stranger = await newTenant(database);
    const queued = await message(a, "sms", "+12025550199");
    const result = await suppression.addDnc(a, { phones: ["202-555-0199"], source: "test", reason: "asked" });
    expect(result).toMatchObject({ added: ["+12025550199"], stopped: [{ messageId: queued }] });
    expect(await statusOf(queued)).toEqual({ status: "suppressed", hold_reason: "dnc" });
    const ask = (tenant: TestTenant, channel: "sms" | "call" | "whatsapp") =>
      suppression.check(tenant, { channel, address: "+12025550199" });
    for (const tenant of [a, sister]) {
      expect(await ask(tenant, "sms")).toMatchObject({ allowed: false, hit: { list: "dnc", reason: "asked" } });
      expect(await ask(tenant, "call")).toMatchObject({ allowed: false, hit: { list: "dnc" } });
      expect(await ask(tenant, "whatsapp")).toEqual({ allowed: true });
    }
    expect(await ask(stranger, "sms")).toEqual({ allowed: true });
    expect((await suppression.listDnc(stranger, {})).data).toEqual([]);
    await expect(suppression.removeDnc(stranger, { phone: "+12025550199" })).rejects.toMatchObject({
      code: "dnc.not_found",
    });
    await suppression.removeDnc(sister, { phone: "+12025550199" });
    expect(await ask(a, "sms")).toEqual({ allowed: true });
    expect((await suppression.listDnc(a, { active: false })).data).toMatchObject([{ phoneNumber: "+12025550199" }]);
  });

  test("many numbers are asked for at once, answered in order", async () => {
    const a = await newTenant(database);
    await suppression.addDnc(a, { phones: ["+12025550101", "+12025550102", "+12025550101"], source: "test" });
    expect(await suppression.checkDnc(a, { phones: ["nonsense", "(202) 555-0102", "+12025550103"] })).toEqual([
      { phone: "nonsense", phoneNumber: null, listed: false },
      { phone: "(202) 555-0102", phoneNumber: "+12025550102", listed: true },
      { phone: "+12025550103", phoneNumber: "+12025550103", listed: false },
    ]);
  });

  test("STOP to a text closes the phone for calls", async () => {
    const a = await newTenant(database);
    await suppression.add(a, sms("+12025550123"));
    expect(await suppression.check(a, { channel: "call", address: "+12025550123" })).toMatchObject({
      allowed: false,
      hit: { reason: "stop" },
    });
  });
});

test("another tenant's suppressions are like missing ones", async () => {
  const [a, b] = [await newTenant(database), await newTenant(database)];
  const { added } = await suppression.add(a, email("x@example.com"));
  const theirs = await message(b, "email", "x@example.com");
  await expect(suppression.lift(b, { id: added[0]?.id ?? "", note: "x" })).rejects.toMatchObject({
    code: "suppression.not_found",
  });
  expect(await suppression.check(b, { channel: "email", address: "x@example.com" })).toEqual({ allowed: true });
  expect(
    await suppression.asOf(b, { channel: "email", address: "x@example.com", at: "2099-01-01T00:00:00Z" }),
  ).toBeNull();
  expect((await suppression.list(b, {})).data).toEqual([]);
  expect(
    await suppression.liftByRecipient(b, { channel: "email", address: "x@example.com", source: "x" }),
  ).toMatchObject({ lifted: false });
  await suppression.add(a, email("x@example.com", "complaint"));
  expect(await statusOf(theirs)).toMatchObject({ status: "queued" });
});

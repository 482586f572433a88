/**
 * The whole system in a process of its own, killed where it hurts most and at random, and started again each time. The provider
 * simulator's fsynced log of accepts is the referee: no message is accepted twice, and none is lost.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { type RawBuilder, sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import type { Context } from "../../core/kernel/context.ts";
import {
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import { readAccess } from "../../local/access.ts";
import type { Accept } from "../../local/simulator/state.ts";
import { signedForm } from "../../local/simulator/twilio.ts";
import { childrenOf, isUp, killed, stopped, until } from "../support/child.ts";
import { testDatabase } from "../support/database.ts";
import { person } from "../support/outreach.ts";
import { launch } from "../support/system.ts";
import { setClock, type TestTenant } from "../support/tenant.ts";

const database = await testDatabase();
const children = childrenOf("crash");
const start = (fault?: string) => children.start(database.ownerUrl, fault);
let tenant: TestTenant;
let made = 0;

beforeAll(async () => {
  // The tenant that `npm start` provisions, made before so that work waits for the first process.
  const { organizationId, tenantId, actorId } = await provision(database.owner, {
    organization: "Demo organization",
    tenant: "Demo",
    slug: "demo",
    adminEmail: "admin@demo.example",
    rateLimits: [],
  });
  const actor: Context["actor"] = { type: "user", id: actorId };
  tenant = { tenantId, organizationId, actor, db: database.db, correlationId: "cor_crash" };
  await updateTenantSettings(tenant, { postalAddress: "1 Main Street, Springfield, IL 62701" });
  const sender = await createSender(tenant, { fromEmail: "ada@outrider.example", fromName: "Ada" });
  await markSenderVerified(tenant, { id: sender.id });
  await setDefaultSender(tenant, { id: sender.id });
});

/** The referee's log, as it is on disk. */
function accepts(): readonly Accept[] {
  const file = path.join(children.home, "simulator", "accepts.ndjson");
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Accept);
}

const perRound = 20;

/** Work for the next process: a campaign of its own with new people. */
async function moreWork(): Promise<void> {
  made++;
  const contactIds: string[] = [];
  for (let n = 0; n < perRound; n++)
    contactIds.push(await person(database, tenant, { email: `p${n}.round${made}@mail.example` }));
  await launch(
    tenant,
    {
      name: "Once",
      start: "once",
      nodes: [{ id: "once", type: "send", channel: "email", content: { subject: "Once", html: "<p>Once.</p>" } }],
    },
    contactIds,
    `Round ${made}`,
  );
}

async function statuses(): Promise<Readonly<Record<string, number>>> {
  const { rows } = await sql<{ status: string; n: number }>`
    select status, count(*)::int as n from outbound_messages where tenant_id = ${tenant.tenantId} group by status`.execute(
    database.owner,
  );
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
}

/** Drawn by seed: how many accepts a process is granted before it is killed. */
const grant = (n: number): number => (createHash("sha256").update(`crash ${n}`).digest()[0] ?? 0) % perRound;

describe("a killed system", () => {
  test("accepts nothing twice and loses nothing, wherever it was killed", { timeout: 120_000 }, async () => {
    for (const fault of ["send.claimed:1", "send.accepted:7", "send.stored:1", "sweep.rung:3"]) {
      await moreWork();
      const child = start(fault);
      expect(await child.ended, child.said()).toEqual(killed);
    }

    await moreWork();
    const enough = accepts().length + grant(made);
    const random = start();
    await until("some are accepted by a process that is to be killed", random, () => accepts().length > enough);
    random.process.kill("SIGKILL");
    await random.ended;

    // Ctrl-C in the middle of the work: what was begun is ended, the rest waits for the next start.
    await moreWork();
    const before = accepts().length;
    const { sending: orphaned = 0 } = await statuses();
    const interrupted = start();
    await until("one is accepted by a process that is to be stopped", interrupted, () => accepts().length > before);
    interrupted.process.kill("SIGINT");
    expect(await interrupted.ended, interrupted.said()).toEqual(stopped);
    const { sending: left = 0 } = await statuses();
    expect(left).toBeLessThanOrEqual(orphaned);

    await moreWork();
    const last = start();
    await isUp(last);
    // A minute on, every lease of the dead has run out. Nothing tells what became of their calls, so nothing is sent again.
    const { rows } = await sql<{ at: Date }>`select app_now() + interval '60 seconds' as at`.execute(database.owner);
    await setClock(database, rows[0]?.at ?? null);
    await until("every message has an end", last, async () => {
      const { queued = 0, held = 0, sending = 0, ...rest } = await statuses();
      const all = Object.values(rest).reduce((sum, n) => sum + n, 0);
      return queued + held + sending === 0 && all === made * perRound;
    });
    last.process.kill("SIGINT");
    expect(await last.ended, last.said()).toEqual(stopped);

    const log = accepts();
    const ids = log.map((accept) => accept.ourMessageId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(log.map((accept) => accept.to)).size).toBe(log.length);

    const { rows: messages } = await sql<{ id: string; status: string; sent_at: Date | null; attempts: number }>`
      select m.id, m.status, m.sent_at, (select count(*)::int from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id) as attempts
      from outbound_messages m where m.tenant_id = ${tenant.tenantId}`.execute(database.owner);
    expect(messages).toHaveLength(made * perRound);
    const logged = new Set(ids);
    for (const { id, status, sent_at, attempts } of messages) {
      expect(attempts).toBe(1);
      if (sent_at === null) expect(status).toBe("ambiguous");
      else expect(logged.has(id)).toBe(true);
    }
    const known = new Set(messages.map(({ id }) => id));
    expect(log.every(({ ourMessageId }) => ourMessageId !== null && known.has(ourMessageId))).toBe(true);
    // The kills did hit: some calls were accepted without our knowing, and some claimed without a call.
    const open = messages.filter(({ status }) => status === "ambiguous");
    expect(open.some(({ id }) => logged.has(id))).toBe(true);
    expect(open.some(({ id }) => !logged.has(id))).toBe(true);
  });

  test("goes on with an import after its last whole chunk, and forgets no webhook that it answered", async () => {
    const ahead = async (seconds: number) => {
      const { rows } = await sql<{ at: Date }>`select app_now() + make_interval(secs => ${seconds}) as at`.execute(
        database.owner,
      );
      await setClock(database, rows[0]?.at ?? null);
    };
    const one = async <T>(query: RawBuilder<T>): Promise<T | undefined> =>
      (await query.execute(database.owner)).rows[0];
    const rows = 2_300;
    const list = ["Email,First Name", ...Array.from({ length: rows }, (_, n) => `n${n}@import.example,N${n}`)].join(
      "\n",
    );
    const first = start("import.chunk:1");
    await isUp(first);
    const access = await readAccess(children.home);
    if (!access) throw new Error("there is no local.json");
    const headers = { authorization: `Bearer ${access.apiKey}`, "content-type": "text/csv" };
    const created = await fetch(`${access.baseUrl}/v1/imports?source=fair`, { method: "POST", headers, body: list });
    expect(created.status).toBe(201);
    expect(await first.ended, first.said()).toEqual(killed);
    const read = sql<{ status: string; rows: number }>`
      select status, rows_read::int as rows from imports where tenant_id = ${tenant.tenantId}`;
    expect(await one(read)).toMatchObject({
      status: "running",
      rows: expect.toSatisfy((n: number) => n > 0 && n < rows),
    });

    // Past the lease of the dead.
    await ahead(130);
    const second = start("delivery.parsed:1");
    await isUp(second);
    await until("the import has ended", second, async () => (await one(read))?.status === "completed");
    expect((await one(read))?.rows).toBe(rows);
    const count = sql<{ n: number }>`
      select count(*)::int as n from leads where tenant_id = ${tenant.tenantId} and email like '%@import.example'`;
    expect(await one(count)).toEqual({ n: rows });

    /** STOP from a number, signed for the endpoint of the process that is up. */
    const stop = async (from: string): Promise<number | "no answer"> => {
      const { channels } = (await readAccess(children.home)) ?? access;
      const { webhookUrl = "", signing = {} } = channels["twilio"] ?? {};
      const fields = {
        MessageSid: `SM${from.slice(2)}`,
        From: from,
        To: "+12025550100",
        Body: "STOP",
        OptOutType: "STOP",
      };
      const { url, body, headers } = signedForm(String(signing["authToken"]), webhookUrl, fields, false);
      return fetch(url, { method: "POST", headers, body: String(body) }).then(
        ({ status }) => status,
        () => "no answer" as const,
      );
    };
    const suppressed = async (address: string) =>
      (await one(
        sql`select id from communication_suppressions where tenant_id = ${tenant.tenantId} and address = ${address}`,
      )) !== undefined;
    const [parsed, archived] = ["+12025550191", "+12025550192"];
    // Killed after it was read and before it took effect.
    await stop(parsed);
    expect(await second.ended, second.said()).toEqual(killed);
    expect(await suppressed(parsed)).toBe(false);

    await ahead(70);
    const third = start("delivery.archived:1");
    await isUp(third);
    await until("the first no took effect", third, () => suppressed(parsed));
    // Killed before it was answered: it is there all the same, and its second delivery is the same one.
    expect(await stop(archived)).toBe("no answer");
    expect(await third.ended, third.said()).toEqual(killed);

    const last = start();
    await isUp(last);
    expect(await stop(archived)).toBe(200);
    await until("the second no took effect", last, () => suppressed(archived));
    last.process.kill("SIGINT");
    expect(await last.ended, last.said()).toEqual(stopped);
    const inbound = sql<{
      n: number;
    }>`select count(*)::int as n from inbound_messages where tenant_id = ${tenant.tenantId}`;
    expect(await one(inbound)).toEqual({ n: 2 });
  }, 120_000);
});

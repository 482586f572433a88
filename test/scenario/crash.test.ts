/**
 * The whole system in a process of its own, killed where it hurts most and at random, and started again each time. The provider
 * simulator's fsynced log of accepts is the referee: no message is accepted twice, and none is lost.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Context } from "../../core/kernel/context.ts";
import {
  createSender,
  markSenderVerified,
  provision,
  setDefaultSender,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import type { Accept } from "../../local/simulator/state.ts";
import { testDatabase } from "../support/database.ts";
import { person } from "../support/outreach.ts";
import { launch } from "../support/system.ts";
import { setClock, type TestTenant } from "../support/tenant.ts";

const database = await testDatabase();
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-crash-"));
const children: ChildProcess[] = [];
let tenant: TestTenant;
let made = 0;

afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});

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

interface Child {
  /** Resolves when it has ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly process: ChildProcess;
  readonly said: () => string;
}

const root = path.resolve(import.meta.dirname, "../..");

function start(fault?: string): Child {
  const child = spawn(process.execPath, ["local/launch.js", "main.ts"], {
    cwd: root,
    env: {
      ...process.env,
      OUTRIDER_HOME: home,
      DATABASE_URL: database.ownerUrl,
      PORT: "0",
      FAULT_POINT: fault ?? "",
      OUTRIDER_SIMULATOR: "on",
      PUBLIC_URL: "",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  return { ended, process: child, said: () => text };
}

/** Asks until it is so. */
async function until(what: string, child: Child, holds: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > limit) {
      throw new Error(
        `not within 20 s: ${what}; messages: ${JSON.stringify(await statuses())}; it said: ${child.said()}`,
      );
    }
    await wait(10);
  }
}

/** The referee's log, as it is on disk. */
function accepts(): readonly Accept[] {
  const file = path.join(home, "simulator", "accepts.ndjson");
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
      expect(await child.ended, child.said()).toEqual({ code: null, signal: "SIGKILL" });
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
    const stopped = start();
    await until("one is accepted by a process that is to be stopped", stopped, () => accepts().length > before);
    stopped.process.kill("SIGINT");
    expect(await stopped.ended, stopped.said()).toEqual({ code: 0, signal: null });
    const { sending: left = 0 } = await statuses();
    expect(left).toBeLessThanOrEqual(orphaned);

    await moreWork();
    const last = start();
    await until("the last process is up", last, () => last.said().includes("Outrider is up"));
    // A minute on, every lease of the dead has run out. Nothing tells what became of their calls, so nothing is sent again.
    const { rows } = await sql<{ at: Date }>`select app_now() + interval '60 seconds' as at`.execute(database.owner);
    await setClock(database, rows[0]?.at ?? null);
    await until("every message has an end", last, async () => {
      const { queued = 0, held = 0, sending = 0, ...rest } = await statuses();
      const all = Object.values(rest).reduce((sum, n) => sum + n, 0);
      return queued + held + sending === 0 && all === made * perRound;
    });
    last.process.kill("SIGINT");
    expect(await last.ended, last.said()).toEqual({ code: 0, signal: null });

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
});

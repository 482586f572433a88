/** The referee of the crash rig bites: what is planted in the logs or the data is reported by its id, and an honest run is not accused. */
import { createHash } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newId } from "../../core/kernel/id.ts";
import type { Accept } from "../../local/simulator/state.ts";
import { testDatabase } from "../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../support/outreach.ts";
import { launch } from "../support/system.ts";
import { setClock } from "../support/tenant.ts";
import { type Evidence, judge, loadEvidence } from "./checks.ts";
import { diary } from "./database.ts";
import { measure } from "./figures.ts";
import type { GatewayLine } from "./gateway.ts";

const monday = new Date("2026-09-14T15:00:00Z");
const database = await testDatabase();
const pool = new pg.Pool({ connectionString: database.ownerUrl, max: 2 });
// The database goes with whoever is still connected to it.
pool.on("error", () => {});
afterAll(() => pool.end());
const query = async <T>(text: string, values: readonly unknown[] = []): Promise<T[]> =>
  (await pool.query(text, [...values])).rows as T[];

let tenant: ReadyTenant;
let honest: Evidence;

const emails = Array.from({ length: 5 }, (_, n) => `p${n}@referee.example`);

beforeAll(async () => {
  await query(diary);
  await setClock(database, monday);
  tenant = await readyTenant(database);
  const contacts: string[] = [];
  for (const email of emails) contacts.push(await person(database, tenant, { email }));
  const content = { subject: "Once", html: "<p>Once.</p>" };
  const node = { id: "email1", type: "send", channel: "email", content } as const;
  await launch(tenant, { name: "Once", start: "email1", nodes: [node] }, contacts, "Once");
  await pump(tenant);
  const accepts = tenant.email.accepted.map(
    (message, n): Accept => ({
      provider: "sendgrid",
      messageId: `provider-${n}`,
      ourMessageId: message.messageId,
      to: message.to,
      from: "ada@sender.example",
      at: monday.toISOString(),
      ordinal: 1,
      bodySha256: "",
    }),
  );
  await query(
    `insert into webhook_deliveries (tenant_id, id, channel_config_id, provider, target, body, body_bytes, body_sha256, correlation_id, status)
     values ($1, $2, $3, 'sendgrid', $4, 'hello', 5, sha256('hello'), 'cor_1', 'completed')`,
    [tenant.tenantId, newId("delivery", monday), tenant.emailAccount, `/webhooks/sendgrid/${tenant.emailAccount}`],
  );
  // The walk ends by time, which does not pass here.
  await query("update contact_campaigns set status = 'completed'");
  honest = {
    accepts,
    gateway: [acknowledged("hello")],
    deaths: [],
    enrolled: emails.length,
    people: new Map([[tenant.tenantId, emails]]),
    bodyOf: async () => new Uint8Array(),
    sha256: () => "",
  };
});

function acknowledged(body: string): GatewayLine {
  const sha256 = createHash("sha256").update(body).digest("hex");
  return { at: monday.getTime(), path: `/webhooks/sendgrid/${tenant.emailAccount}`, sha256, bytes: body.length };
}

/** Ids of the checks that found something, with what they found first. */
async function accused(evidence: Evidence = honest): Promise<Record<string, string | undefined>> {
  await loadEvidence(query, evidence);
  const verdicts = await judge(query, evidence);
  return Object.fromEntries(
    verdicts.filter(({ violations }) => violations > 0).map(({ id, sample }) => [id, sample[0]]),
  );
}

/** What the checks say while the statement's change stands; it is undone afterwards. */
async function planted(change: string, undo: string): Promise<Record<string, string | undefined>> {
  await query(change);
  try {
    return await accused();
  } finally {
    await query(undo);
  }
}

const first = () => honest.accepts[0] ?? expect.fail("nothing was accepted");

describe("the referee", () => {
  test("accuses nobody when nothing is wrong, and measures what there is", async () => {
    expect(await accused()).toEqual({});
    expect(await measure(query)).toMatchObject({ planned: emails.length, accepted: emails.length, webhooks: 1 });
  });

  test("reports a message that a provider accepted twice, by our id", async () => {
    const again = { ...first(), messageId: "provider-again" };
    const found = await accused({ ...honest, accepts: [...honest.accepts, again] });
    expect(Object.keys(found)).toEqual(["duplicate-id", "duplicate-key"]);
    expect(found["duplicate-id"]).toBe(first().ourMessageId);
  });

  test("reports two messages for one campaign, node and address", async () => {
    const { ourMessageId, to } = honest.accepts[1] ?? expect.fail("only one was accepted");
    const address = (value: string) =>
      query("update outbound_messages set to_address = $1 where id = $2", [value, ourMessageId]);
    await address(first().to);
    const elsewhere = await accused();
    const moved = honest.accepts.map((one) => (one.ourMessageId === ourMessageId ? { ...one, to: first().to } : one));
    const same = await accused({ ...honest, accepts: moved });
    await address(to);
    expect(elsewhere).toEqual({ "unknown-accept": ourMessageId });
    expect(Object.keys(same)).toEqual(["duplicate-key"]);
  });

  test("reports a message that has no end", async () => {
    const id = first().ourMessageId;
    const found = await planted(
      `update outbound_messages set status = 'queued', sent_at = null where id = '${id}'`,
      `update outbound_messages set status = 'sent', sent_at = app_now() where id = '${id}'`,
    );
    expect(found).toEqual({ lost: `${id}: queued`, denied: `${id}: queued` });
  });

  test("reports an accepted message that is said to have failed", async () => {
    const id = first().ourMessageId;
    const found = await planted(
      `update outbound_messages set status = 'failed', sent_at = null where id = '${id}'`,
      `update outbound_messages set status = 'sent', sent_at = app_now() where id = '${id}'`,
    );
    expect(found).toEqual({ denied: `${id}: failed` });
  });

  test("reports a message that is said to be sent and that nobody accepted", async () => {
    const found = await accused({ ...honest, accepts: honest.accepts.slice(1) });
    expect(found).toEqual({ invented: `${first().ourMessageId}: sent` });
  });

  test("reports a second call after one whose end nobody knew", async () => {
    const id = first().ourMessageId;
    const found = await planted(
      `insert into send_attempts (tenant_id, message_id, generation, claim_seq, provider, deadline_at)
         select tenant_id, message_id, generation + 1, claim_seq, provider, deadline_at from send_attempts where message_id = '${id}';
       update send_attempts set outcome = 'ambiguous' where message_id = '${id}' and generation = 1`,
      `delete from send_attempts where message_id = '${id}' and generation = 2;
       update send_attempts set outcome = 'accepted' where message_id = '${id}'`,
    );
    expect(found).toEqual({ "called-twice": id });
  });

  test("reports a claim after a no", async () => {
    const found = await planted(
      `insert into communication_suppressions (tenant_id, id, channel, address, reason, source, created_by, seq)
         values ('${tenant.tenantId}', 'sup_PLANTED', 'email', '${first().to}', 'manual', 'test', 'system:test', 0)`,
      "delete from communication_suppressions where id = 'sup_PLANTED'",
    );
    expect(found["after-no"]).toMatch(/after sup_PLANTED$/);
  });

  test("reports a webhook that was acknowledged and is not there, or not as it was", async () => {
    const found = await accused({ ...honest, gateway: [...honest.gateway, acknowledged("goodbye")] });
    expect(Object.keys(found)).toEqual(["unacknowledged"]);
  });

  test("reports people of a list who are missing, and walks that are not there", async () => {
    const people = new Map([[tenant.tenantId, [...emails, "nobody@referee.example"]]]);
    expect(await accused({ ...honest, people })).toEqual({ unimported: `${tenant.tenantId} nobody@referee.example` });
    expect(await accused({ ...honest, enrolled: emails.length + 1 })).toEqual({
      enrolled: "5 are there, 6 were promised",
    });
  });

  test("reports walks that go nowhere, and rows that the dead still hold", async () => {
    const walk = await planted(
      "update contact_campaigns set status = 'active'",
      "update contact_campaigns set status = 'completed'",
    );
    expect(Object.keys(walk)).toEqual(["unfinished"]);
    const held = await planted(
      "update webhook_deliveries set status = 'running'",
      "update webhook_deliveries set status = 'completed'",
    );
    expect(Object.keys(held)).toEqual(["unapplied"]);
  });

  test("measures how long the rows of a killed worker waited", async () => {
    const move = (worker: string, seconds: number, from: string, to: string) =>
      query(
        `insert into archive.referee_moves (kind, tenant, row_id, generation, from_status, to_status, worker, at)
         values ('deliveries', 't', 'row', 1, $1, $2, $3, $4)`,
        [from, to, worker, new Date(monday.getTime() + seconds * 1_000)],
      );
    await move("w1.1", 0, "pending", "running");
    await move("w2.2", 31, "running", "running");
    await move("w2.2", 32, "running", "completed");
    const deaths = [
      { worker: "w1.1", at: monday.getTime() + 1_000, point: null },
      // Died after it had settled the row: nothing was left behind.
      { worker: "w2.2", at: monday.getTime() + 40_000, point: null },
    ];
    await loadEvidence(query, { ...honest, deaths });
    const { recovery } = await measure(query);
    expect(recovery["deliveries"]).toEqual({ n: 1, p50: 30, p99: 30, max: 30 });
  });

  test("names the delivery whose STOP was followed by a claim, and what befell it", async () => {
    const [delivery] = await query<{ id: string }>("select id from webhook_deliveries");
    await query(
      `insert into inbound_messages (tenant_id, delivery_id, channel_config_id, provider, provider_message_id, channel, from_address,
         to_address, body_text, new_text, classification)
       values ($1, $2, $3, 'sendgrid', 'm1', 'email', $4, 'ada@sender.example', 'STOP', 'STOP', 'opt_out')`,
      [tenant.tenantId, delivery?.id, tenant.emailAccount, emails[0]],
    );
    await query(
      `insert into archive.referee_moves (kind, tenant, row_id, generation, from_status, to_status, worker, at)
       values ('deliveries', $1, $2, 1, 'pending', 'running', 'w1.1', $3)`,
      [tenant.tenantId, delivery?.id, monday],
    );
    await loadEvidence(query, honest);
    const { stop } = await measure(query);
    await query("delete from inbound_messages");
    expect(stop).toMatchObject({
      claimedAfterwards: 1,
      late: [
        { delivery: delivery?.id, answered: monday, moves: expect.arrayContaining(["running 15:00:00.000 w1.1"]) },
      ],
    });
  });
});

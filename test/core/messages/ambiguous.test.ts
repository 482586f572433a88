/** Sends whose end nobody knows: nothing is sent again on suspicion, and settling many costs what settling one does. */
import { sql } from "kysely";
import { beforeEach, describe, expect, it } from "vitest";
import { activate, campaignPort, createCampaign, enroll, runActions } from "../../../core/campaigns/index.ts";
import { deliver, reconcile } from "../../../core/messages/index.ts";
import type { Sender } from "../../../core/ports/sender.ts";
import { testDatabase } from "../../support/database.ts";
import { person, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { statementsOf } from "../../support/statements.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const sentAt = new Date("2026-03-02T16:00:00Z");
const firstLook = 600;
const day = 86_400;

let tenant: ReadyTenant;
beforeEach(async () => {
  await setClock(database, sentAt);
  tenant = await readyTenant(database);
  tenant.email.answer = () => ({ kind: "ambiguous", reason: "reset" });
});

/** Calls that were made and never answered. */
async function ambiguous(count: number): Promise<string[]> {
  const contactIds: string[] = [];
  for (let n = 0; n < count; n++) contactIds.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const plan = {
    start: "intro",
    nodes: [
      {
        id: "intro",
        type: "send",
        channel: "email",
        content: { subject: "Hi", text: "Hello" },
        transitions: [{ on: "no_reply", to: "end", after: "P2D" }],
      },
      { id: "end", type: "stop", outcome: "completed" },
    ],
  };
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  await activate(tenant, { id });
  await runActions(tenant, []);
  await deliver(tenant, tenant.deps, [], () => 60_000);
  return (await messages()).map((one) => one.id);
}

const messages = () =>
  database.owner
    .selectFrom("outbound_messages")
    .select(["id", "status", "run_at", "provider_message_id", "sent_at"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("to_address")
    .execute();

const attempts = async () =>
  (
    await sql`
      select outcome, resolved_by from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      where a.tenant_id = ${tenant.tenantId} order by m.to_address`.execute(database.owner)
  ).rows;

const look = (ids: readonly string[], lookup?: NonNullable<Sender["lookup"]>) =>
  reconcile(
    tenant,
    {
      ...tenant.deps,
      senders: { sendgrid: { ...tenant.email, ...(lookup && { lookup }) } },
      campaigns: campaignPort,
    },
    ids,
  );

const sentPlus = (seconds: number) => new Date(sentAt.getTime() + seconds * 1_000);

describe("where the provider cannot be asked", () => {
  it("there is one look: after it, evidence settles a send or the end of the day does", async () => {
    const ids = await ambiguous(1);
    expect(await messages()).toMatchObject([{ status: "ambiguous", run_at: sentPlus(firstLook) }]);
    await advance(database, firstLook);
    expect(await look(ids)).toEqual({ found: 0, absent: 0, aged: 0, waiting: 1 });
    expect(await messages()).toMatchObject([{ status: "ambiguous", run_at: sentPlus(day) }]);
    await setClock(database, sentPlus(day));
    expect(await look(ids)).toEqual({ found: 0, absent: 0, aged: 1, waiting: 0 });
    expect(await messages()).toMatchObject([{ status: "accepted_unknown", sent_at: sentAt }]);
    expect(await attempts()).toEqual([{ outcome: "ambiguous", resolved_by: "deadline" }]);
  });
});

describe("where the provider can be asked", () => {
  it("it is asked every hour, and at the end of the day once more", async () => {
    const ids = await ambiguous(1);
    await advance(database, firstLook);
    const unknown: NonNullable<Sender["lookup"]> = async () => ({ kind: "unknown" });
    await look(ids, unknown);
    expect(await messages()).toMatchObject([{ run_at: sentPlus(firstLook + 3_600) }]);
    await setClock(database, sentPlus(day - 60));
    await look(ids, unknown);
    expect(await messages()).toMatchObject([{ status: "ambiguous" }]);
    await setClock(database, sentPlus(day + 3_600));
    expect(await look(ids, async () => ({ kind: "found", providerMessageId: "p" }))).toMatchObject({ found: 1 });
  });

  it("each of a batch comes to its own end", async () => {
    const ids = await ambiguous(4);
    await advance(database, firstLook);
    const lookup: NonNullable<Sender["lookup"]> = async (_credentials, { to }) => {
      if (to === "p0@example.com") return { kind: "found", providerMessageId: "known" };
      if (to === "p1@example.com") return { kind: "absent" };
      if (to === "p2@example.com") throw new Error("a defect of the adapter");
      return { kind: "unknown" };
    };
    expect(await look(ids, lookup)).toEqual({ found: 1, absent: 1, aged: 0, waiting: 2 });
    expect(await messages()).toMatchObject([
      { status: "sent", provider_message_id: "known", sent_at: sentAt },
      { status: "queued", run_at: sentPlus(firstLook), sent_at: null },
      { status: "ambiguous", sent_at: null },
      { status: "ambiguous", sent_at: null },
    ]);
    expect(await attempts()).toEqual([
      { outcome: "accepted", resolved_by: "lookup" },
      { outcome: "abandoned", resolved_by: "lookup" },
      { outcome: "ambiguous", resolved_by: null },
      { outcome: "ambiguous", resolved_by: null },
    ]);
  });

  it("all of a batch are asked about at the same time", async () => {
    const ids = await ambiguous(5);
    await advance(database, firstLook);
    let asked = 0;
    const everybody = Promise.withResolvers<void>();
    const report = await look(ids, async () => {
      asked++;
      if (asked === ids.length) everybody.resolve();
      await everybody.promise;
      return { kind: "unknown" };
    });
    expect(report).toMatchObject({ waiting: 5 });
  });
});

it("looking at many, and giving many up for accepted, costs as many statements as one", async () => {
  const ids = await ambiguous(40);
  const [first = "", ...others] = ids;
  const cost = (some: readonly string[]) =>
    statementsOf(tenant.db, (db) => reconcile({ ...tenant, db }, { ...tenant.deps, campaigns: campaignPort }, some));
  await setClock(database, sentPlus(firstLook));
  const toLook = await cost([first]);
  expect(await cost(others)).toBe(toLook);
  await setClock(database, sentPlus(day));
  const toAge = await cost([first]);
  expect(await cost(others)).toBe(toAge);
  expect(new Set((await messages()).map((one) => one.status))).toEqual(new Set(["accepted_unknown"]));
});

it("an answer that came while the provider was asked is not overwritten", async () => {
  const ids = await ambiguous(2);
  await advance(database, firstLook);
  const report = await look(ids, async (_credentials, { messageId, to }) => {
    if (to !== "p0@example.com") return { kind: "absent" };
    await sql`update outbound_messages set status = 'delivered', sent_at = app_now() where id = ${messageId}`.execute(
      database.owner,
    );
    return { kind: "absent" };
  });
  expect(report).toEqual({ found: 0, absent: 1, aged: 0, waiting: 0 });
  expect(await messages()).toMatchObject([{ status: "delivered" }, { status: "queued" }]);
});

/** Commands on one campaign that meet in the database: nobody is lost between them, and nobody waits in a circle. */
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import {
  activate,
  campaignPort,
  createCampaign,
  enroll,
  getCampaign,
  pause,
  pauseEnrollment,
  resume,
  resumeEnrollment,
  runActions,
  stop,
  stopEnrollment,
  suppress,
} from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { tellStopped } from "../../../core/campaigns/suppress.ts";
import { claim, maxClaims, type TxContext, transact, work } from "../../../core/kernel/index.ts";
import { deliver } from "../../../core/messages/index.ts";
import { addMany } from "../../../core/suppression/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { hold, waits } from "../../support/race.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York. */
const monday = new Date("2026-03-02T16:00:00Z");

const mail: PlanInput = {
  start: "intro",
  nodes: [{ id: "intro", type: "send", channel: "email", content: { subject: "Hi", text: "Hello" } }],
};

async function drafted(plan: PlanInput, count: number) {
  await setClock(database, monday);
  const tenant = await readyTenant(database);
  const contacts: string[] = [];
  for (let n = 0; n < count; n++) contacts.push(await person(database, tenant, { email: `p${n}@example.com` }));
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  return { tenant, contacts, id };
}

const statusOf = async (tenant: ReadyTenant, id: string): Promise<string> =>
  (
    await database.owner
      .selectFrom("marketing.campaigns")
      .select("status")
      .where("tenant_id", "=", tenant.tenantId)
      .where("campaign_id", "=", id)
      .executeTakeFirstOrThrow()
  ).status;

const enrollmentsOf = (tenant: ReadyTenant) =>
  database.owner
    .selectFrom("contact_campaigns")
    .select(["id", "status", "exit_reason", "state"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

const send = (ctx: ReadyTenant | TxContext, { deps }: ReadyTenant) => deliver(ctx, deps, [], () => 60_000);
const addresses = (tenant: ReadyTenant) => tenant.email.accepted.map((one) => one.to).toSorted();

describe("who enrolls", () => {
  it("while the last contact arrives keeps the campaign open, and gets its messages", async () => {
    const { tenant, contacts, id } = await drafted(mail, 2);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts.slice(0, 1) } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    const entering = hold(tenant, (ctx) =>
      enroll(ctx, { campaignId: id, audience: { contactIds: contacts.slice(1) } }),
    );
    await entering.reached;
    const arriving = send(tenant, tenant);
    await waits(database, arriving);
    entering.release();
    await Promise.all([entering.done, arriving]);
    expect(await statusOf(tenant, id)).toBe("active");
    await pump(tenant);
    expect(addresses(tenant)).toEqual(["p0@example.com", "p1@example.com"]);
    expect(await statusOf(tenant, id)).toBe("completed");
  });

  it("after the last contact has arrived is told that the campaign is over, not taken in for nothing", async () => {
    const { tenant, contacts, id } = await drafted(mail, 2);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts.slice(0, 1) } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    const arriving = hold(tenant, (ctx) => send(ctx, tenant));
    await arriving.reached;
    const entering = enroll(tenant, { campaignId: id, audience: { contactIds: contacts.slice(1) } });
    await waits(database, entering);
    arriving.release();
    await expect(entering).rejects.toMatchObject({ code: "enrollment.campaign_closed" });
    await arriving.done;
    expect(await statusOf(tenant, id)).toBe("completed");
  });

  it("while the campaign is activated is started by one of the two", async () => {
    const { tenant, contacts, id } = await drafted(mail, 1);
    const entering = hold(tenant, (ctx) => enroll(ctx, { campaignId: id, audience: { contactIds: contacts } }));
    await entering.reached;
    const activating = activate(tenant, { id });
    await waits(database, activating);
    entering.release();
    await Promise.all([entering.done, activating]);
    await pump(tenant);
    expect(addresses(tenant)).toEqual(["p0@example.com"]);
  });

  it("just after the campaign was activated is started too", async () => {
    const { tenant, contacts, id } = await drafted(mail, 1);
    const activating = hold(tenant, (ctx) => activate(ctx, { id }));
    await activating.reached;
    const entering = enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await waits(database, entering);
    activating.release();
    await Promise.all([entering, activating.done]);
    await pump(tenant);
    expect(addresses(tenant)).toEqual(["p0@example.com"]);
  });

  it("while the campaign is stopped is refused", async () => {
    const { tenant, contacts, id } = await drafted(mail, 1);
    await activate(tenant, { id });
    const stopping = hold(tenant, (ctx) => stop(ctx, { id }));
    await stopping.reached;
    const entering = enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await waits(database, entering);
    stopping.release();
    await expect(entering).rejects.toMatchObject({ code: "enrollment.campaign_closed" });
    await stopping.done;
    expect(await enrollmentsOf(tenant)).toEqual([]);
  });

  it("twice at once is enrolled once, and both callers are told what became of it", async () => {
    const { tenant, contacts, id } = await drafted(mail, 20);
    const first = hold(tenant, (ctx) => enroll(ctx, { campaignId: id, audience: { contactIds: contacts } }));
    await first.reached;
    const second = enroll(tenant, { campaignId: id, audience: { contactIds: contacts.toReversed() } });
    await waits(database, second);
    first.release();
    expect(await first.done).toMatchObject({ enrolled: 20, alreadyEnrolled: 0 });
    expect(await second).toMatchObject({ enrolled: 0, alreadyEnrolled: 20 });
  });
});

describe("locks are taken in one order, so that nobody is thrown out", () => {
  it("by a pause and by actions that are due", async () => {
    const { tenant, contacts, id } = await drafted(mail, 5);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    const go = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    let pauses = 0;
    const pausing = transact(tenant, async (ctx) => {
      pauses++;
      // The first thing that a pause does; the rest follows when somebody waits for it.
      await sql`select pg_advisory_xact_lock(hashtextextended(${`campaign:${ctx.tenantId}:${id}`}, 0))`.execute(ctx.db);
      locked.resolve();
      await go.promise;
      await pause(ctx, { id });
    });
    await locked.promise;
    const running = runActions(tenant, []);
    await waits(database, running);
    go.resolve();
    await Promise.all([pausing, running]);
    expect(pauses).toBe(1);
    await pump(tenant);
    expect(addresses(tenant)).toEqual([]);
  });

  const meeting = async (
    tenant: ReadyTenant,
    command: (ctx: TxContext) => Promise<unknown>,
    step: (ctx: TxContext, enrollmentId: string) => Promise<unknown>,
  ) => {
    const [enrollment] = await enrollmentsOf(tenant);
    const go = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    let steps = 0;
    const stepping = transact(tenant, async (ctx) => {
      steps++;
      // The first thing that everybody does who moves an enrollment.
      await sql`select from contact_campaigns where tenant_id = ${ctx.tenantId} and id = ${enrollment?.id ?? ""} for update`.execute(
        ctx.db,
      );
      locked.resolve();
      await go.promise;
      await step(ctx, enrollment?.id ?? "");
    });
    await locked.promise;
    let commands = 0;
    const commanding = transact(tenant, (ctx) => {
      commands++;
      return command(ctx);
    });
    await waits(database, commanding);
    go.resolve();
    await Promise.all([stepping, commanding]);
    expect({ steps, commands }).toEqual({ steps: 1, commands: 1 });
  };

  it("by the stop of a campaign and by an event of one of its enrollments", async () => {
    const { tenant, contacts, id } = await drafted(mail, 3);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    await meeting(
      tenant,
      (ctx) => stop(ctx, { id }),
      (ctx, enrollmentId) => pauseEnrollment(ctx, { id: enrollmentId }),
    );
    expect((await enrollmentsOf(tenant)).map((one) => one.status)).toEqual(["stopped", "stopped", "stopped"]);
  });

  it("by the suppression of an address and by the end of an enrollment that writes to it", async () => {
    const { tenant, contacts, id } = await drafted(mail, 1);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    const entry = { channel: "email", address: "p0@example.com", reason: "unsubscribed", source: "test" } as const;
    await meeting(
      tenant,
      (ctx) => suppress(ctx, { entries: [entry] }),
      (ctx, enrollmentId) => stopEnrollment(ctx, { id: enrollmentId }),
    );
    expect((await enrollmentsOf(tenant)).map((one) => one.exit_reason)).toEqual(["stopped_by_operator"]);
  });

  it("by the suppression of an address and by a pause that reaches its message", async () => {
    const { tenant, contacts, id } = await drafted(mail, 2);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    const entry = { channel: "email", address: "p0@example.com", reason: "unsubscribed", source: "test" } as const;
    const go = Promise.withResolvers<void>();
    const added = Promise.withResolvers<void>();
    let suppressions = 0;
    const suppressing = transact(tenant, async (ctx) => {
      suppressions++;
      const { stopped } = await addMany(ctx, { entries: [entry] });
      added.resolve();
      await go.promise;
      await tellStopped(ctx, stopped);
    });
    await added.promise;
    let pauses = 0;
    const pausing = transact(tenant, (ctx) => {
      pauses++;
      return pause(ctx, { id });
    });
    await waits(database, pausing);
    go.resolve();
    await Promise.all([suppressing, pausing]);
    expect({ suppressions, pauses }).toEqual({ suppressions: 1, pauses: 1 });
    expect((await enrollmentsOf(tenant)).map((one) => one.status).toSorted()).toEqual(["active", "stopped"]);
  });
});

it("a claim waits for a pause that is under way, and then takes nothing of its campaign", async () => {
  const { tenant, contacts, id } = await drafted(mail, 3);
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  await activate(tenant, { id });
  await runActions(tenant, []);
  const go = Promise.withResolvers<void>();
  const locked = Promise.withResolvers<void>();
  const pausing = transact(tenant, async (ctx) => {
    // The first thing that a pause does: no row is touched yet.
    await sql`select pg_advisory_xact_lock(hashtextextended(${`campaign:${ctx.tenantId}:${id}`}, 0))`.execute(ctx.db);
    locked.resolve();
    await go.promise;
    await pause(ctx, { id });
  });
  await locked.promise;
  const sending = send(tenant, tenant);
  await waits(database, sending);
  go.resolve();
  await Promise.all([pausing, sending]);
  expect(addresses(tenant)).toEqual([]);
  await resume(tenant, { id });
  await pump(tenant);
  expect(addresses(tenant)).toHaveLength(3);
});

it("actions whose campaign is held for long are put back: waiting is no crash, and they run when it is free", async () => {
  const { tenant, contacts, id } = await drafted(mail, 2);
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  await activate(tenant, { id });
  const holding = hold(tenant, (ctx) =>
    sql`select pg_advisory_xact_lock(hashtextextended(${`campaign:${ctx.tenantId}:${id}`}, 0))`.execute(ctx.db),
  );
  await holding.reached;
  expect(await runActions(tenant, [])).toBe(0);
  const { rows } = await sql`
    select distinct status, attempts, lease_until from scheduled_actions where tenant_id = ${tenant.tenantId}`.execute(
    database.owner,
  );
  expect(rows).toEqual([{ status: "pending", attempts: 0, lease_until: null }]);
  holding.release();
  await holding.done;
  await advance(database, 15);
  expect(await runActions(tenant, [])).toBe(2);
});

it("an action is not blamed for deadlocks with others: it is put back, and the claim does not count", async () => {
  const { tenant, contacts, id } = await drafted(mail, 1);
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  await activate(tenant, { id });
  await sql`update scheduled_actions set attempts = ${maxClaims - 1} where tenant_id = ${tenant.tenantId}`.execute(
    database.owner,
  );
  await sql`
    create function collide() returns trigger language plpgsql as $$
    begin raise exception 'deadlock detected' using errcode = '40P01'; end $$`.execute(database.owner);
  await sql`
    create trigger collide before update on scheduled_actions for each row when (new.status = 'completed')
    execute function collide()`.execute(database.owner);
  expect(await runActions(tenant, [])).toBe(0);
  await sql`drop function collide() cascade`.execute(database.owner);
  expect(await enrollmentsOf(tenant)).toMatchObject([{ status: "active" }]);
  await advance(database, 15);
  expect(await runActions(tenant, [])).toBe(1);
});

const later: PlanInput = {
  start: "rest",
  nodes: [{ id: "rest", type: "wait", duration: "PT1H", to: "intro" }, ...mail.nodes],
};

it.each([
  [
    "its enrollment",
    (ctx, enrollmentId) => pauseEnrollment(ctx, { id: enrollmentId }),
    (t, id) => resumeEnrollment(t, { id }),
  ],
  ["its campaign", (ctx, _, id) => pause(ctx, { id }), (t, _, id) => resume(t, { id })],
] satisfies [
  string,
  (ctx: TxContext, enrollmentId: string, campaignId: string) => Promise<unknown>,
  (tenant: ReadyTenant, enrollmentId: string, campaignId: string) => Promise<unknown>,
][])(
  "the failure of an action is not recorded when %s was paused meanwhile: it goes on as if it had never failed",
  async (_, halt, goOn) => {
    const { tenant, contacts, id } = await drafted(later, 1);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    await runActions(tenant, []);
    await advance(database, 3_600);
    const [{ id: enrollmentId } = { id: "" }] = await enrollmentsOf(tenant);
    for (let deaths = 0; deaths < 5; deaths++) {
      await transact(tenant, ({ db, tenantId }) => claim(db, tenantId, work.actions, { limit: 1 }));
      await advance(database, work.actions.leaseSeconds + 1);
    }
    const go = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const halting = transact(tenant, async (ctx) => {
      await sql`select from contact_campaigns where tenant_id = ${ctx.tenantId} and id = ${enrollmentId} for update`.execute(
        ctx.db,
      );
      locked.resolve();
      await go.promise;
      await halt(ctx, enrollmentId, id);
    });
    await locked.promise;
    const running = runActions(tenant, []);
    await waits(database, running);
    go.resolve();
    await Promise.all([halting, running]);
    await advance(database, 60);
    expect(await runActions(tenant, [])).toBe(0);
    await goOn(tenant, enrollmentId, id);
    await pump(tenant);
    expect(addresses(tenant)).toEqual(["p0@example.com"]);
  },
);

it.each([
  [
    "before its campaign was activated",
    async (tenant: ReadyTenant, id: string) => void (await activate(tenant, { id })),
  ],
  ["before its first action ran", async (tenant: ReadyTenant) => void (await runActions(tenant, []))],
])("an enrollment that was paused %s begins when it is resumed", async (when, then) => {
  const { tenant, contacts, id } = await drafted(mail, 1);
  if (when.includes("action")) await activate(tenant, { id });
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  const [enrollment] = await enrollmentsOf(tenant);
  await pauseEnrollment(tenant, { id: enrollment?.id ?? "" });
  await then(tenant, id);
  await pump(tenant);
  expect(addresses(tenant)).toEqual([]);
  await resumeEnrollment(tenant, { id: enrollment?.id ?? "" });
  await pump(tenant);
  expect(addresses(tenant)).toEqual(["p0@example.com"]);
});

it("a campaign that ends while it is being paused stays ended", async () => {
  const { tenant, id } = await drafted(mail, 0);
  await activate(tenant, { id });
  const ending = hold(tenant, (ctx) =>
    sql`update marketing.campaigns set status = 'completed', ended_at = ${ctx.now} where tenant_id = ${ctx.tenantId} and campaign_id = ${id}`.execute(
      ctx.db,
    ),
  );
  await ending.reached;
  const pausing = pause(tenant, { id });
  await waits(database, pausing);
  ending.release();
  await ending.done;
  await expect(pausing).rejects.toMatchObject({ code: "campaign.illegal_transition" });
  expect(await getCampaign(tenant, { id })).toMatchObject({ status: "completed" });
});

it("an enrollment that was stopped before it began cannot be paused or resumed back to life", async () => {
  const { tenant, contacts, id } = await drafted(mail, 1);
  await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
  await stop(tenant, { id });
  const [enrollment] = await enrollmentsOf(tenant);
  await pauseEnrollment(tenant, { id: enrollment?.id ?? "" });
  await resumeEnrollment(tenant, { id: enrollment?.id ?? "" });
  expect(await enrollmentsOf(tenant)).toEqual([enrollment]);
});

describe("an enrollment whose action cannot be run", () => {
  const plan: PlanInput = {
    start: "intro",
    nodes: [
      {
        id: "intro",
        type: "send",
        channel: "email",
        content: { subject: "Hi", text: "Hello" },
        transitions: [
          { on: "no_reply", to: "call", after: "PT24H" },
          { on: "no_click", to: "bump", after: "P10D" },
        ],
      },
      { id: "call", type: "task", title: "Call", to: "bump" },
      { id: "bump", type: "send", channel: "email", content: { subject: "Again", text: "Hello again" } },
    ],
  };

  it("ends in error for good: no later event, action or message brings it back", async () => {
    const { tenant, contacts, id } = await drafted(plan, 1);
    await enroll(tenant, { campaignId: id, audience: { contactIds: contacts } });
    await activate(tenant, { id });
    await pump(tenant);
    await sql`create function refuse_task() returns trigger language plpgsql as $$ begin raise exception 'no task'; end $$`.execute(
      database.owner,
    );
    await sql`create trigger refuse_task before insert on tasks for each row execute function refuse_task()`.execute(
      database.owner,
    );
    await advance(database, 86_400);
    for (let tries = 0; tries < maxClaims; tries++) {
      const due = await database.owner
        .selectFrom("scheduled_actions")
        .select("id")
        .where("tenant_id", "=", tenant.tenantId)
        .where("status", "=", "pending")
        .where("watch", "=", "no_reply")
        .execute();
      await runActions(
        tenant,
        due.map((one) => one.id),
      );
      await advance(database, 600);
    }
    await sql`drop trigger refuse_task on tasks`.execute(database.owner);
    const [ended] = await enrollmentsOf(tenant);
    expect(ended).toMatchObject({ status: "error", exit_reason: "no task", state: { status: "error" } });
    // The provider's word on the first message comes late.
    await transact(tenant, (ctx) =>
      campaignPort.tell(ctx, [{ enrollmentId: ended?.id ?? "", nodeId: "intro", kind: "sent", at: new Date(0) }]),
    );
    await advance(database, 20 * 86_400);
    await pump(tenant);
    expect((await enrollmentsOf(tenant))[0]).toMatchObject({ status: "error" });
    expect(tenant.email.accepted).toHaveLength(1);
    const transitions = await database.owner
      .selectFrom("campaign_transitions")
      .select("reason")
      .where("tenant_id", "=", tenant.tenantId)
      .where("to_status", "=", "error")
      .execute();
    expect(transitions).toEqual([{ reason: "no task" }]);
  });
});

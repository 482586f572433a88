/** Messages of those who were moved to another version: whatever becomes of them is told under the names of the plan that is walked now. */
import { afterEach, describe, expect, it } from "vitest";
import {
  activate,
  addPlanVersion,
  campaignPort,
  compareWithLive,
  createCampaign,
  type EnrollmentState,
  enroll,
  listTasks,
  migrateEnrollments,
  pauseEnrollment,
  resumeEnrollment,
  runActions,
  simulate,
  stopEnrollment,
  suppress,
} from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { takeEffect } from "../../../core/deliveries/effects.ts";
import { type EventType, transact } from "../../../core/kernel/index.ts";
import { explainMessage, reconcile } from "../../../core/messages/index.ts";
import { checkTenantInvariants } from "../../../core/operator/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, clock, setClock } from "../../support/tenant.ts";
import { email } from "./plans.ts";

const database = await testDatabase();
const day = 86_400;

/** One message, answered within two days or not. */
const letter = (first: string, answered: string, silent: string): PlanInput => ({
  start: first,
  exitOn: ["bounced"],
  nodes: [
    email(first, {
      transitions: [
        { on: "replied", to: answered },
        { on: "no_reply", to: silent, after: "P2D" },
      ],
    }),
    { id: answered, type: "stop", outcome: "completed", reason: "answered" },
    { id: silent, type: "stop", outcome: "completed", reason: "silent" },
  ],
});
const old = letter("intro", "yes", "end");
const next = letter("hello", "oh", "over");

/** Messages a day apart, whatever their nodes are called. */
const chain = (...ids: string[]): PlanInput => ({
  start: ids[0] ?? "",
  nodes: ids.map((id, n) =>
    email(id, {
      transitions: ids[n + 1] === undefined ? [] : [{ on: "no_reply", to: ids[n + 1] ?? "", after: "P1D" }],
    }),
  ),
});
const steps = (...subjects: string[]) => ({
  steps: subjects.map((subject, n) => ({ delayHours: n === 0 ? 0 : 24, subject, text: "Hello" })),
});

let tenant: ReadyTenant;
afterEach(async () => {
  const broken = (await checkTenantInvariants(tenant)).filter(({ violations }) => violations > 0);
  expect(broken).toEqual([]);
});

async function campaign(plan: unknown, addresses: readonly string[] = ["ada@example.com"]): Promise<string> {
  await setClock(database, new Date("2026-03-02T16:00:00Z"));
  tenant = await readyTenant(database);
  const { id } = await createCampaign(tenant, { name: "Spring", plan: plan as never });
  for (const address of addresses) await enter(id, address);
  await activate(tenant, { id });
  return id;
}

const enter = async (campaignId: string, address: string) =>
  enroll(tenant, { campaignId, audience: { contactIds: [await person(database, tenant, { email: address })] } });

async function moveTo(campaignId: string, plan: unknown, nodeMap: Record<string, string>) {
  await addPlanVersion(tenant, { id: campaignId, plan: plan as never });
  return migrateEnrollments(tenant, { campaignId, nodeMap });
}

/** One address, two contacts: the first was written to under the old plan, the second's message waits under the next one. */
async function sentAndWaiting(): Promise<string> {
  const id = await campaign(old, ["same@gmail.com"]);
  await pump(tenant);
  await addPlanVersion(tenant, { id, plan: next as never });
  await advance(database, 60);
  await enter(id, "sam.e@gmail.com");
  await runActions(tenant, []);
  return id;
}

async function daysPass(days: number): Promise<void> {
  for (let n = 0; n < days; n++) {
    await advance(database, day);
    await pump(tenant);
  }
}

const walks = () =>
  database.owner
    .selectFrom("contact_campaigns")
    .select(["id", "status", "current_node_id as node", "exit_reason as reason", "state"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

async function sendsOf(n = 0): Promise<EnrollmentState["sends"]> {
  const state = (await walks())[n]?.state as EnrollmentState | undefined;
  return state?.sends ?? {};
}

const messages = () =>
  database.owner
    .selectFrom("outbound_messages")
    .select(["id", "node_id as node", "status"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("id")
    .execute();

const subjects = () => tenant.email.accepted.map((one) => ("subject" in one ? one.subject : ""));

async function tell(n: number, type: EventType): Promise<void> {
  const messageId = (await messages())[n]?.id ?? "";
  const at = await clock(database);
  const event = {
    providerEventId: `${messageId} ${type}`,
    type,
    at,
    messageId,
    providerMessageId: null,
    channel: "email" as const,
    address: null,
    machine: false,
    metadata: {},
  };
  const fact = { channelConfigId: tenant.emailAccount, provider: "sendgrid", deliveryId: null, event };
  await transact(tenant, (ctx) => takeEffect(ctx, { inbound: [], facts: [fact] }));
}

describe("a message that has no end yet when its walk is moved", () => {
  it("is told under its new name when it was queued", async () => {
    const id = await campaign(old);
    await runActions(tenant, []);
    await moveTo(id, next, { intro: "hello" });
    expect(await pump(tenant)).toMatchObject({ accepted: 1 });
    await daysPass(3);
    expect(await walks()).toMatchObject([{ status: "completed", reason: "silent", node: "over" }]);
    expect(await messages()).toMatchObject([{ node: "intro", status: "sent" }]);
  });

  it("is told under its new name when the provider had it in hand", async () => {
    const id = await campaign(old);
    tenant.email.answer = async () => {
      await moveTo(id, next, { intro: "hello" });
      return { kind: "accepted", providerMessageId: "late" };
    };
    await pump(tenant);
    await daysPass(3);
    expect(await walks()).toMatchObject([{ status: "completed", reason: "silent" }]);
  });

  it("is told under its new name when the provider refuses it", async () => {
    const id = await campaign(old);
    await runActions(tenant, []);
    await moveTo(id, next, { intro: "hello" });
    tenant.email.answer = () => ({ kind: "rejected", failure: "content", code: "413", reason: "too large" });
    await pump(tenant);
    expect(await walks()).toMatchObject([{ status: "stopped", reason: "send_failed" }]);
  });

  it("is told under its new name when nobody knew whether it was sent", async () => {
    const id = await campaign(old);
    tenant.email.answer = () => ({ kind: "ambiguous", reason: "time-out" });
    await pump(tenant);
    await moveTo(id, next, { intro: "hello" });
    await advance(database, 25 * 3_600);
    const { senders, keys } = tenant.deps;
    const ids = (await messages()).map((one) => one.id);
    await reconcile(tenant, { senders, keys, campaigns: campaignPort }, ids, () => 60_000);
    await daysPass(3);
    expect(await walks()).toMatchObject([{ status: "completed", reason: "silent" }]);
  });

  it("is told under its new name when the gate or a suppression ends it", async () => {
    const id = await campaign(old, ["ada@example.com", "eve@example.com"]);
    await runActions(tenant, []);
    await moveTo(id, next, { intro: "hello" });
    const entry = { channel: "email", address: "ada@example.com", reason: "manual", source: "test" } as const;
    await suppress(tenant, { entries: [entry] });
    await advance(database, 30 * day);
    await pump(tenant);
    expect(await walks()).toMatchObject([
      { status: "stopped", reason: "send_failed" },
      { status: "stopped", reason: "send_failed" },
    ]);
  });

  it("is foretold as it will be: with the text and the name it was queued with", async () => {
    const id = await campaign(old);
    await runActions(tenant, []);
    await moveTo(id, next, { intro: "hello" });
    const run = await simulate(tenant, { campaignId: id });
    expect(run.enrollments).toMatchObject([{ status: "completed", nodeId: "over" }]);
    await pump(tenant);
    expect(await compareWithLive(tenant, { simulationId: run.id ?? "" })).toMatchObject({ live: 1, differences: [] });
  });
});

describe("a message that was sent before its walk was moved", () => {
  it("is answered on the new plan's terms", async () => {
    const id = await campaign(old);
    await pump(tenant);
    await moveTo(id, next, { intro: "hello" });
    await tell(0, "opened");
    expect(await sendsOf()).toMatchObject({ hello: { events: { opened: expect.any(String) } } });
    await tell(0, "replied");
    expect(await walks()).toMatchObject([{ status: "completed", node: "oh", reason: "answered" }]);
  });

  it("keeps its address from being written to again under the new name", async () => {
    const id = await campaign(old, ["same@gmail.com"]);
    await pump(tenant);
    await moveTo(id, next, { intro: "hello" });
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect(await messages()).toMatchObject([{ status: "sent" }, { status: "cancelled" }]);
  });

  it("keeps its address from being written to again by a walk that stayed behind on its version", async () => {
    const nap = (id: string, to: string) => ({ id, type: "wait", duration: "P1D", to }) as const;
    const later = (id: string) => email(id, { transitions: [{ on: "no_reply", to: "end", after: "P9D" }] });
    const end = { id: "end", type: "stop" } as const;
    const id = await campaign({ start: "nap", nodes: [nap("nap", "a"), later("a"), end] }, ["same@gmail.com"]);
    await pump(tenant);
    await daysPass(1);
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    const behind = (await walks())[1]?.id ?? "";
    const moved = await moveTo(id, { start: "rest", nodes: [nap("rest", "b"), later("b"), end] }, { a: "b" });
    expect(moved).toMatchObject({ migrated: 1, needMapping: [{}] });
    await resumeEnrollment(tenant, { id: behind });
    await advance(database, 60);
    const foretold = await simulate(tenant, { campaignId: id });
    await daysPass(2);
    expect(subjects()).toEqual(["About a"]);
    expect(await compareWithLive(tenant, { simulationId: foretold.id ?? "" })).toMatchObject({ differences: [] });
    expect(await messages()).toMatchObject([
      { node: "a", status: "sent" },
      { node: "a", status: "cancelled" },
    ]);
    expect((await walks())[1]).toMatchObject({ status: "stopped", reason: "send_failed" });
  });

  it("takes its new name from a message that was never sent, and keeps its address from being written to again", async () => {
    const id = await sentAndWaiting();
    await stopEnrollment(tenant, { id: (await walks())[1]?.id ?? "" });
    expect(await messages()).toMatchObject([
      { node: "intro", status: "sent" },
      { node: "hello", status: "cancelled" },
    ]);
    expect(await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } })).toMatchObject({
      migrated: 1,
    });
    await advance(database, 60);
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect((await messages())[2]).toMatchObject({ node: "hello", status: "cancelled" });
  });

  it("keeps its address from being written to again by a walk that is moved after it has ended", async () => {
    const nap = (id: string, to: string) => ({ id, type: "wait", duration: "P1D", to }) as const;
    const id = await campaign({ start: "nap", nodes: [nap("nap", "a"), email("a")] }, ["same@gmail.com"]);
    await pump(tenant);
    await advance(database, day / 2);
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    await advance(database, day / 2);
    await pump(tenant);
    expect(await walks()).toMatchObject([{ status: "completed" }, { status: "active" }]);
    const moved = await moveTo(id, { start: "rest", nodes: [nap("rest", "b"), email("b")] }, { nap: "rest", a: "b" });
    expect(moved).toMatchObject({ migrated: 1, needMapping: [] });
    await advance(database, 60);
    const foretold = await simulate(tenant, { campaignId: id });
    await daysPass(2);
    expect(subjects()).toEqual(["About a"]);
    expect(await messages()).toMatchObject([
      { node: "a", status: "sent" },
      { node: "b", status: "cancelled" },
    ]);
    expect(await compareWithLive(tenant, { simulationId: foretold.id ?? "" })).toMatchObject({ differences: [] });
  });

  it("keeps its address from being written to by one that waits under the new name, and by who comes after that one", async () => {
    const id = await sentAndWaiting();
    expect(await messages()).toMatchObject([{ status: "sent" }, { node: "hello", status: "queued" }]);
    await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } });
    await advance(database, 60);
    await pump(tenant);
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect(await messages()).toMatchObject([{ status: "sent" }, { status: "cancelled" }, { status: "cancelled" }]);
    const [, waiting] = await messages();
    const said = await explainMessage(tenant, campaignPort, { messageId: waiting?.id ?? "" });
    expect(said).toMatchObject({
      code: "duplicate_address",
      decided: { detail: expect.stringContaining("went to the address already") },
    });
  });

  it("keeps its address from being written to again when nobody is left to be moved", async () => {
    const id = await campaign(old, ["same@gmail.com", "eve@example.com"]);
    await pump(tenant);
    await addPlanVersion(tenant, { id, plan: next as never });
    const gone = await walks();
    await enter(id, "zoe@example.com");
    for (const { id } of gone) await stopEnrollment(tenant, { id });
    expect(await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } })).toMatchObject({
      migrated: 0,
    });
    await enter(id, "s.ame+x@gmail.com");
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(3);
    expect((await messages()).map((one) => one.status).toSorted()).toEqual(["cancelled", "sent", "sent", "sent"]);
  });

  it("keeps its address from being written to by one that waits under another name, when a later version sees both as one", async () => {
    const id = await sentAndWaiting();
    const third = letter("welcome", "indeed", "gone");
    expect(await moveTo(id, third, { intro: "welcome", hello: "welcome" })).toMatchObject({ migrated: 2 });
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect(await messages()).toMatchObject([{ status: "sent" }, { status: "cancelled" }]);
  });

  it("loses a step to nobody whose message is only held back", async () => {
    const id = await campaign(old, ["same@gmail.com"]);
    await runActions(tenant, []);
    await addPlanVersion(tenant, { id, plan: next as never });
    await enter(id, "sam.e@gmail.com");
    await runActions(tenant, []);
    await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } });
    const [first, second] = await walks();
    await pauseEnrollment(tenant, { id: first?.id ?? "" });
    await pump(tenant);
    await stopEnrollment(tenant, { id: first?.id ?? "" });
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    expect((await walks()).find((one) => one.id === second?.id)).toMatchObject({ status: "active" });
  });

  it("of two that wait under two names, one goes", async () => {
    const id = await campaign(old, ["same@gmail.com"]);
    await runActions(tenant, []);
    await addPlanVersion(tenant, { id, plan: next as never });
    await enter(id, "sam.e@gmail.com");
    await runActions(tenant, []);
    await migrateEnrollments(tenant, { campaignId: id, nodeMap: { intro: "hello" } });
    expect(await messages()).toMatchObject([{ status: "queued" }, { status: "queued" }]);
    const foretold = await simulate(tenant, { campaignId: id });
    await pump(tenant);
    expect(tenant.email.accepted).toHaveLength(1);
    await pump(tenant);
    expect((await messages()).map((one) => one.status)).toEqual(["sent", "cancelled"]);
    expect(await compareWithLive(tenant, { simulationId: foretold.id ?? "" })).toMatchObject({ differences: [] });
  });

  it("changes names with another one", async () => {
    const id = await campaign(chain("a", "b", "c"));
    await pump(tenant);
    await tell(0, "opened");
    await daysPass(1);
    await moveTo(id, chain("b", "a", "c"), { a: "b", b: "a" });
    await tell(1, "delivered");
    expect(await walks()).toMatchObject([{ node: "a", status: "active" }]);
    expect(await sendsOf()).toMatchObject({
      a: { events: { delivered: expect.any(String) } },
      b: { events: { opened: expect.any(String) } },
    });
    await daysPass(3);
    expect(subjects()).toEqual(["About a", "About b", "About c"]);
    expect(await walks()).toMatchObject([{ status: "completed" }]);
  });

  it("and another that the new plan sees as the same are one: neither is sent again", async () => {
    const id = await campaign(chain("a", "b", "c"), ["ada@example.com", "eve@example.com"]);
    await pump(tenant);
    await daysPass(1);
    await moveTo(id, chain("m", "c"), { a: "m", b: "m" });
    await daysPass(3);
    expect(subjects().toSorted()).toEqual(["About a", "About a", "About b", "About b", "About c", "About c"]);
  });
});

describe("a step that was taken out of the plan", () => {
  const without = (id: string) => moveTo(id, steps("Two", "Three"), { "step-2": "step-1", "step-3": "step-2" });

  it("leaves its name to the next one, and every step is sent once", async () => {
    const id = await campaign(steps("One", "Two", "Three"), ["ada@example.com", "eve@example.com"]);
    await pump(tenant);
    await daysPass(1);
    expect(await without(id)).toMatchObject({ migrated: 2, needMapping: [] });
    await daysPass(4);
    expect(subjects().toSorted()).toEqual(["One", "One", "Three", "Three", "Two", "Two"]);
    expect(await walks()).toMatchObject([{ status: "completed" }, { status: "completed" }]);
  });

  it("stays sent: an answer to its message still ends the walk", async () => {
    const id = await campaign(steps("One", "Two", "Three"));
    await pump(tenant);
    await daysPass(1);
    await without(id);
    await tell(0, "opened");
    expect((await sendsOf())["step-1"]?.events).toEqual({});
    await tell(0, "replied");
    expect(await walks()).toMatchObject([{ status: "stopped", reason: "replied" }]);
  });

  it("holds whoever stands on it until a map says where to go on", async () => {
    const id = await campaign(steps("One", "Two", "Three"));
    await pump(tenant);
    expect(await without(id)).toMatchObject({ migrated: 0, needMapping: [{ problem: /"step-2" takes its name/ }] });
    await migrateEnrollments(tenant, { campaignId: id, nodeMap: { "step-1": "step-1", "step-3": "step-2" } });
    await daysPass(3);
    expect(subjects()).toEqual(["One", "Three"]);
  });

  it("leaves a task of its name to be done", async () => {
    const end = { id: "end", type: "stop" } as const;
    const call = (id: string, to: string, title: string) => ({ id, type: "task", title, channel: "call", to }) as const;
    const nap = (id: string, to: string) => ({ id, type: "wait", duration: "P1D", to }) as const;
    const nodes = [call("call-1", "nap-1", "First"), nap("nap-1", "call-2"), call("call-2", "end", "Second"), end];
    const id = await campaign({ start: "call-1", nodes });
    await pump(tenant);
    const fewer = { start: "nap-0", nodes: [nap("nap-0", "call-1"), call("call-1", "end", "Second"), end] };
    await moveTo(id, fewer, { "nap-1": "nap-0", "call-2": "call-1" });
    await daysPass(2);
    const { data } = await listTasks(tenant, {});
    expect(data.map((one) => one.title)).toEqual(["First", "Second"]);
  });
});

describe("a map that does not yet name every node", () => {
  it("renames nothing of those who stay, and all of them once it is complete", async () => {
    const id = await campaign(chain("one", "two", "three"));
    await pump(tenant);
    await daysPass(1);
    expect(await moveTo(id, chain("uno", "due", "tre"), { one: "uno" })).toMatchObject({ migrated: 0 });
    await tell(0, "opened");
    expect(await sendsOf()).toMatchObject({ one: { events: { opened: expect.any(String) } }, two: {} });
    const nodeMap = { one: "uno", two: "due" };
    expect(await migrateEnrollments(tenant, { campaignId: id, nodeMap })).toMatchObject({ migrated: 1 });
    await tell(0, "clicked");
    await tell(1, "delivered");
    expect(await sendsOf()).toMatchObject({
      uno: { events: { opened: expect.any(String), clicked: expect.any(String) } },
      due: { events: { delivered: expect.any(String) } },
    });
    await daysPass(3);
    expect(subjects()).toEqual(["About one", "About two", "About tre"]);
  });

  it("speaks to each of what its own version has: a node that bears the new name already keeps it", async () => {
    const id = await campaign(old);
    await pump(tenant);
    await addPlanVersion(tenant, { id, plan: next as never });
    await enter(id, "eve@example.com");
    await pump(tenant);
    const third = { ...next, name: "again" };
    expect(await moveTo(id, third, { intro: "hello" })).toMatchObject({ migrated: 2, needMapping: [] });
    await tell(0, "replied");
    await tell(1, "replied");
    expect(await walks()).toMatchObject([{ reason: "answered" }, { reason: "answered" }]);
  });
});

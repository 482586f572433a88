/** Campaigns, enrollments, simulations, reports and tasks over the API. */
import { describe, expect, test } from "vitest";
import { arrangeEverything, smallPlan } from "./everything.ts";
import { type Body, type Client, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();

const campaignOf = async (client: Client, plan: unknown = smallPlan): Promise<string> =>
  (await client.post("/v1/campaigns", { name: "Autumn", plan })).body.id;
const contactOf = async (client: Client, email: string): Promise<string> =>
  (await client.post("/v1/leads", { firstName: "Kim", email })).body.contact.id;

describe("a campaign", () => {
  test("walks from draft to its end along legal states only", async () => {
    const id = await campaignOf(one);
    const act = async (name: string) => {
      const { status, body } = await one.post(
        `/v1/campaigns/${id}/${name}`,
        name === "pause" ? { reason: "lunch" } : undefined,
      );
      return status === 200 ? body.status : body.code;
    };
    const steps = ["pause", "activate", "activate", "pause", "resume", "stop", "resume"];
    const states = [];
    for (const step of steps) states.push(await act(step));
    const illegal = "campaign.illegal_transition";
    expect(states).toEqual([illegal, "active", illegal, "paused", "active", "stopped", illegal]);
    expect((await one.get("/v1/campaigns?status=stopped")).body.data).toMatchObject([{ id }]);
  });

  test("with a wrong plan is refused by node and field, and not stored", async () => {
    const before = (await one.get("/v1/campaigns")).body.data.length;
    const plan = {
      start: "a",
      nodes: [{ id: "a", type: "send", channel: "email", transitions: [{ on: "opened", to: "nowhere" }] }],
    };
    const refused = await one.post("/v1/campaigns", { name: "Wrong", plan });
    expect(refused).toMatchObject({ status: 422, body: { code: "plan.invalid" } });
    expect(refused.text).toContain("nowhere");
    expect(refused.body.errors.every(({ path }: Body) => path.startsWith("plan"))).toBe(true);
    expect((await one.get("/v1/campaigns")).body.data).toHaveLength(before);
  });

  test("gets a new version per different plan, and shows each and its picture", async () => {
    const id = await campaignOf(one);
    await one.post(`/v1/campaigns/${id}/versions`, { plan: smallPlan });
    await one.post(`/v1/campaigns/${id}/versions`, { plan: smallPlan.slice(0, 1), reason: "shorter" });
    const { versions } = (await one.get(`/v1/campaigns/${id}/versions`)).body;
    expect(versions.map((version: Body) => version.versionNumber)).toEqual([2, 1]);
    expect(versions[0]).toMatchObject({ reason: "shorter" });
    expect((await one.get(`/v1/campaigns/${id}/diagram`)).text).toMatch(/^flowchart|^graph/);
  });

  test("without a plan cannot start", async () => {
    const { id } = (await one.post("/v1/campaigns", { name: "Empty" })).body;
    expect((await one.post(`/v1/campaigns/${id}/activate`)).body.code).toBe("campaign.no_plan");
    expect((await one.post(`/v1/campaigns/${id}/resume`)).body.code).toBe("campaign.no_plan");
    expect((await one.get(`/v1/campaigns/${id}/diagram`)).body.code).toBe("campaign.no_plan");
  });
});

describe("enrolling", () => {
  test("reports what became of everybody asked for, strangers' contacts included", async () => {
    const other = await api.client();
    const id = await campaignOf(one);
    const [kim, lee] = [await contactOf(one, "kim@example.com"), await contactOf(one, "lee@example.com")];
    const foreign = await contactOf(other, "kim@example.com");
    const enroll = (contactIds: string[]) => one.post(`/v1/campaigns/${id}/enroll`, { audience: { contactIds } });
    expect((await enroll([kim, foreign])).body).toMatchObject({ audience: 2, enrolled: 1, unavailable: 1 });
    expect((await enroll([kim, lee])).body).toMatchObject({ audience: 2, enrolled: 1, alreadyEnrolled: 1 });
    const [enrollment] = (await one.get(`/v1/enrollments?contactId=${kim}`)).body.data;
    expect(enrollment).toMatchObject({ campaignId: id, status: "draft" });
    await one.post(`/v1/campaigns/${id}/activate`);
    const at = `/v1/enrollments/${enrollment.id}`;
    expect((await one.post(`${at}/pause`, { reason: "holiday" })).body.status).toBe("paused");
    expect((await one.post(`${at}/resume`)).body.status).toBe("active");
    expect((await one.get(`${at}/explain`)).body).toMatchObject({
      code: expect.any(String),
      sentences: expect.any(Array),
    });
    expect((await one.post(`${at}/stop`)).body).toMatchObject({ status: "stopped", exitReason: "stopped_by_operator" });
    const { transitions } = (await one.get(`${at}/transitions`)).body;
    expect(transitions.at(-1)).toMatchObject({ toStatus: "stopped" });
    expect((await one.post(`/v1/campaigns/${id}/migrate`, { nodeMap: {} })).body).toEqual({
      migrated: 0,
      needMapping: [],
      nextCursor: null,
      more: false,
    });
  });

  test("takes exactly one way of saying who", async () => {
    const id = await campaignOf(one);
    for (const audience of [{}, { all: true, segmentId: "seg_1" }, { all: false }, { everyone: true }]) {
      expect((await one.post(`/v1/campaigns/${id}/enroll`, { audience })).status, JSON.stringify(audience)).toBe(422);
    }
    const foreign = await api.client();
    const filter = { op: "set", field: "lead.companyName" };
    const segment = (await foreign.post("/v1/segments", { name: "Theirs", filter })).body.id;
    const refused = await one.post(`/v1/campaigns/${id}/enroll`, { audience: { segmentId: segment } });
    expect(refused).toMatchObject({ status: 404, body: { code: "segment.not_found" } });
  });

  test("twenty times at once with one key enrolls everybody once", async () => {
    const id = await campaignOf(one);
    const contactIds = [await contactOf(one, "twenty@example.com")];
    const send = () =>
      one.post(`/v1/campaigns/${id}/enroll`, { audience: { contactIds } }, { "idempotency-key": "enroll-20" });
    const answers = await Promise.all(Array.from({ length: 20 }, send));
    expect(answers.filter(({ status }) => status === 200).every(({ body }) => body.enrolled === 1)).toBe(true);
    expect((await send()).body.enrolled).toBe(1);
    expect((await one.get(`/v1/enrollments?campaignId=${id}`)).body.data).toHaveLength(1);
  });
});

test("a simulation is stored, listed send by send, and the same again for the same question", async () => {
  const client = await api.client();
  const id = await campaignOf(client);
  const contactIds = [await contactOf(client, "sim@example.com")];
  const ask = { audience: { contactIds }, startAt: "2030-03-04T12:00:00Z" };
  const first = await client.post(`/v1/campaigns/${id}/simulate`, ask);
  expect(first).toMatchObject({ status: 201, body: { campaignId: id, contacts: 1, summary: { enrolled: 1 } } });
  expect((await client.post(`/v1/campaigns/${id}/simulate`, ask)).body.sendsHash).toBe(first.body.sendsHash);
  expect((await client.get(`/v1/simulations/${first.body.id}`)).body).toMatchObject(first.body);
  const sends = (await client.get(`/v1/simulations/${first.body.id}/sends?limit=1`)).body;
  expect(sends.data).toMatchObject([{ contactId: contactIds[0] }]);
  expect((await client.get("/v1/messages")).body.data).toEqual([]);
});

describe("what has happened", () => {
  test("is shown by message, event, report, trace and explanation", async () => {
    const client = await api.client();
    const { messages: id, campaigns: campaignId, contacts: contactId } = await arrangeEverything(api, client);
    expect((await client.get("/v1/messages?address=KIM%40acme.example&status=sent")).body.data).toMatchObject([{ id }]);
    expect((await client.get(`/v1/messages?reason=suppressed`)).body.data).toEqual([]);
    expect((await client.get(`/v1/events?messageId=${id}&machine=false`)).body.data).toMatchObject([
      { type: "delivered" },
    ]);
    const report = (await client.get(`/v1/campaigns/${campaignId}/report`)).body;
    expect(report).toMatchObject({ enrolled: 1, messages: { queued: 1, sent: 1 } });
    expect(Object.values(report.enrollments as Record<string, number>).reduce((a, b) => a + b)).toBe(report.enrolled);
    expect((await client.get(`/v1/messages/${id}/trace`)).body.steps.map(({ stage }: Body) => stage)).toContain(
      "message",
    );
    expect((await client.get(`/v1/messages/${id}/explain`)).body).toMatchObject({ status: "sent", code: "sent" });
    expect((await client.get(`/v1/explain?campaignId=${campaignId}&contactId=${contactId}`)).status).toBe(200);
  });

  test("is paged by its time where it is events", async () => {
    const client = await api.client();
    await arrangeEverything(api, client);
    const page = (await client.get("/v1/events?limit=1")).body;
    expect(page).toMatchObject({ data: [{ type: "delivered" }], nextCursor: null });
    const lead = Buffer.from("lead_01J00000000000000000000000").toString("base64url");
    expect((await client.get(`/v1/events?cursor=${lead}`)).body.code).toBe("page.cursor_invalid");
  });
});

test("a task is given away, ended once, and stays ended", async () => {
  const client = await api.client();
  const { tasks: id } = await arrangeEverything(api, client);
  const [actor] = (await client.get("/v1/actors")).body.data;
  expect((await client.patch(`/v1/tasks/${id}`, { assigneeId: actor.id })).body).toMatchObject({
    status: "open",
    assigneeId: actor.id,
  });
  expect((await client.get(`/v1/tasks?status=open&assigneeId=${actor.id}`)).body.data).toHaveLength(1);
  expect((await client.patch(`/v1/tasks/${id}`, { status: "done" })).body).toMatchObject({
    status: "done",
    doneAt: expect.any(String),
  });
  expect((await client.patch(`/v1/tasks/${id}`, { status: "cancelled" })).body.code).toBe("task.ended");
});

test("deliveries are shown without their bodies and can be replayed by id and by time", async () => {
  const client = await api.client();
  const { deliveries: id, conversations } = await arrangeEverything(api, client);
  expect((await client.get("/v1/deliveries?provider=sendgrid&status=completed")).body.data).toMatchObject([{ id }]);
  expect((await client.get(`/v1/deliveries/${id}`)).body).not.toHaveProperty("body");
  expect((await client.post(`/v1/deliveries/${id}/replay`)).body).toMatchObject({ deliveries: 1, newEvents: 0 });
  const range = { from: "2020-01-01T00:00:00Z", to: "2100-01-01T00:00:00Z" };
  expect((await client.post("/v1/deliveries/replay", range)).body).toMatchObject({ deliveries: 1, nextCursor: null });
  expect((await client.post("/v1/deliveries/replay", { ...range, cursor: "d2hk" })).body.code).toBe(
    "page.cursor_invalid",
  );
  expect((await client.post("/v1/deliveries/replay", { from: range.to, to: range.from })).status).toBe(422);
  expect((await client.post("/v1/deliveries/replay", { ...range, ids: [id] })).body.code).toBe("input.unknown_field");
  const reader = await api.client({ of: client, scopes: ["deliveries:read"] });
  expect((await reader.post(`/v1/deliveries/${id}/replay`)).status).toBe(403);
  expect((await client.get("/v1/conversations?status=open")).body.data).toMatchObject([{ id: conversations }]);
  expect((await client.get(`/v1/conversations/${conversations}`)).body.messages).toMatchObject([
    { direction: "outbound" },
  ]);
  expect((await client.get("/v1/inbound?channel=email")).body.data).toEqual([]);
});

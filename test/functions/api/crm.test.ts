/** Leads, contacts and segments over the API. */
import { describe, expect, test } from "vitest";
import { type Body, missingId, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();
const two = await api.client();

describe("a lead", () => {
  test("with an address gets a contact that can be enrolled", async () => {
    const { status, body } = await one.post("/v1/leads", {
      firstName: "Kim",
      email: "Kim@Acme.example",
      phone: "(202) 555-0123",
    });
    expect(status).toBe(201);
    expect(body.lead).toMatchObject({
      email: "kim@acme.example",
      phone: "+12025550123",
      status: "new",
      sourceType: "api",
    });
    expect(body.contact.channels.map(({ channel, address }: Body) => `${channel} ${address}`)).toEqual([
      "email kim@acme.example",
      "sms +12025550123",
    ]);
    expect((await one.get(`/v1/contacts?leadId=${body.lead.id}`)).body.data).toEqual([body.contact]);
    expect((await one.post("/v1/leads", { companyName: "Nobody reachable" })).body.contact).toBeNull();
  });

  test("is refused with every field that is wrong", async () => {
    const refused = await one.post("/v1/leads", { email: "kim@", phone: "12", status: "warm", tags: [""] });
    expect(refused.status).toBe(422);
    expect(refused.body.errors.map(({ path }: Body) => path).toSorted()).toEqual([
      "email",
      "phone",
      "status",
      "tags[0]",
    ]);
    expect((await one.post("/v1/leads", {})).body.detail).toContain("a lead needs a name");
    expect(await one.post("/v1/leads", { firstName: "Lin", phone: "+12025550123" })).toMatchObject({
      status: 409,
      body: { code: "lead.phone_taken", errors: [{ path: "phone", value: "+12025550123" }] },
    });
  });

  test("may be given to people of its own tenant only", async () => {
    const [mine] = (await one.get("/v1/actors")).body.data;
    const [theirs] = (await two.get("/v1/actors")).body.data;
    const { id } = (await one.post("/v1/leads", { firstName: "Owned" })).body.lead;
    expect((await one.patch(`/v1/leads/${id}`, { ownerId: mine.id })).body.ownerId).toBe(mine.id);
    const foreign = await one.patch(`/v1/leads/${id}`, { ownerId: theirs.id });
    const missing = await one.patch(`/v1/leads/${id}`, { ownerId: missingId("actor") });
    expect(foreign.status).toBe(404);
    expect(foreign.text.replace(theirs.id, "")).toBe(missing.text.replace(missingId("actor"), ""));
  });

  test("changes what is named, tells its history, and is gone when deleted", async () => {
    const { id } = (await one.post("/v1/leads", { firstName: "Ann", companyName: "Acme", city: "Bonn" })).body.lead;
    expect((await one.patch(`/v1/leads/${id}`, { status: "qualified", city: null })).body).toMatchObject({
      firstName: "Ann",
      city: null,
      status: "qualified",
    });
    const history = (await one.get(`/v1/leads/${id}/status-history`)).body.data;
    expect(history.at(-1)).toMatchObject({ from: "new", to: "qualified", trigger: "manual" });
    expect((await one.delete(`/v1/leads/${id}`)).status).toBe(204);
    expect((await one.get(`/v1/leads/${id}`)).status).toBe(404);
    expect((await one.delete(`/v1/leads/${id}`)).status).toBe(404);
  });

  test("is moved and tagged with a thousand others, but only by its own tenant", async () => {
    const ids = [];
    for (const firstName of ["A", "B"]) ids.push((await one.post("/v1/leads", { firstName })).body.lead.id);
    expect((await two.post("/v1/leads/status", { ids, status: "hot" })).body.changed).toEqual([]);
    expect((await one.post("/v1/leads/status", { ids, status: "hot" })).body.changed.toSorted()).toEqual(ids);
    expect((await one.post("/v1/leads/status", { ids, status: "hot" })).body.changed).toEqual([]);
    expect((await two.post("/v1/leads/tags", { ids, add: ["x"] })).body.changed).toEqual([]);
    expect((await one.post("/v1/leads/tags", { ids: [ids[0]], add: ["vip"] })).body.changed).toEqual([ids[0]]);
    expect((await one.get("/v1/leads?tagsAny=vip,other&status=hot,cold")).body.data).toMatchObject([{ id: ids[0] }]);
    expect((await one.get("/v1/leads?status=hot&status=cold")).body.data).toHaveLength(2);
  });

  test("is found by name, address and number, and listed in pages", async () => {
    expect((await one.get("/v1/leads?q=KIM%40acme.example")).body.data).toMatchObject([{ firstName: "Kim" }]);
    expect((await one.get("/v1/leads?q=202-555-0123")).body.data).toMatchObject([{ firstName: "Kim" }]);
    expect((await one.get("/v1/leads?q=%25%25")).body.data).toEqual([]);
    const first = (await one.get("/v1/leads?limit=2")).body;
    const second = (await one.get(`/v1/leads?limit=2&cursor=${first.nextCursor}`)).body;
    const ids = [...first.data, ...second.data].map(({ id }: Body) => id);
    expect(ids).toEqual([...new Set(ids)].toSorted().toReversed());
    expect((await two.get("/v1/leads")).body.data).toEqual([]);
  });
});

test("a contact can be added to a lead of the same tenant only", async () => {
  const { id } = (await one.post("/v1/leads", { companyName: "Acme" })).body.lead;
  const contact = { leadId: id, firstName: "Ada", email: "ada@acme.example", customFields: { floor: 3 } };
  expect((await two.post("/v1/contacts", contact)).body.code).toBe("lead.not_found");
  const made = await one.post("/v1/contacts", contact);
  expect(made).toMatchObject({ status: 201, body: { fullName: "Ada", customFields: { floor: 3 } } });
  expect((await one.get(`/v1/contacts/${made.body.id}`)).body).toEqual(made.body);
});

describe("a segment", () => {
  const filter = {
    and: [
      { op: "eq", field: "lead.city", value: "Ulm" },
      { op: "has_channel", value: "email" },
    ],
  };

  test("counts, lists and follows those who match now", async () => {
    await one.post("/v1/leads", { firstName: "U1", city: "Ulm", email: "u1@example.com" });
    const { body } = await one.post("/v1/segments", { name: "Ulm", filter });
    expect(body).toMatchObject({ leadCount: 1 });
    await one.post("/v1/leads", { firstName: "U2", city: "Ulm", email: "u2@example.com" });
    expect((await one.post("/v1/segments/preview", { filter })).body).toEqual({ contacts: 2, leads: 2 });
    expect((await two.post("/v1/segments/preview", { filter })).body).toEqual({ contacts: 0, leads: 0 });
    expect((await one.post(`/v1/segments/${body.id}/refresh`)).body.leadCount).toBe(2);
    expect((await one.get(`/v1/segments/${body.id}/members?limit=1`)).body).toMatchObject({
      data: [expect.any(String)],
    });
    expect((await one.patch(`/v1/segments/${body.id}`, { name: "Ulm 2" })).body.name).toBe("Ulm 2");
    expect((await one.post("/v1/segments", { name: "Ulm 2", filter })).body.code).toBe("segment.exists");
    expect((await one.delete(`/v1/segments/${body.id}`)).status).toBe(204);
    expect((await one.get("/v1/segments")).body.data).toEqual([]);
  });

  test("refuses fields, operators and depths that are none", async () => {
    const bad = (wrong: unknown) => one.post("/v1/segments/preview", { filter: wrong });
    expect((await bad({ op: "eq", field: "lead.password", value: "x" })).status).toBe(422);
    expect((await bad({ op: "eq", field: "lead.city", value: "'; drop table leads; --" })).body).toEqual({
      contacts: 0,
      leads: 0,
    });
    let deep: unknown = { op: "set", field: "lead.city" };
    for (let n = 0; n < 25; n++) deep = { not: deep };
    expect((await bad(deep)).status).toBe(422);
  });
});

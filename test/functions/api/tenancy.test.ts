/** Tenant, actors, keys and configuration over the API. */
import { describe, expect, test } from "vitest";
import { type Body, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();
const two = await api.client();

describe("the tenant", () => {
  test("is the one of the key", async () => {
    expect((await one.get("/v1/tenant")).body).toMatchObject({ id: one.tenant.tenantId, status: "active" });
    expect((await two.get("/v1/tenant")).body.id).toBe(two.tenant.tenantId);
  });

  test("keeps the settings that a change does not name, and drops those set to null", async () => {
    await one.patch("/v1/tenant/settings", { companyName: "Acme", timeZone: "Europe/Berlin" });
    const { body } = await one.patch("/v1/tenant/settings", { timeZone: null, defaultCountry: "DE" });
    expect(body.settings).toEqual({ companyName: "Acme", defaultCountry: "DE" });
    expect((await two.get("/v1/tenant")).body.settings).toEqual({});
  });

  test("refuses settings by name and value", async () => {
    const refused = await one.patch("/v1/tenant/settings", { timeZone: "Mars/Olympus", colour: "red" });
    expect(refused.status).toBe(422);
    expect(refused.body.errors.map(({ path }: Body) => path)).toContain("timeZone");
    expect(refused.text).toContain("colour");
  });

  test("suspended stays reachable by its key and can be resumed", async () => {
    expect((await one.post("/v1/tenant/suspend")).body).toMatchObject({ status: "suspended" });
    expect((await one.get("/v1/tenant")).body.suspendedAt).not.toBeNull();
    expect((await one.post("/v1/tenant/resume", {})).body).toMatchObject({ status: "active", suspendedAt: null });
  });
});

describe("API keys", () => {
  test("are shown once, act within their scopes, and end when revoked", async () => {
    const { body } = await one.post("/v1/api-keys", { name: "reader", scopes: ["templates:read"] });
    const list = await one.get("/v1/api-keys");
    expect(list.text).not.toContain(body.apiKey);
    expect(list.body.data[0]).toMatchObject({ id: body.key.id, scopes: ["templates:read"], revokedAt: null });
    const headers = { authorization: `Bearer ${body.apiKey}` };
    expect((await one.get("/v1/templates", headers)).status).toBe(200);
    expect((await one.get("/v1/leads", headers)).status).toBe(403);
    expect((await one.delete(`/v1/api-keys/${body.key.id}`)).body.revokedAt).not.toBeNull();
    expect((await one.get("/v1/templates", headers)).status).toBe(401);
  });

  test("refuse scopes that are none, naming those there are", async () => {
    const refused = await one.post("/v1/api-keys", { name: "x", scopes: ["everything"] });
    expect(refused.body.errors).toMatchObject([{ path: "scopes[0]", value: "everything" }]);
    expect(refused.body.errors[0].message).toContain("leads:read");
  });
});

test("a page's cursor leads through all rows once, also when rows are added on the way", async () => {
  const names = ["Ada", "Bob", "Cleo", "Dan", "Eve"];
  for (const name of names) await two.post("/v1/actors", { name });
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const { body }: Body = await two.get(`/v1/actors?limit=2${cursor ? `&cursor=${cursor}` : ""}`);
    seen.push(...body.data.map((actor: Body) => actor.name));
    cursor = body.nextCursor;
    if (seen.length === 2) await two.post("/v1/actors", { name: "Zoe" });
  } while (cursor);
  expect(seen.filter((name) => name !== "test")).toEqual([...names, "Zoe"]);
});

test("an actor's address is taken once", async () => {
  expect((await one.post("/v1/actors", { name: "Ada", email: "ada@example.com" })).status).toBe(201);
  const refused = await one.post("/v1/actors", { name: "Ada", email: "ADA@example.com" });
  expect(refused).toMatchObject({ status: 409, body: { code: "actor.email_taken" } });
});

test("configuration is shared within the organization and nowhere else", async () => {
  const sibling = await api.client({ organization: one.tenant.organizationId });
  expect((await one.put("/v1/config/lead.sla", { value: { hours: 48 } })).body).toMatchObject({ key: "lead.sla" });
  expect((await sibling.get("/v1/config/lead.sla")).body.value).toEqual({ hours: 48 });
  expect(await two.get("/v1/config/lead.sla")).toMatchObject({ status: 404, body: { code: "config.not_found" } });
  expect((await one.get("/v1/config")).body.data).toHaveLength(1);
});

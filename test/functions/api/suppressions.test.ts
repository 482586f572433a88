/** "No" over the API: suppressions, do-not-call, consents. */
import { expect, test } from "vitest";
import { type Body, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();
const two = await api.client();

const entry = (address: string, reason = "manual", channel = "email") => ({ channel, address, reason, source: "api" });

test("up to a thousand addresses are suppressed at once; what is no address is reported and spoils nothing", async () => {
  const entries = [
    entry("A@Example.com"),
    entry("nobody"),
    entry("a@example.com"),
    entry("+1 202 555 0123", "stop", "sms"),
  ];
  const { status, body } = await one.post("/v1/suppressions", { entries });
  expect(status).toBe(201);
  expect(body).toMatchObject({ invalid: [{ index: 1, address: "nobody" }], stopped: [], inFlight: [] });
  expect(body.added.map((added: Body) => added.address).toSorted()).toEqual(["+12025550123", "a@example.com"]);
  expect((await one.post("/v1/suppressions", { entries })).body).toMatchObject({ added: [], existing: 2 });
  const many = Array.from({ length: 1_001 }, (_, n) => entry(`p${n}@example.com`));
  expect((await one.post("/v1/suppressions", { entries: many })).body.errors).toMatchObject([{ path: "entries" }]);
});

test("the question whether an address may be contacted is answered for this tenant alone", async () => {
  const ask = "/v1/suppressions/check?channel=email&address=A%40example.com";
  expect((await one.get(ask)).body).toMatchObject({ allowed: false, hit: { list: "suppression", reason: "manual" } });
  expect((await two.get(ask)).body).toEqual({ allowed: true });
  const targets = [
    { channel: "email", address: "a@example.com" },
    { channel: "email", address: "free@example.com" },
    { channel: "sms", address: "none" },
  ];
  expect((await one.post("/v1/suppressions/check", { targets })).body.checks).toMatchObject([
    { allowed: false },
    { allowed: true },
    { allowed: false, hit: null },
  ]);
  expect((await one.get("/v1/suppressions/check?channel=email")).body.errors).toMatchObject([{ path: "address" }]);
});

test("what was entered by hand can be lifted, a person's own no cannot", async () => {
  const { data } = (await one.get("/v1/suppressions?active=true")).body;
  const byHand = data.find((row: Body) => row.reason === "manual");
  const stop = data.find((row: Body) => row.reason === "stop");
  expect((await one.post(`/v1/suppressions/${byHand.id}/lift`, {})).body.errors).toMatchObject([{ path: "note" }]);
  expect((await one.post(`/v1/suppressions/${byHand.id}/lift`, { note: "wrong person" })).status).toBe(200);
  expect(await one.post(`/v1/suppressions/${stop.id}/lift`, { note: "x" })).toMatchObject({
    status: 409,
    body: { code: "suppression.not_liftable" },
  });
  const lifted = (await one.get("/v1/suppressions?active=false")).body.data;
  expect(lifted).toMatchObject([{ id: byHand.id, releaseNote: "wrong person" }]);
  const at = encodeURIComponent(byHand.suppressedAt);
  const then = await one.get(`/v1/suppressions/as-of?channel=email&address=a@example.com&at=${at}`);
  expect(then.body.suppression).toMatchObject({ id: byHand.id });
});

test("a key that may only read suppressions adds none", async () => {
  const reader = await api.client({ of: one, scopes: ["suppressions:read"] });
  expect((await reader.post("/v1/suppressions", { entries: [entry("b@example.com")] })).status).toBe(403);
  expect((await reader.post("/v1/dnc", { phones: ["+12025550124"], source: "api" })).status).toBe(403);
  expect((await reader.get("/v1/suppressions")).status).toBe(200);
});

test("do-not-call is shared by the organization's tenants and by nobody else", async () => {
  const sibling = await api.client({ organization: one.tenant.organizationId });
  const phones = ["+12025550199", "(202) 555-0199", "+12025550198"];
  const added = await one.post("/v1/dnc", { phones, source: "phone call", reason: "asked" });
  expect(added.body.added.toSorted()).toEqual(["+12025550198", "+12025550199"]);
  const ask = { phones: ["202-555-0199", "nonsense"] };
  expect((await sibling.post("/v1/dnc/check", ask)).body.numbers).toEqual([
    { phone: "202-555-0199", phoneNumber: "+12025550199", listed: true },
    { phone: "nonsense", phoneNumber: null, listed: false },
  ]);
  expect((await two.post("/v1/dnc/check", ask)).body.numbers[0].listed).toBe(false);
  expect(await two.post("/v1/dnc/remove", { phone: "+12025550199" })).toMatchObject({ status: 404 });
  expect((await sibling.post("/v1/dnc/remove", { phone: "+12025550199" })).body.liftedAt).not.toBeNull();
  expect((await one.get("/v1/dnc")).body.data).toMatchObject([{ phoneNumber: "+12025550198" }]);
});

test("a consent is recorded with its evidence, found by its address, and revoked for good", async () => {
  const consent = {
    channel: "sms",
    address: "202-555-0150",
    basis: "express_written",
    source: "web form",
    text: "I agree.",
  };
  const made = await one.post("/v1/consents", consent);
  expect(made).toMatchObject({ status: 201, body: { address: "+12025550150", revokedAt: null } });
  expect((await one.get("/v1/consents?address=%2B12025550150&active=true")).body.data).toHaveLength(1);
  expect((await two.get("/v1/consents")).body.data).toEqual([]);
  const first = (await one.post(`/v1/consents/${made.body.id}/revoke`)).body.revokedAt;
  expect(first).not.toBeNull();
  expect((await one.post(`/v1/consents/${made.body.id}/revoke`)).body.revokedAt).toBe(first);
  expect((await one.get("/v1/consents?active=true")).body.data).toEqual([]);
  expect(await one.post("/v1/consents", { ...consent, address: "x" })).toMatchObject({
    status: 422,
    body: { code: "consent.address_invalid", errors: [{ path: "address", value: "x" }] },
  });
});

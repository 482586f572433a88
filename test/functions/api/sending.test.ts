/** Channels, senders and limits over the API. */
import { expect, test } from "vitest";
import { missingId, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();

const account = { channel: "email", provider: "sendgrid", name: "Main", credentials: { apiKey: "SG.very-secret" } };

test("an account's credentials go in and never come out", async () => {
  const made = await one.post("/v1/channels", account);
  expect(made.status).toBe(201);
  const { id } = made.body;
  const changed = await one.patch(`/v1/channels/${id}`, { credentials: { apiKey: "SG.other-secret" }, name: "Mail" });
  for (const { text } of [
    made,
    changed,
    await one.get(`/v1/channels/${id}`),
    await one.get("/v1/channels?provider=sendgrid"),
  ]) {
    expect(text).not.toContain("secret");
    expect(text).toContain(`https://outrider.test/webhooks/sendgrid/${id}`);
  }
  expect(changed.body).toMatchObject({ name: "Mail", status: "active" });
  expect(JSON.stringify(api.lines)).not.toContain("secret");
});

test("an account needs a channel and a provider that exist", async () => {
  const refused = await one.post("/v1/channels", { ...account, channel: "pigeon", provider: "post" });
  expect(refused.body.errors).toMatchObject([
    { path: "channel", value: "pigeon" },
    { path: "provider", value: "post" },
  ]);
});

test("a sender starts pending, becomes the default when vouched for first, and only a verified one can", async () => {
  const first = (await one.post("/v1/senders", { fromEmail: "Ada@Acme.example", fromName: "Ada" })).body;
  const second = (await one.post("/v1/senders", { fromEmail: "bob@acme.example", fromName: "Bob" })).body;
  expect(first).toMatchObject({ fromEmail: "ada@acme.example", status: "pending", isDefault: false });
  expect((await one.post(`/v1/senders/${second.id}/default`)).body.code).toBe("sender.unverified");
  expect((await one.post(`/v1/senders/${first.id}/verify`, { attested: true })).body).toMatchObject({
    status: "verified",
    isDefault: true,
  });
  await one.post(`/v1/senders/${second.id}/verify`, { attested: true, providerSenderId: "17" });
  expect((await one.post(`/v1/senders/${second.id}/default`)).body).toMatchObject({
    isDefault: true,
    providerSenderId: "17",
  });
  expect((await one.get(`/v1/senders/${first.id}`)).body.isDefault).toBe(false);
  expect((await one.post(`/v1/senders/${first.id}/fail`)).body.status).toBe("failed");
  expect((await one.get("/v1/senders")).body.data).toHaveLength(2);
});

test("a sender may name only an account of its own tenant", async () => {
  const other = await api.client();
  const { id } = (await other.post("/v1/channels", account)).body;
  const ask = (channelConfigId: string) =>
    one.post("/v1/senders", { fromEmail: "eve@acme.example", fromName: "Eve", channelConfigId });
  const [foreign, missing] = [await ask(id), await ask(missingId("chc"))];
  expect(foreign).toMatchObject({ status: 404, body: { code: "channel.not_found" } });
  expect(foreign.text.replace(id, "")).toBe(missing.text.replace(missingId("chc"), ""));
});

test("a limit of the same scope is changed, not doubled, and can be switched off", async () => {
  const limit = { scope: "domain", scopeId: "Example.com", channel: "email", maxCount: 100, windowSeconds: 3_600 };
  const made = (await one.post("/v1/rate-limits", limit)).body;
  const again = (await one.post("/v1/rate-limits", { ...limit, maxCount: 50 })).body;
  expect(again).toEqual({ ...made, scopeId: "example.com", maxCount: 50 });
  expect((await one.patch(`/v1/rate-limits/${made.id}`, { enabled: false })).body.enabled).toBe(false);
  expect((await one.get("/v1/rate-limits")).body.data).toHaveLength(1);
  const refused = await one.post("/v1/rate-limits", { ...limit, scope: "tenant" });
  expect(refused.body.errors).toMatchObject([{ path: "scopeId", value: "Example.com" }]);
});

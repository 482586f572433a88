/** Which addresses a SendGrid account may send from, by SendGrid's own answers. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SenderProof } from "../../../../core/ports/sender.ts";
import { closeConnections } from "../../../../core/providers/http.ts";
import { sendgrid } from "../../../../core/providers/sendgrid/index.ts";
import { type ProviderServer, startProvider } from "../server.ts";

let server: ProviderServer;
beforeAll(async () => {
  server = await startProvider();
});
afterAll(async () => {
  await closeConnections();
  await server.close();
});

const domain = (name: string, valid: boolean) => ({
  id: 7,
  user_id: 1,
  subdomain: "em1",
  domain: name,
  valid,
  dns: {},
});
const sender = (email: string, verified: boolean) => ({
  id: 1234,
  nickname: "x",
  from_email: email,
  verified,
  locked: false,
});

async function proof(
  email: string,
  domains: unknown,
  senders: unknown,
  status = 200,
): Promise<SenderProof | undefined> {
  const body = (value: unknown) => ({ status, body: typeof value === "string" ? value : JSON.stringify(value) });
  server.requests.length = 0;
  server.answers.set("/v3/whitelabel/domains", body(domains));
  server.answers.set("/v3/verified_senders", body(senders));
  return sendgrid.proveSender?.({ apiKey: "SG.key", apiBaseUrl: server.url }, email, 5_000);
}
const none = { results: [] };

test("an authenticated domain proves every address of it, and the key goes only into the header", async () => {
  const given = await proof("Ada@Acme.example", [domain("acme.example", true)], none);
  expect(given).toEqual({ kind: "proved", by: "domain", providerSenderId: null });
  expect(server.requests).toMatchObject([
    {
      method: "GET",
      path: "/v3/whitelabel/domains?limit=200&domain=acme.example",
      headers: { authorization: "Bearer SG.key" },
      body: "",
    },
  ]);
});

test("a verified single sender proves its own address and brings its id", async () => {
  const senders = { results: [sender("bob@acme.example", true), sender("ADA@acme.example", true)] };
  expect(await proof("ada@acme.example", [domain("acme.example", false)], senders)).toEqual({
    kind: "proved",
    by: "address",
    providerSenderId: "1234",
  });
});

test.each([
  ["a domain whose records are not seen yet", [domain("acme.example", false)], none],
  ["another domain that merely ends alike", [domain("notacme.example", true)], none],
  ["a subdomain of the authenticated one's parent", [domain("example", true)], none],
  ["another sender", [], { results: [sender("bob@acme.example", true)] }],
  ["nothing at all", [], none],
])("%s proves nothing", async (_name, domains, senders) => {
  expect(await proof("ada@acme.example", domains, senders)).toMatchObject({
    kind: "unproved",
    reason: "SendGrid has neither an authenticated domain acme.example nor a verified sender ada@acme.example.",
  });
});

test("an address that has not followed its link is told so", async () => {
  expect(await proof("ada@acme.example", [], { results: [sender("ada@acme.example", false)] })).toMatchObject({
    kind: "unproved",
    reason: expect.stringContaining("verification mail"),
  });
});

test.each([
  ["a key without the right to ask", "{}", 403],
  ["a revoked key", "{}", 401],
  ["a failing API", "<html>", 500],
  ["an answer of another shape", '{"results": 7}', 200],
  ["an answer that is no JSON", "<html>", 200],
])("%s leaves it unknown, never proved and never refused", async (_name, text, status) => {
  expect(await proof("ada@acme.example", text, text, status)).toMatchObject({ kind: "unknown" });
});

test("a server that hangs up, and credentials that are none, leave it unknown", async () => {
  server.answers.clear();
  server.answer = "reset";
  expect(
    await sendgrid.proveSender?.({ apiKey: "SG.key", apiBaseUrl: server.url }, "a@b.example", 5_000),
  ).toMatchObject({
    kind: "unknown",
  });
  expect(await sendgrid.proveSender?.({}, "a@b.example", 5_000)).toMatchObject({ kind: "unknown" });
});

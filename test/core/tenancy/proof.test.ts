/** How a sender becomes verified: by what its account's provider says. */
import { beforeEach, expect, test } from "vitest";
import type { Sender, SenderProof } from "../../../core/ports/index.ts";
import { memoryKeys } from "../../../core/providers/memory/index.ts";
import {
  createChannel,
  createSender,
  getSender,
  type ProofDeps,
  updateChannel,
  verifySender,
} from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant, type TestTenant } from "../../support/tenant.ts";

const database = await testDatabase();
const asked: unknown[] = [];
let says: (apiKey: unknown) => SenderProof;
const sendgrid: Sender = {
  provider: "sendgrid",
  send: () => Promise.reject(new Error("nothing is sent here")),
  proveSender: (credentials, email) => {
    asked.push([credentials["apiKey"], email]);
    return Promise.resolve(says(credentials["apiKey"]));
  },
};
const deps: ProofDeps & { readonly publicUrl: string } = {
  keys: memoryKeys(),
  senders: { sendgrid },
  publicUrl: "https://outrider.test",
};

const yes: SenderProof = { kind: "proved", by: "address", providerSenderId: "17" };
const no: SenderProof = { kind: "unproved", reason: "Not known." };
const doubt: SenderProof = { kind: "unknown", reason: "No answer." };

let tenant: TestTenant;
beforeEach(async () => {
  tenant = await newTenant(database);
  asked.length = 0;
});
const account = async (apiKey: string) =>
  (await createChannel(tenant, deps, { channel: "email", provider: "sendgrid", name: apiKey, credentials: { apiKey } }))
    .id;
const ada = async (channelConfigId?: string) =>
  (
    await createSender(tenant, {
      fromEmail: "ada@acme.example",
      fromName: "Ada",
      ...(channelConfigId && { channelConfigId }),
    })
  ).id;

test("the provider's yes verifies it, keeps the provider's id, and makes the first one the default", async () => {
  await account("SG.one");
  says = () => yes;
  expect(await verifySender(tenant, deps, { id: await ada() })).toMatchObject({
    status: "verified",
    providerSenderId: "17",
    isDefault: true,
  });
  expect(asked).toEqual([["SG.one", "ada@acme.example"]]);
});

test("the provider's no leaves it pending and says why; a doubt is no no", async () => {
  await account("SG.one");
  const id = await ada();
  says = () => no;
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({
    kind: "conflict",
    code: "sender.unproved",
    message: expect.stringContaining("Not known."),
  });
  says = () => doubt;
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({
    kind: "unavailable",
    code: "sender.proof_unavailable",
  });
  expect((await getSender(tenant, { id })).status).toBe("pending");
});

test("one yes among the accounts is enough, a doubt outweighs a no, and a disabled account is not asked", async () => {
  await account("SG.one");
  const second = await account("SG.two");
  const id = await ada();
  says = (key) => (key === "SG.one" ? doubt : no);
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({ code: "sender.proof_unavailable" });
  says = (key) => (key === "SG.one" ? no : yes);
  await updateChannel(tenant, deps, { id: second, status: "disabled" });
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({ code: "sender.unproved" });
  await updateChannel(tenant, deps, { id: second, status: "active" });
  // Its mail must leave through the account that proved it: the other one would refuse it.
  expect(await verifySender(tenant, deps, { id })).toMatchObject({ status: "verified", channelConfigId: second });
});

test("a sender of one account is proved by that account alone", async () => {
  const first = await account("SG.one");
  await account("SG.two");
  says = (key) => (key === "SG.two" ? yes : no);
  await expect(verifySender(tenant, deps, { id: await ada(first) })).rejects.toMatchObject({ code: "sender.unproved" });
  expect(asked).toEqual([["SG.one", "ada@acme.example"]]);
});

test("without an account nobody can be asked; the word of an administrator needs none", async () => {
  says = () => yes;
  const id = await ada();
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({ code: "sender.no_channel" });
  expect(await verifySender(tenant, deps, { id, attested: true, providerSenderId: "9" })).toMatchObject({
    status: "verified",
    providerSenderId: "9",
  });
  expect(asked).toEqual([]);
});

test("another tenant's accounts are never asked, and its senders do not exist here", async () => {
  await account("SG.theirs");
  const theirs = await ada();
  tenant = await newTenant(database);
  says = () => yes;
  const id = await ada();
  await expect(verifySender(tenant, deps, { id })).rejects.toMatchObject({ code: "sender.no_channel" });
  await expect(verifySender(tenant, deps, { id: theirs })).rejects.toMatchObject({ code: "sender.not_found" });
});

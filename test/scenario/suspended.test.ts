/** A suspended tenant says nothing more, and still listens to everybody who wants to be left alone. */
import { expect, test } from "vitest";
import { listInbound } from "../../core/conversations/index.ts";
import { check } from "../../core/suppression/index.ts";
import { resumeTenant, suspendTenant } from "../../core/tenancy/index.ts";
import { days, hours, launch, oneEmail, oneText, people, post, testSystem } from "../support/system.ts";

const system = await testSystem();

/** The one-click address of an accepted message, as the recipient's mail program reads it. */
async function unsubscribeUrl(messageId: string): Promise<string> {
  const response = await fetch(`${system.simulator.url}/messages/${messageId}`);
  const { headers } = (await response.json()) as { readonly headers: Readonly<Record<string, string>> };
  return /<(http[^>]+)>/.exec(headers["list-unsubscribe"] ?? "")?.[1] ?? "";
}

test("nothing leaves a suspended tenant, but its unsubscribe links and STOP go on working, and so does the rest once it is resumed", async () => {
  const tenant = await system.tenant();
  const [leaves, stays, waits] = ["leaves@mail.example", "stays@mail.example", "waits@mail.example"];
  const number = "+12025550171";
  system.script({ "@mail.example": [{ kind: "delivered", afterSeconds: 5 }], [number]: [] });
  const [one, two, three] = await people(system, tenant, [{ email: leaves }, { email: stays }, { email: waits }]);
  const texted = await people(system, tenant, [{ phone: number, smsConsent: true }]);
  await launch(tenant, oneEmail, [one ?? "", two ?? ""]);
  await launch(tenant, oneText, texted, "By text");
  await system.settle();
  expect(system.simulator.accepted()).toHaveLength(3);

  await suspendTenant(tenant, {});
  await launch(tenant, oneEmail, [three ?? ""], "While suspended");
  await system.advance(1 * hours);
  const held = await system.message(tenant, waits);
  expect(held).toMatchObject({ status: "held", hold_reason: "tenant_suspended", sent_at: null });

  const { id } = await system.message(tenant, leaves);
  const url = await unsubscribeUrl(id);
  const shown = await fetch(url);
  expect(shown.status).toBe(200);
  expect(await check(tenant, { channel: "email", address: leaves })).toEqual({ allowed: true });
  const form = { method: "POST", body: new URLSearchParams({ "List-Unsubscribe": "One-Click" }) };
  expect((await fetch(url, form)).status).toBe(200);
  expect(await check(tenant, { channel: "email", address: leaves })).toMatchObject({
    allowed: false,
    hit: { reason: "unsubscribed" },
  });
  const stop = { MessageSid: "SMstop", From: number, To: "+12025550100", Body: "Stop", OptOutType: "STOP" };
  expect(await post(system.twilioWebhook(tenant, stop))).toBe(200);
  await system.local.idle();
  expect(await check(tenant, { channel: "sms", address: number })).toMatchObject({
    allowed: false,
    hit: { reason: "stop" },
  });
  expect((await listInbound(tenant, {})).data).toMatchObject([{ from: number, classification: "opt_out" }]);

  await system.advance(5 * hours);
  expect(system.simulator.accepted()).toHaveLength(3);
  expect(await system.message(tenant, leaves)).toMatchObject({ enrollment: "stopped", exit_reason: "unsubscribed" });
  expect(await system.message(tenant, number)).toMatchObject({ enrollment: "stopped", exit_reason: "unsubscribed" });

  await resumeTenant(tenant, {});
  await system.advance(4 * days);
  const later = system.simulator.accepted().slice(3);
  // What was held, and then the next message of both walks that go on.
  expect(later.map(({ to }) => to).toSorted()).toEqual([stays, waits, waits]);
});

/** What an answer does beyond its own message: the conversation, and everything else queued for the same address. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import type { PlanInput } from "../../core/campaigns/index.ts";
import { getConversation, listConversations, listInbound } from "../../core/conversations/index.ts";
import type { Reaction } from "../../local/simulator/script.ts";
import { days, hours, launch, look, oneEmail, oneText, people, testSystem } from "../support/system.ts";

const system = await testSystem();
let made = 0;

/** Held until four in the afternoon, New York time. */
const later = (channel: "email" | "sms"): PlanInput => ({
  name: "Later",
  start: "later",
  nodes: [
    {
      id: "later",
      type: "send",
      channel,
      content: channel === "email" ? { subject: "Later", html: "<p>Later.</p>" } : { text: "Later." },
      schedule: { from: "16:00", to: "17:00" },
    },
  ],
});

const arrives: readonly Reaction[] = [
  { afterSeconds: 1, kind: "processed" },
  { afterSeconds: 10, kind: "delivered" },
];

describe("an address that says no", () => {
  const cases: readonly { readonly name: string; readonly channel: "email" | "sms"; readonly reaction: Reaction }[] = [
    { name: "hard bounce", channel: "email", reaction: { afterSeconds: 60, kind: "bounced_hard" } },
    { name: "complaint", channel: "email", reaction: { afterSeconds: 600, kind: "complained" } },
    { name: "unsubscribe", channel: "email", reaction: { afterSeconds: 600, kind: "unsubscribed" } },
    { name: "STOP", channel: "sms", reaction: { afterSeconds: 600, kind: "stop", text: "STOP" } },
  ];

  test.each(cases)("is written to no more after its $name, by no campaign", async ({ channel, reaction, name }) => {
    const tenant = await system.tenant();
    const n = made++;
    const address = channel === "email" ? `no${n}@mail.example` : `+1202555014${n}`;
    const other = channel === "email" ? `yes${n}@mail.example` : `+1202555015${n}`;
    const first = name === "hard bounce" ? [reaction] : [...arrives, reaction];
    system.script({ [address]: first, [other]: arrives });
    const input = channel === "email" ? { email: address } : { phone: address, smsConsent: true };
    // Two leads with one address: a contact walks one plan at a time, an address may be on several lists.
    const [one, two] = await people(system, tenant, [input, { ...input, firstName: "Edsger" }]);
    const [bystander] = await people(system, tenant, [
      channel === "email" ? { email: other } : { phone: other, smsConsent: true },
    ]);
    await launch(tenant, channel === "email" ? oneEmail : oneText, [one ?? ""]);
    const waiting = await launch(tenant, later(channel), [two ?? "", bystander ?? ""], "Later");
    await system.settle();
    const held = (await system.messages(tenant)).filter((row) => row.node_id === "later");
    expect(held.map((row) => row.status)).toEqual(["held", "held"]);

    await system.advance(15 * 60);
    const stopped = await system.message(tenant, address, "later");
    expect(stopped).toMatchObject({ status: "suppressed", hold_reason: "suppressed", enrollment: "stopped" });

    await system.advance(1 * days);
    const accepted = system.simulator.accepted().filter(({ to }) => to === address);
    expect(accepted).toHaveLength(1);
    expect(await system.message(tenant, other, "later")).toMatchObject({ status: "delivered" });
    const counts = await look<{ status: string; n: number }>(
      system,
      sql`select status, count(*)::int as n from contact_campaigns where tenant_id = ${tenant.tenantId} and campaign_id = ${waiting} group by status`,
    );
    expect(counts.toSorted((a, b) => (a.status < b.status ? -1 : 1))).toEqual([
      { status: "completed", n: 1 },
      { status: "stopped", n: 1 },
    ]);
    // The next case begins on a Monday at eleven, too.
    await system.advance(6 * days - 15 * 60);
  });
});

test("a reply stops the walk and stands in its conversation, after what it answers", async () => {
  const tenant = await system.tenant();
  const address = "answers@mail.example";
  system.script({ [address]: [...arrives, { afterSeconds: 3600, kind: "replied", text: "Can we talk on Thursday?" }] });
  const ids = await people(system, tenant, [{ email: address }]);
  await launch(tenant, oneEmail, ids);
  await system.advance(5 * days);

  expect(await system.message(tenant, address)).toMatchObject({ enrollment: "stopped", exit_reason: "replied" });
  const inbound = await listInbound(tenant, {});
  expect(inbound.data).toMatchObject([
    { from: address, newText: "Can we talk on Thursday?", classification: "reply", channel: "email" },
  ]);
  const [conversation] = (await listConversations(tenant, {})).data;
  const thread = await getConversation(tenant, { id: conversation?.id ?? "" });
  expect(thread).toMatchObject({ address, status: "open" });
  expect(thread.messages.map(({ direction }) => direction)).toEqual(["outbound", "inbound"]);
  expect(thread.messages[1]?.body).toContain("Can we talk on Thursday?");
});

test("an open by a machine moves nobody: the walk waits as if nothing had been opened", async () => {
  const tenant = await system.tenant();
  const [read, fetched] = ["read@mail.example", "fetched@mail.example"];
  system.script({
    [read]: [...arrives, { afterSeconds: 2 * hours, kind: "opened" }],
    [fetched]: [...arrives, { afterSeconds: 2 * hours, kind: "opened_machine" }],
  });
  const ids = await people(system, tenant, [{ email: read }, { email: fetched }]);
  await launch(tenant, oneEmail, ids);
  await system.advance(2 * days);
  const opened = async (address: string) => (await system.message(tenant, address, "hello")).opened_at;
  expect(await opened(read)).not.toBeNull();
  expect(await opened(fetched)).toBeNull();
  expect((await system.messages(tenant)).filter(({ node_id }) => node_id === "bump")).toMatchObject([
    { to_address: read },
  ]);
  await system.advance(2 * days);
  expect(await system.message(tenant, fetched, "bump")).toMatchObject({ status: "delivered" });
});

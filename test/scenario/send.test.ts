/**
 * A message from the outbox to the provider and back: the request on the wire, and for each thing that recipients and mail servers do,
 * the exact end of message, enrollment, suppression, address and lead.
 */
import { sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import type { Reaction } from "../../local/simulator/script.ts";
import {
  days,
  hours,
  launch,
  look,
  minutes,
  oneEmail,
  oneText,
  people,
  type SystemTenant,
  testSystem,
} from "../support/system.ts";

const system = await testSystem();

interface End {
  readonly message: string;
  readonly enrollment: string;
  readonly exit: string | null;
  readonly node: string | null;
  readonly suppression: string | null;
  readonly channel: string;
  readonly lead: string;
}

const after = (afterSeconds: number, kind: Reaction["kind"], more: object = {}): Reaction =>
  ({ afterSeconds, kind, ...more }) as Reaction;
const arrives: readonly Reaction[] = [after(1, "processed"), after(10, "delivered")];

interface Case {
  readonly name: string;
  readonly reactions: readonly Reaction[];
  /** Two days later. */
  readonly end: End;
  /** Messages of the walk by then. */
  readonly sent?: number;
}

const walking = { enrollment: "active", exit: null, suppression: null, channel: "active", lead: "new" } as const;

const emails: readonly Case[] = [
  { name: "delivered", reactions: arrives, end: { ...walking, message: "delivered", node: "hello" } },
  {
    name: "deferred and then delivered",
    reactions: [after(1, "processed"), after(5, "deferred"), after(20 * minutes, "delivered")],
    end: { ...walking, message: "delivered", node: "hello" },
  },
  {
    name: "deferred for ever",
    reactions: [after(1, "processed"), after(5, "deferred")],
    end: { ...walking, message: "sent", node: "hello" },
  },
  {
    name: "bounced for good",
    reactions: [after(1, "processed"), after(5, "bounced_hard")],
    end: {
      message: "bounced",
      enrollment: "stopped",
      exit: "bounced",
      node: "hello",
      suppression: "hard_bounce",
      channel: "bounced",
      lead: "new",
    },
  },
  {
    name: "blocked for now",
    reactions: [after(1, "processed"), after(5, "bounced_blocked")],
    end: { ...walking, message: "bounced", enrollment: "stopped", exit: "bounced", node: "hello" },
  },
  {
    name: "bounced hours after its delivery by a notice without a message id",
    reactions: [...arrives, after(3 * hours, "bounced_async")],
    end: {
      message: "bounced",
      enrollment: "stopped",
      exit: "bounced",
      node: "hello",
      suppression: "hard_bounce",
      channel: "bounced",
      lead: "new",
    },
  },
  {
    name: "dropped by the provider",
    reactions: [after(1, "dropped", { reason: "Bounced Address" })],
    end: {
      message: "failed",
      enrollment: "stopped",
      exit: "send_failed",
      node: "hello",
      suppression: "hard_bounce",
      channel: "bounced",
      lead: "new",
    },
  },
  {
    name: "opened by a person",
    reactions: [...arrives, after(2 * hours, "opened")],
    end: { ...walking, message: "delivered", enrollment: "completed", exit: "end", node: "bump" },
    sent: 2,
  },
  {
    name: "opened by a machine only",
    reactions: [...arrives, after(5 * minutes, "opened_machine")],
    end: { ...walking, message: "delivered", node: "hello" },
  },
  {
    name: "opened two seconds after its delivery, faster than anybody reads",
    reactions: [...arrives, after(12, "opened")],
    end: { ...walking, message: "delivered", node: "hello" },
  },
  {
    name: "clicked",
    reactions: [...arrives, after(2 * hours, "opened"), after(2 * hours + 30, "clicked")],
    end: { ...walking, message: "delivered", enrollment: "completed", exit: "end", node: "bump" },
    sent: 2,
  },
  {
    name: "reported as spam",
    reactions: [...arrives, after(2 * hours, "complained")],
    end: {
      message: "complained",
      enrollment: "stopped",
      exit: "complained",
      node: "hello",
      suppression: "complaint",
      channel: "active",
      lead: "new",
    },
  },
  {
    name: "unsubscribed with one click",
    reactions: [...arrives, after(2 * hours, "unsubscribed")],
    end: {
      message: "delivered",
      enrollment: "stopped",
      exit: "unsubscribed",
      node: "hello",
      suppression: "unsubscribed",
      channel: "active",
      lead: "new",
    },
  },
  {
    name: "answered",
    reactions: [...arrives, after(2 * hours, "replied", { text: "Thanks. Could you send me the pricing?" })],
    end: { ...walking, message: "delivered", enrollment: "stopped", exit: "replied", node: "hello" },
  },
  {
    name: "answered by a machine out of office",
    reactions: [...arrives, after(40, "autoreply", { text: "I am out of the office until Monday." })],
    end: { ...walking, message: "delivered", node: "hello" },
  },
  {
    name: "answered with a request to be removed",
    reactions: [...arrives, after(2 * hours, "stop", { text: "Please remove me from your list." })],
    end: {
      message: "delivered",
      enrollment: "stopped",
      exit: "unsubscribed",
      node: "hello",
      suppression: "unsubscribed",
      channel: "active",
      lead: "dnc",
    },
  },
];

const texts: readonly Case[] = [
  { name: "delivered", reactions: arrives, end: { ...walking, message: "delivered", node: "text" } },
  {
    name: "not delivered by the carrier",
    reactions: [after(1, "processed"), after(20, "undelivered", { code: 30003 })],
    end: { ...walking, message: "failed", enrollment: "stopped", exit: "send_failed", node: "text" },
  },
  {
    name: "sent to a number that does not exist",
    reactions: [after(1, "processed"), after(20, "undelivered", { code: 30005 })],
    end: {
      message: "failed",
      enrollment: "stopped",
      exit: "send_failed",
      node: "text",
      suppression: "hard_bounce",
      channel: "bounced",
      lead: "new",
    },
  },
  {
    name: "answered",
    reactions: [...arrives, after(30 * minutes, "replied", { text: "Sounds good, call me." })],
    end: { ...walking, message: "delivered", enrollment: "stopped", exit: "replied", node: "text" },
  },
  {
    name: "answered with STOP",
    reactions: [...arrives, after(30 * minutes, "stop", { text: "STOP" })],
    end: {
      message: "delivered",
      enrollment: "stopped",
      exit: "unsubscribed",
      node: "text",
      suppression: "stop",
      channel: "active",
      lead: "dnc",
    },
  },
];

async function ends(tenantId: string, address: string) {
  const [row] = await look<End & { sent: number }>(
    system,
    sql`
      select (array_agg(m.status order by m.id))[1] as message, e.status as enrollment, e.exit_reason as exit, e.current_node_id as node,
        (select s.reason from communication_suppressions s where s.tenant_id = m.tenant_id and s.address = ${address} and s.released_at is null) as suppression,
        ch.status as channel, l.status as lead, count(*) filter (where m.sent_at is not null)::int as sent
      from outbound_messages m
      join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id
      join contact_channels ch on ch.tenant_id = m.tenant_id and ch.contact_id = m.contact_id and ch.address = m.to_address
      join leads l on l.tenant_id = m.tenant_id and l.id = m.lead_id
      where m.tenant_id = ${tenantId} and m.to_address = ${address}
      group by m.tenant_id, e.id, e.status, e.exit_reason, e.current_node_id, ch.status, l.status`,
  );
  return row;
}

describe("an e-mail", () => {
  let tenant: SystemTenant;
  const addressOf = (n: number) => `person${n}@mail.example`;
  beforeAll(async () => {
    tenant = await system.tenant();
    system.script(Object.fromEntries(emails.map(({ reactions }, n) => [addressOf(n), reactions])));
    const inputs = emails.map((_, n) => ({ email: addressOf(n) }));
    await launch(tenant, oneEmail, await people(system, tenant, inputs));
    await system.advance(2 * days);
  });

  test.each(emails.map((one, n) => ({ ...one, n })))("$name", async ({ end, sent = 1, n }) => {
    expect(await ends(tenant.tenantId, addressOf(n))).toEqual({ ...end, sent });
  });

  test("carries on the wire what the provider asks for and what the law asks for", async () => {
    const accept = system.simulator.accepted().find((one) => one.to === addressOf(0));
    const response = await fetch(`${system.simulator.url}/messages/${accept?.ourMessageId}`);
    const wire = (await response.json()) as Record<string, unknown> & { headers: Record<string, string> };
    const { id } = await system.message(tenant, addressOf(0));
    expect(accept).toMatchObject({ provider: "sendgrid", ourMessageId: id, from: "ada@outrider.example" });
    expect(wire["subject"]).toBe("Hello Grace");
    expect(wire["customArgs"]).toMatchObject({ outrider_message_id: id });
    expect(wire["replyTo"]).toMatch(/@reply\.outrider\.example$/);
    expect(wire.headers["list-unsubscribe-post"]).toBe("List-Unsubscribe=One-Click");
    expect(wire.headers["list-unsubscribe"]).toMatch(/^<http.*\/u\/[\w.-]+>/);
    expect(wire["html"]).toContain("1 Main Street");
    expect(wire["text"]).toContain("1 Main Street");
    expect(wire["html"]).not.toContain("https://www.outrider.example/guide");
  });
});

describe("a text", () => {
  let tenant: SystemTenant;
  const addressOf = (n: number) => `+1202555012${n}`;
  beforeAll(async () => {
    tenant = await system.tenant();
    system.script(Object.fromEntries(texts.map(({ reactions }, n) => [addressOf(n), reactions])));
    const inputs = texts.map((_, n) => ({ phone: addressOf(n), smsConsent: true }));
    await launch(tenant, oneText, await people(system, tenant, inputs));
    await system.advance(1 * days);
  });

  test.each(texts.map((one, n) => ({ ...one, n })))("$name", async ({ end, n }) => {
    expect(await ends(tenant.tenantId, addressOf(n))).toEqual({ ...end, sent: 1 });
  });

  test("carries on the wire where its fate is to be reported, and which message that is", async () => {
    const { id } = await system.message(tenant, addressOf(0));
    const response = await fetch(`${system.simulator.url}/messages/${id}`);
    const wire = (await response.json()) as Readonly<Record<string, unknown>>;
    expect(wire).toMatchObject({ provider: "twilio", from: "+12025550100", to: addressOf(0), ourMessageId: id });
    expect(wire["text"]).toBe("Ada here, Grace. Reply STOP to opt out.");
    expect(wire["callbackUrl"]).toBe(`${tenant.sms.webhookUrl}?m=${id}`);
  });

  test("is not sent without consent", async () => {
    const [id] = await people(system, tenant, [{ phone: "+12025550139" }]);
    await launch(tenant, oneText, [id ?? ""], "Without consent");
    await system.settle();
    expect(await system.message(tenant, "+12025550139")).toMatchObject({
      status: "suppressed",
      hold_reason: "no_consent",
      sent_at: null,
    });
  });
});

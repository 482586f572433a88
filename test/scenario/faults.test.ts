/** What providers do when they are unwell. Whatever it is: no message is accepted twice, and none is forgotten. */
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import type { PlanInput } from "../../core/campaigns/index.ts";
import type { SettingsInput } from "../../local/simulator/behaviour.ts";
import { days, hours, launch, look, minutes, people, type SystemTenant, testSystem } from "../support/system.ts";

const system = await testSystem();
const crowd = 12;

const once: PlanInput = {
  name: "Once",
  start: "once",
  nodes: [{ id: "once", type: "send", channel: "email", content: { subject: "Once", html: "<p>Once.</p>" } }],
};

/** Everybody's mail arrives within ten seconds. */
const delivery = [
  { kind: "processed", afterSeconds: 1 },
  { kind: "delivered", afterSeconds: 10 },
] as const;

let made = 0;

/** A dozen people under a domain of their own, sent to while the provider behaves as told. */
async function run(settings: SettingsInput, arrives = true): Promise<{ tenant: SystemTenant; domain: string }> {
  const tenant = await system.tenant();
  const domain = `fault${made++}.example`;
  system.script({ [`@${domain}`]: arrives ? delivery : [] });
  system.behave(settings);
  const inputs = Array.from({ length: crowd }, (_, n) => ({ email: `p${n}@${domain}` }));
  await launch(tenant, once, await people(system, tenant, inputs), domain);
  return { tenant, domain };
}

const accepted = (domain: string) => system.simulator.accepted().filter(({ to }) => to.endsWith(`@${domain}`));

async function statuses(tenant: SystemTenant): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { status } of await system.messages(tenant)) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

const attempts = ({ tenantId }: SystemTenant) =>
  look<{ outcome: string; resolved_by: string | null }>(
    system,
    sql`select outcome, resolved_by from send_attempts where tenant_id = ${tenantId} order by id`,
  );

describe("an answer that is lost after the message was taken", () => {
  test.each([
    ["a time-out", { errors: { timeoutAfterAccept: 1 } }],
    ["an error", { errors: { http500AfterAccept: 1 } }],
  ] satisfies [string, SettingsInput][])(
    "through %s leaves the send in doubt until a webhook carries our id",
    async (_, settings) => {
      const { tenant, domain } = await run(settings);
      await system.settle();
      expect(await statuses(tenant)).toEqual({ ambiguous: crowd });
      expect(accepted(domain)).toHaveLength(crowd);

      await system.advance(1 * minutes);
      expect(await statuses(tenant)).toEqual({ delivered: crowd });
      expect(new Set((await attempts(tenant)).map((row) => `${row.outcome} ${row.resolved_by}`))).toEqual(
        new Set(["accepted webhook"]),
      );
      const messages = await system.messages(tenant);
      expect(messages.every((row) => row.provider_message_id !== null && row.enrollment === "completed")).toBe(true);
      await system.advance(2 * days);
      expect(accepted(domain)).toHaveLength(crowd);
    },
  );

  test("and of which nothing is ever heard counts as sent after a day, and is not sent again", async () => {
    const { tenant, domain } = await run({ errors: { timeoutAfterAccept: 1 } }, false);
    await system.advance(20 * hours);
    expect(await statuses(tenant)).toEqual({ ambiguous: crowd });
    await system.advance(6 * hours);
    expect(await statuses(tenant)).toEqual({ accepted_unknown: crowd });
    expect(accepted(domain)).toHaveLength(crowd);
    const messages = await system.messages(tenant);
    expect(messages.every((row) => row.sent_at !== null && row.enrollment === "completed")).toBe(true);
  });

  test("is still evidence when it comes after that day", async () => {
    const { tenant, domain } = await run({ errors: { timeoutAfterAccept: 1 }, webhooks: { delaySeconds: 30 * hours } });
    await system.advance(26 * hours);
    expect(await statuses(tenant)).toEqual({ accepted_unknown: crowd });
    await system.advance(6 * hours);
    expect(await statuses(tenant)).toEqual({ delivered: crowd });
    expect(accepted(domain)).toHaveLength(crowd);
  });
});

test("an error without acceptance is in doubt as well, and is not sent again blindly", async () => {
  const { tenant, domain } = await run({ errors: { http500: 1 } });
  await system.advance(1 * hours);
  expect(await statuses(tenant)).toEqual({ ambiguous: crowd });
  expect(accepted(domain)).toHaveLength(0);
});

test.each(["documented", "seconds", "date", "zero", "negative", "ten_years", "garbage", "missing"] as const)(
  "a 429 whose Retry-After is %s is tried again within the hour, and costs no attempt",
  async (variant) => {
    const { tenant, domain } = await run({ errors: { rateLimit429: 1 }, rateLimitVariants: [variant] });
    await system.settle();
    const waiting = await system.messages(tenant);
    for (const { status, run_at, attempts: used } of waiting) {
      expect({ status, used }).toEqual({ status: "queued", used: 0 });
      const seconds = (run_at.getTime() - system.now().getTime()) / 1000;
      expect(seconds).toBeGreaterThanOrEqual(1);
      expect(seconds).toBeLessThanOrEqual(3600);
    }
    expect(accepted(domain)).toHaveLength(0);
    system.behave({});
    await system.advance(61 * minutes);
    expect(await statuses(tenant)).toEqual({ delivered: crowd });
    expect(accepted(domain)).toHaveLength(crowd);
  },
);

test("a connection that breaks before the message is taken leaves it in doubt: nobody can tell", async () => {
  const { tenant, domain } = await run({ errors: { resetBeforeAccept: 1 } });
  await system.settle();
  expect(await statuses(tenant)).toEqual({ ambiguous: crowd });
  expect(accepted(domain)).toHaveLength(0);
});

test("an answer without a message id is an acceptance; webhooks find the message by ours", async () => {
  const { tenant, domain } = await run({ errors: { malformed2xx: 1 } });
  await system.settle();
  expect(
    (await system.messages(tenant)).every((row) => row.status === "sent" && row.provider_message_id === null),
  ).toBe(true);
  await system.advance(1 * minutes);
  expect(
    (await system.messages(tenant)).every((row) => row.status === "delivered" && row.provider_message_id !== null),
  ).toBe(true);
  expect(accepted(domain)).toHaveLength(crowd);
});

test("a webhook that overtakes the answer to its send is not moved back by it", async () => {
  const { tenant, domain } = await run({ webhooks: { early: 1 } });
  await system.settle();
  await system.advance(1 * minutes);
  expect(await statuses(tenant)).toEqual({ delivered: crowd });
  expect(accepted(domain)).toHaveLength(crowd);
  expect((await system.messages(tenant)).every((row) => row.enrollment === "completed")).toBe(true);
});

test("revoked credentials hold the account's messages, and its recovery sends them", async () => {
  const { tenant, domain } = await run({ errors: { http401: 1 } });
  await system.settle();
  expect(await statuses(tenant)).toEqual({ held: crowd });
  expect((await system.messages(tenant)).every((row) => row.hold_reason === "credentials")).toBe(true);
  const [channel] = await look<{ status: string }>(
    system,
    sql`select status from channel_configs where tenant_id = ${tenant.tenantId} and channel = 'email'`,
  );
  expect(channel).toEqual({ status: "degraded" });
  system.behave({});
  await system.heal(tenant);
  await system.advance(20 * minutes);
  expect(await statuses(tenant)).toEqual({ delivered: crowd });
  expect(accepted(domain)).toHaveLength(crowd);
});

test("webhooks that are duplicated, reordered, late and partly lost over a storm of errors leave one accept per message", async () => {
  const { tenant, domain } = await run({
    seed: "storm",
    errors: { http500AfterAccept: 0.2, timeoutAfterAccept: 0.2, rateLimit429: 0.2, malformed2xx: 0.1 },
    rateLimitVariants: ["seconds", "date", "garbage"],
    webhooks: { duplicateRate: 0.5, reorder: 0.5, early: 0.3, dropRate: 0.1 },
  });
  await system.advance(3 * days);
  const sent = accepted(domain);
  expect(sent).toHaveLength(crowd);
  expect(new Set(sent.map(({ ourMessageId }) => ourMessageId)).size).toBe(crowd);
  const { delivered = 0, sent: silent = 0, accepted_unknown: unknown = 0, ...others } = await statuses(tenant);
  expect(others).toEqual({});
  expect(delivered + silent + unknown).toBe(crowd);
  expect(delivered).toBeGreaterThan(crowd / 2);
});

/** A finished scenario with every kind of end, asked about every contact, campaign and node: each answer names a rule of the closed list. */
import { sql } from "kysely";
import { beforeAll, expect, test } from "vitest";
import { type Explanation, explain, explainCodes } from "../../../core/campaigns/explain.ts";
import { activate, createCampaign, enroll, pause, stop } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { gateReasons } from "../../../core/kernel/index.ts";
import * as suppression from "../../../core/suppression/index.ts";
import { updateTenantSettings } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { person, pump, type ReadyTenant, readyTenant } from "../../support/outreach.ts";
import { advance, arrange, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
/** Monday, 11:00 in New York, 6:00 in Honolulu. */
const monday = new Date("2026-03-02T16:00:00Z");

/** What a message's own answer may say beside the gate's reasons. */
const messageCodes = ["sent", "in_flight", "ambiguous", "waiting", "failed", "cancelled"];
const closed = new Set<string>([...explainCodes, ...gateReasons, ...messageCodes]);

const plan: PlanInput = {
  start: "intro",
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      content: { subject: "Hi", text: "Hello {{ first_name }}" },
      transitions: [{ on: "no_open", to: "where", after: "PT24H" }],
    },
    {
      id: "where",
      type: "branch",
      cases: [{ when: { op: "eq", field: "contact.state", value: "CA" }, to: "west" }],
      else: "text",
    },
    { id: "west", type: "send", channel: "email", content: { subject: "West", text: "West" } },
    { id: "text", type: "send", channel: "sms", content: { text: "Text" } },
  ],
};
const nodes = plan.nodes.map(({ id }) => id);

let tenant: ReadyTenant;
const contacts = new Map<string, string>();
const campaigns = new Map<string, string>();

const campaign = async (name: string, given: PlanInput | undefined, audience: readonly string[]): Promise<string> => {
  const { id } = await createCampaign(tenant, { name, ...(given === undefined ? {} : { plan: given as never }) });
  campaigns.set(name, id);
  if (audience.length > 0) await enroll(tenant, { campaignId: id, audience: { contactIds: audience.map(idOf) } });
  return id;
};
const idOf = (name: string): string => contacts.get(name) ?? "";
const ask = (name: string, who: string, nodeId?: string): Promise<Explanation> =>
  explain(tenant, {
    campaignId: campaigns.get(name) ?? "",
    contactId: idOf(who),
    ...(nodeId === undefined ? {} : { nodeId }),
  });

beforeAll(async () => {
  await setClock(database, monday);
  tenant = await readyTenant(database);
  await updateTenantSettings(tenant, { frequencyCaps: [{ channel: "email", count: 1, windowSeconds: 3_600 }] });
  const make = async (name: string, input: Parameters<typeof person>[2]) =>
    void contacts.set(name, await person(database, tenant, input));
  await make("reader", { email: "reader@example.com", phone: "+12125550101", smsConsent: true });
  await make("west", { email: "west@example.com", state: "CA" });
  await make("island", { email: "island@example.com", phone: "+18085550101", state: "HI", smsConsent: true });
  await make("silent", { email: "silent@example.com", phone: "+12125550103" });
  await make("nameless", { email: "nameless@example.com", firstName: null });
  await make("refuser", { email: "refuser@example.com" });
  await make("bouncer", { email: "bouncer@example.com" });
  await make("unsure", { email: "unsure@example.com" });
  await make("rejected", { email: "rejected@example.com" });
  await make("mute", {});
  await make("never", { email: "never@example.com" });
  await make("stopped", { email: "stopped@example.com" });
  await make("paused", { email: "paused@example.com" });
  await make("draft", { email: "draft@example.com" });
  await make("gone", { email: "gone@example.com" });
  await make("twin", { email: "reader@example.com" });
  await suppression.add(tenant, { channel: "email", address: "refuser@example.com", reason: "manual", source: "test" });
  await arrange(database, tenant.tenantId, (tx) =>
    sql`update leads set status = 'dnc' where tenant_id = ${tenant.tenantId} and email = 'gone@example.com'`.execute(
      tx,
    ),
  );
  tenant.email.answer = (message, call) => {
    if (message.to === "unsure@example.com") return { kind: "ambiguous", reason: "no answer" };
    if (message.to === "rejected@example.com")
      return { kind: "rejected", code: "550", reason: "no such mailbox", permanent: true } as never;
    return { kind: "accepted", providerMessageId: `m${call}` };
  };
  const main = await campaign("main", plan, [
    "reader",
    "west",
    "island",
    "silent",
    "nameless",
    "refuser",
    "bouncer",
    "unsure",
    "rejected",
    "mute",
    "twin",
  ]);
  await activate(tenant, { id: main });
  await pump(tenant);
  const halted = await campaign("stopped", plan, ["stopped"]);
  await activate(tenant, { id: halted });
  await stop(tenant, { id: halted });
  const resting = await campaign("paused", plan, ["paused"]);
  await activate(tenant, { id: resting });
  await pause(tenant, { id: resting });
  await campaign("draft", plan, ["draft"]);
  await campaign("without a plan", undefined, []);
  await pump(tenant);
  await advance(database, 3 * 3_600);
  await pump(tenant);
  await advance(database, 23 * 3_600);
  await pump(tenant);
}, 60_000);

test("every contact, campaign and node has an answer with a rule, a sentence and facts", async () => {
  const seen = new Map<string, number>();
  for (const name of campaigns.keys()) {
    for (const who of contacts.keys()) {
      for (const nodeId of [undefined, ...(name === "without a plan" ? [] : nodes)]) {
        const place = `${name} · ${who} · ${nodeId ?? "anywhere"}`;
        const { code, sentences, facts, message } = await ask(name, who, nodeId);
        expect(closed.has(code), `${place}: ${code}`).toBe(true);
        expect(sentences.length, place).toBeGreaterThan(0);
        for (const sentence of sentences) expect(sentence, place).toMatch(/^\p{Lu}.*\.$/su);
        expect(Object.keys(facts).length, place).toBeGreaterThan(0);
        if (message) expect(message.sentences.length, place).toBeGreaterThan(0);
        seen.set(code, (seen.get(code) ?? 0) + 1);
      }
    }
  }
  // The scenario has the ends that it is about.
  expect([...seen.keys()].toSorted()).toEqual(
    expect.arrayContaining([
      "busy",
      "lead_unavailable",
      "never_in_audience",
      "no_address",
      "no_consent",
      "no_plan",
      "path_not_taken",
      "campaign_not_active",
      "sent",
      "suppressed",
    ]),
  );
}, 120_000);

test.each([
  ["main", "reader", "intro", ["sent"]],
  ["main", "refuser", "intro", ["suppressed"]],
  ["main", "unsure", "intro", ["ambiguous"]],
  ["main", "silent", "text", ["no_consent"]],
  ["main", "reader", "west", ["path_not_taken"]],
  ["main", "west", "text", ["path_not_taken"]],
  ["main", "mute", "intro", ["no_address"]],
  ["main", "never", "intro", ["never_in_audience"]],
  ["main", "gone", "intro", ["lead_unavailable"]],
  ["main", "nameless", "intro", ["render_failed", "expired"]],
  ["stopped", "stopped", "intro", ["ended_before", "cancelled", "campaign_not_active", "enrollment_not_active"]],
  ["paused", "paused", "intro", ["paused", "campaign_not_active"]],
  ["draft", "draft", "intro", ["not_started"]],
  ["draft", "reader", "intro", ["never_in_audience"]],
  ["main", "draft", "intro", ["busy"]],
  ["without a plan", "reader", undefined, ["no_plan"]],
] as const)("%s · %s · %s", async (name, who, nodeId, codes) => {
  expect(codes as readonly string[]).toContain((await ask(name, who, nodeId)).code);
});

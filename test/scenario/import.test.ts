/** A list goes in through the front door and becomes golden records; a plan goes in in two forms and is one plan. */
import { describe, expect, test } from "vitest";
import { compilePlan } from "../../core/campaigns/index.ts";
import { graph, steps } from "../../local/demo/plan.ts";
import { api, type Body, days, importCsv, type SystemTenant, testSystem } from "../support/system.ts";

const system = await testSystem();

const header =
  "Email,First Name,Last Name,Title,Phone,Company,Company Domain,City,State,Zip,Country,SMS Consent,SMS Consent Text";
const consent = "yes,I agree to receive marketing text messages at this number.";
const list = [
  header,
  `ada@analytical.example,Ada,Lovelace,Chief Executive Officer,(202) 555-0111,Analytical Engines,analytical.example,New York City,NY,10017,United States,${consent}`,
  "Grace@Analytical.example,Grace,Hopper,VP Sales,+12025550112,Analytical Engines,analytical.example,Austin,TX,73301,United States,no,",
  "søren@büro.example,Søren,Øster,Plant Manager,,Büro GmbH,büro.example,,,,Germany,,",
  ",Nobody,Known,Finance Director,,Analytical Engines,analytical.example,,,,United States,,",
  "ada at analytical.example,Ada,Broken,,,Analytical Engines,analytical.example,,,,United States,,",
  "edsger@shortest.example,Edsger,Dijkstra,,555-01,Shortest Paths,shortest.example,Austin,TX,73301,United States,,",
  "ADA@ANALYTICAL.EXAMPLE,Ada,Lovelace,Chief Executive Officer,,Analytical Engines,analytical.example,,,,United States,,",
  "",
].join("\n");

async function all(tenant: SystemTenant, path: string): Promise<Body[]> {
  return (await api(system, tenant, "GET", `/v1/${path}?limit=100`)).body.data;
}

async function census(tenant: SystemTenant) {
  const parts = ["companies", "people", "leads", "contacts"];
  const counts = await Promise.all(parts.map(async (part) => [part, (await all(tenant, part)).length] as const));
  return Object.fromEntries(counts);
}

describe("an uploaded list", () => {
  test("becomes companies, people, leads and contacts; what is not taken is listed with its reason; the same file again adds nothing", async () => {
    const tenant = await system.tenant();
    const first = await importCsv(system, tenant, list);
    expect(first).toMatchObject({
      status: "completed",
      rows: { read: 7, accepted: 4, duplicate: 1, rejected: 2, promoted: 4 },
    });
    const once = { companies: 3, people: 4, leads: 4, contacts: 4 };
    expect(await census(tenant)).toEqual(once);

    const loads = (await api(system, tenant, "GET", `/v1/intake/loads?importId=${first.id}&limit=100`)).body
      .data as Body[];
    expect(loads).toHaveLength(7);
    const notTaken = loads.filter(({ status }) => status === "failed" || status === "duplicate");
    expect(notTaken.every(({ reason }) => typeof reason === "string" && reason !== "")).toBe(true);
    const rejected = await api(system, tenant, "GET", `/v1/imports/${first.id}/rejected`);
    const lines = rejected.text.trim().split("\r\n");
    expect(lines).toHaveLength(1 + 3);
    expect(rejected.text).toContain("ada at analytical.example");
    expect(rejected.text).toContain("ADA@ANALYTICAL.EXAMPLE");

    const contacts = await all(tenant, "contacts");
    const ada = contacts.find(({ firstName }) => firstName === "Ada");
    expect(ada.channels.map(({ channel, address }: Body) => `${channel} ${address}`).toSorted()).toEqual([
      "email ada@analytical.example",
      "sms +12025550111",
    ]);
    // A number that is none costs the number, not the person.
    const edsger = contacts.find(({ firstName }) => firstName === "Edsger");
    expect(edsger.channels).toMatchObject([{ channel: "email", address: "edsger@shortest.example" }]);

    const again = await importCsv(system, tenant, list);
    expect(again.rows).toMatchObject({ read: 7, accepted: 0, duplicate: 5, rejected: 2, promoted: 0 });
    expect(await census(tenant)).toEqual(once);

    await system.advance(29 * days);
    expect((await importCsv(system, tenant, list)).rows).toMatchObject({ accepted: 0, duplicate: 5 });
    // After thirty days the same people are taken as news of known ones.
    await system.advance(2 * days);
    expect((await importCsv(system, tenant, list)).rows).toMatchObject({ accepted: 4, duplicate: 1 });
    expect(await census(tenant)).toEqual(once);
  });

  test("that is no list is refused at the door, and nothing of it is kept", async () => {
    const tenant = await system.tenant();
    const answer = await api(system, tenant, "POST", "/v1/imports?source=fair", "");
    expect(answer.status).toBe(422);
    expect(await all(tenant, "imports")).toEqual([]);
  });
});

describe("a plan", () => {
  test("authored as a graph and as plain steps is one plan with one hash", async () => {
    const tenant = await system.tenant();
    const [asGraph, asSteps] = [compilePlan(graph), compilePlan(steps)];
    if (!asGraph.ok || !asSteps.ok) throw new Error("the demo's plan does not compile");
    expect(asSteps.hash).toBe(asGraph.hash);
    const made = await api(system, tenant, "POST", "/v1/campaigns", { name: "By graph", plan: graph });
    const other = await api(system, tenant, "POST", "/v1/campaigns", { name: "By steps", plan: steps });
    expect([made.status, other.status]).toEqual([201, 201]);
    expect(other.body.planHash).toBe(made.body.planHash);
    const versioned = await api(system, tenant, "POST", `/v1/campaigns/${made.body.id}/versions`, { plan: steps });
    expect(versioned.body.planVersionId).toBe(made.body.planVersionId);
  });
});

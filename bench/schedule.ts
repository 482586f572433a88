/**
 * `enqueue`: one due action at a time, 16 at once, as the engine writes it; `schedule`: contacts enrolled by the thousand and their first
 * actions run. Against the queues that somebody would build upon instead, which know jobs but no contacts, plans or tenants.
 */

import { lockWalkers, type Walker } from "../core/campaigns/apply.ts";
import { Net } from "../core/campaigns/fold.ts";
import { activate, createCampaign, enroll, runActions } from "../core/campaigns/index.ts";
import { initialState } from "../core/campaigns/state.ts";
import { schedule } from "../core/campaigns/write.ts";
import { type Context, transact } from "../core/kernel/context.ts";
import { available, measurePeer, type System, startRedis } from "./peers.ts";
import { interleave, type Rig, rate, workingHour } from "./rig.ts";
import { newContacts, newTenant } from "./tenants.ts";

const tenantCount = 8;
const lanes = 16;

/** A plan that does nothing but end: what remains is enrolling, scheduling and moving on. */
const plan = { start: "end", nodes: [{ id: "end", type: "stop" }] };

async function newCampaign(tenant: Context): Promise<string> {
  const { id } = await createCampaign(tenant, { name: "Bench", plan } as Parameters<typeof createCampaign>[1]);
  return id;
}

async function tenantsOf(rig: Rig): Promise<Context[]> {
  const tenants: Context[] = [];
  for (let n = 0; n < tenantCount; n++) tenants.push(await newTenant(rig));
  return tenants;
}

/** The given variants beside every queue that is installed. */
async function besidePeers(
  rig: Rig,
  title: "enqueue" | "schedule",
  count: number,
  own: Readonly<Record<string, () => Promise<number>>>,
): Promise<Readonly<Record<string, number>>> {
  const redis = await startRedis();
  try {
    const systems = available(rig, ["raw", "pg-boss", "graphile-worker", "bullmq"], redis);
    const peers = Object.fromEntries(
      systems.map((system: System) => [system, () => measurePeer(rig, system, title, count, redis?.port)]),
    );
    const values = await interleave(rig, title, { ...own, ...peers });
    for (const system of systems) {
      rig.line({
        name: `${title}-${system}`,
        value: values["outrider"] ?? Number.NaN,
        unit: "jobs/s",
        baseline: values[system] ?? null,
      });
    }
    return values;
  } finally {
    redis?.stop();
  }
}

export async function enqueueLines(rig: Rig): Promise<void> {
  const count = rig.quick ? 2_000 : 6_000;
  const tenants = await tenantsOf(rig);
  const walkers: { readonly tenant: Context; readonly walker: Walker }[] = [];
  for (const tenant of tenants) {
    const contactIds = await newContacts(rig, tenant, 100);
    // Enrolled, not started: nothing is scheduled for them yet.
    await enroll(tenant, { campaignId: await newCampaign(tenant), audience: { contactIds } });
    const ids = await rig.owner
      .selectFrom("contact_campaigns")
      .select("id")
      .where("tenant_id", "=", tenant.tenantId)
      .execute();
    const locked = await transact(tenant, (ctx) =>
      lockWalkers(
        ctx,
        ids.map(({ id }) => id),
      ),
    );
    walkers.push(...locked.map((walker) => ({ tenant, walker: { ...walker, campaign_status: "active" } })));
  }
  let made = 0;
  const addOne = async (): Promise<void> => {
    const n = made++;
    const one = walkers[(n * 101) % walkers.length];
    if (!one) throw new Error("there is nobody to schedule anything for");
    const net = new Net(one.walker.id, initialState(one.walker.contact_id));
    const node = `n${n}`;
    net.schedules.set(node, { action: "node", nodeId: node, watch: null, runAt: workingHour });
    await transact(one.tenant, (ctx) => schedule(ctx, [{ walker: one.walker, net }]));
  };
  const outrider = (jobs: number) => () => rate(() => inLanes(jobs, addOne));
  await outrider(1_000)();

  // The same from the outside: an active campaign takes one contact in and schedules its first action.
  const people: { readonly tenant: Context; readonly campaignId: string; readonly contactIds: string[] }[] = [];
  const enrollments = rig.quick ? 400 : 1_600;
  for (const tenant of tenants) {
    const campaignId = await newCampaign(tenant);
    await activate(tenant, { id: campaignId });
    people.push({ tenant, campaignId, contactIds: [] });
  }
  let entered = 0;
  const enrollOne = async (): Promise<void> => {
    const one = people[entered++ % people.length];
    const contactId = one?.contactIds.pop();
    if (!one || contactId === undefined) throw new Error("there is nobody left to enroll");
    await enroll(one.tenant, { campaignId: one.campaignId, audience: { contactIds: [contactId] } });
  };
  const enrolling = async (): Promise<number> => {
    for (const one of people) one.contactIds.push(...(await newContacts(rig, one.tenant, enrollments / tenantCount)));
    return rate(() => inLanes(enrollments, enrollOne));
  };
  await enrolling();
  const values = await besidePeers(rig, "enqueue", count, { outrider: outrider(count), enrolling });
  rig.line({
    name: "enqueue-enroll",
    value: values["enrolling"] ?? Number.NaN,
    unit: "contacts/s",
    baseline: values["pg-boss"] ?? null,
  });
}

async function inLanes(count: number, work: () => Promise<void>): Promise<number> {
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await work();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return count;
}

export async function scheduleLines(rig: Rig): Promise<void> {
  const perTenant = rig.quick ? 500 : 2_500;
  const workers = 4;
  const tenants = (await tenantsOf(rig)).slice(0, workers);
  const outrider = async (): Promise<number> => {
    const audiences = [];
    for (const tenant of tenants) {
      const contactIds = await newContacts(rig, tenant, perTenant);
      audiences.push({ tenant, contactIds, campaignId: await newCampaign(tenant) });
    }
    const from = performance.now();
    for (const { tenant, contactIds, campaignId } of audiences) {
      await enroll(tenant, { campaignId, audience: { contactIds } });
      await activate(tenant, { id: campaignId });
    }
    const enrolled = performance.now();
    const ran = await Promise.all(tenants.map(runAll));
    const done = performance.now();
    const count = ran.reduce((sum, one) => sum + one, 0);
    if (count !== perTenant * tenants.length) throw new Error(`${count} actions ran`);
    rig.note(`    enrolled ${perSecond(count, enrolled - from)}/s, ran ${perSecond(count, done - enrolled)}/s`);
    return count / ((done - from) / 1_000);
  };
  await outrider();
  await besidePeers(rig, "schedule", rig.quick ? 10_000 : 30_000, { outrider });
}

const perSecond = (count: number, ms: number): string => Math.round(count / (ms / 1_000)).toLocaleString("en-US");

/** What a consumer of `actions` does with a bell that asks for everything. */
async function runAll(tenant: Context): Promise<number> {
  let ran = 0;
  for (let done = await runActions(tenant, []); done > 0; done = await runActions(tenant, [])) ran += done;
  return ran;
}

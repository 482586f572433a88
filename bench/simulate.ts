/** `simulate`: an audience through a plan of five messages before anything is sent; nothing to compare it with exists. */
import { createCampaign, simulate } from "../core/campaigns/index.ts";
import { interleave, type Rig } from "./rig.ts";
import { newContacts, sendingTenant } from "./tenants.ts";

const steps = 5;

export async function simulateLines(rig: Rig): Promise<void> {
  const contacts = rig.quick ? 10_000 : 100_000;
  const tenant = await sendingTenant(rig, "http://127.0.0.1:9");
  await newContacts(rig, tenant, contacts);
  const nodes = Array.from({ length: steps }, (_, n) => ({
    id: `step${n + 1}`,
    type: "send",
    channel: "email",
    content: { subject: "Hello {{ first_name }}", text: "Good to meet you, {{ first_name }}." },
    ...(n + 1 < steps && { transitions: [{ on: "no_reply", to: `step${n + 2}`, after: "P2D" }] }),
  }));
  const { id: campaignId } = await createCampaign(tenant, {
    name: "Bench",
    plan: { start: "step1", nodes },
  } as Parameters<typeof createCampaign>[1]);
  const run = async (): Promise<number> => {
    const from = performance.now();
    const { summary } = await simulate(tenant, { campaignId, audience: { all: true }, store: false });
    if (summary.sent !== contacts * steps) throw new Error(`${summary.sent} of ${contacts * steps} messages`);
    return (contacts * steps) / ((performance.now() - from) / 1_000);
  };
  const { outrider } = await interleave(rig, "simulate", { outrider: run }, Math.min(rig.rounds, 3));
  rig.line({ name: "simulate", value: outrider, unit: "contact-steps/s", baseline: null });
}

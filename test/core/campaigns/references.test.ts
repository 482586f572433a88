/** A plan that names what its tenant does not have is refused when it is written, not when its messages are due. */
import { expect, it } from "vitest";
import { addPlanVersion, createCampaign } from "../../../core/campaigns/index.ts";
import type { PlanInput } from "../../../core/campaigns/plan.ts";
import { create } from "../../../core/templates/index.ts";
import { createSender } from "../../../core/tenancy/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();

const plan = (senderId: string, templateId: string, other: string): PlanInput => ({
  start: "intro",
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      senderId,
      templateId,
      variants: [
        { id: "a", weight: 1 },
        { id: "b", weight: 1, templateId: other },
      ],
    },
  ],
});

it("by node and field, whether it is unknown, another tenant's or made for another channel", async () => {
  const [tenant, stranger] = [await newTenant(database), await newTenant(database)];
  const mail = { name: "mail", channel: "email", subject: "Hi", text: "Hello" } as const;
  const { template: own } = await create(tenant, mail);
  const { template: text } = await create(tenant, { name: "text", channel: "sms", text: "Hello" });
  const { template: theirs } = await create(stranger, mail);
  const sender = await createSender(tenant, { fromEmail: "ada@sender.example", fromName: "Ada" });
  const theirSender = await createSender(stranger, { fromEmail: "eve@sender.example", fromName: "Eve" });
  const write = (...ids: Parameters<typeof plan>) =>
    createCampaign(tenant, { name: "Spring", plan: plan(...ids) as never });

  const { id } = await write(sender.id, own.id, own.id);
  await expect(write(theirSender.id, own.id, "welcome")).rejects.toMatchObject({
    code: "plan.invalid",
    fields: [
      {
        path: "plan.nodes[0].senderId",
        message: `Node "intro", field senderId: there is no sender "${theirSender.id}"`,
      },
      { path: "plan.nodes[0].variants[1].templateId", message: expect.stringContaining('no template "welcome"') },
    ],
  });
  await expect(
    addPlanVersion(tenant, { id, plan: plan(sender.id, theirs.id, text.id) as never }),
  ).rejects.toMatchObject({
    code: "plan.invalid",
    fields: [
      { path: "plan.nodes[0].templateId" },
      { path: "plan.nodes[0].variants[1].templateId", message: expect.stringMatching(/is for sms, .* email$/) },
    ],
  });
});

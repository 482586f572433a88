/** The names that the seeds export rows and schemas by mean what the tables and commands are. */
import { expect, expectTypeOf, test } from "vitest";
import {
  addPlanVersion,
  createCampaign,
  EmailCampaignCreateSchema,
  EmailCampaignUpdateSchema,
  EmailSequenceStepCreateSchema,
  NurtureStepSchema,
} from "../../../core/campaigns/index.ts";
import type {
  ChannelConfig,
  ContactCampaign,
  EmailCampaign,
  EmailSenderIdentity,
  EmailSent,
  EmailTemplate,
  IdPrefix,
  NewContactCampaign,
  NewEmailSenderIdentity,
} from "../../../core/db/seed-types.ts";
import { create, EmailTemplateCreateSchema } from "../../../core/templates/index.ts";
import { ChannelConfigCreateSchema, createChannel } from "../../../core/tenancy/index.ts";

test("a row that is read has every column; one that is put in needs only those without a default", () => {
  const sender: NewEmailSenderIdentity = {
    tenant_id: "t",
    user_id: "u",
    from_email: "a@x.example",
    from_name: "A",
    domain: "x.example",
  };
  const campaign: NewContactCampaign = {
    tenant_id: "t",
    campaign_id: "c",
    lead_id: "l",
    contact_id: "k",
    channel: "email",
    plan_version_id: "v",
    plan_hash: "h",
  };
  expect([sender.validation_status, campaign.status]).toEqual([undefined, undefined]);
  expectTypeOf<EmailSenderIdentity["validation_status"]>().toEqualTypeOf<string>();
  expectTypeOf<ContactCampaign["started_at"]>().toEqualTypeOf<Date | null>();
  expectTypeOf<EmailTemplate["variables"]>().toEqualTypeOf<string[]>();
  expectTypeOf<ChannelConfig["api_credentials"]>().toEqualTypeOf<string>();
  expectTypeOf<EmailSent>().toHaveProperty("tracking_id");
  expectTypeOf<EmailCampaign>().toHaveProperty("emails_opened");
  expectTypeOf<"lead">().toExtend<IdPrefix>();
});

test("the schemas are those the commands parse with", () => {
  expect(EmailCampaignCreateSchema).toBe(createCampaign.schema);
  expect(EmailCampaignUpdateSchema).toBe(addPlanVersion.schema);
  expect(EmailTemplateCreateSchema).toBe(create.schema);
  expect(ChannelConfigCreateSchema).toBe(createChannel.schema);
});

test("steps are taken in hours (seed 003) and in days (seed 004)", () => {
  expect(EmailSequenceStepCreateSchema.safeParse({ delayHours: 24, subject: "Hi", text: "Hello" }).success).toBe(true);
  expect(EmailSequenceStepCreateSchema.safeParse({ delayHours: -1 }).success).toBe(false);
  expect(
    NurtureStepSchema.safeParse({ step: 1, delay_days: 0, channel: "sms", template_id: "welcome_sms" }).success,
  ).toBe(true);
  expect(NurtureStepSchema.safeParse({ step: 1, delay_days: 0, channel: "pigeon", template_id: "x" }).success).toBe(
    false,
  );
});

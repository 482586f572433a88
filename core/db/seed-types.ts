/**
 * Rows under the names that the seeds export types by (`ContactCampaign`, `NewContactCampaign`, `EmailSent`, …). Invariant: every name is
 * derived from the generated schema, so none can say what the database does not.
 */
import type { Insertable, Selectable } from "kysely";
import type {
  CampaignPlanVersions,
  CampaignTransitions,
  ChannelConfigs,
  CommunicationSuppressions,
  ContactCampaigns,
  ContactChannels,
  EmailCampaigns,
  EmailSenderIdentities,
  EmailSequenceSteps,
  EmailsSent,
  EmailTemplates,
  InboundMessages,
  MessageEvents,
  OutboundMessages,
  ScheduledActions,
  SendRateLimits,
  WebhookDeliveries,
} from "./types.gen.ts";

// Seed 000: prefixes of ids. `idPrefixes` of the kernel is the list itself.
export type IdPrefix =
  typeof import("../kernel/id.ts")["idPrefixes"][keyof typeof import("../kernel/id.ts")["idPrefixes"]];

// Seed 001: what is read from a table, and what is put into it.
export type EmailSenderIdentity = Selectable<EmailSenderIdentities>;
export type NewEmailSenderIdentity = Insertable<EmailSenderIdentities>;
export type ContactCampaign = Selectable<ContactCampaigns>;
export type NewContactCampaign = Insertable<ContactCampaigns>;
export type CampaignPlanVersion = Selectable<CampaignPlanVersions>;
export type NewCampaignPlanVersion = Insertable<CampaignPlanVersions>;
export type ScheduledAction = Selectable<ScheduledActions>;
export type NewScheduledAction = Insertable<ScheduledActions>;
export type OutboundMessage = Selectable<OutboundMessages>;
export type NewOutboundMessage = Insertable<OutboundMessages>;
export type MessageEvent = Selectable<MessageEvents>;
export type NewMessageEvent = Insertable<MessageEvents>;
export type WebhookDelivery = Selectable<WebhookDeliveries>;
export type NewWebhookDelivery = Insertable<WebhookDeliveries>;
export type InboundMessage = Selectable<InboundMessages>;
export type NewInboundMessage = Insertable<InboundMessages>;
export type CommunicationSuppression = Selectable<CommunicationSuppressions>;
export type NewCommunicationSuppression = Insertable<CommunicationSuppressions>;
export type SendRateLimit = Selectable<SendRateLimits>;
export type NewSendRateLimit = Insertable<SendRateLimits>;
export type ContactChannel = Selectable<ContactChannels>;
export type NewContactChannel = Insertable<ContactChannels>;
export type CampaignTransition = Selectable<CampaignTransitions>;
export type NewCampaignTransition = Insertable<CampaignTransitions>;

// Seed 003. The first, third and fourth are views: they are read, never written.
export type EmailCampaign = Selectable<EmailCampaigns>;
export type EmailTemplate = Selectable<EmailTemplates>;
export type EmailSequenceStep = Selectable<EmailSequenceSteps>;
export type EmailSent = Selectable<EmailsSent>;
export type ChannelConfig = Selectable<ChannelConfigs>;

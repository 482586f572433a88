/**
 * Every closed vocabulary, once. Each array feeds the TypeScript union, the zod enum and the CHECK of the column named beside it;
 * `test/guard/vocabulary.test.ts` compares the three.
 */
export const channels = ["email", "sms", "whatsapp", "messenger", "instagram", "call", "linkedin"] as const;
export type Channel = (typeof channels)[number];

/** channel_configs.provider */
export const providers = ["sendgrid", "twilio", "meta", "signalhouse"] as const;
export type Provider = (typeof providers)[number];

/** message_events.event_type */
export const eventTypes = [
  "queued",
  "sent",
  "delivered",
  "deferred",
  "bounced",
  "dropped",
  "failed",
  "opened",
  "clicked",
  "replied",
  "complained",
  "unsubscribed",
  "resubscribed",
  "unknown",
] as const;
export type EventType = (typeof eventTypes)[number];

/** outbound_messages.status. `accepted_unknown`: an ambiguous attempt that no evidence resolved in time; it counts as sent and is never resent. */
export const messageStatuses = [
  "queued",
  "held",
  "sending",
  "ambiguous",
  "accepted_unknown",
  "sent",
  "delivered",
  "bounced",
  "failed",
  "complained",
  "suppressed",
  "cancelled",
  "expired",
] as const;
export type MessageStatus = (typeof messageStatuses)[number];

/** send_attempts.outcome; null while the call runs. */
export const attemptOutcomes = ["accepted", "rejected", "deferred", "ambiguous", "abandoned"] as const;
export type AttemptOutcome = (typeof attemptOutcomes)[number];

/** contact_campaigns.status */
export const enrollmentStatuses = ["draft", "active", "paused", "completed", "stopped", "error"] as const;
export type EnrollmentStatus = (typeof enrollmentStatuses)[number];

/** marketing.campaigns.status */
export const campaignStatuses = ["draft", "active", "paused", "completed", "stopped"] as const;
export type CampaignStatus = (typeof campaignStatuses)[number];

/** marketing.campaigns.type */
export const campaignTypes = ["cold_outreach", "nurture", "follow_up"] as const;

/** scheduled_actions.status, webhook_deliveries.status, imports.status: the states of a piece of work. */
export const workStatuses = ["pending", "running", "completed", "failed", "cancelled"] as const;
export type WorkStatus = (typeof workStatuses)[number];

/** scheduled_actions.action_type */
export const actionTypes = ["node", "timeout"] as const;
export type ActionType = (typeof actionTypes)[number];

/** leads.status */
export const leadStatuses = [
  "new",
  "contacted",
  "qualified",
  "nurturing",
  "hot",
  "cold",
  "converted",
  "recruited",
  "dnc",
] as const;
export type LeadStatus = (typeof leadStatuses)[number];

/** communication_suppressions.reason */
export const suppressionReasons = [
  "unsubscribed",
  "stop",
  "complaint",
  "hard_bounce",
  "provider",
  "manual",
  "erasure",
] as const;
export type SuppressionReason = (typeof suppressionReasons)[number];

/** outbound_messages.hold_reason and the verdicts of `explain`: every rule that can keep a message from leaving. */
export const gateReasons = [
  "tenant_suspended",
  "campaign_not_active",
  "enrollment_not_active",
  "lead_unavailable",
  "suppressed",
  "dnc",
  "no_consent",
  "address_invalid",
  "sender_unverified",
  "channel_unavailable",
  "credentials",
  "postal_address_missing",
  "render_failed",
  "tz_unknown",
  "quiet_hours",
  "frequency_cap",
  "rate_limit",
  "budget",
  "duplicate_address",
  "expired",
] as const;
export type GateReason = (typeof gateReasons)[number];

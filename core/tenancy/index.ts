/**
 * Tenancy: who uses this installation, with which keys, provider accounts, senders and limits.
 * Invariant: whatever is stored here belongs to one tenant (configuration: to one organization), and no secret leaves it readable:
 * API keys are kept as hashes, provider credentials as sealed envelopes.
 */
export * from "./channels.ts";
export { CreateChannel as ChannelConfigCreateSchema } from "./channels.ts";
export * from "./config.ts";
export { type Answer, answerOnce, expireIdempotencyKeys, type IdempotentRequest } from "./idempotency.ts";
export * from "./keys.ts";
export * from "./limits.ts";
export * from "./proof.ts";
export * from "./provision.ts";
export * from "./senders.ts";
export * from "./tenants.ts";

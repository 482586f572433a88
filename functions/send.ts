/** Queue `send`: deliver what is due, through whatever provider each message's account has. */
import { campaignPort } from "@outrider/core/campaigns";
import { deliver } from "@outrider/core/messages";
import { type Host, lazily } from "./lib/runtime.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) => {
  const deps = { ...host, campaigns: campaignPort, monotonicMs: () => performance.now() };
  return consumer(host, "send", (ctx, ids, limits) => deliver(ctx, deps, ids, limits.remainingMs));
};
export const handler = lazily(define);

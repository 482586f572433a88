/** Twilio: SMS and WhatsApp out, status callbacks and answers in. One webhook address takes both. */
import type { Sender, WebhookAdapter } from "../../ports/sender.ts";
import { TwilioCredentials } from "./credentials.ts";
import { isInbound, maxBodyBytes, readParameters } from "./form.ts";
import { verify } from "./verify.ts";

export { TwilioCredentials } from "./credentials.ts";
export { messageIdParameter } from "./message-id.ts";

export const twilio: Sender & WebhookAdapter = {
  provider: "twilio",
  credentials: TwilioCredentials,
  // Brings an HTTP client of 0.8 MB, which functions that only receive never load.
  send: async (...call) => (await import("./send.ts")).send(...call),
  verify,
  // Brings the numbering plans of the world, which the front door of webhooks never asks.
  parse: async (...call) => (await import("./events.ts")).parse(...call),
  isFromPerson: (request) => request.body.byteLength <= maxBodyBytes && isInbound(readParameters(request)),
};

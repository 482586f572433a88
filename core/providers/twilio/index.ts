/** Twilio: SMS and WhatsApp out, status callbacks and answers in. One webhook address takes both. */
import type { Sender, WebhookAdapter } from "../../ports/sender.ts";
import { TwilioCredentials } from "./credentials.ts";
import { parse } from "./events.ts";
import { verify } from "./verify.ts";

export { TwilioCredentials } from "./credentials.ts";
export { messageIdParameter } from "./message-id.ts";

export const twilio: Sender & WebhookAdapter = {
  provider: "twilio",
  credentials: TwilioCredentials,
  // Brings an HTTP client of 0.8 MB, which functions that only receive never load.
  send: async (...call) => (await import("./send.ts")).send(...call),
  verify,
  parse,
};

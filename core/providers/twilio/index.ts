/** Twilio: SMS and WhatsApp out, status callbacks and answers in. One webhook address takes both. */
import type { Sender, WebhookAdapter } from "../../ports/sender.ts";
import { TwilioCredentials } from "./credentials.ts";
import { parse } from "./events.ts";
import { send } from "./send.ts";
import { verify } from "./verify.ts";

export { TwilioCredentials } from "./credentials.ts";
export { messageIdParameter } from "./send.ts";

export const twilio: Sender & WebhookAdapter = {
  provider: "twilio",
  credentials: TwilioCredentials,
  send,
  verify,
  parse,
};

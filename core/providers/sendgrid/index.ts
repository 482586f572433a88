/**
 * SendGrid: e-mail out, events and replies in. One webhook address takes both: JSON is a batch of events, a multipart form is a
 * received e-mail.
 */
import type { Sender, WebhookAdapter } from "../../ports/sender.ts";
import { SendgridCredentials } from "./credentials.ts";
import { parseEvents } from "./events.ts";
import { isMultipart, parseInbound } from "./inbound.ts";
import { send } from "./send.ts";
import { verify } from "./verify.ts";

export { SendgridCredentials } from "./credentials.ts";
export { messageIdArgument } from "./send.ts";

export const sendgrid: Sender & WebhookAdapter = {
  provider: "sendgrid",
  credentials: SendgridCredentials,
  send,
  verify,
  parse: (request, receivedAt) =>
    isMultipart(request.headers) ? parseInbound(request, receivedAt) : parseEvents(request.body, receivedAt),
};

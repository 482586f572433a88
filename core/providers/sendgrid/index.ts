/**
 * SendGrid: e-mail out, events and replies in. One webhook address takes both: JSON is a batch of events, a multipart form is a
 * received e-mail.
 */
import type { Sender, WebhookAdapter } from "../../ports/sender.ts";
import { SendgridCredentials } from "./credentials.ts";
import { isMultipart, verify } from "./verify.ts";

export { SendgridCredentials } from "./credentials.ts";
export { messageIdArgument } from "./message-id.ts";

export const sendgrid: Sender & WebhookAdapter = {
  provider: "sendgrid",
  credentials: SendgridCredentials,
  // Loaded on first use: an HTTP client of 0.8 MB and parsers of 0.7 MB, which most functions never need.
  send: async (...call) => (await import("./send.ts")).send(...call),
  proveSender: async (...call) => (await import("./senders.ts")).proveSender(...call),
  verify,
  parse: (request, receivedAt) =>
    isMultipart(request.headers)
      ? import("./inbound.ts").then(({ parseInbound }) => parseInbound(request, receivedAt))
      : import("./events.ts").then(({ parseEvents }) => parseEvents(request.body, receivedAt)),
  isFromPerson: ({ headers }) => isMultipart(headers),
};

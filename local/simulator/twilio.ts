/**
 * Twilio's Messages resource in wire format, its status callbacks and inbound messages, and `X-Twilio-Signature`.
 * A recipient who said STOP to a sender is refused with 21610 from then on.
 */
import { createHash, createHmac } from "node:crypto";
import { normalizePhone } from "../../core/kernel/index.ts";
import { type Endpoints, twilioEndpoint } from "./endpoints.ts";
import { type Answer, json } from "./http.ts";
import type { WebhookRequest } from "./outbox.ts";
import { ourIdAmong, type Taken, type Verdict } from "./sendgrid.ts";
import type { Accept, Message } from "./state.ts";

const refusal = (status: number, code: number, message: string): Answer =>
  json(status, { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status });

/** The answers of a failing or overloaded API. */
export function failure(status: 400 | 401 | 429 | 500): Answer {
  if (status === 400) return refusal(400, 21620, "Invalid media URL(s)");
  if (status === 401) return refusal(401, 20003, "Authenticate");
  if (status === 429) return refusal(429, 20429, "Too Many Requests");
  return refusal(500, 20500, "An internal server error has occurred");
}

/** A body that ends in the middle, before the sid. */
export const malformed: Answer = {
  status: 201,
  headers: { "content-type": "application/json" },
  body: '{"account_sid": "AC',
};

const maxBodyCharacters = 1600;
/** One segment holds 160 characters of the GSM alphabet, else 70; joined ones 153 and 67. */
function segments(body: string): number {
  const isGsm = /^[\x20-\x5f\x61-\x7e\n\r£¥èéùìòÇØøÅåÆæßÉÄÖÑÜ§¿äöñüà€]*$/.test(body);
  const [single, joined] = isGsm ? [160, 153] : [70, 67];
  return body.length <= single ? 1 : Math.ceil(body.length / joined);
}

const rfc2822 = (at: string) => new Date(at).toUTCString().replace("GMT", "+0000");

/** The resource as the API shows it. */
export function resource(
  accept: Pick<Accept, "messageId" | "to" | "from">,
  taken: Pick<Taken, "account" | "text" | "messagingServiceSid">,
  at: string,
): object {
  const uri = `/2010-04-01/Accounts/${taken.account}/Messages/${accept.messageId}`;
  return {
    account_sid: taken.account,
    api_version: "2010-04-01",
    body: taken.text,
    date_created: rfc2822(at),
    date_sent: null,
    date_updated: rfc2822(at),
    direction: "outbound-api",
    error_code: null,
    error_message: null,
    from: taken.messagingServiceSid === null ? accept.from : null,
    messaging_service_sid: taken.messagingServiceSid,
    num_media: "0",
    num_segments: String(segments(taken.text)),
    price: null,
    price_unit: "USD",
    sid: accept.messageId,
    status: taken.messagingServiceSid === null ? "queued" : "accepted",
    subresource_uris: { media: `${uri}/Media.json` },
    to: accept.to,
    uri: `${uri}.json`,
  };
}

/** Whether the Basic credentials belong to the account in the path; null when they do, else the refusal. */
export function authenticate(
  endpoints: Endpoints,
  accountSid: string,
  authorization: string | undefined,
): Answer | null {
  if (endpoints.twilio.length === 0) return authorization === undefined ? failure(401) : null;
  const endpoint = twilioEndpoint(endpoints, accountSid);
  const expected = `Basic ${Buffer.from(`${accountSid}:${endpoint?.authToken}`).toString("base64")}`;
  return endpoint !== undefined && authorization === expected ? null : failure(401);
}

export interface CreateRequest {
  readonly accountSid: string;
  readonly authorization: string | undefined;
  readonly body: Buffer;
  /** Makes the sid differ between equal requests; the same in every run. */
  readonly nonce: string;
  readonly at: Date;
  readonly isOptedOut: (from: string, to: string) => boolean;
}

/** Reads one `POST …/Messages.json`. */
export function createMessage(endpoints: Endpoints, request: CreateRequest): Verdict {
  const refuse = (answer: Answer): Verdict => ({ answer, messages: [] });
  const refused = authenticate(endpoints, request.accountSid, request.authorization);
  if (refused !== null) return refuse(refused);

  const form = new URLSearchParams(request.body.toString("utf8"));
  const service = form.get("MessagingServiceSid");
  const from = service ?? form.get("From") ?? "";
  const given = form.get("To") ?? "";
  const text = form.get("Body") ?? "";
  if (given === "") return refuse(refusal(400, 21604, "A 'To' phone number is required."));
  const to = normalizePhone(given);
  if (to === null || !given.startsWith("+")) {
    return refuse(refusal(400, 21211, `Invalid 'To' Phone Number: ${given}`));
  }
  if (from === "") return refuse(refusal(400, 21603, "A 'From' phone number is required."));
  if (service === null && normalizePhone(from) === null) {
    return refuse(refusal(400, 21212, `Invalid From Number (caller ID): ${from}`));
  }
  if (text === "" && !form.has("MediaUrl") && !form.has("ContentSid")) {
    return refuse(refusal(400, 21602, "Message body is required."));
  }
  if (text.length > maxBodyCharacters) {
    return refuse(refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit."));
  }
  const callbackUrl = form.get("StatusCallback");
  if (callbackUrl !== null && !URL.canParse(callbackUrl)) {
    return refuse(refusal(400, 21609, `The StatusCallback URL ${callbackUrl} is not a valid URL.`));
  }
  if (request.isOptedOut(from, to)) return refuse(refusal(400, 21610, "Attempt to send to unsubscribed recipient"));

  const bodySha256 = createHash("sha256").update(request.body).digest("hex");
  const messageId = `SM${createHash("sha256").update(`${request.nonce}|${bodySha256}`).digest("hex").slice(0, 32)}`;
  const query = callbackUrl === null ? [] : [...new URL(callbackUrl).searchParams.values()];
  const taken: Taken = {
    accept: { provider: "twilio", messageId, ourMessageId: ourIdAmong(query), to, from, bodySha256 },
    account: request.accountSid,
    toName: null,
    replyTo: from,
    text,
    html: null,
    headers: {},
    customArgs: {},
    categories: [],
    callbackUrl,
    messagingServiceSid: service,
  };
  return { answer: json(201, resource(taken.accept, taken, request.at.toISOString())), messages: [taken] };
}

/** base64(HMAC-SHA1(auth token, url + each parameter's name and value, sorted by name)). */
export function signatureOf(authToken: string, url: string, form: URLSearchParams): string {
  const names = [...new Set(form.keys())].sort();
  const text = names.flatMap((name) => [...new Set(form.getAll(name))].sort().map((value) => name + value)).join("");
  return createHmac("sha1", authToken)
    .update(url + text, "utf8")
    .digest("base64");
}

/** A signed, form-encoded POST. @param again carries the header that only a second try has. */
export function signedForm(
  authToken: string,
  url: string,
  fields: Readonly<Record<string, string>>,
  again: boolean,
): WebhookRequest {
  const form = new URLSearchParams(fields);
  const token = createHash("sha256").update(`${url}|${form}`).digest("hex");
  return {
    method: "POST",
    url,
    headers: {
      "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
      "user-agent": "TwilioProxy/1.1",
      "x-twilio-signature": signatureOf(authToken, url, form),
      ...(again && {
        "i-twilio-idempotency-token": `${token.slice(0, 8)}-${token.slice(8, 12)}-4${token.slice(13, 16)}-a${token.slice(17, 20)}-${token.slice(20, 32)}`,
      }),
    },
    body: form.toString(),
  };
}

/** The number that a person sees; a Messaging Service picks one from its pool. */
export const senderNumber = ({ accept, messagingServiceSid }: Message): string =>
  messagingServiceSid === null ? accept.from : "+12025550199";

/** Fields of a status callback. */
export function statusFields(
  message: Message,
  status: string,
  at: Date,
  errorCode: number | null,
): Record<string, string> {
  const { accept, account } = message;
  return {
    SmsSid: accept.messageId,
    SmsStatus: status,
    MessageStatus: status,
    To: accept.to,
    MessageSid: accept.messageId,
    AccountSid: account,
    From: senderNumber(message),
    ApiVersion: "2010-04-01",
    ...(message.messagingServiceSid !== null && { MessagingServiceSid: message.messagingServiceSid }),
    ...(status === "delivered" && { RawDlrDoneDate: at.toISOString().slice(2, 16).replace(/[-T:]/g, "") }),
    ...(errorCode !== null && { ErrorCode: String(errorCode) }),
  };
}

/** Fields of a message the recipient sends back. */
export function inboundFields(message: Message, body: string, index: number, isStop: boolean): Record<string, string> {
  const sid = `SM${createHash("sha256").update(`${message.accept.messageId}|in|${index}`).digest("hex").slice(0, 32)}`;
  return {
    ToCountry: "US",
    SmsMessageSid: sid,
    NumMedia: "0",
    SmsSid: sid,
    SmsStatus: "received",
    FromCountry: "US",
    Body: body,
    To: senderNumber(message),
    NumSegments: String(segments(body)),
    MessageSid: sid,
    AccountSid: message.account,
    From: message.accept.to,
    ApiVersion: "2010-04-01",
    ...(message.messagingServiceSid !== null && { MessagingServiceSid: message.messagingServiceSid }),
    ...(isStop && { OptOutType: "STOP" }),
  };
}

/**
 * One message to `POST …/Messages.json`. Twilio has no idempotency key, so the invariant is: only an answer that proves refusal is
 * `rejected` or `deferred`; every doubt, including each 5xx, is `ambiguous`.
 *
 * There is no `lookup`: the message resource carries no id of ours, and its list can be filtered by numbers and day only. A match
 * may be an earlier message to the same person, and a missing one may not be listed yet, so neither answer would be proof. Our id
 * travels in the status callback's query instead, under Twilio's signature.
 */
import * as z from "zod";
import { retryAfterSeconds } from "../../kernel/backoff.ts";
import { parseJson, storableText } from "../../kernel/json.ts";
import type { Credentials, FailureClass, OutgoingMessage, SendOutcome } from "../../ports/sender.ts";
import { call, type HttpResult } from "../http.ts";
import { TwilioCredentials } from "./credentials.ts";
import { quietHoursCode, verdictOf } from "./errors.ts";
import { messageIdParameter } from "./message-id.ts";

export async function send(
  credentials: Credentials,
  message: OutgoingMessage,
  timeoutMs: number,
  now: Date,
): Promise<SendOutcome> {
  const parsed = TwilioCredentials.safeParse(credentials);
  if (!parsed.success) return rejected("account", "credentials", "The Twilio credentials are incomplete.");
  if (message.channel !== "sms" && message.channel !== "whatsapp") {
    return rejected("request", "channel", `Twilio cannot send ${message.channel}.`);
  }
  if (message.callbackUrl !== undefined && !URL.canParse(message.callbackUrl)) {
    return rejected("request", "callback", "The status callback is no URL.");
  }
  const { accountSid, authTokens, apiBaseUrl } = parsed.data;
  const result = await call({
    method: "POST",
    url: `${apiBaseUrl.replace(/\/+$/, "")}/2010-04-01/Accounts/${encodeURIComponent(accountSid)}/Messages.json`,
    headers: {
      authorization: `Basic ${Buffer.from(`${accountSid}:${authTokens[0]}`).toString("base64")}`,
      "content-type": "application/x-www-form-urlencoded",
      accept: "application/json",
    },
    body: formOf(message, parsed.data.messagingServiceSid).toString(),
    timeoutMs,
  });
  return outcomeOf(result, now);
}

/**
 * With a messaging service both are given: the service brings its registration, `From` pins the sender out of its pool, so that
 * an answer comes back to the number this conversation runs on.
 */
function formOf(message: OutgoingMessage, messagingServiceSid: string | undefined): URLSearchParams {
  const prefix = (address: string): string =>
    message.channel === "whatsapp" && !address.startsWith("whatsapp:") ? `whatsapp:${address}` : address;
  const form = new URLSearchParams({ To: prefix(message.to) });
  const { address } = message.from;
  if (address.startsWith("MG")) form.set("MessagingServiceSid", address);
  else {
    form.set("From", prefix(address));
    if (messagingServiceSid !== undefined) form.set("MessagingServiceSid", messagingServiceSid);
  }
  form.set("Body", message.text);
  if (message.callbackUrl !== undefined) {
    const callback = new URL(message.callbackUrl);
    callback.searchParams.set(messageIdParameter, message.messageId);
    form.set("StatusCallback", callback.href);
  }
  return form;
}

const Created = z.object({ sid: z.string().min(1).max(64) });
const Problem = z.object({ code: z.number().int(), message: z.string().catch("") });

function outcomeOf(result: HttpResult, now: Date): SendOutcome {
  if (result.kind === "not_sent") {
    return { kind: "deferred", code: "not_sent", reason: result.reason, retryAfterSeconds: null };
  }
  if (result.kind === "unknown") return { kind: "ambiguous", reason: result.reason };
  const { status, headers } = result;
  const json = parseJson(result.body);
  const body = json.ok ? json.value : undefined;
  if (status >= 200 && status < 300) {
    return { kind: "accepted", providerMessageId: Created.safeParse(body).data?.sid ?? null };
  }
  if (status < 400 || status === 408 || status >= 500) return { kind: "ambiguous", reason: `HTTP ${status}` };

  const problem = Problem.safeParse(body).data;
  const code = String(problem?.code ?? status);
  const reason = storableText(problem?.message || `HTTP ${status}`, 500);
  const verdict = problem === undefined ? undefined : verdictOf(problem.code);
  if (status === 429 || verdict === "later") {
    const wait = retryAfterSeconds(headers["retry-after"], now);
    return {
      kind: "deferred",
      code,
      reason,
      retryAfterSeconds: wait ?? (problem?.code === quietHoursCode ? 3600 : null),
    };
  }
  if (verdict !== undefined) return rejected(verdict === "soft" ? "recipient" : verdict, code, reason);
  // 404 and 405: no such account, or not Twilio's API at all.
  return rejected([401, 403, 404, 405].includes(status) ? "account" : "request", code, reason);
}

const rejected = (failure: FailureClass, code: string, reason: string): SendOutcome => ({
  kind: "rejected",
  failure,
  code,
  reason,
});

/**
 * The providers' APIs as a model: what they take, what they answer, and when the answer does not come.
 *
 * Invariant: whether a message was accepted is decided here and written down at once; what the caller learns of it is another matter.
 */
import { createHash } from "node:crypto";
import type { HttpCall, HttpResult } from "../../core/providers/http.ts";
import { publicUrl } from "./base.ts";
import type { Invocation } from "./invocation.ts";
import type { Accept } from "./recipients.ts";
import { Rng } from "./rng.ts";
import type { LookedUp } from "./wire.ts";
import type { World } from "./world.ts";

type Behaviour =
  | "accept"
  | "accept_slowly"
  | "accept_lose_answer"
  | "accept_500"
  | "accept_no_id"
  | "refuse_429"
  | "refuse_500"
  | "refuse_400"
  | "refuse_opted_out"
  | "hang"
  | "unreachable";

const names: Readonly<Partial<Record<Behaviour, string>>> = {
  accept_slowly: "provider slow",
  accept_lose_answer: "answer of an accept lost",
  accept_500: "500 after an accept",
  accept_no_id: "accept without an id",
  refuse_429: "429",
  refuse_500: "500 without an accept",
  refuse_400: "400",
  refuse_opted_out: "provider knows an opt-out",
  hang: "provider hangs",
  unreachable: "provider unreachable",
};

const response = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): HttpResult => ({
  kind: "response",
  status,
  headers,
  body: Buffer.from(JSON.stringify(body)),
  complete: true,
});

const linkIn = (text: string, letter: string): string | undefined =>
  new RegExp(`${publicUrl.replaceAll(".", "\\.")}(/${letter}/[A-Za-z0-9_.-]+)`).exec(text)?.[1];

export interface Answered {
  readonly result: HttpResult;
  readonly afterMs: number;
  /** What was to be sent, and whether it was taken. */
  readonly messageId: string;
  readonly isAccepted: boolean;
}

/** Only the second tenant's account may ask, and even it is not always answered: the first finds out by webhooks and by age alone. */
export function lookUp(world: World, messageId: string, chances: Rng): LookedUp {
  const { model, parts } = world;
  const asks = parts.base.tenants[1];
  const accept = model.acceptOf(messageId);
  if (chances.chance(0.1) || accept?.tenant === parts.base.tenants[0] || !asks) return { kind: "unknown" };
  world.hit(accept ? "looked up and found" : "looked up and absent");
  return accept ? { kind: "found", providerMessageId: accept.providerMessageId } : { kind: "absent" };
}

/** @returns the answer and how long it takes. @param moment when the call was begun, and the step at which it reached the provider */
export async function answerOf(
  world: World,
  invocation: Invocation,
  request: HttpCall,
  { step, begunAt }: { readonly step: number; readonly begunAt: number },
): Promise<Answered> {
  const body = typeof request.body === "string" ? request.body : Buffer.from(request.body ?? []).toString();
  const isMail = request.url.includes("/v3/mail/send");
  const authorization = request.headers?.["authorization"] ?? "";
  const account = isMail
    ? authorization.slice("Bearer ".length)
    : Buffer.from(authorization.slice(6), "base64").toString().split(":")[0];
  const tenant = world.parts.base.tenants.find((one) => (isMail ? one.apiKey : one.accountSid) === account);
  const decoded = isMail ? body : decodeURIComponent(body.replaceAll("+", " "));
  const messageId = /omsg_[0-9A-HJKMNP-TV-Z]{26}/.exec(decoded)?.[0];
  if (!tenant || messageId === undefined)
    return {
      result: response(401, { errors: [{ message: "no account" }] }),
      afterMs: 50,
      messageId: "",
      isAccepted: false,
    };
  const to = isMail
    ? ((JSON.parse(body) as { personalizations: { to: { email: string }[] }[] }).personalizations[0]?.to[0]?.email ??
      "")
    : (new URLSearchParams(body).get("To") ?? "");
  const text = isMail
    ? (JSON.parse(body) as { subject: string; content: { value: string }[] }).content
        .map((part) => part.value)
        .join("\n")
    : (new URLSearchParams(body).get("Body") ?? "");
  const subject = isMail ? (JSON.parse(body) as { subject: string }).subject : "";
  const rng = new Rng(`${world.script.seed}/call/${world.model.calls}`);
  await world.model.called(invocation, {
    tenant,
    messageId,
    to,
    channel: isMail ? "email" : "sms",
    text: `${subject}\n${text}`,
    begunAt,
  });

  const faulty = world.script.faults.providers && !world.calm;
  const sick = world.script.settings[world.parts.base.tenants.indexOf(tenant)]?.sick ?? false;
  const often = sick ? 5 : 1;
  const behaviour: Behaviour = faulty
    ? rng.weighted({
        accept: 100,
        accept_slowly: 8,
        accept_lose_answer: 11 * often,
        accept_500: 11 * often,
        accept_no_id: 3,
        refuse_429: 8 * often,
        refuse_500: 5,
        refuse_400: 3,
        refuse_opted_out: isMail ? 0 : 3,
        hang: 4,
        unreachable: 6 * often,
      })
    : "accept";
  const fault = names[behaviour];
  if (fault) world.hit(fault);
  const fast = rng.int(40, 400);
  const refused = (result: HttpResult, afterMs = fast): Answered => ({ result, afterMs, messageId, isAccepted: false });
  if (!behaviour.startsWith("accept")) {
    world.say(`${tenant.name}: the provider does not take a message to ${to} (${behaviour})`);
    switch (behaviour) {
      case "refuse_429":
        return refused(
          response(
            429,
            { errors: [{ message: "too many requests" }], code: 20429, message: "too many" },
            { "retry-after": String(rng.int(1, 600)) },
          ),
        );
      case "refuse_500":
        return refused(response(503, {}));
      case "refuse_400":
        return refused(
          response(
            400,
            isMail
              ? { errors: [{ message: "bad request", field: "content" }] }
              : { code: 21211, message: "invalid To" },
          ),
        );
      case "refuse_opted_out":
        return refused(response(400, { code: 21610, message: "unsubscribed recipient" }));
      case "unreachable":
        return refused({ kind: "not_sent", reason: "ECONNREFUSED" }, rng.int(1, 5_000));
      default:
        return refused({ kind: "unknown", reason: "timeout waiting for the answer" }, request.timeoutMs);
    }
  }
  const hash = createHash("sha256").update(`${world.script.seed} ${messageId} ${world.model.calls}`).digest("hex");
  const providerMessageId = isMail ? hash.slice(0, 22) : `SM${hash.slice(0, 32)}`;
  const whole = `${decoded}\n${text}`;
  const links = { open: linkIn(whole, "o"), click: linkIn(whole, "c"), unsubscribe: linkIn(whole, "u") };
  const accept: Accept = {
    step,
    at: world.now,
    tenant,
    messageId,
    channel: isMail ? "email" : "sms",
    to,
    providerMessageId,
    text,
    links: Object.fromEntries(Object.entries(links).filter(([, path]) => path !== undefined)),
  };
  world.say(
    `${tenant.name}: the provider accepts ${isMail ? "a mail" : "a text"} to ${to}${behaviour === "accept" ? "" : ` (${behaviour})`}`,
  );
  await world.model.accepted(accept, invocation);
  const ok = (id: string | null): HttpResult =>
    isMail
      ? response(202, {}, id === null ? {} : { "x-message-id": id })
      : response(201, id === null ? {} : { sid: id });
  const taken = (result: HttpResult, afterMs = fast): Answered => ({ result, afterMs, messageId, isAccepted: true });
  switch (behaviour) {
    case "accept_slowly":
      return taken(ok(providerMessageId), rng.int(4_000, 9_900));
    case "accept_lose_answer":
      return taken({ kind: "unknown", reason: "ECONNRESET" }, rng.chance(0.5) ? request.timeoutMs : fast);
    case "accept_500":
      return taken(response(500, {}));
    case "accept_no_id":
      return taken(ok(null));
    default:
      return taken(ok(providerMessageId));
  }
}

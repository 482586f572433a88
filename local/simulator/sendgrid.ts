/**
 * SendGrid's `POST /v3/mail/send` in wire format: what it refuses it refuses with SendGrid's words and shape, what it
 * takes it answers 202 with an empty body and `X-Message-Id`. No idempotency: the same request twice is two messages.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { type Endpoints, sendgridEndpoint } from "./endpoints.ts";
import { type Answer, json, parseJson } from "./http.ts";
import type { Accept } from "./state.ts";

/** Everything of a message but its place in the log and its script. */
export interface Taken {
  readonly accept: Omit<Accept, "ordinal" | "at">;
  readonly account: string;
  readonly toName: string | null;
  readonly replyTo: string;
  readonly text: string;
  readonly html: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly customArgs: Readonly<Record<string, string>>;
  readonly categories: readonly string[];
  readonly callbackUrl: string | null;
  readonly messagingServiceSid: string | null;
}

/** What an API did with one request: `messages` is empty when it refused. */
export interface Verdict {
  readonly answer: Answer;
  readonly messages: readonly Taken[];
}

const docs = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html";
const address = z.object({
  email: z
    .string({ error: "The email parameter is required." })
    .regex(/^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$/, { error: "Does not contain a valid address." }),
  name: z.string().optional(),
});
/** Headers that SendGrid sets itself and refuses from callers. */
const reservedHeaders = new Set(
  "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject reply-to cc bcc".split(
    " ",
  ),
);
const headers = z
  .record(z.string(), z.string({ error: "The header value must be a string." }))
  .refine((given) => Object.keys(given).every((name) => !reservedHeaders.has(name.toLowerCase())), {
    error: "The headers parameter contains a reserved header.",
  });
const customArgs = z.record(z.string(), z.unknown()).refine((args) => JSON.stringify(args).length <= 10_000, {
  error: "The custom_args values must not exceed 10000 bytes.",
});

const personalization = z.object({
  to: z
    .array(address, {
      error:
        "The to array is required for all personalization objects, and must have at least one email object with a valid email address.",
    })
    .min(1, {
      error:
        "The to array is required for all personalization objects, and must have at least one email object with a valid email address.",
    }),
  cc: z.array(address).default([]),
  bcc: z.array(address).default([]),
  subject: z.string().optional(),
  headers: headers.default({}),
  custom_args: customArgs.default({}),
});

const needPersonalization = "The personalizations field is required and must have at least one personalization.";
const needFrom =
  "The from object must be provided for every email send. It is an object that requires the email parameter, but may also contain a name parameter.";
const needContent =
  "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required.";

const MailSend = z
  .object({
    personalizations: z.array(personalization, { error: needPersonalization }).min(1, { error: needPersonalization }),
    from: z.object(address.shape, { error: needFrom }),
    reply_to: address.optional(),
    subject: z.string().optional(),
    content: z
      .array(
        z.object({
          type: z.string().min(1),
          value: z
            .string({ error: "The content value must be a string at least one character in length." })
            .min(1, { error: "The content value must be a string at least one character in length." }),
        }),
        { error: needContent },
      )
      .min(1, { error: needContent })
      .refine((parts) => parts.slice(1).every((part) => part.type !== "text/plain"), {
        error: "If present, text/plain and text/html may only be provided once and text/plain must be first.",
      }),
    headers: headers.default({}),
    custom_args: customArgs.default({}),
    categories: z.array(z.string()).max(10).default([]),
    mail_settings: z.object({ sandbox_mode: z.object({ enable: z.boolean() }).optional() }).optional(),
  })
  .superRefine((mail, context) => {
    const subjectless = mail.personalizations.some((one) => !(one.subject ?? mail.subject));
    if (subjectless) {
      const message =
        "The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.";
      context.addIssue({ code: "custom", path: ["subject"], message });
    }
    for (const [index, one] of mail.personalizations.entries()) {
      const all = [...one.to, ...one.cc, ...one.bcc].map((each) => each.email.toLowerCase());
      const twice = all.find((email, at) => all.indexOf(email) !== at);
      if (twice === undefined) continue;
      const message = `Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [${twice}] in the personalizations.${index} field.`;
      context.addIssue({ code: "custom", path: ["personalizations", index], message });
    }
    if (mail.personalizations.reduce((sum, one) => sum + one.to.length + one.cc.length + one.bcc.length, 0) > 1000) {
      context.addIssue({
        code: "custom",
        path: ["personalizations"],
        message: "The total number of recipients must be less than 1000.",
      });
    }
  });

const errors = (status: number, list: readonly { message: string; field: string | null }[]): Answer =>
  json(status, {
    errors: list.map((one) => ({ ...one, help: one.field === null ? null : `${docs}#message.${one.field}` })),
  });

/** The answers of a failing or overloaded API. */
export function failure(status: 400 | 401 | 429 | 500): Answer {
  if (status === 400) return errors(400, [{ message: "Bad Request", field: null }]);
  if (status === 401)
    return errors(401, [{ message: "The provided authorization grant is invalid, expired, or revoked", field: null }]);
  if (status === 429) return errors(429, [{ message: "too many requests", field: null }]);
  return errors(500, [{ message: "Internal Server Error", field: null }]);
}

/** nginx in front of the API answers this itself, in HTML. */
export const tooLarge: Answer = {
  status: 413,
  headers: { "content-type": "text/html" },
  body: "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
};

/** 202 without the one thing that matters. */
export const malformed: Answer = { status: 202, headers: {}, body: "" };

/**
 * Reads one `mail/send` request. Every recipient is a message; they share the request's id.
 * @param nonce makes the id differ between equal requests; the same in every run.
 */
export function takeMail(
  endpoints: Endpoints,
  authorization: string | undefined,
  body: Buffer,
  nonce: string,
): Verdict {
  const refuse = (answer: Answer): Verdict => ({ answer, messages: [] });
  const account = /^Bearer (.+)$/.exec(authorization ?? "")?.[1];
  const isKnown = endpoints.sendgrid.length === 0 || sendgridEndpoint(endpoints, account ?? "") !== undefined;
  if (account === undefined || !isKnown) return refuse(failure(401));

  const parsed = MailSend.safeParse(parseJson(body));
  if (!parsed.success) {
    const list = parsed.error.issues.map(({ message, path }) => ({
      message,
      field: path.length > 0 ? path.join(".") : null,
    }));
    return refuse(errors(400, list));
  }
  const mail = parsed.data;
  if (mail.mail_settings?.sandbox_mode?.enable) return refuse({ status: 200, headers: {}, body: "" });

  const bodySha256 = createHash("sha256").update(body).digest("hex");
  const messageId = createHash("sha256").update(`${nonce}|${bodySha256}`).digest("base64url").slice(0, 22);
  const part = (type: string) => mail.content.find((one) => one.type.startsWith(type))?.value;
  const messages = mail.personalizations.flatMap((one) => {
    const args = Object.fromEntries(
      Object.entries({ ...mail.custom_args, ...one.custom_args }).map(([name, value]) => [name, String(value)]),
    );
    const sent = Object.fromEntries(
      Object.entries({ ...mail.headers, ...one.headers }).map(([name, value]) => [name.toLowerCase(), value]),
    );
    return [...one.to, ...one.cc, ...one.bcc].map(
      (recipient): Taken => ({
        accept: {
          provider: "sendgrid",
          messageId,
          ourMessageId: ourIdAmong(Object.values(args)),
          to: recipient.email.toLowerCase(),
          from: mail.from.email.toLowerCase(),
          subject: one.subject ?? mail.subject ?? "",
          bodySha256,
        },
        account,
        toName: recipient.name ?? null,
        replyTo: mail.reply_to?.email ?? mail.from.email,
        text: part("text/plain") ?? "",
        html: part("text/html") ?? null,
        headers: sent,
        customArgs: args,
        categories: mail.categories,
        callbackUrl: null,
        messagingServiceSid: null,
      }),
    );
  });
  return { answer: { status: 202, headers: { "x-message-id": messageId }, body: "" }, messages };
}

/** Our message ids are recognisable by themselves (`omsg_…`), whatever the adapter calls the field. */
export const ourIdAmong = (values: readonly string[]): string | null =>
  values.find((value) => /^omsg_[0-9A-Za-z]+$/.test(value)) ?? null;

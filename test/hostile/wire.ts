/**
 * What a request to a provider says that an honest one does not. Invariant: the judge shares nothing with the judged but the names of the
 * providers' fields.
 */
import PostalMime from "postal-mime";
import type { Caught } from "./recorder.ts";

export const shown = ({ url, body }: Caught): string => `${url} ${body.toString("utf8").slice(0, 600)}`;
/** What ends a line for some reader; said here again, because the judge shares nothing with the judged. */
export const lineEnd = /[\p{Cc}\u2028\u2029]/u;
const onTheWire = ["accept", "authorization", "connection", "content-length", "content-type", "host"];

/** @returns what a request says that an honest one does not */
export async function judge(request: Caught): Promise<string[]> {
  const { method, url, rawHeaders, body } = request;
  const names = rawHeaders.filter((_, n) => n % 2 === 0).map((name) => name.toLowerCase());
  const strange = names.filter((name, n) => !onTheWire.includes(name) || names.indexOf(name) !== n);
  const found = strange.map((name) => `an HTTP header ${name}`);
  if (method !== "POST") found.push(`a ${method}`);
  if (url === "/v3/mail/send") return [...found, ...(await judgeMail(JSON.parse(body.toString("utf8"))))];
  if (/^\/2010-04-01\/Accounts\/[^/?#]+\/Messages\.json$/.test(url))
    return [...found, ...judgeText(body.toString("utf8"))];
  return [...found, "a request to nowhere"];
}

interface Mail {
  readonly personalizations: readonly {
    readonly to: readonly { readonly email: string }[];
    readonly custom_args: Readonly<Record<string, string>>;
  }[];
  readonly from: { readonly email: string; readonly name?: string };
  readonly reply_to?: { readonly email: string };
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly ip_pool_name?: string;
}

const mailFields = [
  "personalizations",
  "from",
  "reply_to",
  "subject",
  "content",
  "headers",
  "ip_pool_name",
  "tracking_settings",
];
const ownHeaders = ["List-Unsubscribe", "List-Unsubscribe-Post", "Message-ID"];

async function judgeMail(mail: Mail): Promise<string[]> {
  const found = Object.keys(mail)
    .filter((name) => !mailFields.includes(name))
    .map((name) => `a field ${name}`);
  const [one, ...more] = mail.personalizations;
  if (!one || more.length > 0 || one.to.length !== 1) found.push("more than one recipient");
  if (Object.keys(one ?? {}).join() !== "to,custom_args")
    found.push(`fields of the recipient: ${Object.keys(one ?? {})}`);
  const unknown = Object.keys(mail.headers).filter((name) => !ownHeaders.includes(name));
  if (unknown.length > 0) found.push(`mail headers ${unknown.join()}`);
  const to = one?.to[0]?.email ?? "";
  const lines: Record<string, string> = {
    ...mail.headers,
    to,
    from: mail.from.email,
    "from name": mail.from.name ?? "",
    "reply-to": mail.reply_to?.email ?? "",
    subject: mail.subject,
    "ip pool": mail.ip_pool_name ?? "",
    ...one?.custom_args,
  };
  for (const [name, value] of Object.entries(lines))
    if (lineEnd.test(value) || !value.isWellFormed()) found.push(`a line end in ${name}: ${JSON.stringify(value)}`);
  // Of a cell with two addresses the intake may take the second: the row's author wrote both.
  if (!/^(grace\d|kim\S*|lin|evil)@example\.com$/.test(to)) found.push(`a recipient ${to}`);
  // As an MTA writes it that trusts its caller: no line may become a header of its own.
  const wire = [
    `From: "${mail.from.name ?? ""}" <${mail.from.email}>`,
    `To: <${to}>`,
    `Subject: ${mail.subject}`,
    ...(mail.reply_to ? [`Reply-To: <${mail.reply_to.email}>`] : []),
    ...Object.entries(mail.headers).map(([name, value]) => `${name}: ${value}`),
  ];
  const read = await PostalMime.parse(`${wire.join("\r\n")}\r\n\r\nbody`);
  const expected = wire.map((line) => line.slice(0, line.indexOf(":")).toLowerCase());
  if (read.headers.map(({ key }) => key).join() !== expected.join())
    found.push(`headers ${read.headers.map(({ key }) => key)}`);
  if (read.text?.trim() !== "body") found.push("another body");
  return found;
}

const textFields = ["Body", "From", "MessagingServiceSid", "StatusCallback", "To"];

function judgeText(body: string): string[] {
  const form = new URLSearchParams(body);
  const names = [...form.keys()];
  const found = names
    .filter((name, n) => !textFields.includes(name) || names.indexOf(name) !== n)
    .map((name) => `a parameter ${name}`);
  if (!/^\+1212555012\d$/.test(form.get("To") ?? "")) found.push(`a recipient ${form.get("To")}`);
  const callback = new URL(form.get("StatusCallback") ?? "x:");
  if (callback.host !== "in.example.test" || [...callback.searchParams.keys()].join() !== "m" || callback.hash !== "")
    found.push(`a callback to ${callback.href}`);
  for (const name of ["From", "To", "MessagingServiceSid", "StatusCallback"])
    if (lineEnd.test(form.get(name) ?? "")) found.push(`a line end in ${name}`);
  return found;
}

/** Answers that people and machines mail back, and SendGrid Inbound Parse, which posts them to us as multipart forms. */
import { createHash } from "node:crypto";
import { emailDomain } from "../../core/kernel/index.ts";
import { escapeHtml } from "./http.ts";
import { smtpIdOf } from "./sendgrid-events.ts";
import type { Message } from "./state.ts";

export interface Mail {
  readonly from: string;
  readonly to: string;
  /** Empty for machines that want no answer (RFC 3834). */
  readonly envelopeFrom: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  /** In order, names as written. */
  readonly headers: readonly (readonly [string, string])[];
  /** A file that came with it. */
  readonly attachment?: Buffer | undefined;
}

const attachmentName = "photo.jpg";
const attachmentType = "image/jpeg";

/** RFC 2047 when the text is not plain ASCII. */
const encodeWord = (text: string): string =>
  /^[\x20-\x7e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text).toString("base64")}?=`;

/** RFC 5322 wants `+0000`, and `GMT` is obsolete there. */
const mailDate = (at: Date) => at.toUTCString().replace("GMT", "+0000");

/** What the recipient of `message` mails back to its Reply-To, quoting it. */
export function replyTo(message: Message, text: string, at: Date, automatic: boolean): Mail {
  const { accept } = message;
  const parent = smtpIdOf(message);
  const messageId = createHash("sha256").update(`${parent}|${accept.to}|${text}`).digest("hex").slice(0, 32);
  const subject = accept.subject ?? "";
  const { references: earlier } = message.headers;
  const references = [earlier, parent].filter(Boolean).join(" ");
  const name = message.toName === null ? "" : `${encodeWord(message.toName.replace(/["\\\r\n]/g, ""))} `;
  const quoted = message.text.split(/\r?\n/);
  const said = `On ${at.toUTCString().slice(0, 16)}, ${accept.from} wrote:`;
  const headers: (readonly [string, string])[] = [
    ["From", `${name}<${accept.to}>`],
    ["To", `<${message.replyTo}>`],
    ["Date", mailDate(at)],
    ["Message-ID", `<${messageId}@mail.${emailDomain(accept.to)}>`],
    ["In-Reply-To", parent],
    ["References", references],
    ["MIME-Version", "1.0"],
  ];
  const common = { from: `${name}<${accept.to}>`, to: message.replyTo };
  if (automatic) {
    return {
      ...common,
      envelopeFrom: "",
      subject: `Automatic reply: ${subject}`,
      text,
      html: `<div dir="ltr">${escapeHtml(text)}</div>`,
      headers: [...headers, ["Auto-Submitted", "auto-replied"], ["X-Auto-Response-Suppress", "All"]],
    };
  }
  return {
    ...common,
    envelopeFrom: accept.to,
    subject: /^re:/i.test(subject) ? subject : `Re: ${subject}`,
    text: `${text}\n\n${said}\n${quoted.map((line) => `> ${line}`).join("\n")}\n`,
    html: `<div dir="ltr">${escapeHtml(text)}</div><br><div class="gmail_quote"><div class="gmail_attr">${escapeHtml(said)}</div><blockquote class="gmail_quote">${escapeHtml(quoted.join("\n"))}</blockquote></div>`,
    headers,
  };
}

const crlf = (text: string) => text.replace(/\r?\n/g, "\r\n");

const alternative = "000000000000f0e1d2c3b4a59687";
const mixed = "000000000000a1b2c3d4e5f60718";

const alternativeType = `multipart/alternative; boundary="${alternative}"`;

const headerLines = (mail: Mail) =>
  [
    [
      "Received",
      `from mail.${emailDomain(mail.to)} by mx0047p1mdw1.sendgrid.net with ESMTPS; ${mail.headers.find(([name]) => name === "Date")?.[1]}`,
    ] as const,
    ...mail.headers,
    ["Subject", encodeWord(mail.subject)] as const,
    ["Content-Type", mail.attachment ? `multipart/mixed; boundary="${mixed}"` : alternativeType] as const,
  ]
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");

/** The whole message, CRLF lines, 8-bit UTF-8 parts; a file in base64. */
export function mime(mail: Mail): string {
  const part = (type: string, body: string) =>
    `--${alternative}\r\nContent-Type: ${type}; charset="UTF-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${crlf(body)}\r\n`;
  const texts = `${part("text/plain", mail.text)}${part("text/html", mail.html)}--${alternative}--\r\n`;
  if (mail.attachment === undefined) return `${headerLines(mail)}\r\n${texts}`;
  const file = [
    `Content-Type: ${attachmentType}; name="${attachmentName}"`,
    `Content-Disposition: attachment; filename="${attachmentName}"`,
    "Content-Transfer-Encoding: base64",
    "",
    ...(mail.attachment.toString("base64").match(/.{1,76}/g) ?? []),
  ].join("\r\n");
  return `${headerLines(mail)}\r\n--${mixed}\r\nContent-Type: ${alternativeType}\r\n\r\n${texts}--${mixed}\r\n${file}\r\n--${mixed}--\r\n`;
}

const boundary = "xYzZY";

/** The form SendGrid posts: fields in its order and spelling. `raw` carries the MIME whole, `default` takes it apart. */
export function inboundParse(
  mail: Mail,
  mode: "default" | "raw",
): { readonly contentType: string; readonly body: Buffer } {
  const envelope = JSON.stringify({ to: [mail.to], from: mail.envelopeFrom });
  const utf8 = (names: readonly string[]) => JSON.stringify(Object.fromEntries(names.map((name) => [name, "UTF-8"])));
  const dkim = `{@${emailDomain(mail.envelopeFrom === "" ? mail.to : mail.envelopeFrom)} : pass}`;
  const fields: readonly (readonly [string, string])[] =
    mode === "raw"
      ? [
          ["dkim", dkim],
          ["email", mime(mail)],
          ["to", mail.to],
          ["from", mail.from],
          ["sender_ip", "198.51.100.7"],
          ["envelope", envelope],
          ["subject", mail.subject],
          ["charsets", utf8(["to", "subject", "from"])],
          ["SPF", "pass"],
        ]
      : [
          ["headers", headerLines(mail)],
          ["dkim", dkim],
          ["to", mail.to],
          ["html", crlf(mail.html)],
          ["from", mail.from],
          ["text", crlf(mail.text)],
          ["sender_ip", "198.51.100.7"],
          ["envelope", envelope],
          ...attachmentFields(mail),
          ["subject", mail.subject],
          ["charsets", utf8(["to", "html", "subject", "from", "text"])],
          ["SPF", "pass"],
        ];
  const form = fields
    .map(([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)
    .join("");
  const file = mode === "default" && mail.attachment ? filePart(mail.attachment) : Buffer.alloc(0);
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: Buffer.concat([Buffer.from(form), file, Buffer.from(`--${boundary}--`)]),
  };
}

const attachmentFields = ({ attachment }: Mail): readonly (readonly [string, string])[] =>
  attachment === undefined
    ? [["attachments", "0"]]
    : [
        ["attachments", "1"],
        [
          "attachment-info",
          JSON.stringify({ attachment1: { filename: attachmentName, name: attachmentName, type: attachmentType } }),
        ],
      ];

const filePart = (file: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="attachment1"; filename="${attachmentName}"\r\nContent-Type: ${attachmentType}\r\n\r\n`,
    ),
    file,
    Buffer.from("\r\n"),
  ]);

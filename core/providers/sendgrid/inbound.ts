/**
 * Inbound Parse: one multipart POST per received e-mail, in default mode (fields) or raw mode (the whole MIME message).
 *
 * Invariant: fields are read as bytes and decoded once, by the charset SendGrid names for each of them; a part that is missing or
 * broken costs its own content only, never the message.
 */
import { createHash } from "node:crypto";
import { Busboy } from "@fastify/busboy";
import { htmlToText } from "html-to-text";
import iconv from "iconv-lite";
import PostalMime, { type Address, addressParser, decodeWords, type Header } from "postal-mime";
import * as z from "zod";
import { normalizeEmail } from "../../kernel/address.ts";
import { parseJson, storableText } from "../../kernel/json.ts";
import type { ParsedDelivery, ProviderInbound } from "../../ports/sender.ts";

/** Everything else in the form is attachments and opinions on spam. */
const wanted = new Set([
  "headers",
  "from",
  "to",
  "subject",
  "text",
  "html",
  "envelope",
  "charsets",
  "email",
  "rawEmail",
]);
const maxFieldBytes = 1_048_576;
/**
 * Anybody may write an e-mail, and parsers of e-mail and HTML slow down with the square of some inputs (a million empty lines took
 * 16 s). These limits keep the worst message under a second. 1 MiB of base64 has 14,000 lines, so honest mail stays whole.
 */
const maxLines = 20_000;
const maxHeaderBytes = 262_144;
const maxAddressChars = 10_000;
const maxHtmlChars = 100_000;
const maxHtmlTags = 5_000;
/** A header block longer than this is an attack; SendGrid's own limit for a message is 30 MB. */
const maxHeaderChars = 4_000;

export async function parseInbound(
  request: { readonly headers: Readonly<Record<string, string>>; readonly body: Uint8Array },
  receivedAt: Date,
): Promise<ParsedDelivery> {
  try {
    const fields = await readFields(request.headers, request.body);
    const inbound = await readMessage(fields, request.body, receivedAt);
    if (inbound !== null) return { events: [], inbound: [inbound], problems: [] };
    return problem("form: neither sender nor envelope");
  } catch (error) {
    return problem(`form: ${error instanceof Error ? error.message.slice(0, 200) : "unreadable"}`);
  }
}

const problem = (reason: string): ParsedDelivery => ({ events: [], inbound: [], problems: [{ index: -1, reason }] });

/** Every part is taken as a file, because only files come as bytes. The first of several parts with one name counts. */
function readFields(headers: Readonly<Record<string, string>>, body: Uint8Array): Promise<Map<string, Buffer>> {
  return new Promise((resolve, reject) => {
    const fields = new Map<string, Buffer>();
    const form = new Busboy({
      headers: { "content-type": headers["content-type"] ?? "" },
      isPartAFile: () => true,
      limits: { fileSize: maxFieldBytes, parts: 1_000, headerPairs: 100 },
    });
    form.on("file", (name, stream) => {
      stream.on("error", reject);
      if (!wanted.has(name) || fields.has(name)) {
        stream.resume();
        return;
      }
      const chunks: Buffer[] = [];
      fields.set(name, Buffer.alloc(0));
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => fields.set(name, Buffer.concat(chunks)));
    });
    form.on("error", reject);
    form.on("finish", () => resolve(fields));
    form.end(body);
  });
}

const Charsets = z.record(z.string(), z.string());
const Envelope = z.object({
  to: z.array(z.string()).catch([]),
  from: z.string().optional().catch(undefined),
});

function jsonField<T>(schema: z.ZodType<T>, bytes: Buffer | undefined): T | undefined {
  const json = parseJson(bytes ?? new Uint8Array());
  return json.ok ? schema.safeParse(json.value).data : undefined;
}

async function readMessage(
  fields: ReadonlyMap<string, Buffer>,
  body: Uint8Array,
  receivedAt: Date,
): Promise<ProviderInbound | null> {
  const charsets = jsonField(Charsets, fields.get("charsets")) ?? {};
  const field = (name: string): string | undefined => {
    const bytes = fields.get(name);
    return bytes === undefined ? undefined : storableText(decode(bytes, charsets[name]));
  };
  const raw = fields.get("email") ?? fields.get("rawEmail");
  // In default mode the header block alone is a message without a body, so one parser reads both modes.
  const mail = await PostalMime.parse(raw === undefined ? headerBlock(fields.get("headers")) : firstLines(raw), {
    maxNestingDepth: 32,
    maxHeadersSize: maxHeaderBytes,
    forceRfc822Attachments: true,
  });
  const headers = headersOf(mail.headers);

  const envelope = jsonField(Envelope, fields.get("envelope"));
  const from = mailboxOf(mail.from) ?? firstAddress(field("from")) ?? envelope?.from;
  // The envelope decides who received it: header To differs for Bcc, lists and forwards.
  const recipients = [...(envelope?.to ?? []), ...(mail.to ?? []).map(mailboxOf), firstAddress(field("to"))];
  const to = recipients.find((address): address is string => address !== undefined && normalizeEmail(address) !== null);
  if (!from || to === undefined) return null;
  // RFC 5322 names for the envelope: whoever wrote the message cannot choose these two.
  if (envelope?.from !== undefined) headers.set("return-path", storableText(`<${envelope.from}>`));
  if (envelope !== undefined) headers.set("delivered-to", storableText(envelope.to.join(", "), maxHeaderChars));

  const html = storableText((raw ? mail.html : field("html")) ?? "") || null;
  const text = storableText((raw ? mail.text : field("text")) ?? "");
  const subject = storableText(mail.subject ?? field("subject") ?? "");
  return {
    providerMessageId:
      messageIds(headers.get("message-id"))[0] ?? `sha256:${createHash("sha256").update(body).digest("hex")}`,
    channel: "email",
    from: addressOf(from),
    to: addressOf(to),
    subject: subject || null,
    text: text.trim() === "" && html !== null ? textOf(html) : text,
    html,
    headers: Object.fromEntries(headers),
    references: [
      ...new Set([...messageIds(headers.get("in-reply-to")), ...messageIds(headers.get("references")).toReversed()]),
    ].slice(0, 50),
    optOut: null,
    at: dateOf(mail.date, receivedAt),
  };
}

/** Up to the blank line that would begin a body. */
function headerBlock(bytes: Buffer = Buffer.alloc(0)): Buffer {
  const ends = ["\r\n\r\n", "\n\n"].map((blank) => bytes.indexOf(blank)).filter((at) => at >= 0);
  return Buffer.concat([bytes.subarray(0, Math.min(bytes.length, ...ends)), Buffer.from("\r\n\r\n")]);
}

function firstLines(bytes: Buffer): Buffer {
  let end = -1;
  for (let line = 0; line < maxLines; line++) {
    end = bytes.indexOf(0x0a, end + 1);
    if (end < 0) return bytes;
  }
  return bytes.subarray(0, end);
}

function decode(bytes: Buffer, charset = "utf-8"): string {
  return iconv.decode(bytes, iconv.encodingExists(charset) ? charset : "utf-8");
}

/** RFC 5322: printable ASCII without the colon. */
const headerName = /^[\x21-\x39\x3b-\x7e]{1,100}$/;

/** The first of each name: the newest, for trace headers such as `received`. */
function headersOf(list: readonly Header[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const { key, value } of list) {
    if (headers.has(key) || headers.size >= 200 || !headerName.test(key)) continue;
    headers.set(key, storableText(decodeWords(value), maxHeaderChars));
  }
  return headers;
}

/** Longer ones than any mail program makes are no ids: they would not fit into an index. */
const messageIds = (value: string | undefined): string[] => value?.match(/<[^<>\s]{1,500}>/g) ?? [];
const mailboxOf = (address: Address | undefined): string | undefined =>
  address?.address ?? address?.group?.[0]?.address ?? undefined;
const firstAddress = (list: string | undefined): string | undefined =>
  list === undefined ? undefined : addressParser(list.slice(0, maxAddressChars), { flatten: true })[0]?.address;

/** A sender that is no proper address is kept as it came: somebody may still want to read the message. */
const addressOf = (address: string): string =>
  normalizeEmail(address) ?? storableText(address.trim().toLowerCase(), 320);

function textOf(html: string): string {
  const start = html.slice(0, maxHtmlChars);
  if (start.split("<", maxHtmlTags + 1).length > maxHtmlTags) return start.replaceAll(/<[^<>]*>/g, " ");
  try {
    return htmlToText(start, { wordwrap: false, limits: { maxDepth: 50 } });
  } catch {
    return "";
  }
}

/** The sender's clock, unless it is broken: a reply from the future or from before e-mail outreach says nothing. */
function dateOf(date: string | undefined, receivedAt: Date): Date | null {
  const at = date === undefined ? Number.NaN : Date.parse(date);
  return at >= Date.UTC(2000, 0) && at <= receivedAt.getTime() ? new Date(at) : null;
}

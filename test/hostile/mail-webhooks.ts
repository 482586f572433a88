/** Hostile Inbound Parse requests: forms and mails that parsers trip over. */
import { gzipSync } from "node:zlib";
import { fieldTexts, jsonBodies } from "./bytes.ts";
import type { HostileWebhook } from "./webhooks.ts";

const boundary = "xYzZY";
const part = (name: string, value: string | Uint8Array, headers = ""): Buffer =>
  Buffer.concat([
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${headers}\r\n\r\n`),
    Buffer.from(value as Uint8Array),
    Buffer.from("\r\n"),
  ]);
const end = Buffer.from(`--${boundary}--\r\n`);
const multipart = { "content-type": `multipart/form-data; boundary=${boundary}` };
const envelope = part("envelope", '{"to":["ada@sender.example"],"from":"grace@example.com"}');
const mail = (headers: string, text = "Hello"): string =>
  `From: grace@example.com\r\nTo: ada@sender.example\r\nSubject: Re: Hi\r\nMessage-ID: <h@example.com>\r\n${headers}\r\n${text}`;
const raw = (text: string | Uint8Array, ...more: readonly Buffer[]): Buffer =>
  Buffer.concat([part("email", text), envelope, ...more, end]);

export function* sendgridInbound(): Generator<HostileWebhook> {
  const ingress = "sendgrid inbound";
  const given = (
    name: string,
    body: Buffer,
    headers: Readonly<Record<string, string>> = multipart,
  ): HostileWebhook => ({ name, ingress, body, headers });
  const form = (...parts: readonly Buffer[]): Buffer => Buffer.concat([...parts, end]);
  const fields = (text: string, more: readonly Buffer[] = []): Buffer =>
    form(
      part("from", "grace@example.com"),
      part("to", "ada@sender.example"),
      part("subject", "Re"),
      part("text", text),
      envelope,
      ...more,
    );

  yield given("empty body", Buffer.alloc(0));
  yield given("only the last boundary", end);
  yield given("no last boundary", form(part("from", "a@example.com")).subarray(0, -10));
  yield given("no parts", Buffer.from(`--${boundary}\r\n--${boundary}--`));
  yield given(
    "another boundary than announced",
    Buffer.from(fields("x").toString("latin1").replaceAll(boundary, "other"), "latin1"),
  );
  yield given("a boundary of 70,000 characters", fields("x"), {
    "content-type": `multipart/form-data; boundary=${"b".repeat(7_000)}`,
  });
  yield given("a boundary with quotes and spaces", fields("quoted"), {
    "content-type": `multipart/form-data; boundary="${boundary} \\" ;"`,
  });
  yield given("two boundaries", fields("two"), {
    "content-type": `multipart/form-data; boundary=${boundary}; boundary=other`,
  });
  yield given("an upper-case content type", fields("upper"), {
    "content-type": `MULTIPART/FORM-DATA; BOUNDARY=${boundary}`,
  });
  yield given("multipart/mixed", fields("mixed"), { "content-type": `multipart/mixed; boundary=${boundary}` });
  yield given(
    "nested multipart",
    form(
      part("text", `--inner\r\n\r\nx\r\n--inner--`, "\r\nContent-Type: multipart/mixed; boundary=inner"),
      part("from", "a@example.com"),
      envelope,
    ),
  );
  yield given(
    "2,000 parts",
    form(...Array.from({ length: 2_000 }, (_, n) => part(`p${n}`, "x")), part("from", "a@example.com"), envelope),
  );
  yield given("2,000 parts of one name", form(...Array.from({ length: 2_000 }, () => part("text", "x")), envelope));
  yield given("a part header of 100,000 characters", form(part("text", "x", `; x="${"h".repeat(100_000)}"`), envelope));
  yield given(
    "500 headers in one part",
    form(part("text", "x", Array.from({ length: 500 }, (_, n) => `\r\nX-${n}: y`).join("")), envelope),
  );
  yield given(
    "a part header that never ends",
    Buffer.from(`--${boundary}\r\n${"Content-Disposition: form-data; ".repeat(3_000)}`),
  );
  yield given(
    "a part without a name",
    Buffer.concat([Buffer.from(`--${boundary}\r\nContent-Disposition: form-data\r\n\r\nx\r\n`), envelope, end]),
  );
  yield given("a part without headers", Buffer.concat([Buffer.from(`--${boundary}\r\n\r\nx\r\n`), envelope, end]));
  yield given(
    "a part named __proto__",
    form(
      part("__proto__", "x"),
      part("constructor", "y"),
      part("toString", "z"),
      envelope,
      part("from", "a@example.com"),
    ),
  );
  yield given(
    "a file name that climbs",
    fields("file", [part("attachment1", "x", '; filename="../../../../etc/passwd"')]),
  );
  yield given(
    "a file name with NUL and line breaks",
    fields("name", [part("attachment1", "x", '; filename="a\0b\nc"')]),
  );
  yield given("an encoded file name", fields("encoded", [part("attachment1", "x", "; filename*=UTF-8''%00%ff%zz")]));
  yield given("bare line feeds", Buffer.from(fields("lf").toString("latin1").replaceAll("\r\n", "\n"), "latin1"));
  yield given(
    "text in front of the first boundary",
    Buffer.concat([Buffer.from("preamble\r\n".repeat(1_000)), fields("pre")]),
  );
  yield given("text behind the last boundary", Buffer.concat([fields("post"), Buffer.from("epilogue".repeat(1_000))]));
  yield given("a boundary inside a value", fields(`\r\n--${boundary}x\r\n--${boundary}\r\n`));
  yield given("gzip", gzipSync(fields("gzip")), { ...multipart, "content-encoding": "gzip" });
  yield given(
    "4 MiB of attachments",
    fields("big", [part("attachment1", Buffer.alloc(4 * 1_048_576, 65), '; filename="a.bin"')]),
  );
  yield given("a field over its limit", fields("y".repeat(1_200_000)));
  yield given("over the limit of a form", fields("z", [part("attachment1", Buffer.alloc(6 * 1_048_576, 66))]));
  for (const [name, value] of Object.entries(fieldTexts)) {
    if (value.length > 100_000) continue;
    yield given(
      `every field ${name}`,
      form(
        ...["from", "to", "subject", "text", "html", "headers", "charsets", "envelope", "sender_ip"].map((field) =>
          part(field, value),
        ),
      ),
    );
    yield given(
      `text and subject ${name}`,
      form(
        part("from", "grace@example.com"),
        part("to", "ada@sender.example"),
        part("subject", value),
        part("text", value),
        part("html", value),
        envelope,
      ),
    );
  }
  for (const { name, bytes } of jsonBodies((value) => `{"to":[${value}],"from":${value}}`).filter(
    ({ bytes: one }) => one.length < 500_000,
  )) {
    yield given(
      `an envelope of ${name}`,
      form(
        part("from", "grace@example.com"),
        part("to", "ada@sender.example"),
        part("text", "x"),
        part("envelope", bytes),
        part("charsets", bytes),
      ),
    );
  }
  for (const charset of ["utf-7", "utf-16", "utf-32", "klingon", "__proto__", "iso-2022-jp", "", "x".repeat(10_000)]) {
    yield given(
      `charset ${charset.slice(0, 20)}`,
      form(
        part("from", "grace@example.com"),
        part("to", "ada@sender.example"),
        part("text", Buffer.from([0xff, 0xfe, 0x41, 0, 0xd8, 0])),
        part("charsets", JSON.stringify({ text: charset, from: charset })),
        envelope,
      ),
    );
  }
  const mails: Record<string, string> = {
    "100,000 blank lines": mail("", "\r\n".repeat(100_000)),
    "20,000 headers": mail(Array.from({ length: 20_000 }, (_, n) => `X-${n}: y\r\n`).join("")),
    "a header of 400,000 characters": mail(`X-Long: ${"z".repeat(400_000)}\r\n`),
    "a folded header of 50,000 lines": mail(
      `References: ${Array.from({ length: 50_000 }, (_, n) => `<${n}@x>`).join("\r\n ")}\r\n`,
    ),
    "500 nested parts": mail(
      `Content-Type: multipart/mixed; boundary=b0\r\n`,
      Array.from(
        { length: 500 },
        (_, n) => `--b${n}\r\nContent-Type: multipart/mixed; boundary=b${n + 1}\r\n\r\n`,
      ).join(""),
    ),
    "a message in a message, 200 times": Array.from({ length: 200 }, () => "Content-Type: message/rfc822\r\n\r\n").join(
      "",
    ),
    "no sender": "Subject: nobody\r\n\r\nx",
    "a hundred senders": mail(`From: ${Array.from({ length: 100 }, (_, n) => `a${n}@example.com`).join(", ")}\r\n`),
    "an address list of 200,000 characters": `From: ${"<".repeat(200_000)}\r\nTo: a@b.example\r\n\r\nx`,
    "groups in an address": "From: g: a@example.com, b@example.com;\r\nTo: undisclosed-recipients:;\r\n\r\nx",
    "an encoded word that is none": mail("Subject: =?utf-8?B?////?= =?klingon?Q?=ff=fe?= =?utf-8?Q?=00?=\r\n"),
    "10,000 encoded words": mail(`X-W: ${"=?utf-8?Q?a?= ".repeat(10_000)}\r\n`),
    "base64 that is none": mail("Content-Transfer-Encoding: base64\r\n", "!!!!####"),
    "quoted-printable that is none": mail("Content-Transfer-Encoding: quoted-printable\r\n", "=ZZ=\r\n=".repeat(1_000)),
    "a date in the far future": mail("Date: Fri, 31 Dec 99999 23:59:60 +9999\r\n"),
    "HTML 20,000 deep": mail("Content-Type: text/html\r\n", "<div>".repeat(20_000)),
    "a table 5,000 deep": mail("Content-Type: text/html\r\n", "<table><tr><td>".repeat(5_000)),
    "an HTML comment that never ends": mail("Content-Type: text/html\r\n", `<!--${"-".repeat(100_000)}`),
    "entities that grow": mail("Content-Type: text/html\r\n", "&lt;".repeat(50_000)),
    "an auto-reply loop": mail("Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\nX-Loop: 1\r\n"),
    "UTF-16 mail": `\ufeff${mail("")}`,
    "lone surrogates in text": mail("", "\ud800\udfff"),
  };
  for (const [name, text] of Object.entries(mails)) yield given(`mail: ${name}`, raw(text));
  yield given("mail: random bytes", raw(Buffer.from(Array.from({ length: 50_000 }, (_, n) => (n * 7_919) & 255))));
}

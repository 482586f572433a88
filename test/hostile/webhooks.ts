/** Hostile webhooks, by ingress. Everything here is also sent signed: what was signed is what is archived, whatever it is. */
import { gzipSync } from "node:zlib";
import { fieldTexts, fieldValues, jsonBodies } from "./bytes.ts";

export interface HostileWebhook {
  readonly name: string;
  readonly ingress: "sendgrid events" | "sendgrid inbound" | "twilio status" | "twilio inbound" | "twilio json";
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Behind the `?` of the address. */
  readonly query?: string;
}

const json = { "content-type": "application/json" };

function* sendgridEvents(): Generator<HostileWebhook> {
  const ingress = "sendgrid events";
  const event = (fields: string) =>
    `[{"event":"delivered","timestamp":1772467200,"sg_event_id":"h","email":"x@example.com",${fields}}]`;
  for (const { name, bytes, encoding } of jsonBodies((value) => event(`"reason":${value}`))) {
    yield {
      name,
      ingress,
      body: bytes,
      headers: { ...json, ...(encoding === undefined ? {} : { "content-encoding": encoding }) },
    };
  }
  const types: Record<string, string | undefined> = {
    "no content type": undefined,
    "an empty content type": "",
    "the wrong content type": "text/plain",
    "a foreign charset": "application/json; charset=utf-7",
    "an unknown charset": "application/json; charset=klingon",
    "a content type of 8,000 characters": `application/json; x=${"y".repeat(8_000)}`,
    "a content type that is none": ";;;===,,,",
    "a form's content type": "application/x-www-form-urlencoded",
    "multipart without a boundary": "multipart/form-data",
    "multipart with an empty boundary": "multipart/form-data; boundary=",
  };
  for (const [name, type] of Object.entries(types)) {
    yield {
      name,
      ingress,
      body: Buffer.from(`${event('"reason":"x"').slice(0, -1)},{"n":"${name}"}]`),
      ...(type === undefined ? {} : { headers: { "content-type": type } }),
    };
  }
  const whole = (name: string, value: unknown): HostileWebhook => ({
    name,
    ingress,
    headers: json,
    body: Buffer.from(JSON.stringify(value)),
  });
  const good = {
    event: "delivered",
    timestamp: 1_772_467_200,
    sg_event_id: "h",
    email: "x@example.com",
    sg_message_id: "m.1",
  };
  for (const field of [
    "event",
    "timestamp",
    "sg_event_id",
    "email",
    "sg_message_id",
    "smtp-id",
    "url",
    "reason",
    "type",
    "status",
  ]) {
    const list = fieldValues.filter((value) => typeof value !== "string" || value.length < 100_000);
    yield whole(
      `${field} of every wrong type`,
      list.map((value, n) => ({ ...good, sg_event_id: `h-${field}-${n}`, [field]: value })),
    );
  }
  yield whole(
    "500 good events and one broken in the middle",
    Array.from({ length: 501 }, (_, n) => (n === 250 ? "broken" : { ...good, sg_event_id: `many-${n}` })),
  );
  yield whole(
    "the same event 1,000 times",
    Array.from({ length: 1_000 }, () => ({ ...good, sg_event_id: "same" })),
  );
  yield whole(
    "3,000 events",
    Array.from({ length: 3_000 }, (_, n) => ({ ...good, sg_event_id: `three-${n}` })),
  );
  yield whole("an id of 900,000 characters", [{ ...good, sg_event_id: "i".repeat(900_000) }]);
  yield whole("our id of somebody else", [
    {
      ...good,
      event: "bounce",
      type: "bounce",
      message_id: "omsg_01J00000000000000000000000",
      outrider_message_id: "omsg_01J00000000000000000000000",
      sg_event_id: "foreign",
    },
  ]);
  for (const [name, at] of Object.entries({
    "before Christ": -62_200_000_000,
    "year 10,000": 253_402_300_800,
    "year 292,278,994": 9_223_372_036_854,
    "a fraction": 1_772_467_200.123456,
    milliseconds: 1_772_467_200_000,
    "minus one": -1,
    "2038": 2_147_483_648,
  })) {
    yield whole(`timestamp ${name}`, [{ ...good, sg_event_id: `t-${name}`, timestamp: at }]);
  }
  yield whole(
    "addresses that are none",
    Object.values(fieldTexts).map((email, n) => ({
      ...good,
      event: "bounce",
      type: "bounce",
      reason: "550 5.1.1",
      email: email.slice(0, 5_000),
      sg_event_id: `addr-${n}`,
    })),
  );
}

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

function* sendgridInbound(): Generator<HostileWebhook> {
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

const encoded = (fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.from(new URLSearchParams(fields.map(([name, value]): [string, string] => [name, value])).toString());

function* twilio(): Generator<HostileWebhook> {
  const formType = { "content-type": "application/x-www-form-urlencoded" };
  const account = ["AccountSid", "AC1"] as const;
  const status = (name: string, fields: readonly (readonly [string, string])[], query?: string): HostileWebhook => ({
    name,
    ingress: "twilio status",
    headers: formType,
    body: encoded([account, ...fields]),
    ...(query === undefined ? {} : { query }),
  });
  const inbound = (
    name: string,
    body: Buffer,
    headers: Readonly<Record<string, string>> = formType,
  ): HostileWebhook => ({ name, ingress: "twilio inbound", headers, body });
  for (const [name, value] of Object.entries(fieldTexts)) {
    if (value.length > 15_000) continue;
    yield status(
      `every field ${name}`,
      ["MessageSid", "MessageStatus", "To", "From", "ErrorCode", "ErrorMessage", "RawDlrDoneDate"].map(
        (field) => [field, value] as const,
      ),
    );
    yield inbound(
      `every field ${name}`,
      encoded([
        account,
        ...["MessageSid", "From", "To", "Body", "ButtonText", "OptOutType", "ProfileName", "WaId"].map(
          (field) => [field, value] as const,
        ),
      ]),
    );
    yield inbound(
      `a text of ${name}`,
      encoded([
        account,
        ["MessageSid", `SM-${name}`],
        ["From", "+12125550123"],
        ["To", "+12025550100"],
        ["Body", value],
      ]),
    );
    yield status(
      `the message id in the address ${name}`,
      [
        ["MessageSid", `SM-q-${name}`],
        ["MessageStatus", "delivered"],
      ],
      `mid=${encodeURIComponent(value.toWellFormed().slice(0, 2_000))}`,
    );
  }
  for (const code of ["-1", "999999999999999999999", "1e3", "30003abc", "0x10", "NaN", "21610; drop"])
    yield status(`error code ${code}`, [
      ["MessageSid", `SM-e-${code}`],
      ["MessageStatus", "failed"],
      ["ErrorCode", code],
      ["To", "+12125550123"],
    ]);
  for (const word of ["delivered\0", "__proto__", "constructor", "toString", "DELIVERED", "", "x".repeat(10_000)])
    yield status(`status ${word.slice(0, 12)}`, [
      ["MessageSid", "SM-s"],
      ["MessageStatus", word],
    ]);
  const plain = "AccountSid=AC1&MessageSid=SM9&From=%2B12125550123&To=%2B12025550100&Body=";
  const texts: Record<string, string> = {
    "an empty body": "",
    "only ampersands": "&".repeat(1_000),
    "only equals signs": "=".repeat(1_000),
    "percent signs that are none": `${plain}%zz%%%1%`,
    "percent NUL": `${plain}%00`,
    "percent surrogates": `${plain}%ed%a0%80`,
    "overlong percent": `${plain}%c0%ae%c0%ae%c0%af`,
    "twice encoded": `${plain}%2500%250d%250a`,
    "plus and percent": `${plain}+%20+%2B`,
    "ten bodies": `${plain}a${"&Body=b".repeat(10)}`,
    "two senders": `${plain}x&From=%2B12125559999`,
    "brackets in names": `${plain}x&Body[]=y&Body[a]=z&[__proto__]=q`,
    "a name __proto__": `${plain}x&__proto__=y&constructor=z`,
    "a question mark in front": `?${plain}x`,
    semicolons: plain.replaceAll("&", ";"),
    "a byte order mark": `\ufeff${plain}x`,
    "10,000 blank parameters": "&a".repeat(10_000),
    "a name of 60,000 characters": `AccountSid=AC1&${"n".repeat(60_000)}=x`,
    "just under 64 KiB": `${plain}${"x".repeat(65_536 - plain.length)}`,
    "just over 64 KiB": `${plain}${"x".repeat(65_537 - plain.length)}`,
    "a fragment": `${plain}x#y=z`,
    "line breaks": `${plain}a\r\nb`,
    "another account": plain.replace("AC1", "AC2"),
    "two accounts": `${plain}x&AccountSid=AC2`,
  };
  for (const [name, text] of Object.entries(texts)) yield inbound(name, Buffer.from(text));
  yield inbound("invalid UTF-8", Buffer.concat([Buffer.from(plain), Buffer.from([0xff, 0xc3, 0x28, 0x80])]));
  yield inbound("UTF-16", Buffer.from(`${plain}x`, "utf16le"));
  yield inbound("JSON in a form's clothes", Buffer.from('{"AccountSid":"AC1","MessageSid":"SM1"}'));
  for (const type of ["application/json", "multipart/form-data; boundary=x", "", "text/plain; charset=utf-16"])
    yield inbound(
      `content type ${type || "none"}`,
      Buffer.from(`${plain}${encodeURIComponent(type)}`),
      type === "" ? {} : { "content-type": type },
    );
  for (const { name, bytes } of jsonBodies(
    (value) => `{"AccountSid":"AC1","MessageSid":"SM1","MessageStatus":"delivered","To":${value}}`,
  ).filter(({ bytes: one }) => one.length < 65_536)) {
    yield { name, ingress: "twilio json", body: bytes, headers: json };
  }
}

/** Every hostile webhook, each under a name of its own. */
export function hostileWebhooks(): HostileWebhook[] {
  return [...sendgridEvents(), ...sendgridInbound(), ...twilio()];
}

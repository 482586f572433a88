/** Hostile Twilio requests: status callbacks, texts, and JSON. */
import { fieldTexts, jsonBodies } from "./bytes.ts";
import type { HostileWebhook } from "./webhooks.ts";

const json = { "content-type": "application/json" };

const encoded = (fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.from(new URLSearchParams(fields.map(([name, value]): [string, string] => [name, value])).toString());

export function* twilio(): Generator<HostileWebhook> {
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

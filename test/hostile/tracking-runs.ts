/** Hostile requests to tracking links. Invariant: a stranger gets a page, is led nowhere and changes nothing. */
import { newId } from "../../core/kernel/id.ts";
import { type LinkKind, signLink } from "../../core/messages/index.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

/** Requests of recipients, their mail programs and everybody else. */
export async function runTracking(rig: Rig, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("tracking", done);
  const token = (kind: LinkKind) =>
    signLink(rig.signingKeys, { kind, tenantId: rig.tenant.tenantId, messageId: newId("message", new Date(0)) });
  const forged = signLink([new Uint8Array(32)], {
    kind: "unsubscribe",
    tenantId: rig.tenant.tenantId,
    messageId: "omsg_x",
  });
  const tokens = [
    "",
    ".",
    "..",
    "...",
    "a.b",
    "%",
    "%00",
    "%ff%fe",
    "%ed%a0%80",
    "%2e%2e%2f",
    "..%2f..%2fetc",
    "__proto__",
    "x".repeat(399),
    "x".repeat(5_000),
    forged,
    `${forged}.`,
    `.${forged}`,
    token("open"),
    token("click"),
    token("unsubscribe"),
    encodeURIComponent(`${token("open")}\r\nSet-Cookie: a=b`),
    `${token("click")}?url=https://evil.example`,
    `${token("click")}%3Furl=https://evil.example`,
    "é".repeat(50),
    encodeURIComponent("\u202e\u200b"),
    "%25%32%65",
  ];
  const bodies = [
    "",
    "List-Unsubscribe=One-Click",
    "\0",
    "x".repeat(1_000_000),
    "List-Unsubscribe=One-Click&".repeat(10_000),
    '{"a":1}',
  ];
  const headers: readonly Record<string, string>[] = [
    {},
    { "user-agent": "\u00ff".repeat(2_000) },
    { "user-agent": "Mozilla/5.0 (X11) Chrome/141", "sec-purpose": "prefetch" },
    { "content-type": "multipart/form-data" },
    { "content-type": "application/json" },
    { "x-forwarded-host": "evil.example", host: "evil.example", origin: "null" },
    { "content-encoding": "gzip" },
    { "user-agent": `${"a".repeat(30_000)}bot` },
  ];
  const before = await rig.count("communication_suppressions");
  for (const place of ["o", "c", "u"]) {
    for (const given of tokens) {
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
        const list = method === "POST" ? bodies : [undefined];
        for (const [n, body] of list.entries()) {
          const name = `${method} /${place}/${given.slice(0, 40)} ${n}`;
          try {
            const response = await rig.tracking.request(`/${place}/${given}`, {
              method,
              headers: headers[(n + given.length) % headers.length] ?? {},
              ...(body === undefined ? {} : { body }),
            });
            saw(String(response.status));
            if (response.status >= 500) complain(name, `answered ${response.status}`);
            const location = response.headers.get("location");
            if (location !== null) complain(name, `led to ${location}`);
          } catch (error) {
            saw("threw");
            complain(name, `threw ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }
    }
  }
  if ((await rig.count("communication_suppressions")) !== before) complain("all", "somebody was unsubscribed");
  return result();
}

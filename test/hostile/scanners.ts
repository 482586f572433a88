/** Link scanners, previews and prefetchers on every link of a message. Invariant: whatever they load, nobody is unsubscribed and no plan moves on. */
import { sql } from "kysely";
import { signLink, trackedLinkId } from "../../core/messages/index.ts";
import { enrollmentsOf, messagesOf } from "../core/deliveries/world.ts";
import { arrange } from "../support/tenant.ts";
import type { Finding, Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

const person = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36";
/** Those that can be told from a person by what they say. */
const machines: readonly { readonly method: "GET" | "HEAD"; readonly headers: Readonly<Record<string, string>> }[] = [
  { method: "HEAD", headers: { "user-agent": person } },
  { method: "GET", headers: {} },
  { method: "GET", headers: { "user-agent": "Mozilla/5.0" } },
  { method: "GET", headers: { "user-agent": "Barracuda Sentinel (EE)" } },
  { method: "GET", headers: { "user-agent": "Mozilla/5.0 (compatible; Proofpoint URL Defense)" } },
  { method: "GET", headers: { "user-agent": "Slackbot-LinkExpanding 1.0" } },
  { method: "GET", headers: { "user-agent": "python-requests/2.32" } },
  { method: "GET", headers: { "user-agent": person, "sec-purpose": "prefetch;prerender" } },
  { method: "GET", headers: { "user-agent": person, purpose: "prefetch" } },
  { method: "GET", headers: { "user-agent": person, "x-moz": "prefetch" } },
  { method: "GET", headers: { "user-agent": "Mozilla/5.0 HeadlessChrome/140.0" } },
  { method: "HEAD", headers: { "user-agent": "Googlebot/2.1" } },
];

/** @param count requests, a third each to unsubscribe, click and open; a few hundred of them at the same time */
export async function runScanners(rig: Rig, count: number, done: (count: number) => void): Promise<Ran> {
  const { database, tenant } = rig;
  const findings: Finding[] = [];
  const complain = (problem: string) => void findings.push({ ingress: "link scanners", name: "all", problem });
  const [, message] = await messagesOf(database, tenant);
  if (!message) throw new Error("nothing was sent");
  const url = "https://example.com/offer";
  const { id: linkId, sha256 } = trackedLinkId(url);
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into tracked_links (tenant_id, id, url, url_sha256) values (${tenant.tenantId}, ${linkId}, ${url}, ${sha256}) on conflict do nothing`.execute(
      tx,
    ),
  );
  const tokenOf = (kind: "open" | "click" | "unsubscribe") =>
    signLink(rig.signingKeys, {
      kind,
      tenantId: tenant.tenantId,
      messageId: message.id,
      ...(kind === "click" ? { linkId } : {}),
    });
  const places = [`/u/${tokenOf("unsubscribe")}`, `/c/${tokenOf("click")}`, `/o/${tokenOf("open")}`] as const;
  const facts = async () => ({
    suppressions: await rig.count("communication_suppressions"),
    enrollments: JSON.stringify(await enrollmentsOf(database, tenant)),
    actions: await rig.count("scheduled_actions"),
    message: JSON.stringify(
      (await messagesOf(database, tenant)).map((one) => [
        one.status,
        one.opened_at,
        one.clicked_at,
        one.unsubscribed_at,
      ]),
    ),
  });
  const before = await facts();
  const outcomes: Record<string, number> = {};
  const lanes = 16;
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) {
      const machine = machines[n % machines.length] ?? machines[0];
      const path = `${places[n % places.length]}${n % 7 === 0 ? "?utm_source=x" : ""}${n % 5 === 0 ? "#fragment" : ""}`;
      const { status } = await rig.tracking.request(path, {
        method: machine?.method ?? "GET",
        headers: machine?.headers ?? {},
      });
      outcomes[status] = (outcomes[status] ?? 0) + 1;
      if (status !== 200 && status !== 302) complain(`${path.slice(0, 3)} was answered ${status}`);
      done(1);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const after = await facts();
  for (const name of ["suppressions", "enrollments", "actions", "message"] as const) {
    if (after[name] !== before[name]) complain(`${name} changed: ${before[name]} became ${after[name]}`);
  }
  const { rows } = await sql<{ machine: boolean; n: number }>`
    select machine, count(*)::int as n from message_events where tenant_id = ${tenant.tenantId} and message_id = ${message.id}
      and event_type in ('opened', 'clicked') group by machine`.execute(database.owner);
  const people = rows.find(({ machine }) => !machine)?.n ?? 0;
  const flagged = rows.find(({ machine }) => machine)?.n ?? 0;
  if (people > 0) complain(`${people} visits were taken for a person's`);
  if (flagged === 0) complain("no visit was flagged as a machine's");
  outcomes["machine events kept"] = flagged;
  return { ingress: "link scanners", requests: count, findings, outcomes };
}

/**
 * Hostile webhooks through the front door, the queue and the operator's hands. Invariant: what is asserted of one payload is asserted of
 * all: refused unsigned, archived byte for byte when signed, then read or set aside with a reason that is shown, and repeatable.
 */
import { createHash } from "node:crypto";
import { brotliDecompressSync } from "node:zlib";
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import type { Finding, Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";
import type { HostileWebhook } from "./webhooks.ts";

const maxJson = 1_048_576;
const maxForm = 6 * 1_048_576;
const maxTwilio = 65_536;
/** Of reading one body, on a machine that does other things as well. */
const patienceMs = 10_000;
/** Deliveries that are answered together, an honest one among them. */
const batchSize = 12;

const isForm = ({ headers }: HostileWebhook): boolean => /^\s*multipart\//i.test(headers?.["content-type"] ?? "");

/** What the front door is documented to answer to a signed request. */
function expectedStatus(payload: HostileWebhook): readonly number[] {
  const size = payload.body.length;
  if (size > (isForm(payload) ? maxForm : maxJson)) return [413];
  if (payload.ingress.startsWith("twilio") && size > maxTwilio) return [401];
  // Signed like any other request, but by an account that is not this tenant's.
  if (["another account", "two accounts", "semicolons"].includes(payload.name)) return [401];
  return [200];
}

export async function runWebhooks(
  rig: Rig,
  payloads: readonly HostileWebhook[],
  done: (count: number) => void,
): Promise<Ran[]> {
  const findings: Finding[] = [];
  const outcomes = new Map<string, Record<string, number>>();
  const requests = new Map<string, number>();
  const note = (ingress: string, outcome: string) => {
    const counts = outcomes.get(ingress) ?? {};
    counts[outcome] = (counts[outcome] ?? 0) + 1;
    outcomes.set(ingress, counts);
  };
  for (let from = 0; from < payloads.length; from += batchSize) {
    const batch = payloads.slice(from, from + batchSize);
    const taken: { payload: HostileWebhook; target: string }[] = [];
    for (const payload of batch) {
      const complain = (problem: string) =>
        void findings.push({ ingress: payload.ingress, name: payload.name, problem });
      const provider = payload.ingress.startsWith("sendgrid") ? "sendgrid" : "twilio";
      const target = rig.target(provider, queryOf(payload));
      const send = (headers: Readonly<Record<string, string>>) => {
        requests.set(payload.ingress, (requests.get(payload.ingress) ?? 0) + 1);
        return rig.webhooks.request(target, {
          method: "POST",
          headers: { ...payload.headers, ...headers },
          body: new Uint8Array(payload.body),
        });
      };
      const [expected = 200] = expectedStatus(payload);
      const before = await rig.count("webhook_deliveries");
      const elsewhere = `${target}${target.includes("?") ? "&" : "?"}x=1`;
      for (const headers of [{}, rig.signed(provider, elsewhere, Buffer.from("another body"))]) {
        const { status } = await send(headers);
        if (status !== (expected === 413 ? 413 : 401)) complain(`unsigned it was answered ${status}`);
      }
      if ((await rig.count("webhook_deliveries")) !== before) complain("unsigned it left something");
      const { status } = await send(rig.signed(provider, target, payload.body));
      if (status !== expected) complain(`signed it was answered ${status} instead of ${expected}`);
      if (status === 200) taken.push({ payload, target });
      else note(payload.ingress, `refused ${status}`);
    }
    const honest = await rig.honest(from);
    const at = rig.target("sendgrid");
    const honestly = await rig.webhooks.request(at, {
      method: "POST",
      headers: { "content-type": "application/json", ...rig.signed("sendgrid", at, honest) },
      body: new Uint8Array(honest),
    });
    if (honestly.status !== 200)
      findings.push({ ingress: "sendgrid events", name: "honest", problem: `answered ${honestly.status}` });

    const ids = rig.queue.drain().flatMap((one) => one.ids);
    const started = performance.now();
    const { batchItemFailures } = await rig.consumers.deliveries(
      sqsEvent([bell(rig.tenant.tenantId, ...ids)]),
      fakeInvocation(),
    );
    const took = performance.now() - started;
    const about = batch.map(({ name }) => name).join(", ");
    if (batchItemFailures.length > 0) findings.push({ ingress: "deliveries", name: about, problem: "the bell failed" });
    if (took > patienceMs)
      findings.push({ ingress: "deliveries", name: about, problem: `took ${Math.round(took)} ms` });
    const through = await rig.stored(at, honest);
    if (through?.status !== "completed" || through.event_count !== 1) {
      findings.push({
        ingress: "deliveries",
        name: about,
        problem: `an honest neighbour became ${through?.status}: ${through?.last_error}`,
      });
    }
    for (const { payload, target } of taken) {
      const problem = await judge(rig, payload, target, (outcome) => note(payload.ingress, outcome));
      if (problem) findings.push({ ingress: payload.ingress, name: payload.name, problem });
    }
    done(batch.length);
  }
  return [...requests].map(([ingress, count]) => ({
    ingress,
    requests: count,
    findings: findings.filter(
      (one) => one.ingress === ingress || (one.ingress === "deliveries" && ingress === "sendgrid events"),
    ),
    outcomes: outcomes.get(ingress) ?? {},
  }));
}

/** Twilio marks JSON by the hash of the body in the address. */
const queryOf = ({ ingress, body, query }: HostileWebhook): string | undefined =>
  ingress === "twilio json" ? `bodySHA256=${createHash("sha256").update(body).digest("hex")}` : query;

/** @returns what is wrong with what became of an archived payload */
async function judge(
  rig: Rig,
  payload: HostileWebhook,
  target: string,
  note: (outcome: string) => void,
): Promise<string | undefined> {
  const row = await rig.stored(target, payload.body);
  if (!row) return "it was answered 200 and is not archived";
  const stored = row.body ?? (await rig.blobs.get(row.body_key ?? ""));
  const kept = row.body_encoding === "br" ? brotliDecompressSync(stored) : stored;
  if (!Buffer.from(kept).equals(payload.body)) return "what is archived is not what was sent";
  if (row.attempts > 5) return `it was begun ${row.attempts} times`;
  const problems = row.problems as readonly { readonly reason?: string }[] | null;
  if (row.status === "failed") {
    if (!row.last_error) return "it was set aside without a reason";
    note("quarantined");
  } else if (row.status === "completed") {
    if ((problems ?? []).some(({ reason }) => !reason)) return "a part was set aside without a reason";
    note((problems ?? []).length > 0 ? "read in part" : "read");
  } else return `it was left ${row.status}`;
  const shown = await rig.get(`/v1/deliveries/${row.id}`);
  if (shown.status !== 200 || shown.body["lastError"] !== row.last_error) return `it is not shown: ${shown.status}`;
  const replayed = await rig.api.request(`/v1/deliveries/${row.id}/replay`, {
    method: "POST",
    headers: { authorization: `Bearer ${rig.apiKey}` },
  });
  const report = (await replayed.json()) as {
    readonly deliveries?: number;
    readonly newEvents?: number;
    readonly failed?: readonly { readonly error: string }[];
  };
  if (replayed.status !== 200 || report.deliveries !== 1)
    return `replaying it was answered ${replayed.status} ${JSON.stringify(rig.errors.at(-1)?.["error"] ?? "").slice(0, 600)}`;
  const stillFails = (report.failed ?? []).length === 1;
  if (stillFails !== (row.status === "failed"))
    return `replayed it ${stillFails ? "failed" : "went through"}, at first it was ${row.status}`;
  if (stillFails && !report.failed?.[0]?.error) return "replayed it failed without a reason";
  if ((report.newEvents ?? 0) > 0) return `replayed it took effect again: ${report.newEvents} events`;
  return undefined;
}

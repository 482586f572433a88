/** What SendGrid tells of who may send: `GET /v3/whitelabel/domains` and `GET /v3/verified_senders`, in wire format. */
import { createHash } from "node:crypto";
import { type Endpoints, sendgridEndpoint } from "./endpoints.ts";
import { type Answer, json } from "./http.ts";
import { failure } from "./sendgrid.ts";

/** @param unproven domains that wait for their DNS records; every other is authenticated */
export function listDomains(
  endpoints: Endpoints,
  authorization: string | undefined,
  query: URLSearchParams,
  unproven: readonly string[],
): Answer {
  if (!mayAsk(endpoints, authorization)) return failure(401);
  const domain = query.get("domain")?.toLowerCase() ?? "";
  if (domain === "") return json(200, []);
  const id = createHash("sha256").update(domain).digest().readUInt32BE(0);
  const entry = { id, user_id: 1, subdomain: "em", domain, username: "outrider", ips: [], custom_spf: false };
  return json(200, [
    { ...entry, default: true, legacy: false, automatic_security: true, valid: !unproven.includes(domain) },
  ]);
}

/** The simulated account proves domains, never single addresses. */
export const listVerifiedSenders = (endpoints: Endpoints, authorization: string | undefined): Answer =>
  mayAsk(endpoints, authorization) ? json(200, { results: [] }) : failure(401);

function mayAsk(endpoints: Endpoints, authorization: string | undefined): boolean {
  const key = /^Bearer (.+)$/.exec(authorization ?? "")?.[1];
  return key !== undefined && (endpoints.sendgrid.length === 0 || sendgridEndpoint(endpoints, key) !== undefined);
}

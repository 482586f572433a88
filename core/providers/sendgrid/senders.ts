/**
 * Whether a SendGrid account may send from an address: its domain is authenticated (`GET /v3/whitelabel/domains`), or the address itself
 * is a verified sender (`GET /v3/verified_senders`). Invariant: only SendGrid's own yes is `proved`; a key without the right to ask, a
 * timeout and an answer that cannot be read are `unknown`.
 */
import * as z from "zod";
import { parseJson, storableText } from "../../kernel/json.ts";
import type { Credentials, SenderProof } from "../../ports/sender.ts";
import { call } from "../http.ts";
import { SendgridCredentials } from "./credentials.ts";

/** Ids are numbers in SendGrid's answers, and strings in ours. */
const id = z.union([z.number(), z.string()]).transform(String);
const Domains = z.array(z.object({ id, domain: z.string(), valid: z.boolean() }));
const Senders = z.object({ results: z.array(z.object({ id, from_email: z.string(), verified: z.boolean() })) });

/** The most senders one page holds; an account with more proves its domain instead. */
const pageSize = 1_000;

export async function proveSender(
  credentials: Credentials,
  fromEmail: string,
  timeoutMs: number,
): Promise<SenderProof> {
  const parsed = SendgridCredentials.safeParse(credentials);
  if (!parsed.success) return { kind: "unknown", reason: "The SendGrid credentials are incomplete." };
  const ask = <T>(path: string, shape: z.ZodType<T>) => get(parsed.data, path, shape, timeoutMs);
  const address = fromEmail.toLowerCase();
  const domain = address.slice(address.lastIndexOf("@") + 1);

  const domains = await ask(`/v3/whitelabel/domains?limit=200&domain=${encodeURIComponent(domain)}`, Domains);
  const authenticated = domains.ok && domains.value.find((one) => one.valid && one.domain.toLowerCase() === domain);
  if (authenticated) return { kind: "proved", by: "domain", providerSenderId: null };

  const senders = await ask(`/v3/verified_senders?limit=${pageSize}`, Senders);
  const known = senders.ok ? senders.value.results.filter((one) => one.from_email.toLowerCase() === address) : [];
  const verified = known.find((one) => one.verified);
  if (verified) return { kind: "proved", by: "address", providerSenderId: verified.id };

  if (!domains.ok) return { kind: "unknown", reason: domains.reason };
  if (!senders.ok) return { kind: "unknown", reason: senders.reason };
  return {
    kind: "unproved",
    reason:
      known.length > 0
        ? `SendGrid still waits for ${address} to follow the link of its verification mail.`
        : `SendGrid has neither an authenticated domain ${domain} nor a verified sender ${address}.`,
  };
}

type Got<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

async function get<T>(
  { apiKey, apiBaseUrl }: SendgridCredentials,
  path: string,
  shape: z.ZodType<T>,
  timeoutMs: number,
): Promise<Got<T>> {
  const result = await call({
    method: "GET",
    url: `${apiBaseUrl.replace(/\/+$/, "")}${path}`,
    headers: { authorization: `Bearer ${apiKey}`, accept: "application/json" },
    timeoutMs,
  });
  const no = (reason: string): Got<T> => ({
    ok: false,
    reason: storableText(`SendGrid could not be asked: ${reason}.`, 500),
  });
  if (result.kind !== "response") return no(result.reason);
  if (result.status === 401 || result.status === 403)
    return no(
      `it answered ${result.status}, so the API key is revoked or lacks the scopes "Sender Authentication" and "Verified Senders"`,
    );
  if (result.status !== 200) return no(`it answered ${result.status}`);
  const json = parseJson(result.body);
  const value = shape.safeParse(json.ok ? json.value : undefined);
  return value.success ? { ok: true, value: value.data } : no("its answer has an unknown shape");
}

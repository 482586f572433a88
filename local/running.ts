/**
 * Whether an Outrider runs already where another is being started. Invariant: it asks and changes nothing; who does not answer in two seconds
 * does not run.
 */
import { DomainError } from "../core/kernel/error.ts";
import { readAccess } from "./access.ts";

const limitMs = 2_000;

async function answers(address: string, headers: Readonly<Record<string, string>> = {}): Promise<Response | undefined> {
  try {
    return await fetch(address, { headers, signal: AbortSignal.timeout(limitMs) });
  } catch {
    return undefined;
  }
}

/** Of this home: what listens where `local.json` says and knows the key in it. @throws DomainError `home.already_running` */
export async function refuseSecond(home: string): Promise<void> {
  const access = await readAccess(home);
  if (!access) return;
  const known = await answers(`${access.baseUrl}/v1/tenant`, { authorization: `Bearer ${access.apiKey}` });
  if (known?.status !== 200) return;
  throw new DomainError(
    "conflict",
    "home.already_running",
    `An Outrider already runs in ${home}, at ${access.baseUrl}. Use that one, or stop it first; another beside it needs a home and a port of its own: OUTRIDER_HOME=.outrider2 PORT=0 npm start`,
  );
}

/** What a taken port is taken by, as a sentence, when it is an Outrider of another home. */
export async function runningAt(port: number): Promise<string | undefined> {
  const url = `http://127.0.0.1:${port}`;
  const health = await answers(`${url}/health`);
  const body: unknown = await health?.json().catch(() => undefined);
  if (typeof body !== "object" || body === null || !("migration" in body)) return undefined;
  return `An Outrider of another home already runs at ${url}. Use that one, stop it, or choose another port: PORT=0 npm start`;
}

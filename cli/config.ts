/**
 * Which Outrider is meant: flags, then the environment, then the `local.json` that `npm start` writes.
 * Invariant: the key of a local system is never shown to another server.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { type LocalAccess, readAccess } from "../local/access.ts";
import { CliError, exitCodes, usageError } from "./errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface GlobalOptions {
  readonly url?: string;
  readonly key?: string;
  readonly json?: boolean;
}

export interface Server {
  /** Without a trailing slash. */
  readonly url: string;
  readonly key: string;
}

/** `OUTRIDER_HOME`, else `.outrider` here, else the one of this checkout. */
export function homeOf(environment: Environment): string {
  if (environment["OUTRIDER_HOME"]) return path.resolve(environment["OUTRIDER_HOME"]);
  const here = path.resolve(".outrider");
  return existsSync(here) ? here : path.resolve(import.meta.dirname, "..", ".outrider");
}

export const localAccess = (environment: Environment): Promise<LocalAccess | undefined> =>
  readAccess(homeOf(environment));

/** @throws CliError exit 4 when no server is known, exit 2 when its address or key cannot be used */
export async function serverOf(options: GlobalOptions, environment: Environment): Promise<Server> {
  const local = await localAccess(environment);
  const given = options.url ?? (environment["OUTRIDER_URL"] || undefined);
  const url = given === undefined ? local?.baseUrl : normalUrl(given);
  if (url === undefined) {
    throw new CliError(
      exitCodes.unreachable,
      "cli.no_server",
      `No Outrider is known: ${homeOf(environment)} has no local.json.`,
      {
        hint: "start one here with npm start, or name one with --url and --key (OUTRIDER_URL, OUTRIDER_API_KEY)",
      },
    );
  }
  const own = local !== undefined && sameOrigin(local.baseUrl, url) ? local.apiKey : undefined;
  const key = options.key ?? (environment["OUTRIDER_API_KEY"] || undefined) ?? own;
  if (key === undefined) {
    throw usageError("cli.no_key", `No API key for ${url}.`, {
      hint: "give one with --key or OUTRIDER_API_KEY; npx outrider keys create makes one",
    });
  }
  if (!/^[\x21-\x7e]+$/.test(key)) throw usageError("cli.bad_key", "The API key holds characters that no key has.");
  return { url, key };
}

const sameOrigin = (a: string, b: string): boolean => URL.canParse(a) && new URL(a).origin === new URL(b).origin;

function normalUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw usageError(
      "cli.bad_url",
      `${given} is not an address of a server; expected one like https://outrider.example.com.`,
    );
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

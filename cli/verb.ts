/** What every verb is built from: its command on the program, and what it gets when it runs. */
import { type Command, InvalidArgumentError } from "commander";
import { type Client, createClient, type Row } from "./client.ts";
import { type GlobalOptions, serverOf } from "./config.ts";
import { CliError, exitCodes, usageError } from "./errors.ts";
import { readJson } from "./files.ts";
import { createOutput, type Output } from "./output.ts";

export interface Verb {
  readonly out: Output;
  /** Made on first use, so that verbs that need no server ask for none. */
  client(): Promise<Client>;
}

export function verbOf(command: Command): Verb {
  const options = command.optsWithGlobals<GlobalOptions>();
  let client: Promise<Client> | undefined;
  return {
    out: createOutput(options.json === true),
    client: () => {
      client ??= serverOf(options, process.env).then(createClient);
      return client;
    },
  };
}

/** A whole number of at least one. */
export function count(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Expected a whole number from 1.");
  return Number(text);
}

export function instant(text: string): string {
  const at = new Date(text);
  if (Number.isNaN(at.getTime()) || !/^\d{4}-\d\d-\d\d/.test(text)) {
    throw new InvalidArgumentError("Expected an instant like 2026-01-31T09:00:00Z, or a day like 2026-01-31.");
  }
  return at.toISOString();
}

/** For options that may be given several times or with commas. */
export const list = (text: string, before: readonly string[] = []): string[] => [
  ...before,
  ...text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== ""),
];

/** `old=new`, cut at the first `=`. @throws CliError exit 2 */
export function pairs(given: readonly string[], option: string): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const [, from, to] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
      if (from === undefined || to === undefined)
        throw usageError("cli.not_a_pair", `${option} ${JSON.stringify(text)} is no pair like old=new.`);
      return [from.trim(), to.trim()];
    }),
  );
}

const secondsOf = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** `30s`, `15m`, `1h`, `7d`: a number of seconds. */
export function duration(text: string): number {
  const [, number, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? [];
  if (number === undefined || unit === undefined)
    throw new InvalidArgumentError("Expected a duration like 90s, 15m, 1h or 7d.");
  return Number(number) * secondsOf[unit as keyof typeof secondsOf];
}

/** The JSON object in a file; - reads stdin. @throws CliError exit 2 */
export async function readObject(file: string): Promise<Row> {
  const value = await readJson(file);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Row;
  throw usageError("file.not_an_object", `${file} holds no JSON object.`);
}

/** A contact by its id or its e-mail address. What is neither goes on as it is: the server says what an id looks like. */
export async function contactId(client: Client, given: string): Promise<string> {
  if (!given.includes("@")) return given;
  const address = given.toLowerCase();
  const ids: string[] = [];
  for await (const lead of client.pages("/v1/leads", { q: given })) {
    if (String(lead["email"]).toLowerCase() !== address) continue;
    for await (const { id, channels } of client.pages("/v1/contacts", { leadId: String(lead["id"]) })) {
      const isTheirs = (channels as Row[]).some((one) => String(one["address"]).toLowerCase() === address);
      if (isTheirs) ids.push(String(id));
    }
  }
  const [found, other] = ids;
  if (found === undefined) {
    throw new CliError(exitCodes.refused, "contact.not_found", `No contact has the address ${given}.`, {
      hint: "npx outrider leads search finds people by a part of their name, address or company",
    });
  }
  if (other !== undefined) {
    throw usageError(
      "contact.ambiguous",
      `${ids.length} contacts have the address ${given}; say which: ${ids.join(", ")}`,
    );
  }
  return found;
}

/** A campaign by its id or its name. */
export async function campaignId(client: Client, given: string): Promise<string> {
  if (/^mcmp_/.test(given)) return given;
  const matches: Row[] = [];
  for await (const row of client.pages("/v1/campaigns")) if (row["name"] === given) matches.push(row);
  const [found, other] = matches;
  if (found === undefined) {
    throw new CliError(exitCodes.refused, "campaign.not_found", `No campaign is called ${JSON.stringify(given)}.`, {
      hint: "npx outrider campaigns list shows them all",
    });
  }
  if (other !== undefined) {
    const ids = matches.map((row) => row["id"]).join(", ");
    throw usageError(
      "campaign.ambiguous",
      `${matches.length} campaigns are called ${JSON.stringify(given)}; say which: ${ids}`,
    );
  }
  return String(found["id"]);
}

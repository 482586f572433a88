/** `enroll`: who walks a campaign's plan. Exactly one way of saying who. */
import type { Command } from "commander";
import type { Client, Row } from "../client.ts";
import { CliError, exitCodes, usageError } from "../errors.ts";
import { readJson, readList } from "../files.ts";
import { contactId, list, verbOf } from "../verb.ts";
import { campaignPath } from "./campaigns.ts";

export interface AudienceOptions {
  readonly all?: boolean;
  readonly segment?: string;
  readonly filter?: string;
  readonly contacts?: string;
  readonly contact?: readonly string[];
}

export const audienceOptions = (command: Command): Command =>
  command
    .option("--all", "every active contact, also who answered or bounced before; a suppressed address is never sent to")
    .option("--segment <segment>", "the members of a segment: its id or name")
    .option("--filter <file.json>", "whoever a filter finds")
    .option("--contacts <file>", "contact ids, one a line; - reads stdin")
    .option("--contact <id>", "one contact, or its e-mail address; may be repeated", list);

/** @throws CliError exit 2 unless exactly one way is given; undefined when none is and none is needed */
export async function audienceOf(
  client: Client,
  options: AudienceOptions,
  required: boolean,
): Promise<object | undefined> {
  const { all, segment, filter, contacts, contact } = options;
  const given = [all, segment, filter, contacts, contact].filter((one) => one !== undefined).length;
  if (given > 1 || (required && given === 0)) {
    throw usageError(
      "enroll.audience",
      "Say who in exactly one way: --all, --segment, --filter, --contacts or --contact.",
    );
  }
  if (all === true) return { all: true };
  if (segment !== undefined) return { segmentId: await segmentId(client, segment) };
  if (filter !== undefined) return { filter: await readJson(filter) };
  if (contact !== undefined) {
    const contactIds: string[] = [];
    for (const one of contact) contactIds.push(await contactId(client, one));
    return { contactIds };
  }
  return contacts === undefined ? undefined : { contactIds: await readContacts(contacts) };
}

async function readContacts(file: string): Promise<string[]> {
  const lines = (await readList(file)).map((line) => line.split(/[,;\t]/)[0]?.trim() ?? "");
  const wrong = lines.findIndex((line) => !/^contact_[0-9A-HJKMNP-TV-Z]{26}$/.test(line));
  if (lines.length === 0) throw usageError("file.empty", `${file} holds no contact.`);
  if (wrong >= 0)
    throw usageError("enroll.not_a_contact", `${file}: ${JSON.stringify(lines[wrong])} is not the id of a contact.`);
  return lines;
}

/** A segment by its id or its name; a name belongs to one segment at most. */
export async function segmentId(client: Client, given: string): Promise<string> {
  if (/^seg_/.test(given)) return given;
  for await (const row of client.pages("/v1/segments")) if (row["name"] === given) return String(row["id"]);
  throw new CliError(exitCodes.refused, "segment.not_found", `No segment is called ${JSON.stringify(given)}.`);
}

const columns = [
  "audience",
  "enrolled",
  "already enrolled=alreadyEnrolled",
  "walking another campaign=busy",
  "without an address=noAddress",
  "unavailable",
];

/** Why somebody of the audience was not taken, where the column alone does not say what to do. */
const leftOut: Readonly<Record<string, string>> = {
  busy: "walk another campaign, and a contact walks one at a time on a channel: npx outrider enrollments list",
  noAddress: "have no address on the channel that the plan begins with",
  unavailable: "are unknown here, no longer active, or their lead is deleted or on do-not-call",
};

export function enroll(program: Command): void {
  const command = program
    .command("enroll <campaign>")
    .description("let contacts walk a campaign's plan")
    .option("--reenroll", "also those who have walked it to an end; they may get everything again");
  audienceOptions(command).action(
    async (given: string, options: AudienceOptions & { reenroll?: boolean }, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const audience = await audienceOf(client, options, true);
      const reenroll = options.reenroll === true ? { reenroll: true } : {};
      const report = await client.post(await campaignPath(client, given, "enroll"), { audience, ...reenroll });
      await out.value(report, () => out.record(report as Row, columns));
      for (const [name, meaning] of Object.entries(leftOut)) {
        if (Number(report[name]) > 0) out.note(`${report[name]} ${meaning}`);
      }
    },
  );
}

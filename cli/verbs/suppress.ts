/** `suppress`: who must not be contacted. Invariant: a check that finds a "no" is a result, exit code 0; only what cannot be answered is a refusal. */
import { type Command, Option } from "commander";
import { suppressionReasons } from "../../core/kernel/vocabulary.ts";
import type { Client, Row } from "../client.ts";
import { CliError, exitCodes, usageError } from "../errors.ts";
import { readList } from "../files.ts";
import type { Output } from "../output.ts";
import { at } from "../text.ts";
import { count, verbOf } from "../verb.ts";

const columns = [
  "id",
  "channel",
  "address",
  "reason",
  "source",
  "since=suppressedAt",
  "lifted=releasedAt",
  "note=releaseNote",
];
/** What the API takes in one call. */
export const batch = 1_000;
const source = "cli";

interface Target {
  readonly channel: string;
  readonly address: string;
}

/** `email:kim@example.com`, or an address alone, whose shape says what it is. */
function target(given: string, channel: string | undefined): Target {
  if (channel !== undefined) return { channel, address: given };
  return { channel: given.includes("@") ? "email" : "sms", address: given };
}

const channelOption = (): Option => new Option("--channel <channel>", "default: email for what holds an @, else sms");
const reasonOption = (): Option =>
  new Option("--reason <reason>", "why").choices([...suppressionReasons]).default("manual");

export function suppress(program: Command): void {
  const group = program.command("suppress").description("who must not be contacted, and why");
  group
    .command("add <address...>")
    .description("nothing is sent to these addresses any more, from this moment on")
    .addOption(channelOption())
    .addOption(reasonOption())
    .action(async (addresses: string[], options: { channel?: string; reason: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const targets = addresses.map((address) => target(address, options.channel));
      await report(out, await add(out, await client(), targets, options.reason));
    });
  group
    .command("import <file>")
    .description("one address a line, or the first column of a CSV; - reads stdin")
    .addOption(channelOption())
    .addOption(reasonOption())
    .action(async (file: string, options: { channel?: string; reason: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const lines = await readList(file);
      const targets = lines.map((line) =>
        target(
          line
            .split(/[,;\t]/)[0]
            ?.replace(/^"|"$/g, "")
            .trim() ?? "",
          options.channel,
        ),
      );
      if (targets.length === 0) throw usageError("file.empty", `${file} holds no address.`);
      await report(out, await add(out, await client(), targets, options.reason));
    });
  group
    .command("check <address...>")
    .description("may these addresses be contacted?")
    .addOption(channelOption())
    .action(async (addresses: string[], { channel }: { channel?: string }, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const targets = addresses.map((address) => target(address, channel));
      const { checks } = await client.post("/v1/suppressions/check", { targets });
      const rows = targets.map((asked, index) => ({ ...asked, ...((checks as Row[])[index] ?? {}) }));
      await out.rows(
        rows,
        ["channel", "address", "allowed", "list=hit.list", "reason=hit.reason", "since=hit.since", "id=hit.id"],
        "",
      );
    });
  group
    .command("lift <suppression>")
    .description("take back what was entered by mistake; a person's own no stays")
    .requiredOption("--note <text>", "why, for the record")
    .action(async (id: string, { note }: { note: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post(`/v1/suppressions/${encodeURIComponent(id)}/lift`, { note });
      await out.value(row, () => out.line(`${row["address"]} may be contacted by ${row["channel"]} again.`));
    });
  group
    .command("list")
    .description("newest first")
    .option("--channel <channel>", "of one channel")
    .option("--address <address>", "of one address")
    .addOption(new Option("--reason <reason>", "for one reason").choices([...suppressionReasons]))
    .option("--active", "only those in force")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ limit, ...filter }: { limit?: number } & Record<string, string | boolean>, command: Command) => {
      const { out, client } = verbOf(command);
      await out.rows((await client()).pages("/v1/suppressions", filter, limit), columns, "Nobody is suppressed.");
    });
}

export interface Added {
  added: number;
  existing: number;
  readonly invalid: Row[];
  readonly stopped: Row[];
  readonly inFlight: Row[];
}

async function add(out: Output, client: Client, targets: readonly Target[], reason: string): Promise<Added> {
  const total: Added = { added: 0, existing: 0, invalid: [], stopped: [], inFlight: [] };
  const bar = targets.length > batch ? out.progress("Suppressing") : undefined;
  for (let start = 0; start < targets.length; start += batch) {
    const entries = targets.slice(start, start + batch).map((one) => ({ ...one, reason, source }));
    const answer = await client.post("/v1/suppressions", { entries });
    total.added += (answer["added"] as unknown[]).length;
    total.existing += Number(answer["existing"]);
    for (const bad of answer["invalid"] as Row[]) total.invalid.push({ ...bad, index: start + Number(bad["index"]) });
    total.stopped.push(...(answer["stopped"] as Row[]));
    total.inFlight.push(...(answer["inFlight"] as Row[]));
    bar?.update(Math.min(start + batch, targets.length), targets.length);
  }
  bar?.stop();
  return total;
}

async function report(out: Output, total: Added): Promise<void> {
  await out.value(total, async () => {
    await out.line(`${total.added} added, ${total.existing} were there before.`);
    await stoppedLines(out, total);
  });
  if (total.invalid.length === 0) return;
  throw new CliError(
    exitCodes.refused,
    "suppression.invalid_address",
    `${total.invalid.length} entries are no address of their channel; the others stand.`,
    {
      fields: total.invalid.map((row) => ({
        path: `entries[${row["index"]}]`,
        value: row["address"],
        message: "expected an e-mail address, or a phone number with its country code (+1…)",
      })),
    },
  );
}

export async function stoppedLines(
  out: Output,
  { stopped, inFlight }: Pick<Added, "stopped" | "inFlight">,
): Promise<void> {
  if (stopped.length > 0) await out.line(`${stopped.length} queued messages will not be sent.`);
  if (inFlight.length > 0)
    await out.line(
      `${inFlight.length} messages may already be with a provider: ${inFlight.map((row) => at(row, "messageId")).join(", ")}`,
    );
}
